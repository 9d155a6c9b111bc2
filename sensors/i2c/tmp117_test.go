package i2c

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"

	"firebreak/sensors"

	"golang.org/x/sys/unix"
	"periph.io/x/conn/v3/physic"
)

// chipBus is a bus with one TMP117 as a register model. Reading the result or the configuration
// clears data-ready, as in the chip; convert sets it.
type chipBus struct {
	t    *testing.T
	regs map[byte]uint16
	err  error
	line int // 0xffff: stuck high, 0: stuck low, -1: works
	log  []byte
}

func newChipBus(t *testing.T) *chipBus {
	return &chipBus{t: t, line: -1, regs: map[byte]uint16{0x00: 0x8000, 0x01: 0x0220, 0x02: 0x6000, 0x03: 0x8000, 0x0f: 0x0117}}
}

func (b *chipBus) convert(raw uint16) { b.regs[0], b.regs[1] = raw, b.regs[1]|1<<13 }

func (b *chipBus) String() string                  { return "chipBus" }
func (b *chipBus) SetSpeed(physic.Frequency) error { return errors.ErrUnsupported }

func (b *chipBus) Tx(addr uint16, w, r []byte) error {
	if addr != 0x48 || len(w) != 1 || len(r) != 2 {
		b.t.Errorf("Tx(%#x, %x, %d bytes): the driver only reads registers", addr, w, len(r))
		return unix.EINVAL
	}
	b.log = append(b.log, w[0])
	if b.err != nil {
		return b.err
	}
	v := b.regs[w[0]]
	if b.line >= 0 {
		v = uint16(b.line)
	}
	if w[0] <= 1 {
		b.regs[1] &^= 1 << 13
	}
	r[0], r[1] = byte(v>>8), byte(v)
	return nil
}

func cabinet() sensors.Point {
	return sensors.Point{ID: 5, Device: 2, Name: "cab-t.temperature", Unit: sensors.Celsius, Physics: sensors.Temperature,
		Hazard: +1, Min: -55, Max: 150}
}

// pollRig polls, each time a second later.
type pollRig struct {
	p   *Poller
	now sensors.Mono
}

func newPollRig(t *testing.T, b *chipBus, points ...sensors.Point) *pollRig {
	t.Helper()
	p, err := NewPoller("tmp117", b, 0x48, points)
	if err != nil {
		t.Fatal(err)
	}
	return &pollRig{p: p}
}

func (r *pollRig) poll() ([]sensors.Reading, error) {
	r.now += 1_000_000_000
	return r.p.Poll(context.Background(), func() sensors.Mono { return r.now }, nil)
}

func (r *pollRig) want(t *testing.T, what string, v float64, q sensors.Quality) {
	t.Helper()
	got, err := r.poll()
	if len(got) != 1 || got[0] != (sensors.Reading{Point: 5, Value: v, Quality: q, At: r.now}) {
		t.Errorf("%s: %+v, %v; want %v %v", what, got, err, v, q)
	}
	if wrong := q == sensors.BadQuality(sensors.Identity); (err != nil) != wrong {
		t.Errorf("%s: error %v", what, err)
	}
}

func TestTMP117Conversion(t *testing.T) {
	for raw, want := range map[uint16]float64{
		0x0c80: 25, 0xf380: -25, 0x0001: 0.0078125, 0x0000: 0, 0x4b00: 150, 0xe480: -55,
		0xffff: -0.0078125, // valid: all ones is a temperature
	} {
		b := newChipBus(t)
		b.convert(raw)
		newPollRig(t, b, cabinet()).want(t, "result", want, sensors.GoodQuality)
	}
}

func TestTMP117NotReady(t *testing.T) {
	b := newChipBus(t)
	r := newPollRig(t, b, cabinet())
	notReady := sensors.BadQuality(sensors.NotReady)
	r.want(t, "before the first conversion", 0, notReady)
	b.convert(0x8000)
	r.want(t, "sentinel", 0, notReady)
	b.convert(0x0c80)
	r.want(t, "converted", 25, sensors.GoodQuality)
	if got, err := r.poll(); len(got) != 0 || err != nil {
		t.Errorf("between conversions: %+v, %v; want nothing: an old value is not repeated", got, err)
	}
	b.convert(0x0d00)
	r.want(t, "next", 26, sensors.GoodQuality)
	b.convert(0x8000) // a brown-out between two polls
	r.want(t, "after a reset", 0, notReady)
	r.want(t, "after a reset, converting", 0, notReady)
}

func TestTMP117Identity(t *testing.T) {
	wrong := sensors.BadQuality(sensors.Identity)
	b := newChipBus(t)
	b.regs[0x0f] = 0x1116 // a TMP116
	b.convert(0x0c80)
	r := newPollRig(t, b, cabinet())
	r.want(t, "at start", 0, wrong)
	if _, err := r.poll(); err == nil || !strings.Contains(err.Error(), "0x1116") || !strings.Contains(err.Error(), "0x0117") {
		t.Errorf("error %v", err)
	}
	b.regs[0x0f] = 0x0117
	r.want(t, "right again", 25, sensors.GoodQuality)

	b.regs[0x0f] = 0x0075 // exchanged without a fault on the bus
	for n := 1; ; n++ {
		b.convert(0x0c80)
		if got, err := r.poll(); err != nil {
			if n != tmp117CheckEvery || got[0].Quality != wrong {
				t.Errorf("seen after %d polls: %+v, %v", n, got, err)
			}
			break
		}
		if n > tmp117CheckEvery {
			t.Fatal("an exchanged chip is never seen")
		}
	}
	b.regs[0x0f] = 0x0117
	b.convert(0x0c80)
	r.want(t, "right again", 25, sensors.GoodQuality)
	b.log = nil
	b.convert(0x0c80)
	r.want(t, "known", 25, sensors.GoodQuality)
	if string(b.log) != "\x01\x00" {
		t.Errorf("registers read in a usual poll: %x", b.log)
	}
}

func TestTMP117StuckLines(t *testing.T) {
	for _, line := range []int{0xffff, 0x0000} {
		b := newChipBus(t)
		r := newPollRig(t, b, cabinet())
		b.convert(0x0c80)
		r.want(t, "works", 25, sensors.GoodQuality)
		b.line = line
		b.convert(0x0c80)
		r.want(t, "stuck", 0, sensors.BadQuality(sensors.Identity)) // at once, not after 100 polls
		b.line = -1
		b.convert(0x0c80)
		r.want(t, "free again", 25, sensors.GoodQuality)
	}
}

func TestTMP117NoAcknowledge(t *testing.T) {
	b := newChipBus(t)
	r := newPollRig(t, b, cabinet())
	b.convert(0x0c80)
	r.want(t, "works", 25, sensors.GoodQuality)
	b.err = unix.ENXIO
	got, err := r.poll()
	if len(got) != 0 || !errors.Is(err, unix.ENXIO) || !strings.Contains(err.Error(), "tmp117 at 0x48") {
		t.Errorf("%+v, %v", got, err)
	}
	b.err, b.regs[0x0f] = nil, 0x0075 // what comes back may be another chip
	r.want(t, "another came back", 0, sensors.BadQuality(sensors.Identity))

	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	b.log = nil
	if _, err := r.p.Poll(ctx, func() sensors.Mono { return 0 }, nil); !errors.Is(err, context.Canceled) || len(b.log) != 0 {
		t.Errorf("ended context: %v, registers %x", err, b.log)
	}
}

func TestPollerQualifiesAndConverts(t *testing.T) {
	b := newChipBus(t)
	kelvin := cabinet()
	kelvin.ID, kelvin.Unit, kelvin.Min, kelvin.Max = 6, sensors.Kelvin, 0, 0
	p := newPollRig(t, b, cabinet(), kelvin)
	b.convert(0x7f00) // 254 C: beyond the range, toward the hazard (S3)
	got, err := p.poll()
	if err != nil || len(got) != 2 {
		t.Fatalf("%+v, %v", got, err)
	}
	if got[0].Value != 150 || got[0].Quality != sensors.MakeQuality(sensors.Uncertain, sensors.OverRange, sensors.Real) {
		t.Errorf("over range: %+v", got[0])
	}
	if math.Abs(got[1].Value-527.15) > 1e-9 || got[1].Point != 6 {
		t.Errorf("kelvin: %+v", got[1])
	}
	b.convert(0x8100) // -254 C: away from it
	if got, _ := p.poll(); got[0].Quality != sensors.BadQuality(sensors.Implausible) {
		t.Errorf("under range: %+v", got[0])
	}
}

func TestNewPollerFaults(t *testing.T) {
	b := newChipBus(t)
	volts, other := cabinet(), cabinet()
	volts.Unit = sensors.Volt
	other.Name = "cab-t.humidity"
	for want, err := range map[string]error{
		"use one of lm75, tmp117": second(NewPoller("tmp999", b, 0x48, nil)),
		"7-bit address":           second(NewPoller("tmp117", b, 0x80, nil)),
		"no bus":                  second(NewPoller("tmp117", nil, 0x48, nil)),
		`cannot convert`:          second(NewPoller("tmp117", b, 0x48, []sensors.Point{volts})),
		`no channel`:              second(NewPoller("tmp117", b, 0x48, []sensors.Point{other})),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %q", err, want)
		}
	}
	for _, name := range Chips() {
		if _, err := NewPoller(name, b, 0x48, nil); err != nil {
			t.Errorf("listed chip %q: %v", name, err)
		}
	}
	if len(b.log) != 0 {
		t.Error("NewPoller touched the bus")
	}
}

func second(_ *Poller, err error) error { return err }
