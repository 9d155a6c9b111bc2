package i2c

import (
	"context"
	"fmt"
	"time"

	"firebreak/sensors"

	"periph.io/x/conn/v3/i2c"
)

// MAX17048 and MAX17049, fuel gauges of one lithium cell (MAX17049: two in series). Analog Devices MAX17048 data
// sheet: register map. Nothing is written. The chip lives from the cell: without a cell it does not answer, or
// the bus reads as ones.
const (
	max17048Cell    = 0x02
	max17048Charge  = 0x04
	max17048Version = 0x08 // the last four bits are the revision

	max17048VersionID = 0x0010
	max17048CellLSB   = 78.125e-6 // V

	// max17048First is how long the gauge takes from power to its first estimate.
	max17048First = time.Second
)

type max17048 struct {
	base
	alive since
}

func newMAX17048(dev *i2c.Dev) chip {
	return &max17048{base: base{dev: dev, chans: []channel{{"voltage", sensors.Volt}, {"soc", sensors.Percent}}}}
}

func (m *max17048) measure(ctx context.Context, now func() sensors.Mono, report report) error {
	err := m.sample(ctx, now, report)
	if err != nil {
		m.alive = 0
	}
	return err
}

func (m *max17048) sample(ctx context.Context, now func() sensors.Mono, report report) error {
	if m.due() {
		if err := m.identify(ctx, report); err != nil {
			return err
		}
	}
	cell, err := m.word(ctx, max17048Cell)
	if err != nil {
		return err
	}
	charge, err := m.word(ctx, max17048Charge)
	if err != nil {
		return err
	}
	if cell == 0 || cell == 0xffff { // a line that is stuck, or a cell that is gone
		if err := m.identify(ctx, report); err != nil {
			return err
		}
	}
	if m.alive.young(now(), max17048First) {
		m.all(report, sensors.NotReady)
		return nil
	}
	report(0, float64(cell)*max17048CellLSB, sensors.GoodQuality)
	report(1, float64(charge)/256, sensors.GoodQuality)
	return nil
}

func (m *max17048) identify(ctx context.Context, report report) error {
	v, err := m.word(ctx, max17048Version)
	if err != nil {
		return err
	}
	if v&0xfff0 != max17048VersionID {
		return m.wrong(report, fmt.Sprintf("%#04x", v), fmt.Sprintf("%#03xx (0xffff: there is no cell)", max17048VersionID>>4))
	}
	m.right()
	return nil
}
