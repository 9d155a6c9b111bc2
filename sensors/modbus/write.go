package modbus

import (
	"encoding/binary"
	"fmt"

	"firebreak/sensors"
	"firebreak/sensors/profile"

	"github.com/goburrow/modbus"
)

const echoLen = 5 // PDU of a good reply to functions 5, 6, 15 and 16: function, address, value or quantity

// writing is r with a command in place of its read. Only the links' Write calls it, and in an agent only a
// Poller has a link's Write called: Request.write cannot be set from outside of this package.
func (r Request) writing(c *profile.Command) Request {
	if c == nil {
		c = new(profile.Command) // refused by checkWrite: it writes nothing
	}
	r.write, r.Func, r.Address, r.Quantity = c, c.Func, c.Address, uint16(min(len(c.Values), 0xFFFF))
	return r
}

// reading is r as a read, whatever was made of it before.
func (r Request) reading() Request {
	r.write = nil
	return r
}

// unsent marks the failure of a write of which no byte has left. Of a read nobody needs to know.
func (r Request) unsent(err error) error {
	if r.write == nil || err == nil {
		return err
	}
	return fmt.Errorf("%w: %w", sensors.ErrNotSent, err)
}

// checkWrite refuses a write that the specification does not have, and every broadcast: nobody
// answers one, so nobody can know what it did.
func (r Request) checkWrite() error {
	w, limit := r.write, 123
	if w.Func == profile.Coil {
		limit = 1968
	}
	switch {
	case w.Func != profile.Coil && w.Func != profile.Holding:
		return fmt.Errorf("%s: %w: only coils and holding registers are written", r, ErrRefused)
	case len(w.Values) < 1 || len(w.Values) > limit || !w.Multiple && len(w.Values) != 1 || w.Span().End() > 0x10000:
		return fmt.Errorf("%s: %w: the quantity is out of range", r, ErrRefused)
	}
	for _, v := range w.Values {
		if w.Func == profile.Coil && v > 1 {
			return fmt.Errorf("%s: %w: a coil is written with 0 or 1", r, ErrRefused)
		}
	}
	return nil
}

// sendWrite runs the write through the library, which encodes it.
func (r Request) sendWrite(c modbus.Client) error {
	w := r.write
	n := uint16(len(w.Values))
	var err error
	switch {
	case w.Func == profile.Coil && w.Multiple:
		bits := make([]byte, (len(w.Values)+7)/8)
		for i, v := range w.Values {
			bits[i/8] |= byte(v) << (i % 8)
		}
		_, err = c.WriteMultipleCoils(w.Address, n, bits)
	case w.Func == profile.Coil:
		_, err = c.WriteSingleCoil(w.Address, coilWord(w.Values[0]))
	case w.Multiple:
		words := make([]byte, 0, 2*len(w.Values))
		for _, v := range w.Values {
			words = binary.BigEndian.AppendUint16(words, v)
		}
		_, err = c.WriteMultipleRegisters(w.Address, n, words)
	default:
		_, err = c.WriteSingleRegister(w.Address, w.Values[0])
	}
	return err
}

// coilWord is a coil's value on the wire.
func coilWord(v uint16) uint16 {
	if v != 0 {
		return 0xFF00
	}
	return 0
}

// checkEcho compares the reply to a write, which repeats address and value (5, 6) or quantity (15,
// 16), with the request, before the library sees it.
func (r Request) checkEcho(pdu []byte) error {
	w := r.write
	second := uint16(len(w.Values))
	switch {
	case !w.Multiple && w.Func == profile.Coil:
		second = coilWord(w.Values[0])
	case !w.Multiple:
		second = w.Values[0]
	}
	if a, v := binary.BigEndian.Uint16(pdu[1:]), binary.BigEndian.Uint16(pdu[3:]); a != w.Address || v != second {
		return fmt.Errorf("%w: the echo says address %d, 0x%04X instead of 0x%04X", ErrGarbled, a, v, second)
	}
	return nil
}
