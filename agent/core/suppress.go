package core

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"firebreak/agent/hazard"
	"firebreak/plugins"
	"firebreak/sensors"
)

// Suppressed by design is what another alarm says already: the devices behind a dead gateway, the
// votes that cannot trip because of it, the detectors whose only matter is that silence. An alarm of
// a hazard is never suppressed: that its sensor fell silent after it was true is no reason to hide
// it (S4).

// groupOf is the group in which an alarm can be the first: the one that its condition names, else
// the plan that its condition can open, else what it is about (loss, plan, agent).
func (c *Core) groupOf(name string) string {
	if g, ok := c.groups[name]; ok {
		return g
	}
	kind, _, _ := strings.Cut(name, "/")
	return kind
}

func groups(r *Rules) map[string]string {
	out := map[string]string{}
	for i := range r.Hazard.Conds {
		if k := &r.Hazard.Conds[i]; k.Group != "" {
			out[k.Name] = k.Group
		}
	}
	for i := range r.Response.Plans {
		p := &r.Response.Plans[i]
		for _, s := range p.Stages {
			eachBelow(r.Hazard, s.When, func(id hazard.CondID) {
				if name := r.Hazard.Conds[id].Name; out[name] == "" && s.Level > plugins.Watch {
					out[name] = p.Name
				}
			})
		}
	}
	return out
}

// eachBelow visits a condition and all that it is made of.
func eachBelow(r *hazard.Rules, id hazard.CondID, visit func(hazard.CondID)) {
	visit(id)
	for _, of := range r.Conds[id].Of {
		eachBelow(r, of, visit)
	}
}

// wider returns the alarm of the told loss that takes along all that a narrower one is about; empty if
// none does.
func (c *Core) wider(cause string) string {
	devices := c.devicesOf(cause)
	for _, l := range c.eng.Losses() {
		if l.Name == cause || len(devices) == 0 {
			continue
		}
		if !slices.ContainsFunc(devices, func(d string) bool { return !slices.Contains(l.Devices, d) }) {
			return "loss/" + l.Name
		}
	}
	return ""
}

// devicesOf lists the devices that a cause takes along.
func (c *Core) devicesOf(cause string) (out []string) {
	for i := range c.r.Hazard.Devices {
		d := &c.r.Hazard.Devices[i]
		switch cause {
		case "device/" + d.Name, "bus/" + d.Path.Bus, "gateway/" + d.Path.Gateway, "supply/" + d.Path.Supply:
			out = append(out, d.Name)
		}
	}
	return out
}

// silenceSaid returns the alarms that say already what a detector of silence is true by; was are those
// that did so before.
func (c *Core) silenceSaid(now sensors.Mono, id hazard.CondID, was string) string {
	switch {
	case c.r.Hazard.Conds[id].Kind != hazard.Silent:
		return ""
	case c.eng.SilenceTold(id):
		return cmp.Or(c.lossNames(), was) // the causes are gone, and its off-delay runs
	case c.eng.Verdict(id).Is != hazard.False && c.lossHold != never && now < c.lossHold:
		return was // just started: which causes there are is not known yet
	}
	return ""
}

func (c *Core) lossNames() string {
	var names []string
	for _, l := range c.eng.Losses() {
		names = append(names, "loss/"+l.Name)
	}
	return strings.Join(names, " ")
}

// silenceAlarms looks at the detectors of silence again when the losses have changed.
func (c *Core) silenceAlarms(now sensors.Mono, fx []Effect) []Effect {
	for i := range c.r.Hazard.Conds {
		if id := hazard.CondID(i); c.r.Hazard.Conds[i].Kind == hazard.Silent {
			fx = c.condAlarm(now, fx, id, c.eng.Verdict(id))
		}
	}
	return fx
}

// wasAlike remembers an alarm of that kind over a restart.
func (c *Core) wasAlike(a *hazard.Alarm) {
	if name, ok := strings.CutPrefix(a.Name, "distrust/"); ok && a.Active {
		c.alike = append(c.alike, name)
	}
}

// alikeAlarms tells of each cause behind which everything has turned true together.
func (c *Core) alikeAlarms(now sensors.Mono, fx []Effect) []Effect {
	names := c.eng.Alike()
	for _, was := range c.alike {
		if !slices.Contains(names, was) {
			fx = c.setAlarm(now, fx, hazard.AlarmInput{Name: "distrust/" + was})
		}
	}
	for _, n := range names {
		fx = c.setAlarm(now, fx, hazard.AlarmInput{Name: "distrust/" + n, Active: true, Priority: 2,
			Cause: "all that is true behind " + n + " turned so within seconds: counted as two members at most; look whether it garbles what it passes on"})
	}
	c.alike = names
	return fx
}

// floodAlarm tells of more alarms than a person can follow, and how they are made up.
func (c *Core) floodAlarm(now sensors.Mono, fx []Effect) []Effect {
	const name = "alarms/flood"
	if c.book.Raises() == c.floodSeen && now < c.floodWake {
		return fx
	}
	was, _ := c.book.Get(name)
	is, wake := c.book.Flood(now, was.Active, name)
	l := c.book.Load(now)
	fx = c.setAlarm(now, fx, hazard.AlarmInput{Name: name, Active: is, Priority: 3,
		Cause: fmt.Sprintf("%d alarms in 10 min (P1 to P4: %d, %d, %d, %d), %d standing (%d for more than a day), %d to acknowledge, %d hidden: begin with the first-out of each group",
			l.Raised, l.Priority[1], l.Priority[2], l.Priority[3], l.Priority[4], l.Standing, l.Stale, l.Waiting, l.Hidden)})
	c.floodSeen, c.floodWake = c.book.Raises(), wake
	return fx
}
