package i2c

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"firebreak/sensors"

	"periph.io/x/conn/v3/i2c"
)

// BME680 and BME688: temperature, humidity, pressure, and the resistance of a heated metal oxide, which falls when there is gas.
// Bosch BME68x_SensorAPI: registers; compensation in real arithmetic, without a clamp of the humidity. Two variants of the gas part
// differ in where its result lies and how it is converted; register 0xF0 tells which.
//
// The plate is heated to 300 C for 100 ms, as in Bosch's examples, and the bus is not kept meanwhile: a poll reads what the
// poll before has started, and starts the next. All settings are lost with the power and written anew each time, and the result
// counts only if they are still there. Resistance without its bits "valid" and "heater stable" does not count; the other three do.
const (
	bme680ID      = 0xd0
	bme680IDValue = 0x61
	bme680Variant = 0xf0
	bme680Result  = 0x1d // 17 bytes
	bme680Setup   = 0x70 // heater, gas, humidity, (0x73), sampling and mode, filter
	bme680ResHeat = 0x5a
	bme680GasWait = 0x64

	bme680New     = 1 << 7
	bme680Valid   = 1 << 5
	bme680Stable  = 1 << 4
	bme680Once    = 0x01 // humidity sampled once
	bme680Sampled = 0x24 // temperature and pressure sampled once; asleep
	bme680Forced  = bme680Sampled | 0x01
	bme680Filter  = 0x1c
	bme680Low     = 0x10 // gas measured, heater setting 0
	bme680High    = 0x20

	bme680Target  = 300  // C, of the plate
	bme680Ambient = 25   // C, that the plate is heated from
	bme680Heating = 0x59 // 25 times 4 ms

	// bme680Time is what a measurement takes: 11.2 ms for the three, each sampled once, and 100 ms of heating.
	bme680Time = 150 * time.Millisecond
	// bme680Warm is how long the plate takes to settle; until then its resistance moves by itself.
	bme680Warm = 5 * time.Minute

	bme680NoResult = 0x80000 // of temperature and pressure that are not measured
)

type bme680 struct {
	base
	cal    bme680Calibration
	run    byte         // what is written to measure gas: it says which variant
	began  sensors.Mono // the measurement under way; 0: none is
	result sensors.Mono // when the one that was read had been started
	first  sensors.Mono // since when it has been measuring without a break; 0: it is not
}

func newBME680(dev *i2c.Dev) chip {
	return &bme680{base: base{dev: dev, chans: []channel{
		{"temperature", sensors.Celsius}, {"humidity", sensors.RelHum}, {"pressure", sensors.Pascal}, {"gas.resistance", sensors.KiloOhm},
	}}}
}

func (b *bme680) sampled() sensors.Mono { return b.result }

func (b *bme680) measure(ctx context.Context, now func() sensors.Mono, report report) error {
	had := b.began
	if had != 0 && now() < had.Add(bme680Time) {
		return nil // polled faster than it measures
	}
	if err := b.turn(ctx, now, report); err != nil {
		b.began, b.first = 0, 0 // it may have lost its power: begin anew
		return err
	}
	return nil
}

// turn reads the measurement under way, and starts the next one.
func (b *bme680) turn(ctx context.Context, now func() sensors.Mono, report report) error {
	if b.due() {
		if err := b.identify(ctx, report); err != nil {
			return err
		}
	}
	if b.began == 0 {
		b.all(report, sensors.NotReady)
	} else if err := b.finish(ctx, report); err != nil {
		return err
	}
	for _, w := range [][]byte{
		{bme680ResHeat, b.cal.heater(bme680Target, bme680Ambient)}, {bme680GasWait, bme680Heating},
		{bme680Setup, 0}, {bme680Setup + 1, b.run}, {bme680Setup + 2, bme680Once}, {bme680Setup + 4, bme680Forced},
	} {
		if err := b.tx(ctx, "command to measure", w, nil); err != nil {
			return err
		}
	}
	b.began = max(now(), 1)
	if b.first == 0 {
		b.first = b.began
	}
	return nil
}

// finish reads what the poll before has started.
func (b *bme680) finish(ctx context.Context, report report) error {
	var s [6]byte
	if err := b.read(ctx, bme680Setup, s[:]); err != nil {
		return err
	}
	if s[5]&bme680Filter != 0 {
		return fmt.Errorf("filter %#02x is on, which would hold a fire back: see what else writes to it, or switch it off and on", s[5])
	}
	var r [17]byte
	if err := b.read(ctx, bme680Result, r[:]); err != nil {
		return err
	}
	p, t, h := raw20(r[2:5]), raw20(r[5:8]), float64(binary.BigEndian.Uint16(r[8:]))
	kept := s[0]&0x08 == 0 && s[1] == b.run && s[2]&0x07 == bme680Once && s[4] == bme680Sampled
	if !kept || r[0]&bme680New == 0 || p == bme680NoResult && t == bme680NoResult {
		b.known, b.first = false, 0
		b.all(report, sensors.NotReady)
		return nil
	}
	b.result = b.began
	fine := b.cal.fine(t)
	report(0, fine/5120, sensors.GoodQuality)
	report(1, b.cal.humidity(h, fine/5120), sensors.GoodQuality)
	if v, ok := b.cal.pressure(p, fine); ok {
		report(2, v, sensors.GoodQuality)
	} else {
		report(2, 0, sensors.BadQuality(sensors.Implausible))
	}
	gas := r[13:15]
	if b.run == bme680High {
		gas = r[15:17]
	}
	ohm := b.cal.resistance(b.run == bme680High, float64(uint(gas[0])<<2|uint(gas[1])>>6), int(gas[1]&0x0f))
	switch {
	case gas[1]&bme680Valid == 0 || gas[1]&bme680Stable == 0 || b.began < b.first.Add(bme680Warm):
		report(3, 0, sensors.BadQuality(sensors.NotReady))
	case math.IsInf(ohm, 0) || !(ohm > 0):
		report(3, 0, sensors.BadQuality(sensors.Implausible))
	default:
		report(3, ohm/1000, sensors.GoodQuality)
	}
	return nil
}

func (b *bme680) identify(ctx context.Context, report report) error {
	var id, variant [1]byte
	if err := b.read(ctx, bme680ID, id[:]); err != nil {
		return err
	}
	if id[0] != bme680IDValue {
		return b.wrong(report, fmt.Sprintf("%#02x", id[0]), fmt.Sprintf("%#02x", bme680IDValue))
	}
	if err := b.read(ctx, bme680Variant, variant[:]); err != nil {
		return err
	}
	switch variant[0] {
	case 0:
		b.run = bme680Low
	case 1:
		b.run = bme680High
	default:
		return b.wrong(report, fmt.Sprintf("right, but its variant is %#02x", variant[0]), "with variant 0 or 1")
	}
	var raw [42]byte // as in Bosch's driver
	for _, part := range []struct {
		reg byte
		to  []byte
	}{{0x8a, raw[:23]}, {0xe1, raw[23:37]}, {0x00, raw[37:]}} {
		if err := b.read(ctx, part.reg, part.to); err != nil {
			return err
		}
	}
	b.cal = bme680CalibrationOf(raw)
	if b.cal.t1 == 0 || b.cal.t2 == 0 || b.cal.p1 == 0 || b.cal.h2 == 0 {
		return b.wrong(report, "right, but its calibration is empty", "with one")
	}
	b.right()
	return nil
}
