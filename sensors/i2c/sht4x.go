package i2c

import (
	"context"
	"time"

	"periph.io/x/conn/v3/i2c"
)

// SHT40, SHT41, SHT45: temperature and humidity. Sensirion datasheet SHT4x: 4.5 commands, 4.6 conversion;
// times from Sensirion's driver embedded-i2c-sht4x. Commands have one byte. Most that are not used here
// heat the chip, and the serial number is asked first, so that another chip is told none of them.
//
// The scale of the humidity differs from the SHT3x at the same address, and reaches beyond 0 and 100 %; the
// datasheet says to cut it there.
const (
	sht4xMeasure = 0xfd // high repeatability
	sht4xSerial  = 0x89
	sht4xWait    = 10 * time.Millisecond // 8.3 ms at most
)

func newSHT4x(dev *i2c.Dev) chip {
	h := &humidity{base: base{dev: dev, chans: humidityChannels()}, command: []byte{sht4xMeasure}, wait: sht4xWait}
	h.relative = func(raw uint16) float64 { return min(max(-6+125*float64(raw)/65535, 0), 100) }
	h.identify = func(ctx context.Context, _ report) (bool, error) {
		var serial [2]uint16
		err := h.ask(ctx, "serial number", []byte{sht4xSerial}, sht4xWait, serial[:])
		h.numbered(serial[:]...)
		return err == nil, err
	}
	return h
}
