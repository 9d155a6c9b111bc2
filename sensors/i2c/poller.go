package i2c

import (
	"context"
	"fmt"
	"strings"

	"firebreak/sensors"

	"periph.io/x/conn/v3/i2c"
)

// chip measures once. It reports each channel that has something new; a channel without a new value
// is left out, never repeated. An error costs all channels that were not reported. Transfers are
// bounded; ctx is looked at between them.
type chip interface {
	channels() []channel
	measure(ctx context.Context, now func() sensors.Mono, report func(channel int, v float64, q sensors.Quality)) error
}

// channel is what a chip measures, in the unit it reports.
type channel struct {
	name string
	unit sensors.Unit
}

// Poller polls one chip. It keeps the contract of sensors/bus: readings with an error stand, and
// each point without one is bad (comm).
type Poller struct {
	chip    chip
	outputs [][]output // by channel
}

// output is a point that takes a channel.
type output struct {
	point   sensors.Point
	unit    sensors.Unit // of the chip
	quality *sensors.Qualifier
}

// NewPoller returns the poller of a chip by its name (see Chips). Each point names its channel as the
// last part of its name ("cab-t.temperature"), and is in a unit that the channel's converts to. It
// does not touch the bus, so a chip may be absent at start.
func NewPoller(name string, b i2c.Bus, addr uint16, points []sensors.Point) (*Poller, error) {
	if b == nil {
		return nil, fmt.Errorf("chip %q at %#02x: no bus: open its adapter", name, addr)
	}
	if addr < 0x08 || addr > 0x77 {
		return nil, fmt.Errorf("chip %q: address %#x: give a 7-bit address, 0x08 to 0x77", name, addr)
	}
	dev := &i2c.Dev{Bus: b, Addr: addr}
	switch name {
	case "tmp117":
		return newPoller(name, newTMP117(dev), points)
	case "lm75":
		return newPoller(name, newLM75(dev), points)
	}
	return nil, fmt.Errorf("unknown chip %q: use one of %s", name, strings.Join(Chips(), ", "))
}

// Chips lists the names that NewPoller knows.
func Chips() []string { return []string{"lm75", "tmp117"} }

func newPoller(name string, c chip, points []sensors.Point) (*Poller, error) {
	chans := c.channels()
	p := &Poller{chip: c, outputs: make([][]output, len(chans))}
	for _, pt := range points {
		last := pt.Name[strings.LastIndexByte(pt.Name, '.')+1:]
		k := -1
		names := make([]string, len(chans))
		for i, ch := range chans {
			names[i] = ch.name
			if ch.name == last {
				k = i
			}
		}
		if k < 0 {
			return nil, fmt.Errorf("point %q: chip %q has no channel %q: use one of %s", pt.Name, name, last, strings.Join(names, ", "))
		}
		if _, err := sensors.Convert(0, chans[k].unit, pt.Unit); err != nil {
			return nil, fmt.Errorf("point %q: %w: chip %q measures in %q", pt.Name, err, name, string(chans[k].unit))
		}
		p.outputs[k] = append(p.outputs[k], output{point: pt, unit: chans[k].unit, quality: new(sensors.Qualifier)})
	}
	return p, nil
}

// Poll measures once.
func (p *Poller) Poll(ctx context.Context, now func() sensors.Mono, out []sensors.Reading) ([]sensors.Reading, error) {
	err := p.chip.measure(ctx, now, func(ch int, v float64, q sensors.Quality) {
		at := now()
		for i := range p.outputs[ch] {
			o := &p.outputs[ch][i]
			r := sensors.Reading{Point: o.point.ID, Quality: q, At: at}
			if q.Usable() {
				r.Value, _ = sensors.Convert(v, o.unit, o.point.Unit) // was seen to convert by newPoller
			}
			out = append(out, o.quality.Qualify(&o.point, r))
		}
	})
	return out, err
}
