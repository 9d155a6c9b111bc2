package i2c

import (
	"context"
	"fmt"
	"time"

	"periph.io/x/conn/v3/i2c"
)

// HDC3020, HDC3021, HDC3022: temperature and humidity. Texas Instruments SNAS778: trigger-on-demand mode,
// conversion, check code; manufacturer 0x3000. The command to measure is no configuration.
//
// After power-on the first answer may be zeros with a right check code (TI, E2E forum): -45 C and 0 %
// exactly are never a measurement.
const (
	hdc302xMaker     = 0x3000
	hdc302xMakerTime = time.Millisecond
	hdc302xWait      = 16 * time.Millisecond // 12.5 ms typically at the lowest noise
)

func newHDC302x(dev *i2c.Dev) chip {
	h := &humidity{base: base{dev: dev, chans: humidityChannels()}, command: []byte{0x24, 0x00}, wait: hdc302xWait, relative: percentOf65535, noZeros: true}
	h.identify = func(ctx context.Context, report report) (bool, error) {
		var maker [1]uint16
		if err := h.ask(ctx, "manufacturer", []byte{0x37, 0x81}, hdc302xMakerTime, maker[:]); err != nil {
			return false, err
		}
		if maker[0] != hdc302xMaker {
			return false, h.wrong(report, fmt.Sprintf("%#04x", maker[0]), fmt.Sprintf("%#04x", hdc302xMaker))
		}
		return true, nil
	}
	return h
}
