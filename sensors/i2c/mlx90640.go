package i2c

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"firebreak/sensors"

	"periph.io/x/conn/v3/i2c"
)

// MLX90640, the temperatures of 32 by 24 spots by their infrared. Melexis datasheet 3901090640 rev 12: 10.7 registers
// and memory, 11 calculation. Reported are the hottest spot with its row and column, the mean of all, and the chip's own
// temperature.
//
// The chip measures half of the spots at a time (a chess board: subpage 0, then 1), by itself, two halves a second as
// delivered. Its memory holds the newest of both, so that each poll sees all spots, the other half older by one such step. Nothing is
// configured: settings under which one half would never be measured again, or slower than the profile says, are refused.
// The one write tells the chip that its result was taken (10.6.1), without which nobody knows a new one from an old one.
//
// There is no check code. The calibration is read twice and compared; each frame is refused when the chip has measured again
// meanwhile, when its own supply or temperature are impossible, or when all spots are equal, as on a stuck bus. A single spot at
// the end of its scale is no fault but glowing metal, and counts.
const (
	mlx90640EEPROM  = 0x2400 // 832 words
	mlx90640ID      = 0x2407 // three words that no other chip has
	mlx90640RAM     = 0x0400 // 768 spots, row by row, then 64 words about the chip itself
	mlx90640Status  = 0x8000
	mlx90640Control = 0x800d

	mlx90640Words   = 832
	mlx90640Columns = 32
	mlx90640Rows    = 24
	mlx90640Pixels  = mlx90640Columns * mlx90640Rows
	mlx90640Chunk   = 64 // words in one transfer: what it may be interrupted by lasts 12 ms at 100 kHz

	mlx90640New      = 1 << 3
	mlx90640Taken    = 0x0030 // result taken, the next may overwrite it
	mlx90640Mode     = 0x000f // subpages on; not repeated, not held, not by command
	mlx90640Both     = 0x0001
	mlx90640Rate     = 7
	mlx90640Slowest  = 2    // code of the refresh rate: two halves a second, as delivered
	mlx90640NotA40   = 0x40 // in the options: it is an MLX90641
	mlx90640Invalid  = 0x7fff
	mlx90640Deviates = 4 // spots that may be marked at most (10, note 4)

	mlx90640Start  = 3 * time.Second // from answering to both halves measured, at the slowest rate
	mlx90640Silent = 5 * time.Second // without anything new: it does not measure
)

var errMLX90640Torn = errors.New("it has measured again while it was read: the bus is too slow for its refresh rate: raise the bus to 400 kHz, or set the rate as delivered (2 Hz)")

type mlx90640 struct {
	base
	id    [3]uint16
	have  bool // the calibration below is that of this id
	cal   mlx90640Calibration
	alive since
	last  sensors.Mono // when there was something new
	had   bool         // a frame since it was last known to start
	words [mlx90640Words]uint16
	raw   [2 * mlx90640Chunk]byte
}

func newMLX90640(dev *i2c.Dev) chip {
	return &mlx90640{base: base{dev: dev, chans: []channel{
		{"surface.hottest", sensors.Celsius}, {"surface.mean", sensors.Celsius},
		{"hottest.row", sensors.None}, {"hottest.column", sensors.None},
		{"ambient.temperature", sensors.Celsius},
	}}}
}

func (m *mlx90640) measure(ctx context.Context, now func() sensors.Mono, report report) error {
	err := m.step(ctx, now, report)
	if err != nil && !errors.Is(err, errMLX90640Torn) { // it may have lost its power
		m.alive, m.last, m.had = 0, 0, false
	}
	return err
}

func (m *mlx90640) step(ctx context.Context, now func() sensors.Mono, report report) error {
	if m.due() {
		if err := m.identify(ctx, report); err != nil {
			return err
		}
	}
	at := now()
	started := !m.alive.young(at, mlx90640Start)
	if m.last == 0 {
		m.last = max(at, 1)
	}
	fresh, control, err := m.frame(ctx)
	if err != nil {
		return err
	}
	if !fresh {
		if at >= m.last.Add(mlx90640Silent) {
			m.known = false
			return fmt.Errorf("it has measured nothing for %v: switch it off and on", mlx90640Silent)
		}
		if !m.had {
			m.all(report, sensors.NotReady)
		}
		return nil // polled faster than it measures
	}
	m.last = at
	if !started {
		m.all(report, sensors.NotReady)
		return nil
	}
	f, err := m.cal.frame(&m.words, control)
	if err != nil {
		m.known, m.have = false, false // the calibration may be what is wrong
		return err
	}
	m.had = true
	hottest, mean, ok := m.cal.hottest(&m.words, f)
	if !ok {
		m.all(report, sensors.Implausible)
		return nil
	}
	to := m.cal.celsius(&m.words, f, hottest)
	for i, v := range []float64{to, mean, float64(hottest/mlx90640Columns + 1), float64(hottest%mlx90640Columns + 1), f.ta} {
		report(i, v, sensors.GoodQuality)
	}
	return nil
}

// frame reads all words, if the chip has measured since they were read last.
func (m *mlx90640) frame(ctx context.Context) (fresh bool, control uint16, err error) {
	var r [1]uint16
	if err := m.wordsAt(ctx, "settings", mlx90640Control, r[:]); err != nil {
		return false, 0, err
	}
	control = r[0]
	if control&mlx90640Mode != mlx90640Both || control>>mlx90640Rate&7 < mlx90640Slowest {
		m.known = false
		return false, 0, fmt.Errorf("settings %#04x: it does not measure both halves in turn, twice a second or faster: another program has set it, or the bus is stuck: switch it off and on", control)
	}
	if err := m.wordsAt(ctx, "status", mlx90640Status, r[:]); err != nil || r[0]&mlx90640New == 0 {
		return false, control, err
	}
	if err := m.tx(ctx, "result taken", []byte{mlx90640Status >> 8, 0, mlx90640Taken >> 8, mlx90640Taken & 0xff}, nil); err != nil {
		return false, 0, err
	}
	if err := m.wordsAt(ctx, "frame", mlx90640RAM, m.words[:]); err != nil {
		return false, 0, err
	}
	if err := m.wordsAt(ctx, "status", mlx90640Status, r[:]); err != nil {
		return false, 0, err
	}
	if r[0]&mlx90640New != 0 {
		return false, 0, errMLX90640Torn
	}
	return true, control, nil
}

// wordsAt reads words, high byte first, in transfers that leave room for a context that ends.
func (m *mlx90640) wordsAt(ctx context.Context, what string, from uint16, to []uint16) error {
	for len(to) > 0 {
		n := min(len(to), mlx90640Chunk)
		if err := m.tx(ctx, what, []byte{byte(from >> 8), byte(from)}, m.raw[:2*n]); err != nil {
			return err
		}
		for i := range n {
			to[i] = binary.BigEndian.Uint16(m.raw[2*i:])
		}
		to, from = to[n:], from+uint16(n)
	}
	return nil
}

// identify looks whether the chip is the one whose calibration is known, and reads that of another one.
func (m *mlx90640) identify(ctx context.Context, report report) error {
	var about [9]uint16 // its number, options, settings as delivered, address
	if err := m.wordsAt(ctx, "identity", mlx90640ID, about[:]); err != nil {
		return err
	}
	if options, addr := about[3], about[8]&0x7f; options&mlx90640NotA40 != 0 || addr != m.dev.Addr {
		return m.wrong(report, fmt.Sprintf("options %#04x for address %#02x", options, addr), fmt.Sprintf("an MLX90640 for %#02x", m.dev.Addr))
	}
	id := [3]uint16(about[:3])
	m.numbered(id[:]...)
	if m.have && id == m.id {
		m.right()
		return nil
	}
	m.have, m.had = false, false
	var ee [mlx90640Words]uint16
	for _, to := range [][]uint16{m.words[:], ee[:]} {
		if err := m.wordsAt(ctx, "calibration", mlx90640EEPROM, to); err != nil {
			return err
		}
	}
	if ee != m.words || [3]uint16(ee[7:10]) != id {
		m.known = false
		return errors.New("its calibration is another one when it is read again: the bus is disturbed: check wiring, length and pull-ups")
	}
	cal, err := newMLX90640Calibration(&ee)
	if err != nil {
		m.known = false
		return err
	}
	m.cal, m.id, m.have = cal, id, true
	m.right()
	return nil
}

// hottest is the hottest spot, and the mean of all; spots that the maker has marked count for neither. ok is false when
// none has a temperature.
func (c *mlx90640Calibration) hottest(w *[mlx90640Words]uint16, f *mlx90640Frame) (at int, mean float64, ok bool) {
	at, n, most := -1, 0, math.Inf(-1)
	for i := range mlx90640Pixels {
		if slices.Contains(c.marked, i) {
			continue
		}
		to := c.celsius(w, f, i)
		if math.IsNaN(to) || math.IsInf(to, 0) {
			continue // colder than the formula goes
		}
		if n++; to > most {
			at, most = i, to
		}
		mean += to
	}
	return at, mean / float64(n), n > 0
}
