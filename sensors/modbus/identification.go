package modbus

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"firebreak/sensors/profile"

	"github.com/goburrow/modbus"
)

// Function 0x2B with MEI type 0x0E, "read device identification" (Modbus application protocol 1.1b3, 6.21). It
// reads. Its reply is as long as its texts are, so that a line is read until the objects that it announces are
// there.
const (
	meiIdentification = 0x0E
	moreFollows       = 0xFF
	identHead         = 7   // function, MEI type, read code, conformity, more follows, next object, number of objects
	maxPDU            = 253 // of any reply
)

// identifies is true for a request of function 0x2B: Address holds read code and first object.
func (r Request) identifies() bool { return r.write == nil && r.Func == profile.Identification }

// checkIdentification refuses what no device has: streams of basic, regular and extended objects are asked
// for, and no other MEI type can be.
func (r Request) checkIdentification() error {
	code, object := r.Address>>8, r.Address&0xFF
	switch {
	case r.Quantity != 1:
	case code == 1 && object < 3, code == 2 && object < 0x80, code == 3 && object >= 0x80:
		return nil
	}
	return fmt.Errorf("%s: %w: of function 43 only device identification is asked for, basic, regular or extended", r, ErrRefused)
}

// identSize walks the reply to r as far as it has come. whole is its length once that is known, else 0.
func (r Request) identSize(pdu []byte) (whole int, err error) {
	odd := func(at int, ok func(b byte) bool) bool { return len(pdu) > at && !ok(pdu[at]) }
	code := byte(r.Address >> 8)
	switch {
	case odd(1, func(b byte) bool { return b == meiIdentification }):
		return 0, fmt.Errorf("%w: MEI type %d", ErrGarbled, pdu[1])
	case odd(2, func(b byte) bool { return b == code }):
		return 0, fmt.Errorf("%w: read code %d, %d was asked for", ErrGarbled, pdu[2], code)
	case odd(4, func(b byte) bool { return b == 0 || b == moreFollows }):
		return 0, fmt.Errorf("%w: \"more follows\" is 0x%02X", ErrGarbled, pdu[4])
	case len(pdu) < identHead:
		return 0, nil
	}
	at := identHead
	for range pdu[identHead-1] {
		if at+2 > maxPDU || len(pdu) >= at+2 && at+2+int(pdu[at+1]) > maxPDU {
			return 0, fmt.Errorf("%w: its objects do not fit into a frame", ErrGarbled)
		}
		if len(pdu) < at+2 {
			return 0, nil
		}
		at += 2 + int(pdu[at+1])
	}
	return at, nil
}

// identPDU checks the reply to r, all of which has come.
func (r Request) identPDU(pdu []byte) error {
	whole, err := r.identSize(pdu)
	if err == nil && whole != len(pdu) {
		err = fmt.Errorf("%w: %d bytes that are not those of its objects", ErrGarbled, len(pdu))
	}
	return err
}

// pdu is what r asks, on the wire.
func (r Request) pdu() *modbus.ProtocolDataUnit {
	if r.identifies() {
		return &modbus.ProtocolDataUnit{FunctionCode: r.code(), Data: []byte{meiIdentification, byte(r.Address >> 8), byte(r.Address)}}
	}
	body := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, r.Address), r.Quantity)
	return &modbus.ProtocolDataUnit{FunctionCode: r.code(), Data: body}
}

// exchangeObjects is exchange for a function that the library does not know. What it returns begins with the
// MEI type.
func exchangeObjects(pk modbus.Packager, t transport, r Request) ([]byte, error) {
	adu, err := pk.Encode(r.pdu())
	if err != nil {
		return nil, err
	}
	reply, err := t(adu)
	if err != nil {
		return nil, err
	}
	return asked{pk: pk, adu: adu}.data(reply, r)
}

// Identify reads the objects of a unit's identification. r is the request of an identity check: others follow
// it until all objects of want have come, or no more follow. What a device does not say is not among the objects.
func Identify(ctx context.Context, l Link, r Request, want []byte) (map[byte][]byte, error) {
	objects := map[byte][]byte{}
	for range profile.IdentificationParts {
		data, err := l.Read(ctx, r)
		if err != nil {
			return nil, err
		}
		fresh := takeObjects(objects, data)
		missing := slices.ContainsFunc(want, func(o byte) bool { return objects[o] == nil })
		if more, next := data[3] == moreFollows, data[4]; !missing || !more || !fresh || objects[next] != nil {
			break // what comes again would come without an end
		} else if r.Address = r.Address&0xFF00 | uint16(next); r.check() != nil {
			break
		}
	}
	return objects, nil
}

// takeObjects adds the objects of a checked reply; false: it brings none that is new.
func takeObjects(objects map[byte][]byte, data []byte) (fresh bool) {
	at := identHead - 1 // data is without its function code
	for range data[at-1] {
		id, size := data[at], int(data[at+1])
		if objects[id] == nil {
			objects[id], fresh = append([]byte{}, data[at+2:at+2+size]...), true
		}
		at += 2 + size
	}
	return fresh
}

// identify checks that the expected device answers: after each silence and every so many polls.
func (d *Poller) identify(ctx context.Context, once bool) error {
	if d.identified--; d.identified > 0 && !d.wrong {
		return nil
	}
	wrong := false
	said := map[profile.Span]map[byte][]byte{} // one identification serves all checks that look at it
	for i := range d.p.Identity {
		c := &d.p.Identity[i]
		right, err := d.asExpected(ctx, c, said, once)
		switch {
		case err == nil:
			wrong = wrong || !right
		case c.Optional && (errors.Is(err, ErrIllegalAddress) || errors.Is(err, ErrConfig) || errors.Is(err, ErrDeviceFault)):
		case errors.Is(err, ErrIllegalAddress), errors.Is(err, ErrConfig):
			wrong = true
		case (errors.Is(err, ErrBusy) || errors.Is(err, ErrDeviceFault)) && (d.seen || d.wrong || c.Optional):
			return nil // it lives, as what it was; asked again at the next poll
		default:
			return fmt.Errorf("identity of the device: %w", err)
		}
	}
	d.wrong, d.seen, d.identified = wrong, !wrong, identityEvery
	return nil
}

// asExpected makes one check.
func (d *Poller) asExpected(ctx context.Context, c *profile.Check, said map[profile.Span]map[byte][]byte, once bool) (bool, error) {
	if c.Func == profile.Identification {
		if said[c.Span] == nil {
			objects, err := Identify(ctx, patient{d}, d.request(c.Span, once), d.p.Objects(c.Span))
			if err != nil {
				return false, err
			}
			said[c.Span] = objects
		}
		return c.Names(said[c.Span]), nil
	}
	data, err := d.read(ctx, d.request(c.Span, once))
	if err != nil {
		return false, err
	}
	words := make([]uint16, c.Count)
	for k := range words {
		words[k] = wordAt(c.Func, data, k)
	}
	return c.Matches(words), nil
}

// patient is the link of a poller, which asks a busy device again.
type patient struct{ *Poller }

func (p patient) Read(ctx context.Context, r Request) ([]byte, error) { return p.read(ctx, r) }
func (p patient) Close() error                                        { return nil }
