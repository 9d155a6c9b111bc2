package i2c

import (
	"context"
	"encoding/binary"
	"fmt"
)

// checkedWord reads a word of SMBus, low byte first, with its packet error code (SMBus 3.1, 6.4.1 and 6.5.5):
// polynomial 0x07, from 0, over both addresses, the command and the data.
func (b *base) checkedWord(ctx context.Context, command byte) (uint16, error) {
	var r [3]byte
	if err := b.read(ctx, command, r[:]); err != nil {
		return 0, err
	}
	a := byte(b.dev.Addr) << 1
	if c := crc8(0x07, 0, a, command, a|1, r[0], r[1]); c != r[2] {
		b.known = false
		return 0, fmt.Errorf("register %#02x is % x, and its check code should be %#02x: the bus is disturbed or stuck, or the device has no packet error code: check wiring, length and pull-ups", command, r, c)
	}
	return binary.LittleEndian.Uint16(r[:]), nil
}
