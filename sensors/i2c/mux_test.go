package i2c

import (
	"errors"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"firebreak/sensors/sim/chips"

	"periph.io/x/conn/v3/i2c"
	"pgregory.net/rapid"
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
		b, err := m.Channel(c.mux, c.channel, 0x48)
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

// Another program selects another channel, where a chip of the same address is, of this switch or of one that is let
// go: the next poll sees it. The transfers of one poll look once.
func TestMuxThatSomebodyElseSets(t *testing.T) {
	bus := chips.NewBus("sim")
	first, second := chips.NewMux(), chips.NewMux()
	bus.AttachMux(0x70, first)
	bus.AttachMux(0x71, second)
	first.Attach(0, 0x48, named(10))
	first.Attach(1, 0x48, named(11))
	second.Attach(0, 0x48, named(20))
	counted := &countedBus{Bus: bus}
	m, err := NewMuxes(counted, 0x70, 0x71)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	m.now = func() time.Time { return now }
	wire := func(mux uint16, channel int) i2c.Bus {
		b, err := m.Channel(mux, channel, 0x48)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	a, _, _ := wire(0x70, 0), wire(0x70, 1), wire(0x71, 0)
	read := func(what string) {
		t.Helper()
		for k := range 3 {
			var r [1]byte
			counted.n = 0
			if err := a.Tx(0x48, nil, r[:]); err != nil || r[0] != 10 {
				t.Errorf("%s: chip %d answers for 10, %v", what, r[0], err)
			}
			if k > 0 && counted.n != 1 {
				t.Errorf("%s: %d transfers for one", what, counted.n)
			}
		}
		if first.Control() != 1 || second.Control() != 0 {
			t.Errorf("%s: the switches are set to %#02x and %#02x", what, first.Control(), second.Control())
		}
		now = now.Add(time.Second)
	}
	read("at first")
	_ = first.Tx([]byte{2}, nil)
	read("another channel")
	_ = second.Tx([]byte{1}, nil)
	read("another switch")
	_ = first.Tx([]byte{0}, nil)
	read("a reset")
}

// countedBus counts transfers.
type countedBus struct {
	i2c.Bus
	n int
}

func (b *countedBus) Tx(addr uint16, w, r []byte) error {
	b.n++
	return b.Bus.Tx(addr, w, r)
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

// twoMuxes is an adapter with a chip on its own wire, and two switches: behind both is a chip at 0x48, behind the
// second one at 0x4A too. What a process before has connected is connected.
func twoMuxes(t *testing.T) (bus *chips.Bus, first *chips.Mux, root, shared, mine, other i2c.Bus) {
	t.Helper()
	bus = chips.NewBus("sim")
	first, second := chips.NewMux(), chips.NewMux()
	bus.AttachMux(0x70, first)
	bus.AttachMux(0x73, second)
	bus.Attach(0x49, named(1))
	first.Attach(0, 0x48, named(10))
	second.Attach(0, 0x48, named(20))
	second.Attach(1, 0x4A, named(21))
	_ = first.Tx([]byte{0xFF}, nil)
	_ = second.Tx([]byte{0xFF}, nil)
	m, err := NewMuxes(bus, 0x70, 0x73)
	if err != nil {
		t.Fatal(err)
	}
	channel := func(address uint16, channel int, chip uint16) i2c.Bus {
		b, err := m.Channel(address, channel, chip)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	return bus, first, m.Root(), channel(0x73, 0, 0x48), channel(0x73, 1, 0x4A), channel(0x70, 0, 0x48)
}

func absent() error { return syscall.ENXIO }

// A switch that is dead, and may be connected, costs what is behind it, and behind others what has an address in
// common with that: of these nobody knows who answers.
func TestDeadMuxSparesItsNeighbours(t *testing.T) {
	bus, first, root, shared, mine, other := twoMuxes(t)
	bus.SetFault(0x70, absent)
	reads := func(b i2c.Bus, addr uint16, want byte) {
		t.Helper()
		var r [1]byte
		if err := b.Tx(addr, nil, r[:]); err != nil || r[0] != want {
			t.Errorf("%v beside a switch that is dead: %v, chip %d", b, err, r[0])
		}
	}
	for range 3 {
		reads(root, 0x49, 1)
		reads(mine, 0x4A, 21)
		for _, b := range []i2c.Bus{shared, other} {
			if err := b.Tx(0x48, nil, make([]byte, 1)); !errors.Is(err, syscall.ENXIO) {
				t.Errorf("%v: an address that the dead switch has behind it was read: %v", b, err)
			}
		}
	}
	bus.SetFault(0x70, nil)
	reads(shared, 0x48, 20) // it lets go, and answers: no more doubt
	bus.SetFault(0x70, absent)
	if _ = other.Tx(0x48, nil, make([]byte, 1)); first.Control() != 0 {
		t.Fatal("the switch was not let go of")
	}
	bus.SetFault(0x70, nil)
	reads(other, 0x48, 10)
	reads(shared, 0x48, 20)
}

// A neighbour pays for a dead switch once: then only who is behind it, and who has an address in common, asks
// whether it is back. An adapter that waits for it waits as seldom.
func TestDeadMuxIsTriedByWhoNeedsIt(t *testing.T) {
	bus, _, root, _, mine, other := twoMuxes(t)
	tried := 0
	bus.SetFault(0x70, func() error { tried++; return syscall.ETIMEDOUT })
	for range 10 {
		_ = root.Tx(0x49, nil, make([]byte, 1))
		_ = mine.Tx(0x4A, nil, make([]byte, 1))
	}
	if tried != 1 {
		t.Errorf("neighbours tried it %d times", tried)
	}
	for range 3 {
		_ = other.Tx(0x48, nil, make([]byte, 1))
	}
	if tried != 4 {
		t.Errorf("tried %d times, with three of the chip behind it", tried)
	}
}

// Whatever dies and comes back, nobody answers for another, and whoever shares no address with what is behind a dead switch
// is read.
func TestMuxesThatComeAndGo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bus := chips.NewBus("sim")
		muxes := []*chips.Mux{chips.NewMux(), chips.NewMux(), chips.NewMux()}
		bus.Attach(0x49, named(1))
		m, err := NewMuxes(bus, 0x70, 0x71, 0x72)
		if err != nil {
			t.Fatal(err)
		}
		type chip struct {
			bus  i2c.Bus
			addr uint16
			mux  int // -1: on the adapter's own wire
			want byte
		}
		all := []chip{{m.Root(), 0x49, -1, 1}}
		for i, x := range muxes {
			bus.AttachMux(0x70+uint16(i), x)
			for ch := range 3 {
				addr := uint16(0x50 + rapid.IntRange(0, 3).Draw(t, "address"))
				c := chip{addr: addr, mux: i, want: byte(10 + 10*i + ch)}
				if c.bus, err = m.Channel(0x70+uint16(i), ch, addr); err != nil {
					t.Fatal(err)
				}
				x.Attach(ch, addr, named(c.want))
				all = append(all, c)
			}
			_ = x.Tx([]byte{rapid.Byte().Draw(t, "left behind")}, nil)
		}
		dead := [3]bool{}
		clash := func(c chip) bool { // with what is behind a dead switch
			return slices.ContainsFunc(all, func(o chip) bool { return o.mux >= 0 && dead[o.mux] && o.addr == c.addr })
		}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			if i := rapid.IntRange(0, 5).Draw(t, "dies or comes back"); i < 3 {
				if dead[i] = !dead[i]; dead[i] {
					last := rapid.IntRange(0, 2).Draw(t, "transfers that it still takes")
					bus.SetFault(0x70+uint16(i), func() error {
						if last--; last >= 0 {
							return nil
						}
						return syscall.ENXIO
					})
				} else {
					bus.SetFault(0x70+uint16(i), nil)
				}
			}
			c := rapid.SampledFrom(all).Draw(t, "chip")
			var r [1]byte
			err := c.bus.Tx(c.addr, nil, r[:])
			if err == nil && r[0] != c.want {
				t.Fatalf("chip %d answers for %d", r[0], c.want)
			}
			if err != nil && (c.mux < 0 || !dead[c.mux]) && !clash(c) {
				t.Fatalf("chip %d: %v, and no dead switch has its address behind it", c.want, err)
			}
		}
	})
}
