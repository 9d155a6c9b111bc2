package i2c

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"firebreak/sensors"

	"periph.io/x/conn/v3/i2c"
)

// ADS1115, four inputs against ground to 4.096 V; or four loops of 4 to 20 mA, each over 150 Ohm. Texas
// Instruments SBAS444: register map, single-shot mode.
//
// Each input is converted once at a command, which is the configuration register itself: there is no other way
// to choose the input. The result is read when the chip says that it is idle, and has the configuration that
// was written: its clock may be 10 % slow, and the result would be that of the input before.
//
// The chip has no identity. Its thresholds, which nobody uses, have values as switched on that no other
// chip at its addresses has (LM75 and TMP117 are there too), and are read before anything is written.
const (
	ads1115Conversion = 0x00
	ads1115Config     = 0x01
	ads1115Low        = 0x02
	ads1115High       = 0x03

	ads1115LowValue  = 0x8000
	ads1115HighValue = 0x7fff
	ads1115Idle      = 1 << 15 // written: start
	ads1115Input0    = 0x4000  // input 0 against ground; each next one 0x1000 more
	ads1115Set       = 0x03c3  // to 4.096 V, once, 475 a second, comparator off
	ads1115Volt      = 4.096 / 32768

	ads1115Wait  = 2500 * time.Microsecond // 2.1 ms, its clock 10 % slow, and waking up
	ads1115More  = 500 * time.Microsecond
	ads1115Tries = 3
)

// A loop says by its current what it cannot measure (NAMUR NE 43): up to 3.6 mA the wire is broken or
// the transmitter has failed, from 21 mA on it is shorted or has failed.
const (
	loopStep  = 150.0 / ads1115Volt // codes of an ampere
	loopBreak = 3.6e-3 * loopStep
	loopShort = 21e-3 * loopStep
)

const ads1115Inputs = 4

type ads1115 struct{ base }

func newADS1115(dev *i2c.Dev) chip {
	a := &ads1115{base: base{dev: dev}}
	for i := range ads1115Inputs {
		a.chans = append(a.chans, channel{fmt.Sprintf("input.%d", i), sensors.Volt})
	}
	for i := range ads1115Inputs {
		a.chans = append(a.chans, channel{fmt.Sprintf("loop.%d", i), sensors.Percent})
	}
	return a
}

func (a *ads1115) measure(ctx context.Context, _ func() sensors.Mono, report report) error {
	if a.due() {
		if err := a.identify(ctx, report); err != nil {
			return err
		}
	}
	for i := range ads1115Inputs {
		raw, err := a.convert(ctx, uint16(ads1115Idle|ads1115Input0|i<<12|ads1115Set))
		if err != nil {
			return fmt.Errorf("input %d: %w", i, err)
		}
		code := float64(int16(raw))
		if raw == 0x7fff || raw == 0x8000 { // beyond what it measures
			report(i, 0, sensors.BadQuality(sensors.Sentinel))
		} else {
			report(i, code*ads1115Volt, sensors.GoodQuality)
		}
		if code <= loopBreak || code >= loopShort {
			report(ads1115Inputs+i, 0, sensors.BadQuality(sensors.Sentinel))
		} else {
			report(ads1115Inputs+i, (code/loopStep-0.004)/0.016*100, sensors.GoodQuality)
		}
	}
	return nil
}

// convert starts a conversion, waits for it, and reads it.
func (a *ads1115) convert(ctx context.Context, config uint16) (uint16, error) {
	w := binary.BigEndian.AppendUint16([]byte{ads1115Config}, config)
	if err := a.tx(ctx, "command to measure", w, nil); err != nil {
		return 0, err
	}
	delay, got := ads1115Wait, uint16(0)
	for range ads1115Tries {
		if err := pause(ctx, delay); err != nil {
			return 0, err
		}
		var err error
		if got, err = a.word(ctx, ads1115Config); err != nil {
			return 0, err
		}
		if got == config {
			return a.word(ctx, ads1115Conversion)
		}
		if got != config&^ads1115Idle {
			break
		}
		delay = ads1115More
	}
	a.known = false
	return 0, fmt.Errorf("configuration is %#04x, not %#04x: it was reset, another program uses it, or the bus is stuck", got, config)
}

func (a *ads1115) identify(ctx context.Context, report report) error {
	low, err := a.word(ctx, ads1115Low)
	if err != nil {
		return err
	}
	high, err := a.word(ctx, ads1115High)
	if err != nil {
		return err
	}
	if low != ads1115LowValue || high != ads1115HighValue {
		return a.wrong(report, fmt.Sprintf("%#04x %#04x", low, high), fmt.Sprintf("%#04x %#04x (thresholds as switched on)", ads1115LowValue, ads1115HighValue))
	}
	a.right()
	return nil
}
