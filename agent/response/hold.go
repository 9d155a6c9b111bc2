package response

import (
	"fmt"
	"time"

	"firebreak/plugins"
	"firebreak/sensors"
)

// holdLease is how long a hold lasts after it was renewed last (S16).
const holdLease = 5 * time.Second

// Hold begins or renews a hold: the countdowns of stages 3 and 4 stand still and no irreversible
// step starts, until the lease ends, a release, or the end of the plan's hold time (S16).
func (m *Machine) Hold(now sensors.Mono, plan, by string, o *Out) error {
	rule := m.rule(plan)
	if rule == nil {
		return m.r.NoPlan(plan)
	}
	p := m.state[plan]
	if p.Run == nil {
		return &Refusal{[]string{"no episode is open"}}
	}
	m.lapse(now, rule, p, o)
	switch {
	case p.Run.Trip.Irreversible():
		return &Refusal{[]string{"stage " + p.Run.Trip.String() + " was tripped by hand, by " + p.Run.TripBy + ": a trip overrides a hold"}}
	case !m.highest(p).Irreversible():
		return &Refusal{[]string{"no stage 3 or 4 is open: there is nothing to hold"}}
	case rule.MaxHold <= 0:
		return &Refusal{[]string{"the plan has no max_hold"}}
	case p.Run.holdTime(now) >= rule.MaxHold:
		return &Refusal{[]string{fmt.Sprintf("the hold time of this run, %v, is used up", rule.MaxHold)}}
	}
	begins := p.Run.HoldAt == 0
	m.put(o, Record{Kind: "hold", Plan: plan, At: now, Episode: p.Run.Episode, By: by})
	if begins {
		o.Events = append(o.Events, plugins.Event{Type: "hold.begun", Plan: plan, Detail: "by " + by})
	}
	return nil
}

// Release ends a hold, whoever began it.
func (m *Machine) Release(now sensors.Mono, plan, by string, o *Out) error {
	rule := m.rule(plan)
	if rule == nil {
		return m.r.NoPlan(plan)
	}
	p := m.state[plan]
	if p.Run != nil {
		m.lapse(now, rule, p, o)
	}
	if p.Run == nil || p.Run.HoldAt == 0 {
		return &Refusal{[]string{"no hold is in force"}}
	}
	m.put(o, Record{Kind: "release", Plan: plan, At: now, Episode: p.Run.Episode, By: by})
	o.Events = append(o.Events, plugins.Event{Type: "hold.released", Plan: plan, Detail: "by " + by})
	return nil
}

// lapse ends a hold whose lease is over, at the instant at which it was, however late this look is.
func (m *Machine) lapse(now sensors.Mono, rule *Plan, p *PlanRun, o *Out) {
	end := p.Run.leaseEnd(rule)
	if now < end {
		return
	}
	m.put(o, Record{Kind: "release", Plan: rule.Name, At: end, Episode: p.Run.Episode})
	why := "it was not renewed"
	if p.Run.HoldUsed >= rule.MaxHold {
		why = "the hold time of this run is used up"
	}
	o.Events = append(o.Events, plugins.Event{Type: "hold.lapsed", Plan: rule.Name, Detail: why})
}

// leaseEnd is when the hold in force lapses; never, if there is none.
func (r *Run) leaseEnd(rule *Plan) sensors.Mono {
	if r.HoldAt == 0 {
		return never
	}
	return r.HoldAt.Add(max(0, min(holdLease, rule.MaxHold-r.HoldUsed)))
}

// holdTime is how much hold time the run has used by now.
func (r *Run) holdTime(now sensors.Mono) time.Duration {
	if r.HoldAt == 0 {
		return r.HoldUsed
	}
	return r.HoldUsed + now.Sub(r.HoldAt)
}

// settle counts the hold in force up to at: to the run, and to each stage that was open under it.
func (r *Run) settle(at sensors.Mono) {
	if r.HoldAt == 0 || at <= r.HoldAt {
		return
	}
	r.HoldUsed += at.Sub(r.HoldAt)
	for i := range r.Stages {
		if st := &r.Stages[i]; st.Open && at > st.At {
			st.Held += at.Sub(max(r.HoldAt, st.At))
		}
	}
}

// left is what is left of the countdown of a stage. While a hold is in force it stands still (S15).
func (r *Run) left(now sensors.Mono, rule *Plan, level plugins.Stage) time.Duration {
	st := &r.Stages[level]
	if level <= r.Trip {
		return 0 // a manual trip overrides the countdown (S16)
	}
	if r.HoldAt != 0 {
		now = max(r.HoldAt, st.At)
	}
	return st.At.Add(countdown(rule, level) + st.Held).Sub(now)
}
