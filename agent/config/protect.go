package config

import (
	"slices"
	"strings"

	"firebreak/agent/hazard"
	"firebreak/plugins"
	"firebreak/sensors"
)

// checkProtection finds what is there and protects nothing (S24), and steps that would burn with
// what they protect (S12).
func (c *compiler) checkProtection() {
	c.checkPlaces()
	c.checkZone()
	if c.hasFaultIn("detector", "vote", "plan") {
		return // a vote that could not be read must not be blamed as missing
	}
	used := c.devicesThatOpen()
	for i := range c.cfg.Devices {
		d := &c.cfg.Devices[i]
		if what := c.hazardPoint(d); what != nil && !used[d.ID] {
			c.fault(d.At, "device %q measures %s (%s), but none of its points is in a vote that opens a stage: add a detector to a vote, or remove the device", d.Name, hazardName(what), what.Name)
		}
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
		at := Pos{f.Line, f.Column}
		if !before(at, from) && before(at, to) {
			return true
		}
	}
	return false
}

// devicesThatOpen are those with a point in the condition of a stage above 0.
func (c *compiler) devicesThatOpen() map[sensors.DeviceID]bool {
	out := map[sensors.DeviceID]bool{}
	seen := map[hazard.CondID]bool{}
	for i := range c.resp.Plans {
		for _, s := range c.resp.Plans[i].Stages {
			if s.Level > plugins.Watch {
				c.walkConds(s.When, seen, func(id hazard.CondID) {
					for _, m := range c.hz.Conds[id].Members {
						out[m.Device] = true
					}
				})
			}
		}
	}
	return out
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

// hazardPoint is a point of smoke, gas or battery temperature of the device; nil if there is none.
func (c *compiler) hazardPoint(d *Device) *sensors.Point {
	for i := range d.Count {
		p := &c.hz.Points[int(d.First)+i]
		switch p.Physics {
		case sensors.Smoke, sensors.Gas:
			return p
		case sensors.Temperature:
			if p.Hazard > 0 && isBattery(strings.TrimPrefix(p.Name, d.Name+".")) {
				return p
			}
		}
	}
	return nil
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
