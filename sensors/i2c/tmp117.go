package i2c

import (
	"context"
	"encoding/binary"
	"fmt"

	"firebreak/sensors"

	"periph.io/x/conn/v3/i2c"
)

// TMP117, temperature to 0.1 C. Texas Instruments SNOSD82D: register map; 7.6.2 temperature
// result; 7.6.3 configuration. Its configuration is never written: the default (continuous, eight
// averages, one conversion a second) is what is wanted.
const (
	tmp117Result   = 0x00
	tmp117Config   = 0x01
	tmp117DeviceID = 0x0f

	tmp117ID        = 0x0117
	tmp117DataReady = 1 << 13
	tmp117NoResult  = 0x8000    // -256 C: from reset to the end of the first conversion
	tmp117LSB       = 0.0078125 // C
)

// The result has no check code, and all ones is a valid -0.0078 C: a bus that is stuck high looks
// like a cool room. So the identity is read again every tmp117CheckEvery polls, and at once when
// something looks odd.
const tmp117CheckEvery = 100

type tmp117 struct {
	dev   *i2c.Dev
	polls int  // since the identity was last seen right
	known bool // the identity was seen right, and nothing odd since
	value bool // had a result since the chip was last known to start
	buf   [2]byte
	reg   [1]byte
}

func newTMP117(dev *i2c.Dev) *tmp117 { return &tmp117{dev: dev} }

func (t *tmp117) channels() []channel { return []channel{{"temperature", sensors.Celsius}} }

func (t *tmp117) read(ctx context.Context, reg byte) (uint16, error) {
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("before register %#02x: %w", reg, err)
	}
	t.reg[0] = reg
	if err := t.dev.Tx(t.reg[:], t.buf[:]); err != nil {
		t.known = false // whatever answers next may be another chip
		return 0, fmt.Errorf("register %#02x: %w", reg, err)
	}
	return binary.BigEndian.Uint16(t.buf[:]), nil
}

func (t *tmp117) measure(ctx context.Context, _ func() sensors.Mono, report func(int, float64, sensors.Quality)) error {
	if err := t.measureOnce(ctx, report); err != nil {
		return fmt.Errorf("tmp117 at %#02x: %w", t.dev.Addr, err)
	}
	return nil
}

func (t *tmp117) measureOnce(ctx context.Context, report func(int, float64, sensors.Quality)) error {
	if t.polls++; !t.known || t.polls >= tmp117CheckEvery {
		if err := t.identify(ctx, report); err != nil {
			return err
		}
	}
	cfg, err := t.read(ctx, tmp117Config)
	if err != nil {
		return err
	}
	if cfg == 0xffff || cfg == 0x0000 { // a line stuck high or low; a living chip is neither
		if err := t.identify(ctx, report); err != nil {
			return err
		}
	}
	if cfg&tmp117DataReady == 0 {
		if !t.value {
			report(0, 0, sensors.BadQuality(sensors.NotReady))
		}
		return nil // polled faster than it converts: nothing new, and the old value is not repeated
	}
	raw, err := t.read(ctx, tmp117Result)
	if err != nil {
		return err
	}
	if raw == tmp117NoResult {
		t.value, t.known = false, false // it was reset, or exchanged
		report(0, 0, sensors.BadQuality(sensors.NotReady))
		return nil
	}
	t.value = true
	report(0, float64(int16(raw))*tmp117LSB, sensors.GoodQuality)
	return nil
}

// identify reads the identity. A wrong one is reported as bad (identity), and is an error, so that
// its text is seen and the address is probed with back-off.
func (t *tmp117) identify(ctx context.Context, report func(int, float64, sensors.Quality)) error {
	t.known = false
	id, err := t.read(ctx, tmp117DeviceID)
	if err != nil {
		return err
	}
	if id != tmp117ID {
		t.value = false
		report(0, 0, sensors.BadQuality(sensors.Identity))
		return fmt.Errorf("identity is %#04x, not %#04x: another chip answers here, or the bus is stuck: check address switches and wiring", id, tmp117ID)
	}
	t.known, t.polls = true, 0
	return nil
}
