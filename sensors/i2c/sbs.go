package i2c

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"firebreak/sensors"

	"golang.org/x/sys/unix"
	"periph.io/x/conn/v3/i2c"
)

// SBS is a smart battery: Smart Battery Data Specification 1.1, 5.1. Every word is read with its packet error
// code; a battery whose SpecificationInfo does not promise one is refused, since nothing else would tell a
// disturbed word. Nothing is written, so that its mode and its alarms stay as its own host has set them.
const (
	sbsTemperature = 0x08 // 0.1 K
	sbsVoltage     = 0x09 // mV
	sbsCurrent     = 0x0a // mA, positive while charging
	sbsCharge      = 0x0d // %
	sbsStatus      = 0x16
	sbsInfo        = 0x1a

	sbsChecked     = 3 // version in bits 7 to 4: 1.1 with packet error code
	sbsInitialized = 1 << 7

	// sbsWake is what a battery that was asleep takes after it did not acknowledge.
	sbsWake = 10 * time.Millisecond
)

// Channels, and the bits of the status that are channels.
const (
	sbsAtTemperature = iota
	sbsAtVoltage
	sbsAtCurrent
	sbsAtCharge
	sbsAtAlarms
)

type sbs struct {
	base
	volt, ampere float64 // of a step, by the scales in SpecificationInfo
}

// sbsAlarms are the bits of the status that are channels.
func sbsAlarms() []byte { return []byte{15, 14, 12, 11} }

func newSBS(dev *i2c.Dev) chip {
	return &sbs{base: base{dev: dev, chans: []channel{
		{"temperature", sensors.Celsius}, {"voltage", sensors.Volt}, {"current", sensors.Ampere}, {"soc", sensors.Percent},
		{"alarm.over-charged", sensors.None}, {"alarm.terminate-charge", sensors.None},
		{"alarm.over-temperature", sensors.None}, {"alarm.terminate-discharge", sensors.None},
	}}}
}

func (s *sbs) measure(ctx context.Context, _ func() sensors.Mono, report report) error {
	status, err := s.first(ctx)
	if err != nil {
		return err
	}
	if s.due() {
		if err := s.identify(ctx, report); err != nil {
			return err
		}
	}
	for i, bit := range sbsAlarms() {
		report(sbsAtAlarms+i, float64(status>>bit&1), sensors.GoodQuality)
	}
	t, err := s.checkedWord(ctx, sbsTemperature)
	switch {
	case err != nil:
		return err
	case t == 0: // its own way to the temperature is dead
		report(sbsAtTemperature, 0, sensors.BadQuality(sensors.Sentinel))
	default:
		report(sbsAtTemperature, float64(t)*0.1-273.15, sensors.GoodQuality)
	}
	v, err := s.checkedWord(ctx, sbsVoltage)
	if err != nil {
		return err
	}
	report(sbsAtVoltage, float64(v)*s.volt, sensors.GoodQuality)
	c, err := s.checkedWord(ctx, sbsCurrent)
	if err != nil {
		return err
	}
	report(sbsAtCurrent, float64(int16(c))*s.ampere, sensors.GoodQuality)
	soc, err := s.checkedWord(ctx, sbsCharge)
	switch {
	case err != nil:
		return err
	case status&sbsInitialized == 0: // the gauge has lost its calibration
		report(sbsAtCharge, 0, sensors.BadQuality(sensors.Sentinel))
	default:
		report(sbsAtCharge, float64(soc), sensors.GoodQuality)
	}
	return nil
}

// first reads the status, and once more when nobody acknowledged: a battery that was asleep wakes by that.
func (s *sbs) first(ctx context.Context) (uint16, error) {
	status, err := s.checkedWord(ctx, sbsStatus)
	if err == nil || !errors.Is(err, unix.ENXIO) && !errors.Is(err, unix.EREMOTEIO) {
		return status, err
	}
	if err := pause(ctx, sbsWake); err != nil {
		return 0, err
	}
	return s.checkedWord(ctx, sbsStatus)
}

func (s *sbs) identify(ctx context.Context, report report) error {
	info, err := s.checkedWord(ctx, sbsInfo)
	if err != nil {
		return err
	}
	if version := info >> 4 & 0x0f; version != sbsChecked {
		return s.wrong(report, fmt.Sprintf("SpecificationInfo %#04x with version %d", info, version), "version 3: SBS 1.1 with packet error code")
	}
	s.volt = 1e-3 * math.Pow10(int(info>>8&0x0f))
	s.ampere = 1e-3 * math.Pow10(int(info>>12))
	s.right()
	return nil
}
