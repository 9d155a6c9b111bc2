package app

import (
	"strings"
	"syscall"
	"testing"

	"firebreak/sensors/bus"
	"firebreak/sensors/sim/chips"

	periph "periph.io/x/conn/v3/i2c"
)

// A wire that is held is told as such, and not for a chip that is absent; once a transfer gets through
// it is over.
func TestStuckWireIsToldAndEnds(t *testing.T) {
	sim := chips.NewBus("sim")
	sim.Attach(0x48, chips.NewMux()) // answers anything
	a := &lateAdapter{name: "/dev/i2c-1", open: func(string) (periph.BusCloser, error) { return sim, nil }}
	l := &busLoads{}
	l.look("i2c1", a.stuck)
	wrong := func() string {
		if err := l.judge(&bus.Stats{Bus: "i2c1"}, false); err != nil {
			return err.Error()
		}
		return ""
	}
	tx := func(addr uint16, times int) {
		for range times {
			_ = a.Tx(addr, []byte{0}, nil)
		}
	}
	for _, errno := range []syscall.Errno{syscall.ETIMEDOUT, syscall.EBUSY, syscall.EAGAIN} {
		sim.SetFault(0x48, func() error { return errno })
		tx(0x48, stuckAfter-1)
		if w := wrong(); w != "" {
			t.Errorf("%v: told too early: %s", errno, w)
		}
		tx(0x48, 1)
		if w := wrong(); !strings.Contains(w, "/dev/i2c-1 is held low") || !strings.Contains(w, errno.Error()) {
			t.Errorf("%v: told %q", errno, w)
		}
		sim.SetFault(0x48, nil)
		tx(0x48, 1)
		if w := wrong(); w != "" {
			t.Errorf("%v: still told: %s", errno, w)
		}
	}
	if tx(0x49, 10); wrong() != "" {
		t.Errorf("an absent chip is told as a held wire: %s", wrong())
	}
}
