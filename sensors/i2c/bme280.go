package i2c

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"firebreak/sensors"

	"periph.io/x/conn/v3/i2c"
)

// BME280: temperature, humidity and pressure. Bosch BST-BME280-DS002: register map; compensation in real
// arithmetic as in Bosch's BME280_SensorAPI, but without its clamps, which say 85.0 C in a fire.
//
// Two registers are written for each measurement: how often to sample, and the command to measure once
// (forced mode), after which the chip sleeps. Neither can be left out, since both are lost with the power.
// Both are read back, with the filter, before the result counts: a chip that was reset in between, or is
// used by another program, shows there.
const (
	bme280ID      = 0xd0
	bme280Low     = 0x88 // calibration, 26 bytes
	bme280High    = 0xe1 // calibration, 7 bytes
	bme280Hum     = 0xf2 // sampling of humidity; then status, sampling and mode, filter
	bme280Status  = 0xf3
	bme280Meas    = 0xf4
	bme280Result  = 0xf7 // one burst of 8 bytes, so that all are of one measurement
	bme280IDValue = 0x60

	bme280Once      = 0x01 // humidity sampled once
	bme280Sampled   = 0x24 // temperature and pressure sampled once; asleep
	bme280Forced    = bme280Sampled | 0x01
	bme280Measuring = 1 << 3
	bme280Copying   = 1 << 0 // its calibration, in the first 2 ms after power: what is read of it is not whole
	bme280Filter    = 0x1c
	bme280NoResult  = 0x80000 // of temperature and pressure, until there is one

	bme280Wait  = 10 * time.Millisecond // 9.3 ms at most, each sampled once
	bme280More  = time.Millisecond
	bme280Tries = 3
)

type bme280 struct {
	base
	cal bme280Calibration
}

// bme280Calibration is burnt into each chip, under the names of the datasheet.
type bme280Calibration struct {
	t1, t2, t3                         float64
	p1, p2, p3, p4, p5, p6, p7, p8, p9 float64
	h1, h2, h3, h4, h5, h6             float64
}

func newBME280(dev *i2c.Dev) chip {
	return &bme280{base: base{dev: dev, chans: []channel{{"temperature", sensors.Celsius}, {"humidity", sensors.RelHum}, {"pressure", sensors.Pascal}}}}
}

func (b *bme280) measure(ctx context.Context, _ func() sensors.Mono, report report) error {
	if b.due() {
		if err := b.identify(ctx, report); err != nil || !b.known {
			return err
		}
	}
	for _, w := range [][]byte{{bme280Hum, bme280Once}, {bme280Meas, bme280Forced}} {
		if err := b.tx(ctx, "command to measure", w, nil); err != nil {
			return err
		}
	}
	ready, err := b.ready(ctx)
	if err != nil {
		return err
	}
	var r [8]byte
	if err := b.read(ctx, bme280Result, r[:]); err != nil {
		return err
	}
	p, t, h := raw20(r[0:3]), raw20(r[3:6]), float64(binary.BigEndian.Uint16(r[6:]))
	if !ready || p == bme280NoResult && t == bme280NoResult {
		b.known = false
		b.all(report, sensors.NotReady)
		return nil
	}
	fine := b.cal.fine(t)
	report(0, fine/5120, sensors.GoodQuality)
	report(1, b.cal.humidity(h, fine), sensors.GoodQuality)
	if v, ok := b.cal.pressure(p, fine); ok {
		report(2, v, sensors.GoodQuality)
	} else {
		report(2, 0, sensors.BadQuality(sensors.Implausible))
	}
	return nil
}

// ready waits for the measurement. It is false when the chip no longer has the settings that were written.
func (b *bme280) ready(ctx context.Context) (bool, error) {
	delay := bme280Wait
	for range bme280Tries {
		if err := pause(ctx, delay); err != nil {
			return false, err
		}
		var s [4]byte // humidity, status, sampling and mode, filter
		if err := b.read(ctx, bme280Hum, s[:]); err != nil {
			return false, err
		}
		if s[3]&bme280Filter != 0 {
			b.known = false
			return false, fmt.Errorf("configuration %#02x: a filter is on, which would hold a fire back: see what else writes to it, or switch it off and on", s[3])
		}
		if s[1]&bme280Measuring == 0 {
			return s[0]&0x07 == bme280Once && s[2] == bme280Sampled, nil
		}
		delay = bme280More
	}
	b.known = false
	return false, fmt.Errorf("it still measures after %v: it is disturbed or broken", bme280Wait+(bme280Tries-1)*bme280More)
}

// identify leaves the chip unknown, without an error, while it still starts.
func (b *bme280) identify(ctx context.Context, report report) error {
	var id [1]byte
	if err := b.read(ctx, bme280ID, id[:]); err != nil {
		return err
	}
	if id[0] != bme280IDValue {
		return b.wrong(report, fmt.Sprintf("%#02x", id[0]), fmt.Sprintf("%#02x", bme280IDValue))
	}
	if err := b.read(ctx, bme280Status, b.buf[:1]); err != nil {
		return err
	}
	if b.buf[0]&bme280Copying != 0 {
		b.known = false
		b.all(report, sensors.NotReady)
		return nil
	}
	var low [26]byte
	if err := b.read(ctx, bme280Low, low[:]); err != nil {
		return err
	}
	var high [7]byte
	if err := b.read(ctx, bme280High, high[:]); err != nil {
		return err
	}
	b.cal = calibrationOf(low, high)
	if b.cal.t1 == 0 || b.cal.t2 == 0 || b.cal.p1 == 0 || b.cal.h2 == 0 {
		return b.wrong(report, "right, but its calibration is empty", "with one")
	}
	b.right()
	return nil
}

// raw20 reads 20 bits, the last four in the high half of a byte.
func raw20(b []byte) float64 {
	return float64(uint32(b[0])<<12 | uint32(b[1])<<4 | uint32(b[2])>>4)
}

func calibrationOf(low [26]byte, high [7]byte) bme280Calibration {
	u := func(i int) float64 { return float64(binary.LittleEndian.Uint16(low[i:])) }
	s := func(i int) float64 { return float64(int16(binary.LittleEndian.Uint16(low[i:]))) }
	return bme280Calibration{
		t1: u(0), t2: s(2), t3: s(4),
		p1: u(6), p2: s(8), p3: s(10), p4: s(12), p5: s(14), p6: s(16), p7: s(18), p8: s(20), p9: s(22),
		h1: float64(low[25]), h2: float64(int16(binary.LittleEndian.Uint16(high[:]))), h3: float64(high[2]),
		h4: float64(int(int8(high[3]))<<4 | int(high[4]&0x0f)),
		h5: float64(int(int8(high[5]))<<4 | int(high[4]>>4)),
		h6: float64(int8(high[6])),
	}
}

// fine is the temperature in 5120ths of a degree, which the other two are compensated with.
func (c *bme280Calibration) fine(t float64) float64 {
	d := t/131072 - c.t1/8192
	return (t/16384-c.t1/1024)*c.t2 + d*d*c.t3
}

func (c *bme280Calibration) humidity(raw, fine float64) float64 {
	h := fine - 76800
	x := (raw - (64*c.h4 + c.h5/16384*h)) * (c.h2 / 65536 * (1 + c.h6/67108864*h*(1+c.h3/67108864*h)))
	return x * (1 - c.h1*x/524288)
}

func (c *bme280Calibration) pressure(raw, fine float64) (float64, bool) {
	a := fine/2 - 64000
	b := a*a*c.p6/32768 + a*c.p5*2
	b = b/4 + c.p4*65536
	d := (1 + (c.p3*a*a/524288+c.p2*a)/524288/32768) * c.p1
	if d == 0 {
		return 0, false
	}
	p := (1048576 - raw - b/4096) * 6250 / d
	return p + (c.p9*p*p/2147483648+p*c.p8/32768+c.p7)/16, true
}
