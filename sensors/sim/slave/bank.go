// Package slave is the device side of Modbus: register banks served over real TCP sockets and
// over any byte line as RTU. The simulated devices stand on it, and so do the tests of the bus
// code, which inject faults through it.
//
// Concurrency: a Bank may be used from any goroutine; a request is answered from one consistent
// state of it. A server owns its goroutines and Close waits for them. Failure: what a device
// would refuse is a Modbus exception; a broken peer costs its own connection only.
package slave

import "sync"

// Table is one of the four Modbus address spaces; its number is the function code that reads it.
type Table byte

const (
	Coils     Table = 1
	Discretes Table = 2
	Holdings  Table = 3
	Inputs    Table = 4
)

// Bank holds the registers of one unit. An address that was neither defined nor set answers with
// "illegal data address", as the real cards do.
type Bank struct {
	mu     sync.Mutex
	tables [Inputs + 1]map[uint16]uint16
	onRead func()
	write  WriteFunc

	objects map[byte][]byte // of the device identification
}

// WriteFunc decides what a write of one coil or holding register does. It returns an exception code,
// or 0: then the request is acknowledged. What the bank shows afterwards is its own affair.
type WriteFunc func(t Table, address, value uint16) (exception byte)

// NewBank returns an empty bank.
func NewBank() *Bank {
	b := &Bank{}
	for i := range b.tables {
		b.tables[i] = map[uint16]uint16{}
	}
	return b
}

// OnRead sets what runs before each request is answered. It runs without the lock of the bank, so
// that it may write to it. Set it before the bank is served.
func (b *Bank) OnRead(f func()) { b.onRead = f }

// OnWrite makes the unit take writes (functions 5 and 6); without it they are illegal functions. It
// runs without the lock of the bank. Set it before the bank is served.
func (b *Bank) OnWrite(f WriteFunc) { b.write = f }

// Define makes count registers from start readable; those not yet set read zero.
func (b *Bank) Define(t Table, start, count uint16) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range count {
		if _, ok := b.tables[t][start+i]; !ok {
			b.tables[t][start+i] = 0
		}
	}
}

// Set writes words from start on. Coils and discrete inputs take one word a bit, zero or not.
func (b *Bank) Set(t Table, start uint16, words ...uint16) {
	b.Update(func(set Setter) { set(t, start, words...) })
}

// Setter writes words within an Update.
type Setter func(t Table, start uint16, words ...uint16)

// Update runs f with the bank locked: a request sees all of what it sets, or nothing.
func (b *Bank) Update(f func(set Setter)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f(func(t Table, start uint16, words ...uint16) {
		for i, w := range words {
			b.tables[t][start+uint16(i)] = w
		}
	})
}

// Words returns a copy of count words from start on; false if one of them does not exist.
func (b *Bank) Words(t Table, start, count uint16) ([]uint16, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if t < Coils || t > Inputs || int(start)+int(count) > 1<<16 {
		return nil, false
	}
	out := make([]uint16, count)
	for i := range out {
		w, ok := b.tables[t][start+uint16(i)]
		if !ok {
			return nil, false
		}
		out[i] = w
	}
	return out, true
}
