// Package chips is a simulated I2C bus behind periph's i2c.BusCloser, with register models of
// chips on it.
//
// Concurrency: a Bus may be used from any goroutine; transactions are taken one at a time, as on
// the wire. Failure: an address where nothing answers fails with ENXIO, a chip that refuses with
// EREMOTEIO, and a test may inject any error; errors.Is sees the errno.
package chips

import (
	"fmt"
	"sync"
	"syscall"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"
)

var _ i2c.BusCloser = (*Bus)(nil)

// Chip answers transactions: a write, a read, or a write with a repeated start and a read.
type Chip interface {
	Tx(w, r []byte) error
}

// Bus is a simulated I2C adapter.
type Bus struct {
	name string
	onTx func()

	mu     sync.Mutex
	chips  map[uint16]Chip
	muxes  []*Mux
	faults map[uint16]func() error
	count  uint64
	closed bool
}

// NewBus returns a bus without chips. name is what String gives, for instance "sim-i2c-1".
func NewBus(name string) *Bus {
	return &Bus{name: name, chips: map[uint16]Chip{}, faults: map[uint16]func() error{}}
}

// OnTx sets what runs before each transaction, outside the lock of the bus. Set it before use.
func (b *Bus) OnTx(f func()) { b.onTx = f }

// Attach puts a chip at addr; nil takes it off the bus.
func (b *Bus) Attach(addr uint16, c Chip) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c == nil {
		delete(b.chips, addr)
		return
	}
	b.chips[addr] = c
}

// AttachMux puts a switch at addr: what is behind its connected channels answers too.
func (b *Bus) AttachMux(addr uint16, m *Mux) {
	b.Attach(addr, m)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.muxes = append(b.muxes, m)
}

// SetFault makes f run before each transaction with addr: a non-nil error fails it. A nil f ends
// that. f may block, which hangs the bus.
func (b *Bus) SetFault(addr uint16, f func() error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if f == nil {
		delete(b.faults, addr)
		return
	}
	b.faults[addr] = f
}

// Transactions is the number of transactions so far, failed ones included.
func (b *Bus) Transactions() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.count
}

// Tx does one transaction.
func (b *Bus) Tx(addr uint16, w, r []byte) error {
	if b.onTx != nil {
		b.onTx()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.count++
	if b.closed {
		return fmt.Errorf("%s: %w", b.name, syscall.EBADF)
	}
	if f := b.faults[addr]; f != nil {
		if err := f(); err != nil {
			return fmt.Errorf("%s: address %#02x: %w", b.name, addr, err)
		}
	}
	c, ok := b.chips[addr]
	for _, m := range b.muxes {
		for _, other := range m.behind(addr) {
			if ok { // two chips drive the wire at once: neither is understood
				return fmt.Errorf("%s: address %#02x: two chips answer: %w", b.name, addr, syscall.EREMOTEIO)
			}
			c, ok = other, true
		}
	}
	if !ok {
		return fmt.Errorf("%s: address %#02x: %w", b.name, addr, syscall.ENXIO)
	}
	if err := c.Tx(w, r); err != nil {
		return fmt.Errorf("%s: address %#02x: %w", b.name, addr, err)
	}
	return nil
}

// SetSpeed accepts any speed: the simulated wire has none.
func (b *Bus) SetSpeed(physic.Frequency) error { return nil }

// String is the name of the bus.
func (b *Bus) String() string { return b.name }

// Reopen takes back a Close, as opening the adapter again does.
func (b *Bus) Reopen() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = false
}

// Close fails every later transaction.
func (b *Bus) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return nil
}
