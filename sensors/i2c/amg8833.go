package i2c

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"firebreak/sensors"

	"periph.io/x/conn/v3/i2c"
)

// AMG8833 (Grid-EYE), the temperatures of 8 by 8 spots by their infrared. Panasonic's register page; conversion
// as in Adafruit_AMG88xx: the thermistor is sign and magnitude, the pixels are two's complement. The hottest
// pixel and the mean of all are reported: which spot it is does not matter to a hazard, and the hottest is never
// averaged away. Nothing is written: it measures ten times a second as it is switched on.
//
// It has no identity and no check code. A chip that is asleep, a thermistor out of its range, and 64 equal
// pixels, which no living sensor gives, are refused; the last two are what a stuck bus reads as.
const (
	amg8833Power      = 0x00 // 0: normal
	amg8833Thermistor = 0x0e
	amg8833Pixels     = 0x80 // 64 words, low byte first

	amg8833ThermistorLSB = 0.0625 // C
	amg8833PixelLSB      = 0.25   // C
	amg8833Lowest        = -20    // of the thermistor

	// amg8833Warm is what it takes from power to a stable output.
	amg8833Warm = 15 * time.Second
)

type amg8833 struct {
	base
	alive since
}

func newAMG8833(dev *i2c.Dev) chip {
	return &amg8833{base: base{dev: dev, chans: []channel{{"surface.hottest", sensors.Celsius}, {"surface.mean", sensors.Celsius}, {"ambient.temperature", sensors.Celsius}}}}
}

func (a *amg8833) measure(ctx context.Context, now func() sensors.Mono, report report) error {
	hottest, mean, ambient, err := a.frame(ctx)
	if err != nil {
		a.alive = 0
		return err
	}
	if a.alive.young(now(), amg8833Warm) {
		a.all(report, sensors.NotReady)
		return nil
	}
	for i, v := range []float64{hottest, mean, ambient} {
		report(i, v, sensors.GoodQuality)
	}
	return nil
}

func (a *amg8833) frame(ctx context.Context) (hottest, mean, ambient float64, err error) {
	var power [1]byte
	if err := a.read(ctx, amg8833Power, power[:]); err != nil {
		return 0, 0, 0, err
	}
	if power[0] != 0 {
		return 0, 0, 0, fmt.Errorf("power control is %#02x: it sleeps, another chip answers, or the bus is stuck: switch it off and on", power[0])
	}
	if err := a.read(ctx, amg8833Thermistor, a.buf[:]); err != nil {
		return 0, 0, 0, err
	}
	t := binary.LittleEndian.Uint16(a.buf[:])
	ambient = float64(t&0x07ff) * amg8833ThermistorLSB
	if t&0x0800 != 0 {
		ambient = -ambient
	}
	if t&0xf000 != 0 || ambient < amg8833Lowest {
		return 0, 0, 0, fmt.Errorf("the thermistor is %#04x, which no chip gives: the bus is disturbed, or another chip answers: check wiring and address", t)
	}
	var r [128]byte
	if err := a.read(ctx, amg8833Pixels, r[:]); err != nil {
		return 0, 0, 0, err
	}
	hottest, mean, equal := pixels(r)
	if equal {
		return 0, 0, 0, errors.New("all pixels are equal, which no chip gives: the bus is stuck, or another chip answers: check wiring and address")
	}
	return hottest, mean, ambient, nil
}

// pixels returns the hottest pixel and the mean of all, and whether all are equal.
func pixels(r [128]byte) (hottest, mean float64, equal bool) {
	equal = true
	for i := 0; i < len(r); i += 2 {
		raw := binary.LittleEndian.Uint16(r[i:]) << 4 // the sign is bit 11
		v := float64(int16(raw)>>4) * amg8833PixelLSB
		if i == 0 || v > hottest {
			hottest = v
		}
		mean += v / float64(len(r)/2)
		equal = equal && r[i] == r[0] && r[i+1] == r[1]
	}
	return hottest, mean, equal
}
