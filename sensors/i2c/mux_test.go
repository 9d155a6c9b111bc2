package i2c

import (
	"errors"
	"math/rand/v2"
	"syscall"
	"testing"

	"firebreak/sensors/sim/chips"

	"periph.io/x/conn/v3/i2c"
)

// named answers a read with its own name, and so tells which chip was reached.
type named byte

func (n named) Tx(w, r []byte) error {
	for i := range r {
		r[i] = byte(n)
	}
	return nil
}

// Chips of one address on the root wire (at another address) and behind two switches: each read
// reaches its own, in any order, after failures, resets, and what a process before has left behind.
func TestMuxesReachTheirOwnChip(t *testing.T) {
	bus := chips.NewBus("sim")
	first, second := chips.NewMux(), chips.NewMux()
	bus.AttachMux(0x70, first)
	bus.AttachMux(0x73, second)
	bus.Attach(0x49, named(1))
	first.Attach(0, 0x48, named(10))
	first.Attach(7, 0x48, named(17))
	second.Attach(7, 0x48, named(27))
	_ = first.Tx([]byte{0xFF}, nil) // left behind
	_ = second.Tx([]byte{0xFF}, nil)
	m, err := NewMuxes(bus, 0x70, 0x73)
	if err != nil {
		t.Fatal(err)
	}
	type target struct {
		bus  i2c.Bus
		addr uint16
		want byte
	}
	targets := []target{{m.Root(), 0x49, 1}}
	for _, c := range []struct {
		mux     uint16
		channel int
		want    byte
	}{{0x70, 0, 10}, {0x70, 7, 17}, {0x73, 7, 27}} {
		b, err := m.Channel(c.mux, c.channel)
		if err != nil {
			t.Fatal(err)
		}
		targets = append(targets, target{b, 0x48, c.want})
	}
	rng := rand.New(rand.NewPCG(3, 4))
	read := 0
	for range 2000 {
		failed := uint16(0)
		switch rng.IntN(12) {
		case 0: // a transfer fails
			failed = []uint16{0x48, 0x49, 0x70, 0x73}[rng.IntN(4)]
			bus.SetFault(failed, func() error { return syscall.EREMOTEIO })
		case 1: // power-up of a switch, seen by the chip behind it that does not answer
			_ = first.Tx([]byte{0}, nil)
		}
		k := targets[rng.IntN(len(targets))]
		var r [1]byte
		switch err := k.bus.Tx(k.addr, nil, r[:]); {
		case err == nil && r[0] != k.want:
			t.Fatalf("chip %d answers for %d", r[0], k.want)
		case err == nil:
			read++
		case failed == 0 && k.want/10 != 1:
			t.Fatalf("%v: %v", k.bus, err)
		}
		if failed != 0 {
			bus.SetFault(failed, nil)
		}
		if err := k.bus.Tx(k.addr, nil, r[:]); err != nil || r[0] != k.want { // a failure mends itself
			if err = k.bus.Tx(k.addr, nil, r[:]); err != nil || r[0] != k.want {
				t.Fatalf("%v: %v twice, chip %d", k.bus, err, r[0])
			}
		}
	}
	if read < 1500 {
		t.Errorf("only %d of 2000 reads", read)
	}
	if _ = m.Root().Tx(0x49, nil, make([]byte, 1)); first.Control() != 0 || second.Control() != 0 {
		t.Error("a channel is connected while the root wire is used")
	}
}

// A switch that is absent or does not hold its setting: nothing is read through it.
func TestMuxThatIsNotThere(t *testing.T) {
	bus := chips.NewBus("sim")
	bus.Attach(0x48, named(1))
	m, _ := NewMuxes(bus, 0x70)
	b, err := m.Channel(0x70, 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Tx(0x48, nil, make([]byte, 1)); !errors.Is(err, syscall.ENXIO) {
		t.Errorf("through a switch that is absent: %v", err)
	}
	bus.Attach(0x70, named(0x55))
	if err := b.Tx(0x48, nil, make([]byte, 1)); !errors.Is(err, errSwitch) {
		t.Errorf("through something that is no switch: %v", err)
	}
	for _, c := range []struct {
		mux     uint16
		channel int
	}{{0x71, 0}, {0x70, 8}, {0x70, -1}} {
		if _, err := m.Channel(c.mux, c.channel); err == nil {
			t.Errorf("channel %d of %#x was accepted", c.channel, c.mux)
		}
	}
	if _, err := NewMuxes(bus, 0x48); err == nil {
		t.Error("a switch at 0x48 was accepted")
	}
}

// A switch that is absent costs what is behind it. A chip on the adapter's own wire has an address that nobody
// behind a switch has (the configuration sees to it), so it is read on.
func TestDeadMuxSparesTheRootWire(t *testing.T) {
	bus := chips.NewBus("sim")
	bus.Attach(0x49, named(1))
	m, _ := NewMuxes(bus, 0x70)
	b, err := m.Channel(0x70, 3)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := b.Tx(0x48, nil, make([]byte, 1)); err == nil {
			t.Error("a switch that is absent was read through")
		}
		var r [1]byte
		if err := m.Root().Tx(0x49, nil, r[:]); err != nil || r[0] != 1 {
			t.Errorf("beside a switch that is absent: %v, chip %d", err, r[0])
		}
	}
}
