package i2c

import (
	"errors"
	"fmt"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"
)

// Muxes are the TCA9548A or PCA9548A switches on one adapter: each connects up to eight further wires,
// so that chips of one address can stand on one adapter. The switch's control register has one bit
// a channel (TI SCPS207F, 8.6.2).
//
// At most one channel of all switches is connected at a time: two would join their wires, and chips of
// one address would answer together. A process before may have left one connected, and a transfer that
// failed may or may not have reached a switch, so what is not known is set to nothing first. A Muxes
// belongs to the goroutine of its bus.
type Muxes struct {
	bus       i2c.Bus
	addresses []uint16
	known     bool // what is said here is what the switches do
	at        uint16
	channel   int // that of switch at is connected; -1: none is
}

const muxChannels = 8

// NewMuxes returns the switches at addresses (0x70 to 0x77) on b. It does not touch the bus.
func NewMuxes(b i2c.Bus, addresses ...uint16) (*Muxes, error) {
	for _, a := range addresses {
		if a < 0x70 || a > 0x77 {
			return nil, fmt.Errorf("I2C switch at %#02x: a TCA9548A has an address from 0x70 to 0x77", a)
		}
	}
	return &Muxes{bus: b, addresses: addresses}, nil
}

// Root is the adapter's own wire, with every channel disconnected that a switch lets go of.
func (m *Muxes) Root() i2c.Bus { return wire{m, 0, -1} }

// Channel is the wire behind a channel of the switch at address.
func (m *Muxes) Channel(address uint16, channel int) (i2c.Bus, error) {
	if channel < 0 || channel >= muxChannels {
		return nil, fmt.Errorf("I2C switch at %#02x: channel %d: it has 0 to %d", address, channel, muxChannels-1)
	}
	for _, a := range m.addresses {
		if a == address {
			return wire{m, address, channel}, nil
		}
	}
	return nil, fmt.Errorf("I2C switch at %#02x: it is not on this adapter", address)
}

// connect leaves one channel connected, and no other; -1 leaves none. It reads back what the switch
// does: one that is absent must not let a chip of the root wire answer for one behind it.
func (m *Muxes) connect(address uint16, channel int) error {
	if m.known && m.channel == channel && (channel < 0 || m.at == address) {
		return nil
	}
	was, ok := m.at, m.known
	m.known = false
	for _, a := range m.addresses {
		if ok && (m.channel < 0 || a != was) || a == address && channel >= 0 {
			continue // it is off, or is set below
		}
		if err := m.set(a, 0); err != nil {
			return err
		}
	}
	if channel >= 0 {
		if err := m.set(address, 1<<channel); err != nil {
			return err
		}
	}
	m.known, m.at, m.channel = true, address, channel
	return nil
}

// errSwitch: a switch does not do what it was told.
var errSwitch = errors.New("the switch does not hold its setting: check its address, its reset line and what else writes to it")

func (m *Muxes) set(address uint16, mask byte) error {
	var got [1]byte
	if err := m.bus.Tx(address, []byte{mask}, nil); err != nil { // in effect after the stop (8.5.3)
		return fmt.Errorf("I2C switch: %w", err)
	}
	if err := m.bus.Tx(address, nil, got[:]); err != nil {
		return fmt.Errorf("I2C switch: %w", err)
	}
	if got[0] != mask {
		return fmt.Errorf("I2C switch at %#02x: set to %#02x, reads %#02x: %w", address, mask, got[0], errSwitch)
	}
	return nil
}

// wire is one of the wires.
type wire struct {
	m       *Muxes
	address uint16
	channel int
}

func (w wire) String() string {
	if w.channel < 0 {
		return w.m.bus.String()
	}
	return fmt.Sprintf("%s, switch %#02x channel %d", w.m.bus, w.address, w.channel)
}

func (w wire) SetSpeed(f physic.Frequency) error { return w.m.bus.SetSpeed(f) }

// Tx connects the wire and does the transfer. After a failure nobody knows whether the switch has been
// reset on the way: all are set anew. A switch that is dead does not keep the adapter's own wire from being
// read: no chip behind a switch has an address of that wire, so none can answer for one that has.
func (w wire) Tx(addr uint16, write, read []byte) error {
	if err := w.m.connect(w.address, w.channel); err != nil && w.channel >= 0 {
		return err
	}
	if err := w.m.bus.Tx(addr, write, read); err != nil {
		w.m.known = false
		return err
	}
	return nil
}
