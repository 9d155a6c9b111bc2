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

// condAlarms moves the alarms of the conditions whose verdicts have changed.
func (c *Core) condAlarms(now sensors.Mono, fx []Effect) []Effect {
	for _, ch := range c.ch.Conds {
		fx = c.condAlarm(now, fx, ch.Cond, ch.To)
	}
	return fx
}

// condAlarm moves one. An alarm is held on unknown: silence clears nothing. What it rests on is
// frozen with each move, in the journal too.
func (c *Core) condAlarm(now sensors.Mono, fx []Effect, id hazard.CondID, to hazard.Verdict) []Effect {
	rule := &c.r.Hazard.Conds[id]
	if rule.Priority == 0 {
		return fx
	}
	was, _ := c.book.Get(rule.Name)
	in := hazard.AlarmInput{Name: rule.Name, Active: to.Is == hazard.True || to.Is == hazard.Unknown && was.Active,
		Basis: to.Basis, Priority: rule.Priority, Latching: rule.Latching, ReAlarm: rule.ReAlarm, Cause: was.Cause}
	if !in.Active && !was.Active && was.Suppressed == "" {
		return fx
	}
	if to.Is == hazard.Unknown && in.Active {
		in.Basis = hazard.Held
	}
	w := c.eng.Explain(now, id)
	if in.Why = w.Bounded(); to.Is == hazard.True {
		in.Cause = w.Cause()
	}
	in.Suppressed = c.silenceSaid(now, id, was.Suppressed)
	return c.setAlarm(now, fx, in)
}

// lossAlarms raises one alarm for each cause of silence, with its children, and clears those of
// causes that are gone (S2). One that a wider cause takes along is suppressed by it, not cleared: its
// device is no more there than before.
func (c *Core) lossAlarms(now sensors.Mono, fx []Effect) []Effect {
	var active []string
	dead := c.deadVotes()
	for _, l := range c.eng.Losses() {
		name := "loss/" + l.Name
		active = append(active, name)
		fx = c.setAlarm(now, fx, hazard.AlarmInput{Name: name, Active: true, Priority: 2, Children: l.Children,
			Cause: fmt.Sprintf("%s is silent: %d devices, %d points cannot be read; check its power and wiring%s", l.Name, len(l.Devices), len(l.Children), dead)})
	}
	for _, name := range c.losses {
		was, _ := c.book.Get(name)
		by := c.wider(strings.TrimPrefix(name, "loss/"))
		switch {
		case slices.Contains(active, name):
		case by != "":
			active = append(active, name)
			fx = c.setAlarm(now, fx, hazard.AlarmInput{Name: name, Active: true, Priority: 2, Children: was.Children, Cause: was.Cause, Suppressed: by})
		case c.lossHold != never && now < c.lossHold:
			active = append(active, name) // just started: nothing was heard yet, which is no recovery
		default:
			fx = c.setAlarm(now, fx, hazard.AlarmInput{Name: name})
		}
	}
	if now >= c.lossHold {
		c.lossHold = never
	}
	c.losses = active
	return c.silenceAlarms(now, fx)
}

// deadVotes names the votes that cannot trip because of the losses that are told.
func (c *Core) deadVotes() string {
	var names []string
	for i := range c.r.Hazard.Conds {
		id := hazard.CondID(i)
		if c.eng.Verdict(id).Basis == hazard.Inhibited && c.eng.LossExplains(id) {
			names = append(names, c.r.Hazard.Conds[i].Name)
		}
	}
	if names == nil {
		return ""
	}
	return "; cannot trip until then: " + strings.Join(names, ", ")
}

func (c *Core) lossPersist() time.Duration {
	if p := c.r.Hazard.LossPersist; p > 0 {
		return p
	}
	return hazard.DefaultLossPersist
}

// inhibitedAlarms tells of votes that cannot trip: after the persist time of a loss, for a start or
// a short silence is none, and not where the alarm of a loss says it already (S2).
func (c *Core) inhibitedAlarms(now sensors.Mono, fx []Effect) []Effect {
	persist := c.lossPersist()
	c.inhibitedWake = never
	for i := range c.r.Hazard.Conds {
		rule := &c.r.Hazard.Conds[i]
		if rule.Kind != hazard.Vote {
			continue
		}
		since, known := c.inhibited[rule.Name]
		if c.eng.Verdict(hazard.CondID(i)).Basis != hazard.Inhibited {
			if known {
				delete(c.inhibited, rule.Name)
				fx = c.setAlarm(now, fx, hazard.AlarmInput{Name: "inhibited/" + rule.Name})
			}
			continue
		}
		if !known {
			since = now
			c.inhibited[rule.Name] = now
		}
		if due := since.Add(persist); now < due {
			c.inhibitedWake = min(c.inhibitedWake, due)
			continue
		}
		in := hazard.AlarmInput{Name: "inhibited/" + rule.Name, Active: true,
			Basis: hazard.Inhibited, Priority: 2, Cause: "vote " + rule.Name + " cannot trip: too few of its members can be read"}
		if c.eng.LossExplains(hazard.CondID(i)) {
			in.Suppressed = c.lossNames()
		}
		w := c.eng.Explain(now, hazard.CondID(i))
		in.Why = w.Bounded()
		fx = c.setAlarm(now, fx, in)
	}
	return fx
}

// health tells how a part of the agent itself does. No stage looks at it.
func (c *Core) health(now sensors.Mono, ev Event, fx []Effect) []Effect {
	in := hazard.AlarmInput{Name: "agent/" + ev.Part, Active: ev.Err != nil, Priority: 2, Newest: true}
	if ev.Err != nil {
		in.Cause = ev.Err.Error()
	}
	return c.setAlarm(now, fx, in)
}

func (c *Core) setAlarm(now sensors.Mono, fx []Effect, in hazard.AlarmInput) []Effect {
	if in.Group == "" && in.Active { // what is clear is in no group
		in.Group = c.groupOf(in.Name)
	}
	a, changed := c.book.Set(now, in)
	if !changed {
		return fx
	}
	return c.tellAlarm(now, fx, a)
}

func (c *Core) tellAlarm(now sensors.Mono, fx []Effect, a hazard.Alarm) []Effect {
	rec := a
	fx = c.record(now, fx, Record{Alarm: &rec})
	return append(fx, Effect{Kind: Tell, Update: plugins.Update{Alarm: c.alarmState(now, a)}})
}

func (c *Core) alarmState(now sensors.Mono, a hazard.Alarm) *plugins.AlarmState {
	s := &plugins.AlarmState{Name: a.Name, Occurrence: a.Occurrence, State: a.State.String(), Active: a.Active,
		Priority: a.Priority, Basis: a.Basis.String(), Origin: c.r.Hazard.Origin.String(), Cause: a.Cause,
		Children: a.Children, FirstOut: a.FirstOut, SinceMs: now.Sub(a.Since).Milliseconds(),
		SuppressedBy: a.Suppressed, Part9: c.part9(now, &a)}
	id, ok := c.cond(a.Name)
	if !ok {
		return s
	}
	w := c.eng.Explain(now, id)
	vote, members := response.Told(&w)
	if c.r.Hazard.Conds[id].Kind == hazard.Vote {
		s.Vote = vote
	}
	if a.Active {
		s.Evidence = members
	}
	return s
}

// cond finds the condition of an alarm: one that is raised by it, or by a vote that cannot trip.
func (c *Core) cond(alarm string) (hazard.CondID, bool) {
	name := strings.TrimPrefix(alarm, "inhibited/")
	for i := range c.r.Hazard.Conds {
		if c.r.Hazard.Conds[i].Name == name {
			return hazard.CondID(i), true
		}
	}
	return 0, false
}
