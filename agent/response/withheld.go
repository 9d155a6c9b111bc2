package response

import (
	"fmt"

	"firebreak/agent/hazard"
	"firebreak/plugins"
	"firebreak/sensors"
)

// spent: a step that may not start has had its cap for it, so those that wait for it go on as if
// it were capped (S15). It still starts by itself.
func spent(now sensors.Mono, s *StepRecord, st *Step) bool {
	return s.State == Withheld && s.Start == 0 && s.Since != 0 && now >= s.Since.Add(st.Cap)
}

// withhold keeps a step from starting and says why. The cap of one that was never started counts
// from the instant at which it could have been.
func (m *Machine) withhold(now sensors.Mono, rule *Plan, p *PlanRun, st *Step, s StepRecord, why string, o *Out) (did bool, wake sensors.Mono) {
	if s.Start != 0 {
		return m.to(now, rule, p, s, Withheld, why, o), never // advance knows the end of its cap
	}
	if unfit := m.unfit(p); unfit != "" { // nothing of this run may start: that is told first, and no cap counts
		s.Since, why = 0, unfit
		return m.to(now, rule, p, s, Withheld, why, o), never
	}
	if s.Since == 0 {
		s.Since, s.Detail = now, "" // told anew: the record holds the instant
	}
	wake = s.Since.Add(st.Cap)
	if now >= wake {
		wake = never
		if rule.waitedFor(st) {
			why = fmt.Sprintf("%s; its cap of %v is spent: those after it go on", why, st.Cap)
		}
	}
	return m.to(now, rule, p, s, Withheld, why, o), wake
}

func (p *Plan) waitedFor(st *Step) bool {
	for k := range p.Steps {
		for _, a := range p.Steps[k].After {
			if &p.Steps[a] == st {
				return true
			}
		}
	}
	return false
}

// overtaken names a step that went on without step k though one of the two asks for proof of what
// comes before it: step k would be out of order now. Empty: there is none.
func (m *Machine) overtaken(rule *Plan, p *PlanRun, k int) string {
	after := make([]bool, len(rule.Steps))
	after[k] = true
	for again := true; again; {
		again = false
		for i := range rule.Steps {
			for _, a := range rule.Steps[i].After {
				if after[a] && !after[i] {
					after[i], again = true, true
				}
			}
		}
	}
	for i := range rule.Steps {
		if i != k && after[i] && (rule.Steps[k].Proof || rule.Steps[i].Proof) && m.step(p, rule.Steps[i].Name).Start != 0 {
			return rule.Steps[i].Name
		}
	}
	return ""
}

// crowded is why a plan may not begin to switch over: with it, more zones than the limit would be
// in stage 2b at once (S15). A zone that is in it goes on: to stop half-way makes no room.
func (m *Machine) crowded(rule *Plan, p *PlanRun) string {
	if rule.MaxZones2b <= 0 || m.switching(rule, p) {
		return ""
	}
	zones := map[string]bool{}
	for i := range m.r.Plans {
		other := &m.r.Plans[i]
		if q := m.state[other.Name]; q != p && m.switching(other, q) {
			for _, z := range other.zones() {
				zones[z] = true
			}
		}
	}
	others := len(zones)
	for _, z := range rule.zones() {
		zones[z] = true
	}
	if others == 0 || len(zones) <= rule.MaxZones2b {
		return ""
	}
	return fmt.Sprintf("%d zones are in switch-over already, the limit is %d: ask the NOC; it starts by itself when there is room", others, rule.MaxZones2b)
}

// switching: stage 2b is open and one of its steps was started.
func (m *Machine) switching(rule *Plan, p *PlanRun) bool {
	if p.Run == nil || !p.Run.Stages[plugins.SwitchOver].Open {
		return false
	}
	for k := range rule.Steps {
		if rule.Steps[k].Stage == plugins.SwitchOver && m.step(p, rule.Steps[k].Name).Start != 0 {
			return true
		}
	}
	return false
}

func (p *Plan) zones() []string {
	if len(p.Protects) == 0 {
		return []string{p.Zone}
	}
	return p.Protects
}

// asking is what a person is asked to decide; empty: nothing.
func (m *Machine) asking(rule *Plan, p *PlanRun, j Judge) string {
	if p.Run == nil {
		return ""
	}
	for k := range rule.Steps {
		if s := p.Run.Steps[rule.Steps[k].Name]; s != nil && (s.State == Withheld || s.State == Blocked) {
			return "step " + s.Name + ": " + s.Detail
		}
	}
	if why := m.unfit(p); why != "" {
		return why
	}
	if !m.highest(p).Latches() {
		return ""
	}
	for i := range rule.Stages {
		st := &rule.Stages[i]
		if p.Run.Stages[st.Level].Open {
			continue
		}
		switch v := j.Verdict(st.When); {
		case v.Basis == hazard.Inhibited:
			return fmt.Sprintf("stage %s cannot open by itself: too few of its sensors can be read", st.Level)
		case v.Is == hazard.True && !v.Settled && v.Basis == hazard.Measured:
			return fmt.Sprintf("stage %s: its vote rests on a sensor that has just come back from a bypass: a person decides", st.Level)
		case st.Level.Irreversible() && v.Is == hazard.True && !v.Strong:
			return fmt.Sprintf("stage %s: its vote rests on a sensor that jumped or went over range without a rise: a person decides", st.Level)
		}
	}
	return ""
}

// tellAsking makes a plan told whose question has changed though no record has.
func (m *Machine) tellAsking(rule *Plan, p *PlanRun, j Judge, o *Out) {
	if text := m.asking(rule, p, j); text != p.Told {
		p.Told = text
		m.changed(o, rule.Name)
	}
}
