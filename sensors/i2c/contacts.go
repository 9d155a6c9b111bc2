package i2c

import (
	"fmt"

	"firebreak/sensors"
)

// Dry contacts to ground at inputs that are pulled up: a closed contact reads low, an open one high. An alarm
// contact is normally closed, so that a wire that is cut looks like an alarm; one that is shorted looks like
// health. A supervised contact is a changeover: the normally closed side at an even input, the normally open side
// at the next one. As long as the wires are whole the two read opposite.
type contacts struct {
	names []string // of the inputs, in the order of their bits
	pairs []int    // bits of the normally closed sides
}

// channels are contact.NAME, 1 when open, and pair.NAME, 1 when in alarm.
func (c *contacts) channels() (chans []channel) {
	for _, n := range c.names {
		chans = append(chans, channel{"contact." + n, sensors.None})
	}
	for _, b := range c.pairs {
		chans = append(chans, channel{"pair." + c.names[b], sensors.None})
	}
	return chans
}

// report reports all of them. A pair that reads alike is a broken or shorted wire, or a contact that is just
// changing over.
func (c *contacts) report(levels uint, report report) {
	level := func(bit int) float64 { return float64(levels >> bit & 1) }
	for bit := range c.names {
		report(bit, level(bit), sensors.GoodQuality)
	}
	for i, bit := range c.pairs {
		if level(bit) == level(bit+1) {
			report(len(c.names)+i, 0, sensors.BadQuality(sensors.Sentinel))
		} else {
			report(len(c.names)+i, level(bit), sensors.GoodQuality)
		}
	}
}

func numbered(prefix string, n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprintf("%s%d", prefix, i))
	}
	return names
}
