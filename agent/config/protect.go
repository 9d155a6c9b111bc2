package config

import (
	"slices"
	"strings"

	"firebreak/agent/hazard"
	"firebreak/agent/response"
	"firebreak/plugins"
	"firebreak/sensors"
)

// checkProtection finds what is there and protects nothing (S24), and steps that would burn with
// what they protect (S12).
func (c *compiler) checkProtection() {
	c.checkPlaces()
	c.checkZone()
	cyclic := c.hasFaultIn("plan")
	if !cyclic {
		c.checkTakeDowns()
	}
	if c.hasFaultIn("detector", "vote", "pack") || c.hasFaultInPack() || cyclic {
		return // a vote that could not be read must not be blamed as missing
	}
	c.checkDirections()
	opens := make([]map[sensors.PointID]bool, len(c.resp.Plans))
	for i := range c.resp.Plans {
		opens[i] = c.pointsThatOpen(&c.resp.Plans[i])
	}
	for i := range c.cfg.Devices {
		if d := &c.cfg.Devices[i]; len(c.hazardPoints(d)) > 0 {
			c.checkDevice(d, c.hazardPoints(d), opens)
		}
	}
}

// checkDevice sees to it that what a device measures opens a stage, and of a plan that gives up the
// zone in which it measures: a sensor that makes others leave protects nobody who is with it.
func (c *compiler) checkDevice(d *Device, points []*sensors.Point, opens []map[sensors.PointID]bool) {
	any, here, protected := false, false, false
	for i := range opens {
		in := slices.ContainsFunc(points, func(p *sensors.Point) bool { return opens[i][p.ID] })
		covers := slices.Contains(c.resp.Plans[i].Protects, d.Zone)
		any, here, protected = any || in, here || in && covers, protected || covers
	}
	what := hazardName(points[0])
	switch {
	case !any:
		c.fault(d.At, "device %q measures %s (%s), but no such point of it is in a vote that opens a stage: add a detector on one to a vote, or remove the device", d.Name, what, points[0].Name)
	case !protected && d.Zone != c.cfg.Zone: // that of the agent has a fault of its own
		c.fault(d.At, "device %q measures %s in zone %q, which no plan protects: add the zone to the protects of a plan that it opens (S24)", d.Name, what, d.Zone)
	case protected && !here:
		c.fault(d.At, "device %q measures %s in zone %q, and opens no plan that protects this zone: add a detector on it to a vote of such a plan (S24)", d.Name, what, d.Zone)
	}
}

// checkZone sees to it that some plan protects the zone of the agent.
func (c *compiler) checkZone() {
	if c.cfg.Zone == "" {
		return
	}
	for i := range c.resp.Plans {
		if slices.Contains(c.resp.Plans[i].Protects, c.cfg.Zone) {
			return
		}
	}
	c.root.Fault("zone", "no plan protects zone %q: add a [[plan]] with protects = [%q]", c.cfg.Zone, c.cfg.Zone)
}

// hasFaultIn tells whether a fault lies in a table of one of these kinds.
func (c *compiler) hasFaultIn(kinds ...string) bool {
	for _, k := range kinds {
		v := c.root.vals[k]
		if v == nil {
			continue
		}
		for _, e := range v.list {
			if e.tab != nil && c.faultBetween(e.tab.at, c.nextTable(e.tab.at)) {
				return true
			}
		}
	}
	return false
}

// nextTable is the place of the first top-level table after at, or the end.
func (c *compiler) nextTable(at Pos) Pos {
	next := Pos{Line: int(^uint(0) >> 1)}
	for _, k := range c.root.keys {
		for _, e := range c.root.vals[k].list {
			if e.tab != nil && before(at, e.tab.at) && before(e.tab.at, next) {
				next = e.tab.at
			}
		}
	}
	return next
}

func before(a, b Pos) bool { return a.Line < b.Line || a.Line == b.Line && a.Column < b.Column }

func (c *compiler) faultBetween(from, to Pos) bool {
	for _, f := range c.faults {
		at := Pos{Line: f.Line, Column: f.Column}
		if f.File == c.file && !before(at, from) && before(at, to) {
			return true
		}
	}
	return false
}

// pointsThatOpen are those in the condition of a stage of the plan above 0.
func (c *compiler) pointsThatOpen(plan *response.Plan) map[sensors.PointID]bool {
	out := map[sensors.PointID]bool{}
	seen := map[hazard.CondID]bool{}
	for _, s := range plan.Stages {
		if s.Level > plugins.Watch {
			c.walkConds(s.When, seen, func(id hazard.CondID) {
				if c.hz.Conds[id].Kind == hazard.Silent {
					return // it is told when the sensor is dead, not what it sees
				}
				for _, m := range c.hz.Conds[id].Members {
					for _, p := range m.Points {
						out[p] = true
					}
				}
			})
		}
	}
	return out
}

// checkDirections finds detectors that a stage rests on and that are true when a point moves away
// from its hazard: such a vote is blind to the fire, or stands open in a quiet room (S24).
func (c *compiler) checkDirections() {
	seen := map[hazard.CondID]bool{}
	for i := range c.resp.Plans {
		for _, s := range c.resp.Plans[i].Stages {
			if s.Level == plugins.Watch {
				continue
			}
			c.walkConds(s.When, seen, func(id hazard.CondID) {
				for key, p := range c.away(id) {
					c.condTab[id].Fault(key, "this is true when %s moves away from its hazard (%s): no stage may rest on it, turn it round", p.Name, p.Physics)
				}
			})
		}
	}
}

// away gives the key by which a detector looks away from the hazard, and a point that shows it.
func (c *compiler) away(id hazard.CondID) map[string]*sensors.Point {
	k := &c.hz.Conds[id]
	for _, m := range k.Members {
		for _, pid := range m.Points {
			p := &c.hz.Points[pid]
			if p.Physics != sensors.Smoke && p.Physics != sensors.Gas && p.Physics != sensors.Temperature {
				continue // a voltage is a hazard at either end
			}
			dir := float64(p.Hazard)
			only := func(v float64) bool { return p.Kind == sensors.Binary && len(k.Values) == 1 && k.Values[0] == v }
			switch {
			case k.Kind == hazard.Above && dir < 0:
				return map[string]*sensors.Point{"above": p}
			case k.Kind == hazard.Below && dir > 0:
				return map[string]*sensors.Point{"below": p}
			case k.Kind == hazard.Rate && dir*k.Threshold < 0:
				return map[string]*sensors.Point{"rate": p}
			case k.Kind == hazard.Deviation && (dir > 0 && k.Side == hazard.Down || dir < 0 && k.Side == hazard.Up):
				return map[string]*sensors.Point{map[bool]string{false: "deviation", true: "ratio"}[k.Ratio]: p}
			case k.Kind == hazard.Jump && (dir > 0 && k.Side == hazard.Down || dir < 0 && k.Side == hazard.Up):
				return map[string]*sensors.Point{"jump": p}
			case k.Kind == hazard.In && (dir > 0 && only(0) || dir < 0 && only(1)):
				return map[string]*sensors.Point{"is": p}
			case k.Kind == hazard.NotIn && (dir > 0 && only(1) || dir < 0 && only(0)):
				return map[string]*sensors.Point{"is_not": p}
			}
		}
	}
	return nil
}

// walkConds visits a condition and all that it is made of, each once.
func (c *compiler) walkConds(id hazard.CondID, seen map[hazard.CondID]bool, visit func(hazard.CondID)) {
	if id == hazard.NoCond || seen[id] {
		return
	}
	seen[id] = true
	visit(id)
	for _, of := range c.hz.Conds[id].Of {
		c.walkConds(of, seen, visit)
	}
}

// hazardPoints are the points of smoke, gas or battery temperature of the device: a vote on one of
// them protects, one on its fault bits does not.
func (c *compiler) hazardPoints(d *Device) (out []*sensors.Point) {
	for i := range d.Count {
		p := &c.hz.Points[int(d.First)+i]
		switch p.Physics {
		case sensors.Smoke, sensors.Gas:
			out = append(out, p)
		case sensors.Temperature:
			if p.Hazard > 0 && isBattery(strings.TrimPrefix(p.Name, d.Name+".")) {
				out = append(out, p)
			}
		}
	}
	return out
}

// isBattery tells from the name of a channel whether it is the temperature of a battery.
func isBattery(channel string) bool {
	for _, part := range []string{"battery", "module", "cell", "pack", "string"} {
		if strings.Contains(channel, part) {
			return true
		}
	}
	return false
}

func hazardName(p *sensors.Point) string {
	if p.Physics == sensors.Temperature {
		return "battery temperature"
	}
	return p.Physics.String()
}
