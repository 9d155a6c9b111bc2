package i2c

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"
)

// Muxes are the TCA9548A or PCA9548A switches on one adapter: each connects up to eight further wires,
// so that chips of one address can stand on one adapter. The switch's control register has one bit
// a channel (TI SCPS207F, 8.6.2).
//
// At most one channel of all switches is connected at a time: two would join their wires, and chips of
// one address would answer together. A process before may have left one connected, and a transfer that
// failed may or may not have reached a switch, so what is not known is set to nothing first. A switch that
// does not let itself be set may still be connected: it takes with it what is behind it, and those behind others
// that have an address in common with that, and nobody else. A Muxes belongs to the goroutine of its bus.
type Muxes struct {
	bus      i2c.Bus
	now      func() time.Time
	switches []muxSwitch
}

// muxSwitch is what is known of one.
type muxSwitch struct {
	address uint16
	chips   []uint16 // behind it, whatever their channel
	known   bool     // control is what it did at seen
	control byte
	seen    time.Time
	lost    bool // it was tried last in vain: only who needs it tries it again
}

const (
	muxChannels = 8

	// muxTrust is how long what a switch was seen to do counts, so that the transfers of one poll look once. A reset
	// or another program may change it, and then a chip of the same address answers on another channel.
	muxTrust = 100 * time.Millisecond
)

// NewMuxes returns the switches at addresses (0x70 to 0x77) on b. It does not touch the bus.
func NewMuxes(b i2c.Bus, addresses ...uint16) (*Muxes, error) {
	m := &Muxes{bus: b, now: time.Now}
	for _, a := range addresses {
		if a < 0x70 || a > 0x77 {
			return nil, fmt.Errorf("I2C switch at %#02x: a TCA9548A has an address from 0x70 to 0x77", a)
		}
		m.switches = append(m.switches, muxSwitch{address: a})
	}
	return m, nil
}

// Root is the adapter's own wire, with every channel disconnected that a switch lets go of.
func (m *Muxes) Root() i2c.Bus { return wire{m, -1, -1} }

// Channel is the wire behind a channel of the switch at address, on which chips stand. It is asked for each chip
// before any is read.
func (m *Muxes) Channel(address uint16, channel int, chips ...uint16) (i2c.Bus, error) {
	if channel < 0 || channel >= muxChannels {
		return nil, fmt.Errorf("I2C switch at %#02x: channel %d: it has 0 to %d", address, channel, muxChannels-1)
	}
	i := slices.IndexFunc(m.switches, func(s muxSwitch) bool { return s.address == address })
	if i < 0 {
		return nil, fmt.Errorf("I2C switch at %#02x: it is not on this adapter", address)
	}
	m.switches[i].chips = append(m.switches[i].chips, chips...)
	return wire{m, i, channel}, nil
}

// connect leaves the channel connected, and no other, for a transfer with the chip at addr; -1 leaves none. It reads
// back what the switch does: one that is absent must not let a chip of the root wire answer for one behind it.
func (m *Muxes) connect(at, channel int, addr uint16) error {
	for i := range m.switches {
		s := &m.switches[i]
		clash := slices.Contains(s.chips, addr)
		if i == at || s.known && s.control == 0 && (!clash || m.holds(s)) {
			continue
		}
		if s.lost && !clash {
			continue
		}
		if err := m.set(s, 0); err != nil && clash {
			return fmt.Errorf("the chip at %#02x: one of that address is behind another switch, which may be connected: %w", addr, err)
		}
	}
	if channel < 0 {
		return nil
	}
	if s := &m.switches[at]; !s.known || s.control != 1<<channel || !m.holds(s) {
		return m.set(s, 1<<channel)
	}
	return nil
}

// holds tells whether a switch that is known still does what it did, and looks if that was a while ago.
func (m *Muxes) holds(s *muxSwitch) bool {
	if m.now().Sub(s.seen) < muxTrust {
		return true
	}
	var got [1]byte
	if err := m.bus.Tx(s.address, nil, got[:]); err != nil || got[0] != s.control {
		s.known = false
		return false
	}
	s.seen = m.now()
	return true
}

// errSwitch: a switch does not do what it was told.
var errSwitch = errors.New("the switch does not hold its setting: check its address, its reset line and what else writes to it")

func (m *Muxes) set(s *muxSwitch, mask byte) error {
	s.known, s.lost = false, true
	var got [1]byte
	if err := m.bus.Tx(s.address, []byte{mask}, nil); err != nil { // in effect after the stop (8.5.3)
		return fmt.Errorf("I2C switch: %w", err)
	}
	if err := m.bus.Tx(s.address, nil, got[:]); err != nil {
		return fmt.Errorf("I2C switch: %w", err)
	}
	if got[0] != mask {
		return fmt.Errorf("I2C switch at %#02x: set to %#02x, reads %#02x: %w", s.address, mask, got[0], errSwitch)
	}
	s.known, s.lost, s.control, s.seen = true, false, mask, m.now()
	return nil
}

// wire is one of the wires.
type wire struct {
	m       *Muxes
	at      int // of the switches; -1: the adapter's own wire
	channel int
}

func (w wire) String() string {
	if w.channel < 0 {
		return w.m.bus.String()
	}
	return fmt.Sprintf("%s, switch %#02x channel %d", w.m.bus, w.m.switches[w.at].address, w.channel)
}

func (w wire) SetSpeed(f physic.Frequency) error { return w.m.bus.SetSpeed(f) }

// Tx connects the wire and does the transfer. After a failure nobody knows whether a switch has been
// reset on the way: all are set anew.
func (w wire) Tx(addr uint16, write, read []byte) error {
	if err := w.m.connect(w.at, w.channel, addr); err != nil {
		return err
	}
	if err := w.m.bus.Tx(addr, write, read); err != nil {
		for i := range w.m.switches {
			w.m.switches[i].known = false
		}
		return err
	}
	return nil
}
