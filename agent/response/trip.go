package response

import (
	"fmt"

	"firebreak/agent/hazard"
	"firebreak/plugins"
	"firebreak/sensors"
)

// Trip opens a stage, and all below it, by a person's decision (S16). It overrides votes, the
// countdown, a hold, the limit of zones and the age of the run; never an only_if that is false, never
// proof_required. An unknown only_if yields only when box is set: a named person stands there.
func (m *Machine) Trip(now sensors.Mono, plan string, level plugins.Stage, by string, box bool, o *Out) error {
	rule := m.rule(plan)
	if rule == nil {
		return m.r.NoPlan(plan)
	}
	p := m.state[plan]
	has := false
	for i := range rule.Stages {
		has = has || rule.Stages[i].Level == level
	}
	switch {
	case !level.Latches():
		return &Refusal{[]string{"stage " + level.String() + " is not tripped by hand: only 2a, 2b, 3 and 4 are"}}
	case !has:
		return &Refusal{[]string{fmt.Sprintf("plan %q has no stage %s", plan, level)}}
	case p.Mode != Armed.String():
		return &Refusal{[]string{"the plan observes: it would call no hook; do the work by hand, or arm it"}}
	case p.Run != nil && p.Run.Hash != m.hash:
		return &Refusal{[]string{m.unfit(p)}}
	case p.Run != nil && !p.Run.Stale && p.Run.Trip >= level && (p.Run.TripBox >= level || !box):
		return &Refusal{[]string{fmt.Sprintf("stage %s was tripped already, by %s", p.Run.Trip, p.Run.TripBy)}}
	}
	if p.Run == nil {
		m.put(o, Record{Kind: "open", Plan: plan, At: now, Episode: max(p.Next, 1), Hash: m.hash})
	}
	m.put(o, Record{Kind: "trip", Plan: plan, At: now, Episode: p.Run.Episode, Stage: level.String(), By: by, Box: box})
	p.LastTrue = now // a reset waits the clear time after it (S6)
	o.Events = append(o.Events, plugins.Event{Type: "plan.tripped", Plan: plan, Stage: level.String(), Detail: "by " + by})
	return nil
}

// byHand is the frozen why of a stage that a person opened: the vote as it stood, under the name of
// who overrode it.
func byHand(by string, w hazard.Why) hazard.Why {
	w.ByHand = by
	return w
}

// SetMode arms or disarms a plan. Who may, and what must hold before, the core knows (S17, S18).
func (m *Machine) SetMode(now sensors.Mono, plan string, mode Mode, by, reason string, wall int64, o *Out) error {
	rule := m.rule(plan)
	if rule == nil {
		return m.r.NoPlan(plan)
	}
	p := m.state[plan]
	switch {
	case p.Mode == mode.String() && p.Reason == reason:
		return &Refusal{[]string{"it is " + p.Mode + " already"}}
	case mode == Armed && p.Run != nil:
		return &Refusal{[]string{"an episode is open, and its steps were passed by: do what it asks by hand, reset, then arm"}}
	}
	m.put(o, Record{Kind: "mode", Plan: plan, At: now, Mode: mode.String(), By: by, Reason: reason, Wall: wall})
	o.Events = append(o.Events, plugins.Event{Type: "plan." + mode.String(), Plan: plan, Detail: "by " + by})
	return nil
}

// Stage returns the highest open stage of a plan, 0 when none is.
func (m *Machine) Stage(plan string) plugins.Stage {
	if p := m.state[plan]; p != nil && p.Run != nil {
		return m.highest(p)
	}
	return plugins.Watch
}

// Highest returns the highest open stage of all plans, those that the rules no longer have included.
func (m *Machine) Highest() plugins.Stage {
	high := plugins.Watch
	for name := range m.state {
		high = max(high, m.Stage(name))
	}
	return high
}

// Has tells whether the rules have a plan of this name.
func (m *Machine) Has(plan string) bool { return m.rule(plan) != nil }

// Rule returns the rules of a plan; nil: there is none.
func (m *Machine) Rule(plan string) *Plan { return m.rule(plan) }

// Mode tells whether a plan is armed, and since when by the wall clock; 0: that is not known.
func (m *Machine) Mode(plan string) (armed bool, since int64) {
	if p := m.state[plan]; p != nil {
		return p.Mode == Armed.String(), p.ModeWall
	}
	return false, 0
}

// DateMode notes from when on a mode counts whose beginning had no date.
func (m *Machine) DateMode(now sensors.Mono, plan string, wall int64, o *Out) {
	if p := m.state[plan]; p != nil && p.Mode != "" {
		m.put(o, Record{Kind: "mode", Plan: plan, At: now, Mode: p.Mode, Reason: p.Reason, By: "calendar", Wall: wall})
	}
}

// LastDrill is the instant of the last good drill of a plan, Unix seconds; 0: none.
func (m *Machine) LastDrill(plan string) int64 {
	if p := m.state[plan]; p != nil {
		return p.DrillWall
	}
	return 0
}

// Drilled notes a good drill.
func (m *Machine) Drilled(now sensors.Mono, plan string, wall int64, o *Out) {
	m.put(o, Record{Kind: "drill", Plan: plan, At: now, Wall: wall})
}
