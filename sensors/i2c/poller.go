package i2c

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"firebreak/sensors"

	"periph.io/x/conn/v3/i2c"
)

// Poller polls one chip. It keeps the contract of sensors/bus: readings with an error stand, and
// each point without one is bad (comm).
type Poller struct {
	name    string // of chip and address, for errors
	chip    chip
	outputs [][]output // by channel
}

// output is a point that takes a channel.
type output struct {
	point   sensors.Point
	unit    sensors.Unit // of the chip
	quality *sensors.Qualifier
}

// NewPoller returns the poller of a chip by its name (see Chips). Each point names its channel at the
// end of its name ("cab-t.temperature"), and is in a unit that the channel's converts to. It
// does not touch the bus, so a chip may be absent at start.
func NewPoller(name string, b i2c.Bus, addr uint16, points []sensors.Point) (*Poller, error) {
	if b == nil {
		return nil, fmt.Errorf("chip %q at %#02x: no bus: open its adapter", name, addr)
	}
	if addr < 0x08 || addr > 0x77 {
		return nil, fmt.Errorf("chip %q: address %#x: give a 7-bit address, 0x08 to 0x77", name, addr)
	}
	open, ok := drivers()[name]
	if !ok {
		return nil, fmt.Errorf("unknown chip %q: use one of %s", name, strings.Join(Chips(), ", "))
	}
	return newPoller(name, addr, open(&i2c.Dev{Bus: b, Addr: addr}), points)
}

// drivers are the known chips.
func drivers() map[string]func(*i2c.Dev) chip {
	return map[string]func(*i2c.Dev) chip{
		"ads1115":  newADS1115,
		"amg8833":  newAMG8833,
		"bme280":   newBME280,
		"bme680":   newBME680,
		"ens160":   newENS160,
		"hdc302x":  newHDC302x,
		"ina226":   newINA226,
		"lm75":     newLM75,
		"max17048": newMAX17048,
		"mcp23017": newMCP23017,
		"mcp9808":  newMCP9808,
		"mlx90614": newMLX90614,
		"mlx90640": newMLX90640,
		"pcf8574":  newPCF8574,
		"sbs":      newSBS,
		"scd4x":    newSCD4x,
		"sgp40":    newSGP40,
		"sgp41":    newSGP41,
		"sht3x":    newSHT3x,
		"sht4x":    newSHT4x,
		"sps30":    newSPS30,
		"tmp117":   newTMP117,
	}
}

// Chips lists the names that NewPoller knows, sorted.
func Chips() []string { return slices.Sorted(maps.Keys(drivers())) }

func newPoller(name string, addr uint16, c chip, points []sensors.Point) (*Poller, error) {
	chans := c.channels()
	p := &Poller{name: fmt.Sprintf("%s at %#02x", name, addr), chip: c, outputs: make([][]output, len(chans))}
	for _, pt := range points {
		k := -1
		names := make([]string, len(chans))
		for i, ch := range chans {
			names[i] = ch.name
			if strings.HasSuffix(pt.Name, "."+ch.name) {
				k = i
			}
		}
		if k < 0 {
			return nil, fmt.Errorf("point %q: chip %q has no such channel: use one of %s", pt.Name, name, strings.Join(names, ", "))
		}
		if _, err := sensors.Convert(0, chans[k].unit, pt.Unit); err != nil {
			return nil, fmt.Errorf("point %q: %w: chip %q measures in %q", pt.Name, err, name, string(chans[k].unit))
		}
		p.outputs[k] = append(p.outputs[k], output{point: pt, unit: chans[k].unit, quality: new(sensors.Qualifier)})
	}
	return p, nil
}

// Serial is the chip's own number; empty where it has none, or is not known now.
func (p *Poller) Serial() string { return p.chip.number() }

// Poll measures once.
func (p *Poller) Poll(ctx context.Context, now func() sensors.Mono, out []sensors.Reading) ([]sensors.Reading, error) {
	err := p.chip.measure(ctx, now, func(ch int, v float64, q sensors.Quality) {
		at := now()
		if d, ok := p.chip.(delayed); ok && q.Usable() {
			at = d.sampled()
		}
		for i := range p.outputs[ch] {
			o := &p.outputs[ch][i]
			r := sensors.Reading{Point: o.point.ID, Quality: q, At: at}
			if q.Usable() {
				r.Value, _ = sensors.Convert(v, o.unit, o.point.Unit) // was seen to convert by newPoller
			}
			out = append(out, o.quality.Qualify(&o.point, r))
		}
	})
	if err != nil {
		err = fmt.Errorf("%s: %w", p.name, err)
	}
	return out, err
}
