package i2c

import (
	"strings"
	"testing"

	"firebreak/sensors"

	"golang.org/x/sys/unix"
)

func newLM75Rig(t *testing.T, regs map[byte]uint16) (*chipBus, *pollRig) {
	t.Helper()
	b := &chipBus{t: t, line: -1, regs: regs}
	p, err := NewPoller("lm75", b, 0x48, []sensors.Point{cabinet()})
	if err != nil {
		t.Fatal(err)
	}
	return b, &pollRig{p: p}
}

// The resolution need not be known: 9, 11 and 12 bits are all 256ths.
func TestLM75Conversion(t *testing.T) {
	for raw, want := range map[uint16]float64{0x1900: 25, 0xe700: -25, 0x7d00: 125, 0xc900: -55, 0x0080: 0.5, 0xff80: -0.5, 0x1910: 25.0625, 0x0020: 0.125, 0xfff0: -0.0625} {
		_, r := newLM75Rig(t, map[byte]uint16{0: raw, 3: 0x5000})
		r.want(t, "result", want, sensors.GoodQuality)
	}
}

// 0 C is what a chip shows before its first conversion, and what a frozen room shows for longer.
func TestLM75NotReady(t *testing.T) {
	b, r := newLM75Rig(t, map[byte]uint16{0: 0, 3: 0x5000})
	notReady := sensors.BadQuality(sensors.NotReady)
	r.want(t, "switched on", 0, notReady)
	b.regs[0] = 0x1900
	r.want(t, "converted", 25, sensors.GoodQuality)
	b.regs[0] = 0
	r.want(t, "reset", 0, notReady)
	r.want(t, "frozen", 0, sensors.GoodQuality)
	b.err = unix.EREMOTEIO
	if _, err := r.poll(); err == nil {
		t.Error("a transfer failed, and nobody is told")
	}
	b.err = nil
	r.want(t, "after a break of the power", 0, notReady)
}

// A line that is stuck has no temperature.
func TestLM75StuckBus(t *testing.T) {
	for _, line := range []int{0, 0xffff, 0x1901} {
		b, r := newLM75Rig(t, map[byte]uint16{0: 0x1900, 3: 0x5000})
		r.want(t, "works", 25, sensors.GoodQuality)
		b.line = line
		for range 3 {
			if got, err := r.poll(); len(got) != 0 || err == nil || !strings.Contains(err.Error(), "stuck") {
				t.Errorf("%#04x: %+v, %v", line, got, err)
			}
		}
		b.line = -1
		r.want(t, "works again", 25, sensors.GoodQuality)
	}
}
