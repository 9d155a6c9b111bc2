package i2c

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"firebreak/configs"
	"firebreak/sensors"
	"firebreak/sensors/profile"

	"golang.org/x/sys/unix"
	"periph.io/x/conn/v3/physic"
)

// A case is what went over the wire and what must come of it, in testdata/PROFILE/*.txt:
//
//	address 0x44        of the chip
//	at 1s               a poll, at this time
//	> 24 00             the driver writes
//	< be ef 92          the driver reads
//	> 0f < 01 17        the driver writes, and reads after a repeated start
//	> 24 00 nack        nobody acknowledges; "< nack" while reading
//	want temperature 25 a reading: a value, with its quality if that is not good, or a bad quality
//	fails TEXT          the poll fails, and the error says TEXT
//
// A line of dashes starts another case, with another poller.
type wireCase struct {
	where   string
	address uint16
	polls   []wirePoll
}

type wirePoll struct {
	at    time.Duration
	steps []wireStep
	wants map[string]string
	fails string
}

type wireStep struct {
	write []byte
	read  []byte
	nack  bool
}

func casesOf(t *testing.T, name string) (cases []*wireCase) {
	t.Helper()
	files, _ := filepath.Glob("testdata/" + name + "/*.txt")
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var address uint16
		for i, part := range strings.Split(string(text), "---\n") {
			c := &wireCase{where: fmt.Sprintf("%s case %d", f, i+1), address: address}
			for _, line := range strings.Split(part, "\n") {
				if err := c.line(line); err != nil {
					t.Fatalf("%s: %q: %v", c.where, line, err)
				}
			}
			address = c.address
			cases = append(cases, c)
		}
	}
	return cases
}

func (c *wireCase) line(line string) (err error) {
	line, _, _ = strings.Cut(line, "#")
	f := strings.Fields(line)
	if len(f) == 0 {
		return nil
	}
	var p *wirePoll
	if len(c.polls) > 0 {
		p = &c.polls[len(c.polls)-1]
	}
	switch rest := strings.Join(f[1:], " "); {
	case f[0] == "address":
		n, err := strconv.ParseUint(rest, 0, 7)
		c.address = uint16(n)
		return err
	case f[0] == "at":
		d, err := time.ParseDuration(rest)
		c.polls = append(c.polls, wirePoll{at: d, wants: map[string]string{}})
		return err
	case p == nil:
		return errors.New("before the first poll")
	case f[0] == ">" || f[0] == "<":
		p.steps = append(p.steps, wireStep{})
		return p.steps[len(p.steps)-1].parse(f)
	case f[0] == "want" && len(f) > 2:
		p.wants[f[1]] = strings.Join(f[2:], " ")
	case f[0] == "fails":
		p.fails = rest
	default:
		return errors.New("unknown word")
	}
	return nil
}

func (s *wireStep) parse(f []string) error {
	to := &s.write
	for _, w := range f {
		switch w {
		case ">":
		case "<":
			to = &s.read
		case "nack":
			s.nack = true
		default:
			b, err := hex.DecodeString(w)
			if err != nil {
				return err
			}
			*to = append(*to, b...)
		}
	}
	return nil
}

// wireBus plays the steps of one poll. spoil may change what step k reads, or fail it; a poll that was
// spoilt may leave the script, and then nobody answers.
type wireBus struct {
	t      *testing.T
	where  string
	addr   uint16
	steps  []wireStep
	at     int
	spoil  func(k int, read []byte) error
	spoilt bool
	strays int // transfers beyond the script
	after  func(k int)
}

func (b *wireBus) String() string                  { return "wire" }
func (b *wireBus) SetSpeed(physic.Frequency) error { return errors.ErrUnsupported }

func (b *wireBus) Tx(addr uint16, w, r []byte) error {
	k := b.at
	b.at++
	if b.spoilt && (k >= len(b.steps) || !bytes.Equal(w, b.steps[k].write)) {
		b.strays++
		return unix.ENXIO
	}
	if k >= len(b.steps) {
		b.t.Errorf("%s: transfer %d to %#02x writes % x and reads %d bytes: the case has none", b.where, k+1, addr, w, len(r))
		return unix.EIO
	}
	s := b.steps[k]
	if addr != b.addr || !bytes.Equal(w, s.write) || len(r) != len(s.read) && !s.nack {
		b.t.Errorf("%s: transfer %d to %#02x writes % x and reads %d bytes, want % x and %d", b.where, k+1, addr, w, len(r), s.write, len(s.read))
		return unix.EIO
	}
	if b.after != nil {
		defer b.after(k)
	}
	if s.nack {
		return unix.ENXIO
	}
	copy(r, s.read)
	if b.spoil != nil {
		return b.spoil(k, r)
	}
	return nil
}

// player plays a case on a poller of its own.
type player struct {
	c      *wireCase
	bus    *wireBus
	poller *Poller
	points []sensors.Point
	zero   time.Time
	start  time.Duration
	waited time.Duration // longest time that one poll took
}

func newPlayer(t *testing.T, p *profile.Profile, c *wireCase) *player {
	t.Helper()
	pl := &player{c: c, bus: &wireBus{t: t, where: c.where, addr: c.address}, points: p.Expand(sensors.Device{Name: "dev"}, time.Hour), zero: time.Now()}
	for i := range pl.points {
		pl.points[i].ID = sensors.PointID(i)
	}
	var err error
	if pl.poller, err = NewPoller(p.Chip, pl.bus, c.address, pl.points); err != nil {
		t.Fatal(err)
	}
	return pl
}

func (pl *player) now() sensors.Mono { return sensors.Mono(pl.start + time.Since(pl.zero)) }

// play does poll i and returns its readings by channel.
func (pl *player) play(t *testing.T, i int) (map[string]string, error) {
	t.Helper()
	p := &pl.c.polls[i]
	pl.bus.where = fmt.Sprintf("%s, poll %d", pl.c.where, i+1)
	pl.bus.steps, pl.bus.at = p.steps, 0
	pl.start, pl.zero = p.at, time.Now()
	out, err := pl.poller.Poll(t.Context(), pl.now, nil)
	pl.waited = max(pl.waited, time.Since(pl.zero))
	got := map[string]string{}
	for _, r := range out {
		got[strings.TrimPrefix(pl.points[r.Point].Name, "dev.")] = show(r)
	}
	return got, err
}

func show(r sensors.Reading) string {
	if !r.Quality.Usable() {
		return r.Quality.String()
	}
	s := strconv.FormatFloat(math.Round(r.Value*1e4)/1e4, 'f', -1, 64)
	if r.Quality.Status() == sensors.Uncertain {
		s += " " + r.Quality.String()
	}
	return s
}

// chipProfiles are the shipped profiles of chips.
func chipProfiles(t *testing.T) (ps []*profile.Profile) {
	t.Helper()
	for _, n := range profile.List(configs.Profiles()) {
		p, err := profile.Load(configs.Profiles(), n)
		if err != nil {
			t.Fatal(err)
		}
		if p.Bus == profile.I2C {
			ps = append(ps, p)
		}
	}
	return ps
}

// Each profile of a chip has cases, in which each of its channels has a value; the driver waits in a
// poll as long as the profile says; and each driver has a profile.
func TestChipCases(t *testing.T) {
	unused := map[string]bool{}
	for _, n := range Chips() {
		unused[n] = true
	}
	for _, p := range chipProfiles(t) {
		delete(unused, p.Chip)
		var waited time.Duration
		valued := map[string]bool{}
		cases := casesOf(t, p.Name)
		if len(cases) == 0 {
			t.Errorf("%s has no case in testdata/%s", p.Name, p.Name)
			continue
		}
		for _, c := range cases {
			t.Run(c.where, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					pl := newPlayer(t, p, c)
					for i := range c.polls {
						pl.check(t, i, valued)
					}
					waited = max(waited, pl.waited)
				})
			})
		}
		for i := range p.Channels {
			if n := p.Channels[i].Name; !valued[n] {
				t.Errorf("%s: channel %q has a value in no case", p.Name, n)
			}
		}
		if waited != p.Wait {
			t.Errorf("%s: a poll waits %v at most, and the profile says %v", p.Name, waited, p.Wait)
		}
	}
	for n := range unused {
		t.Errorf("chip %q has no profile", n)
	}
}

func (pl *player) check(t *testing.T, i int, valued map[string]bool) {
	t.Helper()
	want := pl.c.polls[i]
	got, err := pl.play(t, i)
	for ch, v := range got {
		if v != want.wants[ch] {
			t.Errorf("%s: %s is %q, want %q", pl.bus.where, ch, v, want.wants[ch])
		}
		valued[ch] = valued[ch] || !strings.HasPrefix(v, "bad")
	}
	for ch, v := range want.wants {
		if _, ok := got[ch]; !ok {
			t.Errorf("%s: no reading of %s, want %q", pl.bus.where, ch, v)
		}
	}
	if (err != nil) != (want.fails != "") || err != nil && !strings.Contains(err.Error(), want.fails) {
		t.Errorf("%s: error %v, want %q", pl.bus.where, err, want.fails)
	}
	if pl.bus.at != len(want.steps) {
		t.Errorf("%s: %d transfers, want %d", pl.bus.where, pl.bus.at, len(want.steps))
	}
}
