package core

import (
	"fmt"

	"firebreak/agent/hazard"
	"firebreak/sensors"
)

// SerialRead is the serial number that a device has answered with: what a proof is a proof of (S23). One is
// written for each other number, so that a restart does not take an exchanged unit for the proven one.
type SerialRead struct {
	Device string `json:"device"`
	Serial string `json:"serial"`
}

// identify takes the serial number that came with readings, and marks, in place, those of a point that was proven
// on another unit: they vote, and count up to stage 2 only, until it is proven again (S23). A device without a number,
// or silent, says nothing: what was known stays.
func (c *Core) identify(now sensors.Mono, ev Event, fx []Effect) []Effect {
	g := &c.gate
	if ev.Serial != "" && int(ev.Device) < len(c.r.Hazard.Devices) {
		if name := c.r.Hazard.Devices[ev.Device].Name; g.serials[name] != ev.Serial {
			_ = c.note(now, &fx, Record{Serial: &SerialRead{name, ev.Serial}}) // Apply takes it always
			fx = c.exchangeAlarms(now, fx)
		}
	}
	if len(g.other) == 0 {
		return fx
	}
	for i := range ev.Readings {
		r := &ev.Readings[i]
		marked, other := g.other[r.Point]
		if !other || !r.Quality.Usable() {
			continue
		}
		if !marked || r.Quality.Status() == sensors.Good { // the engine remembers it over a jump or a value over range
			r.Quality = sensors.MakeQuality(sensors.Uncertain, sensors.Replaced, r.Quality.Origin())
			g.other[r.Point] = true
		}
	}
	return fx
}

// findOthers looks at the points of a device, or of all if it is empty.
func (c *Core) findOthers(device string) {
	for i := range c.r.Hazard.Points {
		if device == "" || c.deviceName(c.r.Hazard.Points[i].Device) == device {
			c.findOther(i)
		}
	}
}

// findOther finds out whether a point was proven on another unit than the one that is read now.
func (c *Core) findOther(i int) {
	if i < 0 {
		return // the rules have it no more
	}
	g, p, id := &c.gate, &c.r.Hazard.Points[i], sensors.PointID(i)
	proven, read := g.proofs[p.Name].Serial, g.serials[c.deviceName(p.Device)]
	if _, known := g.other[id]; proven == "" || read == "" || proven == read {
		delete(g.other, id)
	} else if !known {
		g.other[id] = false
	}
}

func (c *Core) deviceName(id sensors.DeviceID) string {
	if int(id) < len(c.r.Hazard.Devices) {
		return c.r.Hazard.Devices[id].Name
	}
	return ""
}

// exchangeAlarms tells of each device of which points wait to be proven again.
func (c *Core) exchangeAlarms(now sensors.Mono, fx []Effect) []Effect {
	for i := range c.r.Hazard.Devices {
		d := &c.r.Hazard.Devices[i]
		in := hazard.AlarmInput{Name: "replaced/" + d.Name, Priority: 2}
		was := ""
		for k := range c.r.Hazard.Points {
			p := &c.r.Hazard.Points[k]
			if _, other := c.gate.other[sensors.PointID(k)]; other && p.Device == sensors.DeviceID(i) {
				in.Children = append(in.Children, p.Name)
				was = c.gate.proofs[p.Name].Serial
			}
		}
		if in.Active = in.Children != nil; in.Active {
			in.Cause = fmt.Sprintf("serial number %s answers where %s was proven: it was exchanged, or swapped with another one; until its points are proven again (firebreak commission) they open stages up to 2 only",
				c.gate.serials[d.Name], was)
		}
		fx = c.setAlarm(now, fx, in)
	}
	return fx
}
