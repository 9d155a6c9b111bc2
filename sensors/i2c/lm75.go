package i2c

import (
	"context"
	"fmt"
	"time"

	"firebreak/sensors"

	"periph.io/x/conn/v3/i2c"
)

// LM75 and what answers like it: LM75A/B, TMP75, TMP102, TMP105, TMP175, TMP275, TMP1075. TI SNIS153
// (LM75), SBOS854 (TMP1075): the temperature in register 0 is a left-justified two's complement of
// 9 to 12 bits, so that a 256th of the word is degrees whatever the resolution. The configuration is
// never written: each part converts continuously as it is switched on.
const (
	lm75Result = 0x00
	lm75Limit  = 0x03 // T_OS or T_HIGH: 80 C as switched on (0x5000)

	// lm75Spare are the bits of the result that read as zero at every resolution. A TMP102 in extended
	// mode uses one of them; that mode has to be set, and is not used.
	lm75Spare = 0x000f

	// lm75First is longer than the first conversion of any of them (LM75: 300 ms at most). Until it
	// ends a TMP1075 shows 0 C.
	lm75First = time.Second
)

// Most of the family have no identity register and none has a check code. What the bus itself makes
// up, all ones or all zeros, is told from a temperature by the spare bits and by the limit register,
// which is never 0 C in a living chip that nobody has configured.
type lm75 struct {
	base
	zero since
}

func newLM75(dev *i2c.Dev) chip {
	return &lm75{base: base{dev: dev, chans: []channel{{"temperature", sensors.Celsius}}}}
}

func (l *lm75) measure(ctx context.Context, now func() sensors.Mono, report report) error {
	raw, err := l.word(ctx, lm75Result)
	if err != nil {
		l.zero = 0
		return err
	}
	if raw == 0 || raw&lm75Spare != 0 {
		limit, err := l.word(ctx, lm75Limit)
		switch {
		case err != nil:
			l.zero = 0
			return err
		case raw != 0 || limit == 0:
			l.zero = 0
			return fmt.Errorf("the result is %#04x and the limit %#04x, which no chip of this family gives: the bus is stuck or another chip answers: check wiring and address", raw, limit)
		case l.zero.young(now(), lm75First): // switched on, or reset, and not converted yet
			report(0, 0, sensors.BadQuality(sensors.NotReady))
			return nil
		}
	} else {
		l.zero = 0
	}
	report(0, float64(int16(raw))/256, sensors.GoodQuality)
	return nil
}
