package app

import (
	"errors"
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

// pulled is an adapter that fails each transfer with err; goneAs is what it says of itself.
type pulled struct {
	periph.BusCloser
	err    error
	goneAs bool
	closed int
}

func (p *pulled) Tx(uint16, []byte, []byte) error { return p.err }
func (p *pulled) Gone() bool                      { return p.goneAs }
func (p *pulled) Close() error                    { p.closed++; return nil }

// An adapter that is pulled out is closed, or the kernel would keep it and its number for ever, and asked for
// by its name until it is back. A chip that does not answer, or a wire that is held, leaves it open.
func TestAdapterPulledOut(t *testing.T) {
	for _, c := range []struct {
		err    error
		goneAs bool
		want   bool
	}{
		{syscall.ENODEV, false, true},
		{syscall.ESHUTDOWN, false, true},
		{syscall.EIO, true, true},
		{syscall.ENXIO, true, true},
		{syscall.EIO, false, false},
		{syscall.ENXIO, false, false},
		{syscall.ETIMEDOUT, false, false},
	} {
		old := &pulled{err: c.err, goneAs: c.goneAs}
		back := &pulled{}
		opened := 0
		a := &lateAdapter{name: "/dev/i2c-cab", open: func(string) (periph.BusCloser, error) {
			switch opened++; opened {
			case 1:
				return old, nil
			case 2:
				return nil, syscall.ENOENT
			}
			return back, nil
		}}
		for range stuckAfter {
			a.note(syscall.ETIMEDOUT) // it was held before
		}
		if err := a.Tx(0x48, []byte{0}, nil); !errors.Is(err, c.err) {
			t.Errorf("%v: %v", c.err, err)
		}
		if got := old.closed == 1; got != c.want {
			t.Errorf("%v, gone %v: closed %d times", c.err, c.goneAs, old.closed)
		}
		if !c.want {
			continue
		}
		if a.stuck() != nil {
			t.Errorf("%v: a wire that is gone is told as held", c.err)
		}
		if err := a.Tx(0x48, []byte{0}, nil); !errors.Is(err, syscall.ENOENT) {
			t.Errorf("%v: while it is out: %v", c.err, err)
		}
		if err := a.Tx(0x48, []byte{0}, nil); err != nil || opened != 3 {
			t.Errorf("%v: when it is back: %v, opened %d times", c.err, err, opened)
		}
		if a.Close(); back.closed != 1 || old.closed != 1 {
			t.Errorf("%v: closed %d and %d times", c.err, old.closed, back.closed)
		}
	}
}
