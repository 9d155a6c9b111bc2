package response

import (
	"fmt"
	"strings"
	"time"

	"firebreak/agent/hazard"
	"firebreak/agent/near"
	"firebreak/plugins"
	"firebreak/sensors"
)

// Refusal is why an order was not carried out, in words for the person who gave it.
type Refusal struct{ Reasons []string }

func (r *Refusal) Error() string { return "refused: " + strings.Join(r.Reasons, "; ") }

// Reset ends the episode of a plan. It is refused while any member of its votes is true,
// held-true, unknown or bad, while a call is under way, and before the clear time (S6). Undo follows a reset, never a falling
// reading.
func (m *Machine) Reset(now sensors.Mono, plan, by string, j Judge, o *Out) error {
	rule := m.rule(plan)
	if rule == nil {
		return m.r.NoPlan(plan)
	}
	p := m.state[plan]
	if p.Run == nil {
		return &Refusal{[]string{"no episode is open"}}
	}
	if anyTrue(rule, j) {
		p.LastTrue = now
	}
	var why []string
	seen := map[string]bool{}
	for i := range rule.Stages {
		j.Leaves(rule.Stages[i].When, func(name string, v hazard.Verdict) {
			if seen[name] || v.Is == hazard.False || v.Basis == hazard.Bypassed {
				return
			}
			seen[name] = true
			why = append(why, fmt.Sprintf("%s is %s (%s)", name, v.Is, v.Basis))
		})
	}
	for k := range rule.Steps { // its time-out ends that: then nobody would hear how, and an undo would pass it by
		if s := m.step(p, rule.Steps[k].Name); s.State == Starting || s.State == Running {
			why = append(why, fmt.Sprintf("step %s is at work: wait until its call has ended", s.Name))
		}
	}
	clear := rule.ClearTime
	if clear <= 0 {
		clear = 10 * time.Minute
	}
	if p.Run.Vented { // what has vented can burn again the next day
		clear = max(clear, rule.VentClear)
		if rule.VentClear <= 0 {
			clear = max(clear, 24*time.Hour)
		}
	}
	if left := clear - now.Sub(p.LastTrue); left > 0 {
		why = append(why, fmt.Sprintf("the clear time runs for another %v", left.Round(time.Second)))
	}
	if why != nil {
		return &Refusal{why}
	}
	m.put(o, Record{Kind: "end", Plan: plan, At: now, Episode: p.Run.Episode, By: by, Reason: "reset"})
	m.put(o, Record{Kind: "next", Plan: plan, At: now, Episode: p.Next})
	o.Events = append(o.Events, plugins.Event{Type: "plan.reset", Plan: plan, Detail: "by " + by})
	return nil
}

// NoPlan is the error of an order for a plan that is not there, with the name that was meant.
func (r *Rules) NoPlan(plan string) error {
	var names []string
	for i := range r.Plans {
		names = append(names, r.Plans[i].Name)
	}
	return fmt.Errorf("no plan %q%s", plan, near.Hint(plan, names))
}

func (m *Machine) rule(plan string) *Plan {
	for i := range m.r.Plans {
		if m.r.Plans[i].Name == plan {
			return &m.r.Plans[i]
		}
	}
	return nil
}

// Alarms calls set with the condition of every alarm that the plans themselves can raise, but for those of
// steps that were clear at the call before and are: there is one who listens, and what he has heard holds.
func (m *Machine) Alarms(set func(hazard.AlarmInput)) {
	for i := range m.r.Plans {
		rule := &m.r.Plans[i]
		p := m.state[rule.Name]
		name := "plan/" + rule.Name
		armed := p.Mode == Armed.String()
		set(hazard.AlarmInput{Name: name + "/ungated", Active: armed && p.Reason != "", Priority: 3, ReAlarm: 24 * time.Hour,
			Cause: "armed without the gate: " + p.Reason})
		set(hazard.AlarmInput{Name: name + "/mode", Active: p.Mode != "" && p.Mode != rule.ExpectedMode.String(), Priority: 1, ReAlarm: 24 * time.Hour,
			Cause: "mode is " + p.Mode + ", the configuration expects " + rule.ExpectedMode.String()})
		set(hazard.AlarmInput{Name: name + "/pinned", Active: p.Run != nil && p.Run.Hash != m.hash, Priority: 1,
			Cause: "an open run belongs to another configuration: start the agent with that one, or reset"})
		for k := range rule.Steps {
			s := StepRecord{}
			if p.Run != nil {
				s = m.step(p, rule.Steps[k].Name)
			}
			m.stepAlarms(i, k, s, set)
		}
	}
	for _, name := range m.gone() {
		set(hazard.AlarmInput{Name: "plan/" + name + "/pinned", Active: true, Priority: 1,
			Cause: "an open run belongs to a configuration with a plan that this one lacks: start the agent with that one, and reset"})
	}
	m.strayAlarms(set)
}

// TellAnew makes the next call of Alarms tell all.
func (m *Machine) TellAnew() {
	for i := range m.clear {
		clear(m.clear[i])
	}
}

// stepAlarms calls set with the alarms of step k of plan i. Of 200 steps that start at once each event looks
// at the alarms of all: what was clear when it was last told, and is, is not told again. Before the first
// time nothing is known of what a journal has raised, so that all is told once.
func (m *Machine) stepAlarms(i, k int, s StepRecord, set func(hazard.AlarmInput)) {
	rule := &m.r.Plans[i]
	st, is, was, raised := &rule.Steps[k], &m.names[i][k], !m.clear[i][k], false
	tell := func(in hazard.AlarmInput) {
		raised = raised || in.Active
		if was || in.Active {
			set(in)
		}
	}
	m.state[rule.Name].ledgerAlarms(is, st, tell)
	tell(hazard.AlarmInput{Name: is.withheld, Active: s.State == Withheld || s.State == Blocked, Priority: 1, Cause: s.Detail})
	prio := 2
	if st.OnFailure == Escalate || st.OnFailure == Abort {
		prio = 1
	}
	tell(hazard.AlarmInput{Name: is.failed, Active: s.State == Failed, Priority: prio, Cause: s.Detail})
	tell(hazard.AlarmInput{Name: is.capped, Active: s.State == Capped, Priority: prio, Cause: s.Detail})
	tell(hazard.AlarmInput{Name: is.notJournaled, Active: s.State > Starting && s.Start != 0 && !s.Journaled, Priority: 2,
		Cause: "its hook was started before its record was durable"})
	m.clear[i][k] = !raised
}

// stepNames are the alarms of a step. They are put together once: of 200 steps that start at once each
// looks at the alarms of all.
type stepNames struct{ outstanding, undo, withheld, failed, capped, notJournaled string }

func (p *Plan) alarmNames() (all []stepNames) {
	for k := range p.Steps {
		at := "plan/" + p.Name + "/" + p.Steps[k].Name
		all = append(all, stepNames{at + "/outstanding", at + "/undo", at + "/withheld", at + "/failed", at + "/capped", at + "/not-journaled"})
	}
	return all
}

// View is the present state of a plan, for those who are told.
func (m *Machine) View(now sensors.Mono, plan string, j Judge) plugins.PlanState {
	rule := m.rule(plan)
	if rule == nil {
		return plugins.PlanState{Plan: plan}
	}
	p := m.state[plan]
	v := plugins.PlanState{Plan: plan, Zone: rule.Zone, Mode: p.Mode, Stage: plugins.Watch.String(),
		PowerLoss: int(rule.PowerLoss.Seconds()), Reversible: true,
		NextEpisode: p.Next, Outstanding: p.tellLedger(now, rule), UndoBy: p.UndoBy, LastDrill: p.DrillWall, Peer: m.tellPeer(now, rule)}
	if p.Run == nil {
		for k := range rule.Steps {
			v.Steps = append(v.Steps, plugins.StepState{Step: rule.Steps[k].Name, Stage: rule.Steps[k].Stage.String(), State: Idle.String()})
		}
		return v
	}
	high := m.highest(p)
	if p.Run.Trip > plugins.Watch {
		v.TrippedBy = p.Run.TripBy
	}
	v.Stage, v.Episode, v.Latched = high.String(), p.Run.Episode, high.Latches()
	v.Vote, v.ElapsedS = p.Run.Stages[high].Why, int(now.Sub(p.Run.Start).Seconds())
	m.tellRun(now, rule, p, &v)
	for i := range rule.Stages {
		level := rule.Stages[i].Level
		if left := p.Run.left(now, rule, level); p.Run.Stages[level].Open && left > 0 {
			if v.Countdown == nil {
				v.Countdown = map[string]int{}
			}
			v.Countdown[level.String()] = int(left.Seconds() + 0.999)
		}
	}
	for k := range rule.Steps {
		s := m.step(p, rule.Steps[k].Name)
		v.Steps = append(v.Steps, plugins.StepState{Step: s.Name, Stage: rule.Steps[k].Stage.String(), State: s.State.String(),
			Attempt: int(s.Attempt), Evidence: s.Evidence, Journaled: s.Journaled, Detail: s.Detail})
	}
	v.Asking = m.asking(rule, p, j)
	if p.Run.HoldAt != 0 {
		v.HoldS, v.HeldBy = int(max(0, rule.MaxHold-p.Run.holdTime(now)).Seconds()+0.999), p.Run.HoldBy
	}
	return v
}
