package i2c

import (
	"context"
	"fmt"

	"firebreak/sensors"

	"periph.io/x/conn/v3/i2c"
)

// MCP23017, fourteen inputs. Microchip DS20001952: register map with BANK = 0. All registers are read in one
// transfer, so that what was read and how it was set are of one instant.
//
// After a loss of power all pins are inputs, but without their pull-ups: they float, and read as anything.
// The pull-ups are the one thing that is written; a poll that finds them off sets them, and has no value. A
// chip that drives a pin, inverts one, or has another order of registers is somebody else's, and is left
// alone. Pins 7 of both ports are no inputs in later revisions of the chip, and are not used.
const (
	mcp23017Registers = 0x16
	mcp23017IODIR     = 0x00 // both ports: two bytes each
	mcp23017IPOL      = 0x02
	mcp23017IOCON     = 0x0a // twice the same register
	mcp23017GPPU      = 0x0c
	mcp23017GPIO      = 0x12

	mcp23017Order = 0xa0 // of IOCON: BANK and SEQOP, other orders of registers
	mcp23017All   = 0xff
	mcp23017Pins  = 7 // of a port
)

type mcp23017 struct {
	base
	contacts contacts
}

func newMCP23017(dev *i2c.Dev) chip {
	names := append(numbered("a", mcp23017Pins), numbered("b", mcp23017Pins)...)
	c := contacts{names, []int{0, 2, 4, mcp23017Pins, mcp23017Pins + 2, mcp23017Pins + 4}}
	return &mcp23017{base{dev: dev, chans: c.channels()}, c}
}

func (m *mcp23017) measure(ctx context.Context, _ func() sensors.Mono, report report) error {
	var r [mcp23017Registers]byte
	if err := m.read(ctx, 0, r[:]); err != nil {
		return err
	}
	is := func(reg int, want byte) bool { return r[reg] == want && r[reg+1] == want }
	if !is(mcp23017IODIR, mcp23017All) || !is(mcp23017IPOL, 0) || r[mcp23017IOCON] != r[mcp23017IOCON+1] || r[mcp23017IOCON]&mcp23017Order != 0 {
		return m.wrong(report, fmt.Sprintf("directions % x, inversion % x, configuration % x", r[0:2], r[2:4], r[mcp23017IOCON:mcp23017GPPU]),
			"that of a chip with inputs only (ff ff, 00 00, 00 00)")
	}
	if !is(mcp23017GPPU, mcp23017All) {
		m.all(report, sensors.NotReady)
		return m.tx(ctx, "pull-ups", []byte{mcp23017GPPU, mcp23017All, mcp23017All}, nil)
	}
	const port = 1<<mcp23017Pins - 1
	m.contacts.report(uint(r[mcp23017GPIO]&port)|uint(r[mcp23017GPIO+1]&port)<<mcp23017Pins, report)
	return nil
}
