package i2c

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"firebreak/sensors"

	"periph.io/x/conn/v3/i2c"
)

// chip measures once. It reports each channel that has something new; a channel without a new value
// is left out, never repeated. An error costs all channels that were not reported. Transfers are
// bounded; ctx is looked at between them.
type chip interface {
	channels() []channel
	number() string
	measure(ctx context.Context, now func() sensors.Mono, report report) error
}

// delayed is a chip whose readings are of an earlier poll, which started the measurement.
type delayed interface{ sampled() sensors.Mono }

// report takes one reading of a channel, in the channel's unit.
type report func(channel int, v float64, q sensors.Quality)

// channel is what a chip measures, in the unit it reports.
type channel struct {
	name string
	unit sensors.Unit
}

// checkEvery is how many polls pass between two looks at the identity of a chip: what is exchanged
// under power, or has moved to this address, is seen then.
const checkEvery = 100

// base is what the drivers share: the way to the chip, and whether it is known to be the right one. A
// transfer that failed ends that, because whatever answers next may be another chip.
type base struct {
	dev   *i2c.Dev
	chans []channel
	polls int  // since the identity was last seen right
	known bool // the identity was seen right, and nothing odd since

	serial string // of the chip, where it tells one
	reg    [1]byte
	buf    [2]byte
}

func (b *base) channels() []channel { return b.chans }

// number is the chip's own, as long as the chip is known: after a fault another one may answer.
func (b *base) number() string {
	if !b.known {
		return ""
	}
	return b.serial
}

// numbered keeps the serial number that a chip has told, in words.
func (b *base) numbered(words ...uint16) {
	s := make([]byte, 0, 12)
	for _, w := range words {
		s = fmt.Appendf(s, "%04x", w)
	}
	b.serial = string(s)
}

// due counts a poll and tells whether the identity is to be looked at in it.
func (b *base) due() bool {
	b.polls++
	return !b.known || b.polls >= checkEvery
}

// right notes that the identity was seen right.
func (b *base) right() { b.known, b.polls = true, 0 }

// wrong reports that another chip answers. It is an error too, so that its text is seen and the
// address is probed with back-off.
func (b *base) wrong(report report, got, want string) error {
	b.known = false
	b.all(report, sensors.Identity)
	return fmt.Errorf("identity is %s, not %s: another chip answers here, or the bus is stuck: check address switches and wiring", got, want)
}

// all reports every channel as bad.
func (b *base) all(report report, why sensors.Reason) {
	for i := range b.chans {
		report(i, 0, sensors.BadQuality(why))
	}
}

// tx is one transfer, unless ctx has ended.
func (b *base) tx(ctx context.Context, what string, w, r []byte) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("before %s: %w", what, err)
	}
	if err := b.dev.Tx(w, r); err != nil {
		b.known = false
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// read reads r from register reg on.
func (b *base) read(ctx context.Context, reg byte, r []byte) error {
	b.reg[0] = reg
	return b.tx(ctx, fmt.Sprintf("register %#02x", reg), b.reg[:], r)
}

// word reads a register of 16 bits, high byte first.
func (b *base) word(ctx context.Context, reg byte) (uint16, error) {
	err := b.read(ctx, reg, b.buf[:])
	return binary.BigEndian.Uint16(b.buf[:]), err
}

// pause gives the chip its time. What a driver waits in one poll stands in its profile (wait), since
// nobody else has the bus meanwhile.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for the measurement: %w", ctx.Err())
	}
}

// since is since when something has been so without a break: since when a value has been the zero that a
// chip shows before its first conversion, or since when a chip has answered. 0: it is not so.
type since sensors.Mono

// young is true while the chip may not have converted yet. It begins to count when it is 0.
func (z *since) young(at sensors.Mono, first time.Duration) bool {
	if *z == 0 {
		*z = since(max(at, 1))
	}
	return at < sensors.Mono(*z).Add(first)
}

// crc8 is a check code of 8 bits, high bit first, without reflection.
func crc8(poly, crc byte, data ...byte) byte {
	for _, b := range data {
		crc ^= b
		for range 8 {
			if crc&0x80 != 0 {
				crc = crc<<1 ^ poly
			} else {
				crc <<= 1
			}
		}
	}
	return crc
}
