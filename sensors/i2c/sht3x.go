package i2c

import (
	"context"
	"time"

	"firebreak/sensors"

	"periph.io/x/conn/v3/i2c"
)

// SHT30, SHT31, SHT35: temperature and humidity. Sensirion datasheet SHT3x-DIS version 5 of May 2018: 4.3
// single shot, 4.12 check code, 4.13 conversion; the serial number is from Sensirion's driver embedded-sht.
//
// The command to measure is no configuration: it is without clock stretching, which would hold the bus
// of all, and leaves the chip as it was. The serial number, with its check codes, is the identity: an
// SHT4x at this address takes the first byte of a measurement for a command to heat, and acknowledges
// none of this. A chip whose heater somebody has switched on says so, and is bad.
const (
	sht3xSerialTime = time.Millisecond
	sht3xWait       = 16 * time.Millisecond // high repeatability takes 15 ms at most
)

func newSHT3x(dev *i2c.Dev) chip {
	h := &humidity{base: base{dev: dev, chans: humidityChannels()}, command: []byte{0x24, 0x00}, wait: sht3xWait, relative: percentOf65535}
	h.identify = func(ctx context.Context, report report) (bool, error) {
		var serial [2]uint16
		if err := h.ask(ctx, "serial number", []byte{0x37, 0x80}, sht3xSerialTime, serial[:]); err != nil {
			return false, err
		}
		h.numbered(serial[:]...)
		var status [1]uint16
		if err := h.ask(ctx, "status", []byte{0xf3, 0x2d}, sht3xSerialTime, status[:]); err != nil {
			return false, err
		}
		if status[0]&sensirionHeater != 0 {
			h.known = false
			h.all(report, sensors.TestMode)
			return false, nil
		}
		return true, nil
	}
	return h
}

func percentOf65535(raw uint16) float64 { return 100 * float64(raw) / 65535 }
