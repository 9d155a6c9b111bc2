package i2c

import (
	"context"
	"time"

	"firebreak/sensors"

	"periph.io/x/conn/v3/i2c"
)

// SGP40 (VOC) and SGP41 (VOC and NOx): the raw signals of a heated metal oxide. Sensirion datasheet SGP40
// v1.0, 3.2; Sensirion's drivers embedded-sgp and embedded-i2c-sgp41.
//
// The raw signal falls when there is more gas. It has no unit, and differs from chip to chip: its change is
// what counts. The maker's index is not computed: it learns a slow leak away as the air of the place. The
// command to measure also switches the heater on; with every argument at its default (50 % and 25 C) the
// chip corrects nothing.
//
// A measurement takes up to 50 ms, in which nobody else would have the bus, so a poll reads what the poll
// before has started, and starts the next. The conditioning of the SGP41 is never sent: repeated for over
// 10 s it damages the chip.
const (
	sgp4xTime       = 50 * time.Millisecond // SGP40: 30 ms
	sgp4xSerialTime = time.Millisecond

	// sgp4xWarm is how long the plate takes to settle from cold; until then the signal moves by itself.
	sgp4xWarm = time.Minute
)

type sgp4x struct {
	base
	command []byte
	words   []uint16
	began   sensors.Mono // the measurement under way; 0: none is
	result  sensors.Mono // when the one that was read had been made
	first   sensors.Mono // since when it has been measuring without a break; 0: it is not
}

// sgp4xCommand appends the default arguments, 50 % and 25 C, each with its check code.
func sgp4xCommand(high, low byte) []byte {
	return []byte{high, low, 0x80, 0x00, 0xa2, 0x66, 0x66, 0x93}
}

func newSGP40(dev *i2c.Dev) chip {
	return &sgp4x{base: base{dev: dev, chans: []channel{{"voc.raw", sensors.None}}}, command: sgp4xCommand(0x26, 0x0f), words: make([]uint16, 1)}
}

func newSGP41(dev *i2c.Dev) chip {
	chans := []channel{{"voc.raw", sensors.None}, {"nox.raw", sensors.None}}
	return &sgp4x{base: base{dev: dev, chans: chans}, command: sgp4xCommand(0x26, 0x19), words: make([]uint16, 2)}
}

func (s *sgp4x) sampled() sensors.Mono { return s.result }

func (s *sgp4x) measure(ctx context.Context, now func() sensors.Mono, report report) error {
	had := s.began
	if had != 0 && now() < had.Add(sgp4xTime) {
		return nil // polled faster than it measures
	}
	if err := s.turn(ctx, now); err != nil {
		s.began, s.first = 0, 0 // it may have lost its power: begin anew
		return err
	}
	if had == 0 || had < s.first.Add(sgp4xWarm) {
		s.all(report, sensors.NotReady)
		return nil
	}
	s.result = had
	for i, w := range s.words {
		report(i, float64(w), sensors.GoodQuality)
	}
	return nil
}

// turn reads the measurement under way, and starts the next one.
func (s *sgp4x) turn(ctx context.Context, now func() sensors.Mono) error {
	if s.began != 0 {
		if err := s.answer(ctx, "measurement", s.words); err != nil {
			return err
		}
	}
	if s.due() {
		var serial [3]uint16
		if err := s.ask(ctx, "serial number", []byte{0x36, 0x82}, sgp4xSerialTime, serial[:]); err != nil {
			return err
		}
		s.numbered(serial[:]...)
		s.right()
	}
	if err := s.tx(ctx, "command to measure", s.command, nil); err != nil {
		return err
	}
	s.began = max(now(), 1)
	if s.first == 0 {
		s.first = s.began
	}
	return nil
}
