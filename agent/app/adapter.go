package app

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"

	periph "periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"
)

// lateAdapter opens its adapter at the first transfer, again after a failure to open, and anew when it has
// gone: it may appear after the agent, be pulled out, and come back under another number. Transfers come from the goroutine of its bus alone; Close may
// come from another, to break one.
type lateAdapter struct {
	name string
	open OpenI2C

	mu     sync.Mutex // guards what follows, never held during a transfer
	bus    periph.BusCloser
	closed bool
	fails  int   // transfers in a row that the wire itself has failed
	why    error // of the last one
}

// stuckAfter so many transfers in a row that failed for the wire, and not for one chip, the wire is stuck.
const stuckAfter = 3

func (a *lateAdapter) String() string { return a.name }

// SetSpeed is the device tree's affair.
func (a *lateAdapter) SetSpeed(physic.Frequency) error {
	return errors.New("the speed of an adapter is set in the device tree")
}

func (a *lateAdapter) Tx(addr uint16, w, r []byte) error {
	b, err := a.adapter()
	if err != nil {
		return err
	}
	err = b.Tx(addr, w, r)
	a.note(err)
	if err != nil && gone(b, err) {
		a.leave(b)
	}
	return err
}

// gone tells that what answered with err is not on the machine any more. Drivers have different errors for it.
func gone(b periph.BusCloser, err error) bool {
	g, ok := b.(interface{ Gone() bool })
	return errors.Is(err, syscall.ENODEV) || errors.Is(err, syscall.ESHUTDOWN) || ok && g.Gone()
}

// leave closes an adapter that is gone; the next transfer asks for it by its name.
func (a *lateAdapter) leave(b periph.BusCloser) {
	a.mu.Lock()
	mine := a.bus == b
	if mine {
		a.bus, a.fails = nil, 0
	}
	a.mu.Unlock()
	if mine {
		_ = b.Close()
	}
}

// note takes the end of a transfer. A chip that does not acknowledge shows that the wire works.
func (a *lateAdapter) note(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range []error{syscall.ETIMEDOUT, syscall.EAGAIN, syscall.EBUSY} {
		if errors.Is(err, e) {
			a.fails, a.why = a.fails+1, err
			return
		}
	}
	if err == nil || errors.Is(err, syscall.ENXIO) || errors.Is(err, syscall.EREMOTEIO) {
		a.fails = 0
	}
}

// stuck tells that a chip or a short circuit holds the wire. Only the kernel can send the nine clocks
// that free it, and does where the device tree names the two lines; this agent sees it freed.
func (a *lateAdapter) stuck() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.fails < stuckAfter {
		return nil
	}
	return fmt.Errorf("the I2C wire of %s is held low: power-cycle its chips; with scl-gpios and sda-gpios in the device tree the kernel frees it by itself: %w", a.name, a.why)
}

func (a *lateAdapter) adapter() (periph.BusCloser, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil, net.ErrClosed
	}
	if a.bus == nil {
		b, err := a.open(a.name)
		if err != nil {
			return nil, err
		}
		a.bus = b
	}
	return a.bus, nil
}

func (a *lateAdapter) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	if a.bus == nil {
		return nil
	}
	return a.bus.Close()
}
