package i2c

import (
	"context"

	"firebreak/sensors"

	"periph.io/x/conn/v3/i2c"
)

// PCF8574 and PCF8574A, eight inputs. NXP data sheet PCF8574; PCF8574A: quasi-bidirectional ports. A port is
// an input once a one has been written to it, as it is when switched on; a zero that another program wrote there
// would read as a closed contact, which is health. So ones are written to all with each read, in one transfer.
//
// The chip has no register, no identity and no check code. All ones on a line that is stuck are all contacts open,
// which is the safe side; all zeros are not, and only a supervised contact tells them.
const pcf8574Inputs = 0xff

type pcf8574 struct {
	base
	contacts contacts
}

func newPCF8574(dev *i2c.Dev) chip {
	c := contacts{numbered("", 8), []int{0, 2, 4, 6}}
	return &pcf8574{base{dev: dev, chans: c.channels()}, c}
}

func (p *pcf8574) measure(ctx context.Context, _ func() sensors.Mono, report report) error {
	var levels [1]byte
	if err := p.tx(ctx, "inputs", []byte{pcf8574Inputs}, levels[:]); err != nil {
		return err
	}
	p.contacts.report(uint(levels[0]), report)
	return nil
}
