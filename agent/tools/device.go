package tools

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"firebreak/sensors"
	"firebreak/sensors/profile"
	"firebreak/sensors/sim/slave"
)

// Device is a profile as a register bank: the other way round, values in and registers out. All methods may
// be called from any goroutine.
type Device struct {
	p    *profile.Profile
	bank *slave.Bank

	mu   sync.Mutex
	base []float64 // by channel: what was set, without the tremble
	none []bool    // shows its "no value"
	beat int
}

// NewDevice makes a device at rest: nothing is alarmed, each point has a value within its range, and the
// identity is that of the profile.
func NewDevice(p *profile.Profile) (*Device, error) {
	if p.Bus != profile.Modbus {
		return nil, fmt.Errorf("profile %q is of a device on %s: only Modbus devices can be served", p.Name, p.Bus)
	}
	if p.Template != "" {
		return nil, fmt.Errorf("profile %q is a template, there is nothing to serve: fill in %s", p.Name, p.Template)
	}
	d := &Device{p: p, bank: slave.NewBank(), base: make([]float64, len(p.Channels)), none: make([]bool, len(p.Channels))}
	for _, b := range p.Plan() {
		d.bank.Define(slave.Table(b.Func), b.First, b.Count)
	}
	for _, looked := range []bool{false, true} { // last those that gates look at: another may show the same register
		for i := range p.Channels {
			if d.gating(i) == looked {
				d.base[i] = d.rest(i)
				d.write(i, d.base[i])
			}
		}
	}
	d.identity()
	d.bank.OnWrite(d.command)
	return d, nil
}

// identity shows what the checks expect. Last: a channel may show a register of the identity, too.
func (d *Device) identity() {
	said := map[byte][]byte{}
	for i := range d.p.Identity {
		c := &d.p.Identity[i]
		if c.Func == profile.Identification {
			said[c.Object] = append(said[c.Object], append(c.Says(), ';')...) // fields of one object
			d.bank.Say(c.Object, said[c.Object][:len(said[c.Object])-1])
			continue
		}
		words := slices.Clone(c.Want)
		for len(words) < int(c.Count) {
			words = append(words, c.OneOf[0].Min)
		}
		d.bank.Set(slave.Table(c.Func), c.First, words...)
	}
}

// rest is a value that channel i can hold, at which the gates of others are open.
func (d *Device) rest(i int) float64 {
	c := &d.p.Channels[i]
	try := []float64{0, 1, c.Min, (c.Min + c.Max) / 2, 2, 3, 4, 5}
	if v, ok := usual[c.Unit]; ok && c.Kind == sensors.Measurement {
		try = append([]float64{v}, try...)
	}
	fits := func(v float64, gates bool) bool {
		words := make([]uint16, c.Type.Words())
		c.Encode(v, words)
		got, q := c.Decode(words)
		if !q.Usable() || math.Abs(got-v) > math.Max(math.Abs(c.Scale), 1e-6) || c.Min < c.Max && (got < c.Min || got > c.Max) {
			return false
		}
		return !gates || d.opens(i, got)
	}
	for _, gates := range []bool{true, false} {
		for _, v := range append(d.wanted(i), try...) {
			if fits(v, gates) {
				return v
			}
		}
	}
	return 0
}

// usual values of a room at rest.
var usual = map[sensors.Unit]float64{sensors.Celsius: 21, sensors.RelHum: 45, sensors.Volt: 230, sensors.Hertz: 50, sensors.MilliV: 3300, sensors.Percent: 50}

// wanted are the values of channel i that a gate names.
func (d *Device) wanted(i int) (out []float64) {
	for k := range d.p.Channels {
		for _, g := range d.p.Channels[k].Gates {
			switch {
			case g.Channel != i:
			case g.Contact: // the other contact of one that is known already
				for _, v := range []float64{0, 1} {
					if d.p.Opens(&d.p.Channels[k], &g, d.base[k], v) {
						out = append(out, v)
					}
				}
			case g.Band:
				out = append(out, (g.Min+g.Max)/2)
			case g.Equal:
				out = append(out, g.Value)
			}
		}
	}
	return out
}

// gating tells whether a gate looks at channel i.
func (d *Device) gating(i int) bool {
	return slices.ContainsFunc(d.p.Channels, func(c profile.Channel) bool {
		return slices.ContainsFunc(c.Gates, func(g profile.Gate) bool { return g.Channel == i })
	})
}

// opens tells whether v of channel i opens most of the gates that look at it: some exclude each other, as
// one unit does another.
func (d *Device) opens(i int, v float64) bool {
	open, all := 0, 0
	for k := range d.p.Channels {
		for _, g := range d.p.Channels[k].Gates {
			if g.Channel != i {
				continue
			}
			all++
			if d.p.Opens(&d.p.Channels[k], &g, d.base[k], v) {
				open++
			}
		}
	}
	return 2*open >= all
}

func (d *Device) write(i int, v float64) {
	c := &d.p.Channels[i]
	s := c.Span()
	words, ok := d.bank.Words(slave.Table(s.Func), s.First, s.Count)
	if !ok {
		words = make([]uint16, s.Count)
	}
	if d.none[i] {
		c.EncodeSentinel(words)
	} else {
		c.Encode(v, words)
	}
	d.bank.Set(slave.Table(s.Func), s.First, words...)
}

// Set takes "temperature=85", or "=none": the device's own "no value".
func (d *Device) Set(text string) error {
	name, value, ok := strings.Cut(text, "=")
	name, value = strings.TrimSpace(name), strings.TrimSpace(value)
	i := slices.IndexFunc(d.p.Channels, func(c profile.Channel) bool { return c.Name == name })
	if !ok || i < 0 {
		var names []string
		for k := range d.p.Channels {
			names = append(names, d.p.Channels[k].Name)
		}
		return fmt.Errorf("%q: write POINT=VALUE; %s has %s", text, d.p.Name, strings.Join(names, ", "))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if value == "none" {
		if !d.p.Channels[i].EncodeSentinel(make([]uint16, d.p.Channels[i].Type.Words())) {
			return fmt.Errorf("%s: this device has no register value that means \"none\"", name)
		}
		d.none[i] = true
	} else {
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return fmt.Errorf("%s: %q is no number, and not \"none\"", name, value)
		}
		d.base[i], d.none[i] = v, false
	}
	d.write(i, d.base[i])
	return nil
}

// Beat makes the device live: its liveness channel counts, and what would be taken for stuck trembles.
// Call it about once a second.
func (d *Device) Beat() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.beat++
	for i := range d.p.Channels {
		c := &d.p.Channels[i]
		switch {
		case d.none[i]:
		case d.p.Alive.Within > 0 && d.p.Alive.Channel == i:
			d.base[i] = float64((int(d.base[i]) + 1) % 30000)
			d.write(i, d.base[i])
		case c.Stuck > 0 && c.Kind == sensors.Measurement:
			quarter := max(1, int(c.Stuck/liveEvery/4)) // rare, so that what was set is what is read
			d.write(i, d.base[i]+float64(d.beat/quarter%2)*1.01*math.Max(c.Noise, math.Abs(c.Scale)))
		}
	}
}

const liveEvery = time.Second

// command takes the writes that the profile knows, and no other: function 5 or 6, one value.
func (d *Device) command(t slave.Table, address, value uint16) byte {
	for i := range d.p.Commands {
		if c := &d.p.Commands[i]; slave.Table(c.Func) == t && c.Address == address && !c.Multiple && slices.Equal(c.Values, []uint16{value}) {
			d.bank.Set(t, address, value)
			return 0
		}
	}
	return slave.IllegalAddress
}
