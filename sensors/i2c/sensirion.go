package i2c

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"firebreak/sensors"
)

// Sensirion's way of talking, which TI's HDC302x shares: a command, time to carry it out, and an answer
// of 16-bit words, high byte first, each with a check code: polynomial 0x31, from 0xFF (SHT3x datasheet
// of May 2018, 4.12). A chip that is not ready does not acknowledge the read. A line that is stuck high
// or low fails the check code.
func sensirionCheck(word []byte) byte { return crc8(0x31, 0xff, word...) }

// answer reads words and looks at the check code of each.
func (b *base) answer(ctx context.Context, what string, words []uint16) error {
	raw := make([]byte, 3*len(words))
	if err := b.tx(ctx, what, nil, raw); err != nil {
		return err
	}
	for i := range words {
		w := raw[3*i : 3*i+3]
		if c := sensirionCheck(w[:2]); c != w[2] {
			b.known = false
			return fmt.Errorf("%s: word %d is % x, and its check code should be %#02x: the bus is disturbed or stuck, or another chip answers: check wiring, length and pull-ups", what, i+1, w, c)
		}
		words[i] = binary.BigEndian.Uint16(w)
	}
	return nil
}

// ask sends a command, gives the chip its time, and reads its answer.
func (b *base) ask(ctx context.Context, what string, command []byte, delay time.Duration, words []uint16) error {
	if err := b.tx(ctx, what, command, nil); err != nil {
		return err
	}
	if err := pause(ctx, delay); err != nil {
		return err
	}
	return b.answer(ctx, what, words)
}

// sensirionHeater is in the status word of SHT3x: the heater is on, and both values are wrong.
const sensirionHeater = 1 << 13

// humidity is a chip that measures temperature and humidity at a command.
type humidity struct {
	base
	command  []byte
	wait     time.Duration
	identify func(context.Context, report) (bool, error) // false: the chip is right, and its values are not
	relative func(raw uint16) float64
	noZeros  bool // two words of zero are what it answers before it has measured
}

func humidityChannels() []channel {
	return []channel{{"temperature", sensors.Celsius}, {"humidity", sensors.RelHum}}
}

func (h *humidity) measure(ctx context.Context, _ func() sensors.Mono, report report) error {
	if h.due() {
		if ok, err := h.identify(ctx, report); !ok || err != nil {
			return err
		}
		h.right()
	}
	var w [2]uint16
	if err := h.ask(ctx, "measurement", h.command, h.wait, w[:]); err != nil {
		return err
	}
	if h.noZeros && w[0] == 0 && w[1] == 0 {
		h.known = false
		h.all(report, sensors.NotReady)
		return nil
	}
	report(0, -45+175*float64(w[0])/65535, sensors.GoodQuality)
	report(1, h.relative(w[1]), sensors.GoodQuality)
	return nil
}
