package i2c

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"firebreak/sensors"

	"periph.io/x/conn/v3/i2c"
)

// ENS160: volatile organic compounds by four heated metal oxides, as the chip's own firmware makes of them. ScioSense datasheet
// v0.95: registers; checksum as in its pseudo-code. The chip starts asleep, so that the command to measure is the one that is
// sent, and only when it does not. What it is told of temperature and humidity stays as switched on, 25 C and 50 %.
//
// It says itself whether its values are valid: not in the 3 minutes after power, nor in the first hour of its life. The checksum
// runs over all bytes of values that are read, so it is read before and after.
const (
	ens160ID       = 0x00 // low byte first
	ens160IDValue  = 0x0160
	ens160Mode     = 0x10
	ens160Standard = 0x02
	ens160Status   = 0x20
	ens160Values   = 0x21 // index, TVOC, equivalent CO2: 5 bytes
	ens160Checksum = 0x38

	ens160Error    = 1 << 6
	ens160Validity = 0x03 // at bit 2
	ens160New      = 1 << 1

	ens160Silent = 5 * time.Second // without anything new: it does not measure
)

type ens160 struct {
	base
	last sensors.Mono // when it was told to measure, or had something new
	had  bool         // values since it was last known to start
}

func newENS160(dev *i2c.Dev) chip {
	return &ens160{base: base{dev: dev, chans: []channel{{"index", sensors.None}, {"tvoc", sensors.PPM}, {"co2.equivalent", sensors.PPM}}}}
}

func (e *ens160) measure(ctx context.Context, now func() sensors.Mono, report report) error {
	err := e.step(ctx, now(), report)
	if err != nil { // it may have lost its power
		e.last, e.had = 0, false
	}
	return err
}

func (e *ens160) step(ctx context.Context, at sensors.Mono, report report) error {
	if e.due() {
		if err := e.identify(ctx, report); err != nil {
			return err
		}
	}
	if e.last == 0 {
		e.last = max(at, 1)
	}
	var mode, status [1]byte
	if err := e.read(ctx, ens160Mode, mode[:]); err != nil {
		return err
	}
	if mode[0] != ens160Standard {
		e.last, e.had, e.known = max(at, 1), false, false // it slept, was reset, or is another chip
		e.all(report, sensors.NotReady)
		return e.tx(ctx, "command to measure", []byte{ens160Mode, ens160Standard}, nil)
	}
	if err := e.read(ctx, ens160Status, status[:]); err != nil {
		return err
	}
	switch s := status[0]; {
	case s&ens160Error != 0:
		e.known = false
		return fmt.Errorf("status is %#02x: it has found an error in itself: switch it off and on, or exchange it", s)
	case s&ens160New == 0:
		if at >= e.last.Add(ens160Silent) {
			e.known = false
			return fmt.Errorf("it has measured nothing for %v: switch it off and on", ens160Silent)
		}
		if !e.had {
			e.all(report, sensors.NotReady)
		}
		return nil
	}
	return e.values(ctx, at, status[0]>>2&ens160Validity, report)
}

// values reads them, with the checksum before and after.
func (e *ens160) values(ctx context.Context, at sensors.Mono, validity byte, report report) error {
	var before, after [1]byte
	var v [5]byte
	for _, part := range []struct {
		reg byte
		to  []byte
	}{{ens160Checksum, before[:]}, {ens160Values, v[:]}, {ens160Checksum, after[:]}} {
		if err := e.read(ctx, part.reg, part.to); err != nil {
			return err
		}
	}
	if want := ens160Sum(before[0], v[:]); want != after[0] {
		e.known = false
		return fmt.Errorf("values % x: their checksum is %#02x, not %#02x: the bus is disturbed or stuck, or another program reads it: check wiring, length and pull-ups", v, after[0], want)
	}
	e.last, e.had = at, true
	switch validity {
	case 0:
		for i, x := range []float64{float64(v[0] & 0x07), float64(binary.LittleEndian.Uint16(v[1:])) / 1000, float64(binary.LittleEndian.Uint16(v[3:]))} {
			report(i, x, sensors.GoodQuality)
		}
	case 3:
		e.all(report, sensors.Sentinel) // it calls its own values invalid
	default:
		e.all(report, sensors.NotReady)
	}
	return nil
}

// ens160Sum goes on with a checksum over more bytes: polynomial 0x1D, and each byte is added after the shift.
func ens160Sum(sum byte, data []byte) byte {
	for _, b := range data {
		top := sum & 0x80
		sum = sum<<1 ^ b
		if top != 0 {
			sum ^= 0x1d
		}
	}
	return sum
}

func (e *ens160) identify(ctx context.Context, report report) error {
	if err := e.read(ctx, ens160ID, e.buf[:]); err != nil {
		return err
	}
	if id := binary.LittleEndian.Uint16(e.buf[:]); id != ens160IDValue {
		return e.wrong(report, fmt.Sprintf("%#04x", id), fmt.Sprintf("%#04x", ens160IDValue))
	}
	e.right()
	return nil
}
