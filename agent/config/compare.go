package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"firebreak/agent/hazard"
	"firebreak/sensors"

	"github.com/pelletier/go-toml/v2/unstable"
)

// only sees to it that keys stand where they mean something.
func (c *compiler) only(t *Table, ok bool, where string, keys ...string) {
	for _, k := range keys {
		t.used[k] = true
		if !ok && t.Has(k) {
			c.fault(t.kpos[k], "%q %s", k, where)
		}
	}
}

// companions reads the keys that belong to some comparisons alone.
func (c *compiler) companions(t *Table, key string) {
	from := t.String("from", "")
	c.only(t, key == "deviation" || key == "ratio", "goes with deviation or ratio", "from")
	c.only(t, key == "ratio", "goes with ratio", "floor")
	c.only(t, from == "baseline", `goes with from = "baseline"`, "learn")
	c.only(t, key == "runaway", "goes with runaway", "limit", "voltage", "voltage_drop")
	c.only(t, key != "runaway", "has no meaning with runaway, which stays until it is reset", "off_delay")
	c.only(t, key != "stale", "has no meaning with stale, which has its own time", "on_delay", "deadband", "held_true", "on_fault")
}

// parseSided reads "5 C", "-5 C" or "+-5 C": up, down, or either way by so much.
func parseSided(s string) (hazard.Side, quantity, error) {
	s = strings.TrimSpace(s)
	for _, p := range []struct {
		sign string
		side hazard.Side
	}{{"+-", hazard.Either}, {"±", hazard.Either}, {"-", hazard.Down}, {"", hazard.Up}} {
		rest, ok := strings.CutPrefix(s, p.sign)
		if !ok {
			continue
		}
		q, err := parseQuantity(rest)
		if err == nil && q.v <= 0 {
			err = fmt.Errorf(`%q is no distance: write it like "5 C", "-5 C" for below, "+-5 C" for both`, s)
		}
		return p.side, q, err
	}
	return 0, quantity{}, nil // the last one fits always
}

// distance reads a sided quantity into the threshold, and holds it against the range (S24).
func (c *compiler) distance(t *Table, key, text string, d *hazard.Cond, unit sensors.Unit) bool {
	side, q, err := parseSided(text)
	if err == nil {
		d.Threshold, err = q.span(unit)
	}
	if err != nil {
		t.Fault(key, "%q: %v", key, err)
		return false
	}
	d.Side = side
	wide := false
	c.memberPoints(d, func(p *sensors.Point) {
		if !wide && p.Min != p.Max && d.Threshold >= p.Max-p.Min {
			wide = true
			t.Fault(key, "%s measures from %g to %g %s: it can never be %g away from anything", p.Name, p.Min, p.Max, p.Unit, d.Threshold)
		}
	})
	return !wide
}

// deviation reads deviation or ratio, and what it is measured from.
func (c *compiler) deviation(t *Table, key string, d *hazard.Cond, unit sensors.Unit) {
	d.Kind = hazard.Deviation
	c.measuredFrom(t, d, unit)
	if key == "deviation" {
		if s := t.String(key, ""); s != "" {
			c.distance(t, key, s, d, unit)
		}
		return
	}
	d.Ratio = true
	v, ok := number(t, key)
	d.Threshold = v
	switch {
	case !ok:
	case !(d.Threshold > 0 && d.Threshold < 1e6) || d.Threshold == 1:
		t.Fault(key, "a ratio is above 1 (so many times as much, or more) or between 0 and 1 (such a part, or less)")
	case d.Threshold < 1:
		d.Side = hazard.Down
		c.only(t, false, "is for a ratio above 1", "floor")
	case !t.Has("floor"):
		t.Fault("", `a ratio above 1 needs a floor, such as "50 ppm": many times nearly nothing is nothing, and always reached`)
	default:
		c.floor(t, d, unit)
	}
}

// number reads a plain number.
func number(t *Table, key string) (float64, bool) {
	v := t.get(key, "a number without a unit", unstable.Integer, unstable.Float)
	switch {
	case v == nil:
		return 0, false
	case v.kind == unstable.Integer:
		return float64(v.i), true
	}
	return v.f, true
}

// floor reads what the reference is taken as at least.
func (c *compiler) floor(t *Table, d *hazard.Cond, unit sensors.Unit) {
	q, ok := c.quantity(t, "floor")
	if !ok {
		return
	}
	v, err := q.in(unit)
	if err == nil && v <= 0 {
		err = fmt.Errorf("must be above 0")
	}
	if err != nil {
		t.Fault("floor", `"floor": %v`, err)
		return
	}
	d.Floor = v
	faulted := false
	c.memberPoints(d, func(p *sensors.Point) {
		if !faulted && p.Min != p.Max && v*d.Threshold >= p.Max {
			faulted = true
			t.Fault("floor", "%s measures up to %g %s: %g times %g is never reached", p.Name, p.Max, p.Unit, d.Threshold, v)
		}
	})
}

// measuredFrom reads from: a point, a median, or the baseline.
func (c *compiler) measuredFrom(t *Table, d *hazard.Cond, unit sensors.Unit) {
	switch from := t.String("from", ""); from {
	case "":
		t.Require("from")
	case "median":
		d.From = hazard.FromMedian
		n := 0
		for _, m := range d.Members {
			n += len(m.Points)
		}
		if n < minMedian {
			t.Fault("from", "a median of %d points finds no outlier: it takes %d at least", n, minMedian)
		}
	case "device-median":
		d.From = hazard.FromDeviceMedian
		for _, m := range d.Members {
			if len(m.Points) < minMedian {
				t.Fault("from", "device %q has %d of these points, and a median takes %d at least", c.hz.Devices[m.Device].Name, len(m.Points), minMedian)
				return
			}
		}
	case "baseline":
		d.From = hazard.FromBaseline
		t.Require("learn")
		d.Learn = t.Duration("learn", time.Hour, minLearn, maxLearn)
		for _, m := range d.Members {
			if dev := &c.cfg.Devices[m.Device]; d.Learn < learnPolls*dev.Poll {
				t.Fault("learn", "device %q is polled every %s: use at least %s, so that each part of the window is read", dev.Name, short(dev.Poll), short(learnPolls*dev.Poll))
				return
			}
		}
	default:
		c.reference(t, "from", from, d)
		for _, m := range d.Members {
			for k, ref := range m.Ref {
				if p := &c.hz.Points[ref]; p.Unit != unit || p.Kind != sensors.Measurement {
					t.Fault("from", "%s is a %s in %q, and %s in %q: they cannot be compared", p.Name, p.Kind, string(p.Unit), c.hz.Points[m.Points[k]].Name, string(unit))
					return
				}
			}
		}
	}
}

// reference finds the point beside each point of a detector: a * of the pattern stands for the same
// text as the * in the same place of "point".
func (c *compiler) reference(t *Table, key, pat string, d *hazard.Cond) {
	points := c.patterns(t, "point")
	for _, point := range points {
		if strings.Count(pat, "*") > strings.Count(point, "*") {
			t.Fault(key, "%q has more * than %q: each stands for the same text as there", pat, point)
			return
		}
	}
	for i := range d.Members {
		m := &d.Members[i]
		other := m.Device
		for _, id := range m.Points {
			name := c.hz.Points[id].Name
			i := slices.IndexFunc(points, func(point string) bool { return match(point, name) })
			name = fill(pat, captures(points[i], name)) // it is a member because one of them met it
			ref, ok := c.points[name]
			if !ok {
				c.noPoint(t.Pos(key), name)
				m.Ref = nil
				return
			}
			dev := c.hz.Points[ref].Device
			switch {
			case ref == id:
				t.Fault(key, "%s cannot be compared with itself", name)
			case dev != m.Device && other != m.Device && dev != other:
				t.Fault(key, "the references of device %q stand on several other devices: give each a detector of its own", c.hz.Devices[m.Device].Name)
			default:
				if dev != m.Device {
					other = dev
				}
				m.Ref = append(m.Ref, ref)
				continue
			}
			m.Ref = nil
			return
		}
	}
}

// jump reads "10 C within 10s".
func (c *compiler) jump(t *Table, d *hazard.Cond, unit sensors.Unit) {
	s := t.String("jump", "")
	if s == "" {
		return
	}
	d.Kind = hazard.Jump
	change, window, ok := strings.Cut(s, " within ")
	w, err := time.ParseDuration(strings.TrimSpace(window))
	if !ok || err != nil || w <= 0 || w > maxDelay {
		t.Fault("jump", `%q: write it like "10 C within 10s", %s at most`, s, short(maxDelay))
		return
	}
	d.Window = w
	if !c.distance(t, "jump", change, d, unit) {
		return
	}
	for _, m := range d.Members {
		if need := 2 * max(c.cfg.Devices[m.Device].Poll, c.refresh(&m)); w < need {
			t.Fault("jump", "device %q is read, or renews this, every %s: within %s it is seen once, use at least %s", c.hz.Devices[m.Device].Name, short(need/2), short(w), short(need))
			return
		}
	}
}

// silence reads stale: any kind of point can fall silent.
func (c *compiler) silence(t *Table, d *hazard.Cond) {
	d.Kind, d.Window = hazard.Silent, t.Duration("stale", time.Minute, time.Second, maxSpan)
}

// runaway reads the rule for a confirmed thermal runaway.
func (c *compiler) runaway(t *Table, d *hazard.Cond, unit sensors.Unit) {
	c.rate(t, "runaway", d, unit)
	d.Kind = hazard.Runaway
	if d.Threshold < 0 {
		t.Fault("runaway", "a runaway rises: write the rate without a minus")
	}
	faulted := false
	c.memberPoints(d, func(p *sensors.Point) {
		if !faulted && p.Physics != sensors.Temperature {
			faulted = true
			t.Fault("point", "%s is %s: a runaway is judged on temperatures, with their voltages beside", p.Name, p.Physics)
		}
	})
	if !t.Has("limit") && !t.Has("voltage") {
		t.Fault("", "a runaway needs limit (the maker's highest temperature), or voltage and voltage_drop, or all of them: the rate alone confirms nothing")
	}
	if t.Has("limit") {
		d.Limit, d.HasLimit = c.threshold(t, "limit", d, unit), true
	}
	if t.Has("voltage") != t.Has("voltage_drop") {
		t.Fault("", "voltage and voltage_drop go together")
		return
	}
	if !t.Has("voltage") {
		return
	}
	c.drop(t, d)
	c.reference(t, "voltage", t.String("voltage", ""), d)
	for _, m := range d.Members {
		for _, ref := range m.Ref {
			if p := &c.hz.Points[ref]; p.Physics != sensors.Electrical || p.Kind != sensors.Measurement {
				t.Fault("voltage", "%s is a %s of %s, not a voltage", p.Name, p.Kind, p.Physics)
				return
			}
		}
	}
}

// drop reads "25 % over 10m".
func (c *compiler) drop(t *Table, d *hazard.Cond) {
	s := t.String("voltage_drop", "")
	part, window, _ := strings.Cut(s, " over ")
	number, percent := strings.CutSuffix(strings.TrimSpace(part), "%")
	v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	w, errW := time.ParseDuration(strings.TrimSpace(window))
	if !percent || err != nil || errW != nil || !(v > 0 && v < 100) || w < minDropOver || w > maxDelay {
		t.Fault("voltage_drop", `%q: write it like "25 %% over 10m", from %s to %s`, s, short(minDropOver), short(maxDelay))
		return
	}
	d.Drop, d.DropOver = v/100, w
}

// captures are the texts that the * of a pattern stand for in a name that it meets.
func captures(pat, name string) (out []string) {
	ps, ns := strings.Split(pat, "."), strings.Split(name, ".")
	for i := range ps {
		parts := strings.Split(ps[i], "*")
		if len(parts) == 1 || i >= len(ns) {
			continue
		}
		n := strings.TrimSuffix(strings.TrimPrefix(ns[i], parts[0]), parts[len(parts)-1])
		for _, mid := range parts[1 : len(parts)-1] {
			text, rest, _ := strings.Cut(n, mid)
			out, n = append(out, text), rest
		}
		out = append(out, n)
	}
	return out
}

// fill puts texts in the place of the * of a pattern.
func fill(pat string, texts []string) string {
	for _, s := range texts {
		pat = strings.Replace(pat, "*", s, 1)
	}
	return pat
}
