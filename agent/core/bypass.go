package core

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"firebreak/agent/hazard"
	"firebreak/agent/response"
	"firebreak/plugins"
	"firebreak/sensors"
)

// maxBypass is how long a bypass lasts at most: a shift and its handover. Out of service has no end.
const maxBypass = 12 * time.Hour

// bypassOrder takes a point, or all of a device, out of every vote for a while, or returns it (S19).
func (c *Core) bypassOrder(now sensors.Mono, o Order) error {
	points := c.eng.Named(o.Name)
	if points == nil {
		return c.noInput(o.Name)
	}
	if o.Kind == EndBypass {
		return c.endBypass(now, o, points)
	}
	if o.For <= 0 || o.For > maxBypass {
		return fmt.Errorf("a bypass lasts up to %v: say how long, with --for", maxBypass)
	}
	var why []string
	others := c.bypassed(points)
	if limit := max(1, c.r.MaxBypass); len(others) >= limit {
		why = append(why, fmt.Sprintf("bypassed already: %s; one at a time, %d at most", strings.Join(others, ", "), limit))
	}
	if o.Reason == "" {
		if stages := c.stagesLost(now, points); stages != nil {
			why = append(why, fmt.Sprintf("could not open any more: %s; name what is done instead (--reason)", strings.Join(stages, ", ")))
		}
	}
	if why != nil {
		return &response.Refusal{Reasons: why}
	}
	until := now.Add(o.For)
	for _, p := range points {
		c.eng.SetBypass(now, p, until)
	}
	c.bypassWhy = fmt.Sprintf("taken out of every vote for %v by %s", o.For, o.By)
	if o.Reason != "" {
		c.bypassWhy += "; instead: " + o.Reason
	}
	c.out.Events = append(c.out.Events, plugins.Event{Type: "bypass.begun", Detail: o.Name + " " + c.bypassWhy})
	return nil
}

func (c *Core) endBypass(now sensors.Mono, o Order, points []sensors.PointID) error {
	any := false
	c.eng.Bypasses(func(b hazard.Bypass) { any = any || b.Until != 0 && slices.Contains(points, b.Point) })
	if !any {
		return fmt.Errorf("%q is not bypassed", o.Name)
	}
	for _, p := range points {
		c.eng.EndBypass(now, p)
	}
	c.out.Events = append(c.out.Events, plugins.Event{Type: "bypass.ended", Detail: o.Name + " by " + o.By})
	return nil
}

// bypassed names the devices with a bypassed point besides those of points: all of a device is one
// input, of which another point may follow, or the same for longer.
func (c *Core) bypassed(points []sensors.PointID) (names []string) {
	own := map[string]bool{}
	for _, p := range points {
		own[c.r.Hazard.Devices[c.r.Hazard.Points[p].Device].Name] = true
	}
	c.eng.Bypasses(func(b hazard.Bypass) {
		if b.Until != 0 && !own[b.Device] && !slices.Contains(names, b.Device) {
			names = append(names, b.Device)
		}
	})
	return names
}

// stagesLost names the stages whose condition could not become true without these points.
func (c *Core) stagesLost(now sensors.Mono, points []sensors.PointID) (names []string) {
	dead := c.eng.WouldInhibit(now, points)
	for i := range c.r.Response.Plans {
		p := &c.r.Response.Plans[i]
		for _, s := range p.Stages {
			if s.Level > plugins.Watch && slices.Contains(dead, s.When) {
				names = append(names, fmt.Sprintf("stage %s of plan %s", s.Level, p.Name))
			}
		}
	}
	return names
}

// bypassAlarms tells of each device with a bypassed point, and warns before the bypass expires. It also
// finds when that will be.
func (c *Core) bypassAlarms(now sensors.Mono, fx []Effect) []Effect {
	c.bypassWake = never
	alarms, trips := map[string]*hazard.AlarmInput{}, map[string][]string{}
	var order []string
	c.eng.Bypasses(func(b hazard.Bypass) {
		if b.Until == 0 {
			return
		}
		name := "bypass/" + b.Device
		in := alarms[name]
		if in == nil {
			was, _ := c.book.Get(name)
			in = &hazard.AlarmInput{Name: name, Active: true, Basis: hazard.Bypassed, Priority: 3, Cause: was.Cause}
			if !was.Active || c.bypassWhy != "" {
				in.Cause = c.bypassWhy
			}
			alarms[name], order = in, append(order, name)
		}
		in.Children = append(in.Children, b.Name)
		if b.Trips {
			trips[name+"/trips"] = append(trips[name+"/trips"], b.Name)
		}
		if warn := b.Until.Add(-hazard.BypassWarning); now >= warn {
			in.Priority = 2 // soon it votes again: is the test over?
		} else {
			c.bypassWake = min(c.bypassWake, warn)
		}
	})
	for _, a := range c.book.Records() {
		if a.Active && strings.HasPrefix(a.Name, "bypass/") && alarms[a.Name] == nil && trips[a.Name] == nil {
			fx = c.setAlarm(now, fx, hazard.AlarmInput{Name: a.Name})
		}
	}
	for _, name := range order {
		fx = c.setAlarm(now, fx, *alarms[name])
		if of := trips[name+"/trips"]; of != nil {
			fx = c.setAlarm(now, fx, hazard.AlarmInput{Name: name + "/trips", Active: true, Basis: hazard.Bypassed, Priority: 2, Children: of,
				Cause: strings.Join(of, ", ") + " would vote, and is bypassed: a test, or the hazard?"})
		}
	}
	c.bypassWhy = ""
	return fx
}
