package i2c

import (
	"context"
	"time"

	"firebreak/sensors"

	"periph.io/x/conn/v3/i2c"
)

// SCD40, SCD41, SCD43: carbon dioxide, temperature and humidity. Sensirion manual SCD4x v1.3: 3.5 start of the
// periodic measurement, read, stop; 3.6 conversion; commands and times from Sensirion's embedded-i2c-scd4x.
//
// It measures by itself every 5 s once it has been told to, which is the only command that is sent. It is
// told when it says for so long that there is nothing new that it cannot be measuring. While it measures it
// acknowledges few commands: the serial number cannot be read, so that it is the identity only as long as it
// has not been told. Its offsets, its calibration and its self-calibration are never written, and it is never
// stopped, which would leave it silent for 500 ms.
const (
	scd4xTime   = time.Millisecond
	scd4xPeriod = 5 * time.Second
	scd4xSilent = 3 * scd4xPeriod // without anything new: it does not measure
	scd4xNew    = 0x07ff
)

type scd4x struct {
	base
	idle bool         // nothing new for scd4xSilent, or nothing known yet
	last sensors.Mono // when it was told to measure, or had something new
	skip bool         // the next measurement is the first after power-on or start
	had  bool         // a value since the chip was last known to start
}

func newSCD4x(dev *i2c.Dev) chip {
	return &scd4x{base: base{dev: dev, chans: []channel{{"co2", sensors.PPM}, {"temperature", sensors.Celsius}, {"humidity", sensors.RelHum}}}, idle: true}
}

func (s *scd4x) measure(ctx context.Context, now func() sensors.Mono, report report) error {
	err := s.step(ctx, now, report)
	if err != nil { // what comes back may have lost its power
		s.idle, s.had = true, false
	}
	return err
}

func (s *scd4x) step(ctx context.Context, now func() sensors.Mono, report report) error {
	at := now()
	if s.idle {
		if err := s.start(ctx); err != nil {
			return err
		}
		s.idle, s.skip, s.last = false, true, at
	}
	var state [1]uint16
	if err := s.ask(ctx, "state", []byte{0xe4, 0xb8}, scd4xTime, state[:]); err != nil {
		return err
	}
	if state[0]&scd4xNew == 0 {
		s.idle = at >= s.last.Add(scd4xSilent)
		if s.idle || !s.had {
			s.had = false
			s.all(report, sensors.NotReady)
		}
		return nil
	}
	var w [3]uint16
	if err := s.ask(ctx, "measurement", []byte{0xec, 0x05}, scd4xTime, w[:]); err != nil {
		return err
	}
	s.last = at
	if s.skip {
		s.skip = false
		s.all(report, sensors.NotReady)
		return nil
	}
	s.had = true
	if w[0] == 0 { // what a measurement of temperature and humidity alone leaves
		report(0, 0, sensors.BadQuality(sensors.NotReady))
	} else {
		report(0, float64(w[0]), sensors.GoodQuality)
	}
	report(1, -45+175*float64(w[1])/65535, sensors.GoodQuality)
	report(2, percentOf65535(w[2]), sensors.GoodQuality)
	return nil
}

// start tells the chip to measure. One that measures already, for an agent before this one, refuses the
// serial number, and answers what follows; one that is absent does not.
func (s *scd4x) start(ctx context.Context) error {
	if err := s.tx(ctx, "serial number", []byte{0x36, 0x82}, nil); err != nil {
		return ctx.Err()
	}
	if err := pause(ctx, scd4xTime); err != nil {
		return err
	}
	var serial [3]uint16
	if err := s.answer(ctx, "serial number", serial[:]); err != nil {
		return err
	}
	s.numbered(serial[:]...)
	s.right()
	return s.tx(ctx, "command to measure", []byte{0x21, 0xb1}, nil)
}
