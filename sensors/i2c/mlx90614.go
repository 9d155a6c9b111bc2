package i2c

import (
	"context"
	"time"

	"firebreak/sensors"

	"periph.io/x/conn/v3/i2c"
)

// MLX90614, the temperature of a surface by its infrared. Melexis data sheet MLX90614 and application note
// 390119061402: RAM, packet error code. Nothing is written, above all not the EEPROM with the emissivity.
//
// Every word carries a packet error code over the address, which is all the identity there is. A driver of
// the kernel says that the code of a read cannot be used; where that is so, each poll fails, and says why.
const (
	mlx90614Ambient = 0x06
	mlx90614Object  = 0x07

	mlx90614Fault  = 0x8000
	mlx90614Lowest = 0x27ad // of the object: -70.01 C
	mlx90614LSB    = 0.02   // K

	// mlx90614First is longer than it takes from power to valid data, 250 ms.
	mlx90614First = 500 * time.Millisecond
)

type mlx90614 struct {
	base
	alive since
}

func newMLX90614(dev *i2c.Dev) chip {
	return &mlx90614{base: base{dev: dev, chans: []channel{{"surface.temperature", sensors.Celsius}, {"ambient.temperature", sensors.Celsius}}}}
}

func (m *mlx90614) measure(ctx context.Context, now func() sensors.Mono, report report) error {
	var raw [2]uint16
	for i, reg := range []byte{mlx90614Object, mlx90614Ambient} {
		var err error
		if raw[i], err = m.checkedWord(ctx, reg); err != nil {
			m.alive = 0
			return err
		}
	}
	if m.alive.young(now(), mlx90614First) {
		m.all(report, sensors.NotReady)
		return nil
	}
	for i, v := range raw {
		if v&mlx90614Fault != 0 || i == 0 && v < mlx90614Lowest || v == 0 {
			report(i, 0, sensors.BadQuality(sensors.Sentinel))
		} else {
			report(i, float64(v)*mlx90614LSB-273.15, sensors.GoodQuality)
		}
	}
	return nil
}
