package i2c

import (
	"context"
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
// like a cool room. So the identity is read again every checkEvery polls, and at once when
// something looks odd.
type tmp117 struct {
	base
	value bool // had a result since the chip was last known to start
}

func newTMP117(dev *i2c.Dev) chip {
	return &tmp117{base: base{dev: dev, chans: []channel{{"temperature", sensors.Celsius}}}}
}

func (t *tmp117) measure(ctx context.Context, _ func() sensors.Mono, report report) error {
	if t.due() {
		if err := t.identify(ctx, report); err != nil {
			return err
		}
	}
	cfg, err := t.word(ctx, tmp117Config)
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
	raw, err := t.word(ctx, tmp117Result)
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

func (t *tmp117) identify(ctx context.Context, report report) error {
	id, err := t.word(ctx, tmp117DeviceID)
	if err != nil {
		return err
	}
	if id != tmp117ID {
		t.value = false
		return t.wrong(report, fmt.Sprintf("%#04x", id), fmt.Sprintf("%#04x", tmp117ID))
	}
	t.right()
	return nil
}
