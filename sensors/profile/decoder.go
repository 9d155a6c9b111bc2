package profile

import (
	"fmt"
	"strings"

	"firebreak/sensors"
)

// Raw is what one channel's registers held, or why they could not be read.
type Raw struct {
	Words []uint16       // exactly Channel.Type.Words() of them
	Text  string         // in their place, of a channel with a Variable
	Fail  sensors.Reason // not NoReason: Words do not count
	At    sensors.Mono   // just before the request was sent
}

// Decoder turns one poll of a device into readings: decode, gates, then range and rate (S3). It
// keeps the last value of each point, so it belongs to one device and one goroutine.
type Decoder struct {
	p      *Profile
	points []sensors.Point
	quals  []sensors.Qualifier
	values []decoded
	still  []still // by channel
	all    []int
}

type decoded struct {
	v float64
	q sensors.Quality
}

// NewDecoder takes the points that p.Expand made, in that order and with their IDs set.
func NewDecoder(p *Profile, points []sensors.Point) (*Decoder, error) {
	if len(points) != len(p.Channels) {
		return nil, fmt.Errorf("profile %s has %d channels, but there are %d points: use all that Expand made", p.Name, len(p.Channels), len(points))
	}
	for i := range points {
		if !strings.HasSuffix(points[i].Name, "."+p.Channels[i].Name) {
			return nil, fmt.Errorf("point %d is %q, but channel %d of profile %s is %q: keep the order of Expand", i, points[i].Name, i, p.Name, p.Channels[i].Name)
		}
	}
	d := &Decoder{p, points, make([]sensors.Qualifier, len(points)), make([]decoded, len(points)), make([]still, len(points)), nil}
	for i := range points {
		d.all = append(d.all, i)
	}
	return d, nil
}

// Decode appends one reading per point to out; raw has one entry per channel. It does not
// allocate when out has room, but for the words of a UPS.
func (d *Decoder) Decode(raw []Raw, out []sensors.Reading) []sensors.Reading {
	return d.DecodeOf(d.all, d.all, raw, out)
}

// DecodeOf is Decode for the points of the channels emit; need are those that it looks at
// (Profile.Needs).
func (d *Decoder) DecodeOf(emit, need []int, raw []Raw, out []sensors.Reading) []sensors.Reading {
	for _, i := range need {
		v := decoded{q: sensors.BadQuality(sensors.Comm)}
		if i < len(raw) {
			switch c := &d.p.Channels[i]; {
			case raw[i].Fail != sensors.NoReason:
				v.q = sensors.BadQuality(raw[i].Fail)
			case c.Variable != "":
				v.v, v.q = c.DecodeText(raw[i].Text)
			default:
				v.v, v.q = c.Decode(raw[i].Words)
			}
		}
		d.values[i] = v
	}
	stale := d.stands(raw)
	for _, i := range emit {
		r := sensors.Reading{Point: d.points[i].ID, Value: d.values[i].v, Quality: d.gated(i)}
		if i < len(raw) {
			r.At = raw[i].At
		}
		switch {
		case !r.Quality.Usable():
		case stale && i != d.p.Alive.Channel:
			r.Quality = sensors.BadQuality(sensors.Stale)
		case d.p.Channels[i].Zeros != "" && d.zeros(need, raw, d.p.Channels[i].Zeros):
			r.Quality = sensors.BadQuality(sensors.Implausible)
		}
		if r.Quality.Usable() {
			r = d.quals[i].Qualify(&d.points[i], r)
		}
		if d.stuck(i, r) {
			r.Quality = sensors.BadQuality(sensors.Stuck)
		}
		if !r.Quality.Usable() {
			r.Value = 0
		}
		out = append(out, r)
	}
	return out
}

// gated is the quality of channel i after its gates. A gate that cannot be read closes, unless
// it says otherwise: nobody knows whether the value counts, and the reason is then the gate's own.
func (d *Decoder) gated(i int) sensors.Quality {
	q := d.values[i].q
	if !q.Usable() {
		return q
	}
	for _, g := range d.p.Channels[i].Gates {
		other := d.values[g.Channel]
		if !other.q.Usable() {
			if g.Open {
				continue
			}
			if g.Reason == sensors.FlowFault { // nobody knows what it draws: what it sees counts all the same
				q = sensors.MakeQuality(sensors.Uncertain, g.Reason, q.Origin())
				continue
			}
			return other.q
		}
		switch {
		case d.p.Opens(&d.p.Channels[i], &g, d.values[i].v, other.v):
		case g.Reason == sensors.FlowFault:
			q = sensors.MakeQuality(sensors.Uncertain, g.Reason, q.Origin())
		default:
			return sensors.BadQuality(g.Reason)
		}
	}
	return q
}
