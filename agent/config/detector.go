package config

import (
	"strings"
	"time"

	"firebreak/agent/hazard"
	"firebreak/sensors"

	"github.com/pelletier/go-toml/v2/unstable"
)

var comparisons = []string{"above", "below", "rate", "deviation", "ratio", "jump", "stale", "runaway", "is", "is_not"}

// detector reads one [[detector]], and enters it.
func (c *compiler) detector(t *Table) {
	if d, ok := c.readDetector(t); ok {
		c.conds[d.Name] = hazard.CondID(len(c.hz.Conds))
		c.hz.Conds, c.condTab = append(c.hz.Conds, d), append(c.condTab, t)
	}
}

// readDetector reads a detector; false when it has no name that could be entered.
func (c *compiler) readDetector(t *Table) (hazard.Cond, bool) {
	name, ok := c.condName(t)
	t.Require("point")
	d := hazard.Cond{Name: name, Members: c.members(t)}
	c.comparison(t, &d)
	atLeast := time.Duration(0)
	if d.Kind == hazard.Runaway {
		atLeast = minPersist
	}
	d.OnDelay = t.Duration("on_delay", atLeast, atLeast, maxDelay)
	d.OffDelay = t.Duration("off_delay", defOffDelay, 0, maxDelay)
	d.HeldTrue = t.Duration("held_true", 0, time.Minute, 24*time.Hour)
	if t.Enum("on_fault", "no-vote", "no-vote", "vote") == "vote" {
		d.OnFault = hazard.FaultVotes
	}
	d.Priority = int(t.Int("priority", defDetectorPriority, 0, 4))
	d.Latching = t.Bool("latching", false)
	d.ReAlarm, d.Group = c.alarmKeys(t)
	c.end(t)
	return d, ok
}

// alarmKeys reads what a detector and a vote say of their alarm besides its priority.
func (c *compiler) alarmKeys(t *Table) (reAlarm time.Duration, group string) {
	reAlarm = t.Duration("re_alarm", 0, 0, maxReAlarm)
	if reAlarm != 0 && reAlarm < minReAlarm {
		t.Fault("re_alarm", `"re_alarm" is %s: it must be "0s" (never) or from %s to %s`, short(reAlarm), short(minReAlarm), short(maxReAlarm))
	}
	return reAlarm, c.name(t, "group")
}

// condName reads the name of a detector or vote: they share one namespace.
func (c *compiler) condName(t *Table) (string, bool) {
	t.Require("name")
	n := c.name(t, "name")
	if _, dup := c.conds[n]; dup && n != "" {
		t.Fault("name", "there is another detector or vote named %q: a name is given once", n)
		return n, false
	}
	if c.absent[n] != "" && !strings.HasPrefix(t.path, "pack.") { // the votes of the pack would not have it
		t.Fault("name", "a pack has the name %q, and its votes go on without: name its points in roles or override it there, or choose another name", n)
	}
	return n, n != ""
}

// members finds the points of the patterns, one member for each device.
func (c *compiler) members(t *Table) []hazard.Member {
	pats := c.patterns(t, "point")
	met := make([]bool, len(pats))
	var out []hazard.Member
	for i := range c.hz.Points {
		p := &c.hz.Points[i]
		if !meets(pats, met, p.Name) {
			continue
		}
		if n := len(out); n > 0 && out[n-1].Device == p.Device {
			out[n-1].Points = append(out[n-1].Points, p.ID)
		} else {
			out = append(out, hazard.Member{Device: p.Device, Points: []sensors.PointID{p.ID}})
		}
	}
	for i := range pats {
		if !met[i] {
			c.noPoint(t.itemPos("point", pats[i]), pats[i])
		}
	}
	return out
}

// patterns reads a point or a pattern of points, or a list of them.
func (c *compiler) patterns(t *Table, key string) []string {
	if v := t.vals[key]; v != nil && v.kind == unstable.Array {
		return t.Strings(key)
	}
	if s := t.String(key, ""); s != "" {
		return []string{s}
	}
	return nil
}

// meets tells whether a name meets one of the patterns, and marks in met each that it does.
func meets(pats []string, met []bool, name string) (any bool) {
	for i, p := range pats {
		if match(p, name) {
			met[i], any = true, true
		}
	}
	return any
}

// memberPoints visits the points of a detector.
func (c *compiler) memberPoints(d *hazard.Cond, visit func(p *sensors.Point)) {
	for _, m := range d.Members {
		for _, id := range m.Points {
			visit(&c.hz.Points[id])
		}
	}
}

// comparison reads the one key that says what is compared, and the deadband.
func (c *compiler) comparison(t *Table, d *hazard.Cond) {
	var have []string
	for _, k := range comparisons {
		t.used[k] = true
		if t.Has(k) {
			have = append(have, k)
		}
	}
	t.used["deadband"] = true
	c.companions(t, strings.Join(have, " "))
	if len(have) != 1 {
		t.src.fault(t.at, "a detector has exactly one of %s; this one has %s", strings.Join(comparisons, ", "), orNone(have))
		return
	}
	key := have[0]
	if key == "stale" {
		c.silence(t, d)
		return
	}
	unit, kind, ok := c.oneUnit(t, d)
	if !ok {
		return
	}
	if equal := key == "is" || key == "is_not"; equal == (kind == sensors.Measurement) {
		if equal {
			t.Fault(key, "the points of %q are measurements, which are rarely equal to anything: use above, below, rate or deviation", t.text("point"))
		} else {
			t.Fault(key, "the points of %q are %s, not measurements: use is or is_not", t.text("point"), kind)
		}
		return
	}
	switch key {
	case "above":
		d.Kind = hazard.Above
		d.Threshold = c.threshold(t, key, d, unit)
	case "below":
		d.Kind = hazard.Below
		d.Threshold = c.threshold(t, key, d, unit)
	case "rate":
		c.rate(t, key, d, unit)
	case "deviation", "ratio":
		c.deviation(t, key, d, unit)
	case "jump":
		c.jump(t, d, unit)
	case "runaway":
		c.runaway(t, d, unit)
	default:
		d.Kind = hazard.In
		if key == "is_not" {
			d.Kind = hazard.NotIn
		}
		d.Values = c.values(t, key, kind)
	}
	c.deadband(t, d, unit)
}

func orNone(s []string) string {
	if len(s) == 0 {
		return "none"
	}
	return strings.Join(s, " and ")
}

// oneUnit sees to it that all points of a detector have one unit and one kind.
func (c *compiler) oneUnit(t *Table, d *hazard.Cond) (unit sensors.Unit, kind sensors.Kind, ok bool) {
	var first *sensors.Point
	ok = true
	c.memberPoints(d, func(p *sensors.Point) {
		if first == nil {
			first, unit, kind = p, p.Unit, p.Kind
		}
		if ok && (p.Unit != unit || p.Kind != kind) {
			t.Fault("point", "%s is a %s in %q, but %s is a %s in %q: give each its own detector", first.Name, kind, string(unit), p.Name, p.Kind, string(p.Unit))
			ok = false
		}
	})
	return unit, kind, ok && first != nil
}
