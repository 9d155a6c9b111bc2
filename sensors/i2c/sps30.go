package i2c

import (
	"context"
	"math"
	"time"

	"firebreak/sensors"

	"periph.io/x/conn/v3/i2c"
)

// SPS30, particles by laser. Sensirion's driver embedded-sps: commands, order of the values; Sensirion data sheet
// SPS30: 6.3 I2C, 4.4 status. The chip measures each second once it has been told to, which is the only
// command that is sent, and only when it has had nothing new for longer than that can take.
//
// It draws the air by a fan. With the fan or the laser broken it goes on to answer, with air as clean as can be:
// its values are bad then. A fan that is merely out of its speed leaves them, and says so.
const (
	sps30Time   = time.Millisecond
	sps30Silent = 5 * time.Second  // without anything new: it does not measure
	sps30Warm   = 30 * time.Second // from the start to values that are right at few particles

	sps30FanSpeed = 1 << 21
	sps30Laser    = 1 << 5
	sps30Fan      = 1 << 4

	sps30Masses = 4 // of ten values: PM1, 2.5, 4, 10
)

type sps30 struct {
	base
	idle  bool         // it is to be told to measure
	last  sensors.Mono // when it was told, or had something new
	began since        // when it began to measure
}

func newSPS30(dev *i2c.Dev) chip {
	return &sps30{base: base{dev: dev, chans: []channel{
		{"mass.pm1", sensors.MicrogramM3}, {"mass.pm2-5", sensors.MicrogramM3}, {"mass.pm4", sensors.MicrogramM3}, {"mass.pm10", sensors.MicrogramM3},
		{"fault.fan-speed", sensors.None}, {"fault.laser", sensors.None}, {"fault.fan", sensors.None},
	}}}
}

func (s *sps30) measure(ctx context.Context, now func() sensors.Mono, report report) error {
	err := s.step(ctx, now, report)
	if err != nil { // it may have lost its power
		s.began, s.last, s.idle = 0, 0, false
	}
	return err
}

func (s *sps30) step(ctx context.Context, now func() sensors.Mono, report report) error {
	if s.due() {
		var serial [16]uint16 // text, ended by a zero
		if err := s.ask(ctx, "serial number", []byte{0xd0, 0x33}, sps30Time, serial[:]); err != nil {
			return err
		}
		s.serial = text(serial[:])
		s.right()
	}
	at := now()
	if s.last == 0 {
		s.last = max(at, 1) // an agent before this one may have told it
	}
	if s.idle {
		if err := s.tx(ctx, "command to measure", []byte{0x00, 0x10, 0x03, 0x00, 0xac}, nil); err != nil {
			return err
		}
		s.idle, s.last, s.began = false, at, 0
	}
	faults, err := s.faults(ctx, report)
	if err != nil {
		return err
	}
	var ready [1]uint16
	if err := s.ask(ctx, "state", []byte{0x02, 0x02}, sps30Time, ready[:]); err != nil {
		return err
	}
	if ready[0] != 1 {
		s.idle = at >= s.last.Add(sps30Silent)
		if s.idle || s.began == 0 {
			s.masses(report, sensors.NotReady)
		}
		return nil
	}
	var w [20]uint16
	if err := s.ask(ctx, "measurement", []byte{0x03, 0x00}, sps30Time, w[:]); err != nil {
		return err
	}
	s.last = at
	switch {
	case faults&(sps30Laser|sps30Fan) != 0:
		s.masses(report, sensors.Sentinel)
	case s.began.young(at, sps30Warm):
		s.masses(report, sensors.NotReady)
	default:
		for i := range sps30Masses {
			report(i, float64(math.Float32frombits(uint32(w[2*i])<<16|uint32(w[2*i+1]))), sensors.GoodQuality)
		}
	}
	return nil
}

// masses reports the masses as bad.
func (s *sps30) masses(report report, why sensors.Reason) {
	for i := range sps30Masses {
		report(i, 0, sensors.BadQuality(why))
	}
}

// faults reads the status and reports its bits.
func (s *sps30) faults(ctx context.Context, report report) (uint32, error) {
	var w [2]uint16
	if err := s.ask(ctx, "status", []byte{0xd2, 0x06}, sps30Time, w[:]); err != nil {
		return 0, err
	}
	status := uint32(w[0])<<16 | uint32(w[1])
	for i, bit := range []uint32{sps30FanSpeed, sps30Laser, sps30Fan} {
		v := 0.0
		if status&bit != 0 {
			v = 1
		}
		report(sps30Masses+i, v, sensors.GoodQuality)
	}
	return status, nil
}

// text is what words hold as characters, up to the first that is none.
func text(words []uint16) string {
	var b []byte
	for _, w := range words {
		for _, c := range [2]byte{byte(w >> 8), byte(w)} {
			if c <= ' ' || c > '~' {
				return string(b)
			}
			b = append(b, c)
		}
	}
	return string(b)
}
