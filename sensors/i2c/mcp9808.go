package i2c

import (
	"context"
	"fmt"
	"time"

	"firebreak/sensors"

	"periph.io/x/conn/v3/i2c"
)

// MCP9808, temperature to 0.25 C. Microchip DS25095: register map, ambient temperature register.
// Its configuration is never written: it converts continuously as it is switched on. Pointers from
// 0x09 on are reserved, and are never read.
const (
	mcp9808Config  = 0x01
	mcp9808Ambient = 0x05
	mcp9808Maker   = 0x06
	mcp9808Device  = 0x07 // the low byte is the revision

	mcp9808MakerID  = 0x0054
	mcp9808DeviceID = 0x04
	mcp9808Off      = 0x0100 // shut down: the last value stands for ever
	mcp9808Flags    = 0xe000 // above critical, above upper, below lower

	// mcp9808First is longer than the first conversion, 250 ms at the resolution as switched on.
	// Until it ends the chip shows 0 C.
	mcp9808First = time.Second
)

// The result has no check code. All three flags at once cannot be (above the upper and below the
// lower limit), and all zeros are looked at twice: both are what a stuck bus reads as.
type mcp9808 struct {
	base
	zero since
}

func newMCP9808(dev *i2c.Dev) chip {
	return &mcp9808{base: base{dev: dev, chans: []channel{{"temperature", sensors.Celsius}}}}
}

func (m *mcp9808) measure(ctx context.Context, now func() sensors.Mono, report report) error {
	raw, err := m.sample(ctx, report)
	if err != nil || raw&0x1fff != 0 {
		m.zero = 0
	}
	if err != nil {
		return err
	}
	if raw&0x1fff == 0 && m.zero.young(now(), mcp9808First) {
		report(0, 0, sensors.BadQuality(sensors.NotReady))
		return nil
	}
	v := float64(raw&0x0fff) / 16
	if raw&0x1000 != 0 {
		v -= 256
	}
	report(0, v, sensors.GoodQuality)
	return nil
}

func (m *mcp9808) sample(ctx context.Context, report report) (uint16, error) {
	if m.due() {
		if err := m.identify(ctx, report); err != nil {
			return 0, err
		}
	}
	cfg, err := m.word(ctx, mcp9808Config)
	if err != nil {
		return 0, err
	}
	raw, err := m.word(ctx, mcp9808Ambient)
	if err != nil {
		return 0, err
	}
	if cfg&mcp9808Off != 0 || raw&mcp9808Flags == mcp9808Flags || raw == 0 {
		if err := m.identify(ctx, report); err != nil {
			return 0, err
		}
	}
	switch {
	case cfg&mcp9808Off != 0:
		return 0, fmt.Errorf("configuration %#04x: the chip is shut down, and its value is old: see what else writes to it, or switch it off and on", cfg)
	case raw&mcp9808Flags == mcp9808Flags:
		return 0, fmt.Errorf("the result is %#04x, which no chip gives: the bus is disturbed: check wiring", raw)
	}
	return raw, nil
}

func (m *mcp9808) identify(ctx context.Context, report report) error {
	maker, err := m.word(ctx, mcp9808Maker)
	if err != nil {
		return err
	}
	device, err := m.word(ctx, mcp9808Device)
	if err != nil {
		return err
	}
	if maker != mcp9808MakerID || device>>8 != mcp9808DeviceID {
		return m.wrong(report, fmt.Sprintf("%#04x %#04x", maker, device), fmt.Sprintf("%#04x %#02xxx", mcp9808MakerID, mcp9808DeviceID))
	}
	m.right()
	return nil
}
