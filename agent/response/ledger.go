package response

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"firebreak/agent/hazard"
	"firebreak/plugins"
	"firebreak/sensors"
)

// defReview is how long an action may be outstanding without an alarm, where its step says nothing.
const defReview = 24 * time.Hour

// Owed is one entry of the ledger: something reversible was done, and has to be taken back or
// accepted (S21). A step has one at most; a later episode renews it.
type Owed struct {
	Step    string        `json:"step"`
	Stage   string        `json:"stage"`
	Episode uint64        `json:"episode"`
	At      sensors.Mono  `json:"at"` // of the first start that was not taken back
	Owner   string        `json:"owner,omitempty"`
	Revert  string        `json:"revert,omitempty"` // how it is taken back by hand
	Review  time.Duration `json:"review"`           // outstanding for longer is an alarm

	Overdue bool `json:"overdue,omitempty"` // it is, and that is told

	// Of the undo.
	State   StepState    `json:"state,omitempty"` // idle, starting, waiting, failed
	Attempt uint16       `json:"attempt,omitempty"`
	Tries   int          `json:"tries,omitempty"`
	Called  sensors.Mono `json:"called,omitempty"`
	Retry   sensors.Mono `json:"retry,omitempty"`
	Detail  string       `json:"detail,omitempty"`
}

// owe enters a step that is about to be started for the first time in its episode.
func (m *Machine) owe(now sensors.Mono, rule *Plan, p *PlanRun, k int, o *Out) {
	st := &rule.Steps[k]
	if st.Irreversible || !st.HasUndo && st.Revert == "" {
		return
	}
	e := Owed{Step: st.Name, Stage: st.Stage.String(), Episode: p.Run.Episode, At: now, Owner: st.Owner, Revert: st.Revert, Review: st.Review}
	if e.Review <= 0 {
		e.Review = defReview
	}
	if i := p.owed(st.Name); i >= 0 {
		if p.Ledger[i].Episode == e.Episode {
			return
		}
		e.At = p.Ledger[i].At
	}
	m.put(o, Record{Kind: "owe", Plan: rule.Name, At: now, Episode: e.Episode, Owed: &e})
}

func (p *PlanRun) owed(step string) int {
	return slices.IndexFunc(p.Ledger, func(e Owed) bool { return e.Step == step })
}

func (p *PlanRun) applyLedger(rec Record) error {
	switch rec.Kind {
	case "undo":
		if rec.By != "" {
			p.UndoBy = rec.By
		}
	case "undo-end":
		p.UndoBy = ""
		return nil
	}
	if rec.Owed == nil {
		if rec.Kind == "undo" {
			return nil
		}
		return fmt.Errorf("plan %q: a record %q without an entry", rec.Plan, rec.Kind)
	}
	i := p.owed(rec.Owed.Step)
	switch {
	case rec.Kind == "settle":
		if i >= 0 {
			p.Ledger = slices.Delete(p.Ledger, i, i+1)
		}
	case i >= 0:
		p.Ledger[i] = *rec.Owed
	default:
		p.Ledger = append(p.Ledger, *rec.Owed)
	}
	return nil
}

func (m *Machine) settle(now sensors.Mono, plan string, e Owed, by, why string, o *Out) {
	m.put(o, Record{Kind: "settle", Plan: plan, At: now, Episode: e.Episode, Owed: &e, By: by, Reason: why})
	o.Events = append(o.Events, plugins.Event{Type: "ledger.settled", Plan: plan, Stage: e.Stage, Step: e.Step, Detail: why + ", by " + by})
}

// settleUndone takes out the entry of a step of which it is known that nothing was done.
func (m *Machine) settleUndone(now sensors.Mono, p *PlanRun, plan, step string, oc plugins.Outcome, o *Out) {
	i := p.owed(step)
	if i < 0 || p.Run == nil || p.Ledger[i].Episode != p.Run.Episode || p.Ledger[i].At != m.step(p, step).Start {
		return // an earlier episode did it, and that still stands
	}
	m.settle(now, plan, p.Ledger[i], "firebreak", "nothing was done: "+oc.Result.String(), o)
}

// Settle takes an entry out of the ledger by a person's word: it was reverted by hand, or is
// accepted as it is.
func (m *Machine) Settle(now sensors.Mono, plan, step, by, reason string, o *Out) error {
	p := m.state[plan]
	if p == nil {
		return m.r.NoPlan(plan)
	}
	i := p.owed(step)
	switch {
	case i < 0:
		return &Refusal{[]string{fmt.Sprintf("nothing of step %q is outstanding: firebreak outstanding lists what is", step)}}
	case p.Run != nil && p.Ledger[i].Episode == p.Run.Episode:
		return &Refusal{[]string{"its episode is open: reset the plan first"}}
	case reason == "":
		return &Refusal{[]string{"say how it was reverted, or why it is accepted"}}
	}
	m.settle(now, plan, p.Ledger[i], by, reason, o)
	return nil
}

// review notes the entries that are outstanding for too long, and returns when the next will be. While
// an episode is open nobody is reminded.
func (m *Machine) review(now sensors.Mono, rule *Plan, p *PlanRun, o *Out) (wake sensors.Mono) {
	wake = never
	for _, e := range slices.Clone(p.Ledger) {
		switch due := e.At.Add(e.Review); {
		case e.Overdue:
		case now < due:
			wake = min(wake, due)
		default:
			e.Overdue = true
			m.put(o, Record{Kind: "owe", Plan: rule.Name, At: now, Episode: e.Episode, Owed: &e})
		}
	}
	return wake
}

// ledgerAlarms tells what is outstanding for too long, and what could not be taken back.
func (p *PlanRun) ledgerAlarms(is *stepNames, st *Step, set func(hazard.AlarmInput)) {
	e := Owed{}
	if i := p.owed(st.Name); i >= 0 {
		e = p.Ledger[i]
	}
	overdue := hazard.AlarmInput{Name: is.outstanding, Active: e.Overdue && p.Run == nil, Priority: 3, ReAlarm: 24 * time.Hour}
	if overdue.Active {
		how := e.Revert
		if st.HasUndo {
			how = strings.TrimSuffix("firebreak undo, or by hand: "+how, ", or by hand: ")
		}
		overdue.Cause = fmt.Sprintf("done in episode %d, for longer than %v, and not taken back (%s); owner: %s", e.Episode, e.Review, how, e.Owner)
	}
	set(overdue)
	set(hazard.AlarmInput{Name: is.undo, Active: e.State == Failed, Priority: 2, Cause: "its undo has failed: " + e.Detail})
}

// strayAlarms tells of what is owed and has no step in the rules any more: taking it out of the configuration takes
// nothing back (S21). Of a plan that is gone nobody else tells, so that its entries are due at once.
func (m *Machine) strayAlarms(set func(hazard.AlarmInput)) {
	var told []string
	for _, plan := range slices.Sorted(maps.Keys(m.state)) {
		rule, p := m.rule(plan), m.state[plan]
		for i := range p.Ledger {
			e := &p.Ledger[i]
			lacks := "step"
			if rule == nil {
				lacks = "plan"
			} else if slices.ContainsFunc(rule.Steps, func(s Step) bool { return s.Name == e.Step }) || !e.Overdue || p.Run != nil {
				continue
			}
			in := hazard.AlarmInput{Name: "plan/" + plan + "/" + e.Step + "/outstanding", Active: true, Priority: 3, ReAlarm: 24 * time.Hour,
				Cause: fmt.Sprintf("done in episode %d, not taken back, and the configuration has its %s no more (%s); owner: %s; then: firebreak settle %s/%s --reason TEXT",
					e.Episode, lacks, cmp.Or(e.Revert, "by hand"), e.Owner, plan, e.Step)}
			told = append(told, in.Name)
			set(in)
		}
	}
	for _, name := range m.stray {
		if !slices.Contains(told, name) {
			set(hazard.AlarmInput{Name: name})
		}
	}
	m.stray = told
}

// tellLedger is what is outstanding, oldest first.
func (p *PlanRun) tellLedger(now sensors.Mono, rule *Plan) (out []plugins.Outstanding) {
	for _, e := range p.Ledger {
		t := plugins.Outstanding{Step: e.Step, Stage: e.Stage, Episode: e.Episode, AgeS: int(now.Sub(e.At).Seconds()), Owner: e.Owner,
			Revert: e.Revert, Overdue: e.Overdue, State: e.State.String(), Detail: e.Detail}
		for k := range rule.Steps {
			t.Undo = t.Undo || rule.Steps[k].Name == e.Step && rule.Steps[k].HasUndo
		}
		out = append(out, t)
	}
	return out
}
