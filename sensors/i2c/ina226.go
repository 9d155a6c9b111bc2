package i2c

import (
	"context"
	"fmt"

	"firebreak/sensors"

	"periph.io/x/conn/v3/i2c"
)

// INA226, voltage of a bus and of a shunt. Texas Instruments SBOS547: register map. Its configuration is never
// written: as switched on (0x4127) it converts both continuously, in 2.2 ms. Nor is its calibration: it is lost
// with the power, and the chip's own current would then be 0 without a word. The voltage of the shunt is
// reported; amperes are that divided by the shunt.
const (
	ina226Config = 0x00
	ina226Shunt  = 0x01
	ina226Bus    = 0x02
	ina226Mask   = 0x06 // reading it clears "ready"
	ina226Maker  = 0xfe
	ina226Die    = 0xff

	ina226MakerID    = 0x5449
	ina226DieID      = 0x2260
	ina226Fixed      = 0x4000 // bits 15 to 12 of the configuration
	ina226Continuous = 0x0007 // mode: shunt and bus
	ina226Ready      = 0x0008

	ina226ShuntLSB = 2.5e-3  // mV
	ina226BusLSB   = 1.25e-3 // V
)

type ina226 struct {
	base
	value bool // had one since the chip was last known to start
}

func newINA226(dev *i2c.Dev) chip {
	return &ina226{base: base{dev: dev, chans: []channel{{"voltage", sensors.Volt}, {"shunt", sensors.MilliV}}}}
}

func (n *ina226) measure(ctx context.Context, _ func() sensors.Mono, report report) error {
	if n.due() {
		if !n.known {
			n.value = false
		}
		if err := n.identify(ctx, report); err != nil {
			return err
		}
	}
	cfg, err := n.word(ctx, ina226Config)
	if err != nil {
		return err
	}
	if cfg&0xf000 != ina226Fixed || cfg&ina226Continuous != ina226Continuous {
		n.known = false
		return fmt.Errorf("configuration is %#04x: it does not measure both voltages continuously: another program has set it, or the bus is stuck: switch it off and on", cfg)
	}
	mask, err := n.word(ctx, ina226Mask)
	if err != nil {
		return err
	}
	if mask&ina226Ready == 0 {
		if !n.value {
			n.all(report, sensors.NotReady)
		}
		return nil // polled faster than it converts
	}
	bus, err := n.word(ctx, ina226Bus)
	if err != nil {
		return err
	}
	shunt, err := n.word(ctx, ina226Shunt)
	if err != nil {
		return err
	}
	if bus&0x8000 != 0 { // the voltage is never negative
		n.known = false
		return fmt.Errorf("the voltage is %#04x, which no chip gives: the bus is disturbed or stuck: check wiring", bus)
	}
	n.value = true
	report(0, float64(bus)*ina226BusLSB, sensors.GoodQuality)
	report(1, float64(int16(shunt))*ina226ShuntLSB, sensors.GoodQuality)
	return nil
}

func (n *ina226) identify(ctx context.Context, report report) error {
	maker, err := n.word(ctx, ina226Maker)
	if err != nil {
		return err
	}
	die, err := n.word(ctx, ina226Die)
	if err != nil {
		return err
	}
	if maker != ina226MakerID || die != ina226DieID {
		return n.wrong(report, fmt.Sprintf("%#04x %#04x", maker, die), fmt.Sprintf("%#04x %#04x", ina226MakerID, ina226DieID))
	}
	n.right()
	return nil
}
