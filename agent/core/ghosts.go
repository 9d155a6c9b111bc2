package core

import (
	"slices"
	"strings"

	"firebreak/agent/hazard"
	"firebreak/sensors"
)

// clearGhosts clears the alarms of what the rules no longer have: a detector, vote, device or step
// that was removed or renamed would else be active for ever, in every status and hello.
func (c *Core) clearGhosts(now sensors.Mono, fx []Effect) []Effect {
	plans := map[string]bool{}
	c.resp.Alarms(func(in hazard.AlarmInput) { plans[in.Name] = true })
	c.resp.TellAnew() // this was to know their names, and told nobody
	for _, a := range c.book.Records() {
		if a.Active && !plans[a.Name] && !c.owned(a.Name) {
			fx = c.setAlarm(now, fx, hazard.AlarmInput{Name: a.Name})
		}
	}
	return fx
}

// owned tells whether something outside of the plans can still move an alarm.
func (c *Core) owned(name string) bool {
	kind, rest, _ := strings.Cut(name, "/")
	switch kind {
	case "agent":
		bus, ok := strings.CutPrefix(rest, "bus-")
		return !ok || c.hasCause("bus/"+bus)
	case "orders", "alarms":
		return true
	case "loss", "distrust":
		return c.hasCause(rest)
	case "bypass", "baseline", "replaced":
		return c.hasCause("device/" + strings.TrimSuffix(rest, "/trips"))
	case "hook":
		return slices.Contains(c.r.Response.Hooks, rest)
	case "plan":
		plan, what, _ := strings.Cut(rest, "/")
		switch what {
		case "not-protecting", "drill", "proofs", "drill-failed":
			return c.resp.Has(plan)
		}
		return false
	case "inhibited":
		return c.hasCond(rest, func(r *hazard.Cond) bool { return r.Kind == hazard.Vote })
	}
	return c.hasCond(name, func(r *hazard.Cond) bool { return r.Priority > 0 })
}

func (c *Core) hasCond(name string, fits func(*hazard.Cond) bool) bool {
	for i := range c.r.Hazard.Conds {
		if r := &c.r.Hazard.Conds[i]; r.Name == name && fits(r) {
			return true
		}
	}
	return false
}

// hasCause: "device/bms-1", "bus/upsnet", "gateway/sw-1" or "supply/A" is still in the rules.
func (c *Core) hasCause(cause string) bool {
	for i := range c.r.Hazard.Devices {
		d := &c.r.Hazard.Devices[i]
		switch cause {
		case "device/" + d.Name, "bus/" + d.Path.Bus, "gateway/" + d.Path.Gateway, "supply/" + d.Path.Supply:
			return true
		}
	}
	return false
}
