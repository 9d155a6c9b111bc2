package config

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"firebreak/agent/hazard"
	"firebreak/sensors"

	"github.com/pelletier/go-toml/v2/unstable"
)

// quantity reads a string such as "55 C", or a bare number, at key.
func (c *compiler) quantity(t *Table, key string) (quantity, bool) {
	v := t.get(key, `a number with its unit in quotes, such as "55 C"`, unstable.String, unstable.Integer, unstable.Float)
	if v == nil {
		return quantity{}, false
	}
	s := v.s
	switch v.kind {
	case unstable.Integer:
		s = fmt.Sprint(v.i)
	case unstable.Float:
		s = strconv.FormatFloat(v.f, 'f', -1, 64)
	}
	q, err := parseQuantity(s)
	if err != nil {
		c.fault(v.at, "%q: %v", key, err)
	}
	return q, err == nil
}

// threshold reads above or below and holds it against the range of every point (S24).
func (c *compiler) threshold(t *Table, key string, d *hazard.Cond, unit sensors.Unit) float64 {
	q, ok := c.quantity(t, key)
	if !ok {
		return 0
	}
	v, err := q.in(unit)
	if err != nil {
		t.Fault(key, "%q: %v", key, err)
		return 0
	}
	faulted := false
	c.memberPoints(d, func(p *sensors.Point) {
		never := p.Min != p.Max && (key != "below" && v >= p.Max || key == "below" && v <= p.Min) // at the end itself only what was clamped stands (S3)
		always := p.Min != p.Max && (key != "below" && v <= p.Min || key == "below" && v >= p.Max)
		if faulted || !never && !always {
			return
		}
		faulted = true
		what := "never"
		if always {
			what = "always"
		}
		t.Fault(key, "%s measures from %g to %g %s: %s %g is %s reached, choose a threshold inside the range", p.Name, p.Min, p.Max, p.Unit, key, v, what)
	})
	return v
}

// ratePolls is how many polls a window holds at least: the engine wants three samples without a
// hole of half the window, so that with four polls one may be missed (S24).
const ratePolls = 4

// rate reads "5 C/min over 1m" at rate or runaway.
func (c *compiler) rate(t *Table, key string, d *hazard.Cond, unit sensors.Unit) {
	s := t.String(key, "")
	if s == "" {
		return
	}
	r, err := parseRate(s)
	if err != nil {
		t.Fault(key, "%q: %v", key, err)
		return
	}
	v, err := r.perSecond.span(unit)
	if err != nil {
		t.Fault(key, "%q: %v", key, err)
		return
	}
	d.Kind, d.Threshold, d.Window = hazard.Rate, v, r.window
	if r.window > maxDelay {
		t.Fault(key, "the window of a rate is at most %s", short(maxDelay))
	}
	for _, m := range d.Members {
		dev := &c.cfg.Devices[m.Device]
		if need := ratePolls * dev.Poll; r.window < need {
			t.Fault(key, "device %q is polled every %s: a window of %s holds less than %d polls, use at least %s or poll faster", dev.Name, short(dev.Poll), short(r.window), ratePolls, short(need))
			return
		}
		if fresh := c.refresh(&m); r.window < ratePolls*fresh {
			t.Fault(key, "device %q renews this every %s, as its profile says: a window of %s holds less than %d values, use at least %s", dev.Name, short(fresh), short(r.window), ratePolls, short(ratePolls*fresh))
			return
		}
	}
	faulted := false
	c.memberPoints(d, func(p *sensors.Point) {
		if faulted = faulted || p.Hazard != 0 && float64(p.Hazard)*v < 0; faulted {
			return
		}
		if p.MaxRate > 0 && (v > p.MaxRate || -v > p.MaxRate) {
			t.Fault(key, "%s changes by at most %g %s a second: this rate is never reached on good readings, choose a lower one", p.Name, p.MaxRate, p.Unit)
			faulted = true
		}
	})
}

// refresh is the longest time in which the device itself renews a point of the member.
func (c *compiler) refresh(m *hazard.Member) (longest time.Duration) {
	d := &c.cfg.Devices[m.Device]
	for _, p := range m.Points {
		longest = max(longest, d.Profile.Channels[p-d.First].Refresh)
	}
	for _, p := range m.Ref {
		if p >= d.First && int(p) < int(d.First)+d.Count {
			longest = max(longest, d.Profile.Channels[p-d.First].Refresh)
		}
	}
	return longest
}

// deadband reads the deadband of a threshold or a rate.
func (c *compiler) deadband(t *Table, d *hazard.Cond, unit sensors.Unit) {
	if !t.Has("deadband") {
		return
	}
	var q quantity
	ok := true
	switch {
	case d.Kind == hazard.Rate || d.Kind == hazard.Runaway:
		var err error
		if q, err = parsePerTime(t.String("deadband", "")); err != nil {
			t.Fault("deadband", `"deadband": write it like "1 C/min" (%v)`, err)
			return
		}
	case d.Kind == hazard.In || d.Kind == hazard.NotIn:
		t.Fault("deadband", "a detector with is or is_not has no deadband: use off_delay")
		return
	default:
		q, ok = c.quantity(t, "deadband")
	}
	if !ok {
		return
	}
	v, err := q.span(unit)
	switch {
	case err != nil:
		t.Fault("deadband", `"deadband": %v`, err)
		return
	case v < 0:
		t.Fault("deadband", "a deadband is not negative")
		return
	}
	d.Deadband = v
	rest := d.Threshold // how far it is from true with nothing the matter
	if d.Ratio {
		rest = (d.Threshold - 1) * d.Floor
	}
	if sided := d.Kind == hazard.Deviation && d.Side != hazard.Down || d.Kind == hazard.Deviation && !d.Ratio || d.Kind == hazard.Jump; sided && v >= rest && rest > 0 {
		t.Fault("deadband", "with this deadband it never clears, not even at its reference: use less than %g %s", rest, unit)
		return
	}
	// A deadband as wide as the way back to the end of the range would latch the detector for ever.
	faulted := false
	c.memberPoints(d, func(p *sensors.Point) {
		stuck := p.Min != p.Max && (d.Kind == hazard.Above && d.Threshold-v < p.Min || d.Kind == hazard.Below && d.Threshold+v > p.Max)
		if stuck && !faulted {
			faulted = true
			t.Fault("deadband", "with this deadband %s, which measures from %g to %g %s, never clears: use a smaller one", p.Name, p.Min, p.Max, p.Unit)
		}
	})
}

// values reads is or is_not: true, false, a number, or a list of them.
func (c *compiler) values(t *Table, key string, kind sensors.Kind) []float64 {
	v := t.get(key, "true, false, a number, or a list of numbers", unstable.Bool, unstable.Integer, unstable.Float, unstable.Array)
	if v == nil {
		return nil
	}
	items := []*value{v}
	if v.kind == unstable.Array {
		items = v.list
	}
	if len(items) == 0 {
		c.fault(v.at, "%q must hold a value at least", key)
	}
	var out []float64
	for _, e := range items {
		var x float64
		switch e.kind {
		case unstable.Bool:
			if e.b {
				x = 1
			}
		case unstable.Integer:
			x = float64(e.i)
		case unstable.Float:
			x = e.f
		default:
			c.fault(e.at, "%q must hold true, false or numbers", key)
			continue
		}
		switch {
		case math.IsNaN(x) || math.IsInf(x, 0):
			c.fault(e.at, "%q must hold finite numbers", key)
		case kind == sensors.Binary && x != 0 && x != 1:
			c.fault(e.at, "a binary point is true or false, never %g", x)
		case kind == sensors.State && e.kind == unstable.Bool:
			c.fault(e.at, "a state is a code: write the number, not %t", e.b)
		case slices.Contains(out, x):
			c.fault(e.at, "%q holds %g twice: name it once", key, x)
		default:
			out = append(out, x)
		}
	}
	if kind == sensors.Binary && len(out) == 2 {
		c.fault(v.at, "%q holds both true and false: that is always so", key)
	}
	return out
}
