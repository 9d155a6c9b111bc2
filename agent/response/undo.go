package response

import (
	"fmt"
	"slices"

	"firebreak/plugins"
	"firebreak/sensors"
)

// Undo takes back what the ledger holds, by a person's order after the reset: the last that was
// started first, one after the other, so that each finds what it stood on (S1, S6, S13). What has no
// undo stays for a hand. It stops at the first that fails for good, and when an episode opens.
func (m *Machine) Undo(now sensors.Mono, plan, by string, o *Out) error {
	rule := m.rule(plan)
	if rule == nil {
		return m.r.NoPlan(plan)
	}
	p := m.state[plan]
	switch {
	case p.Run != nil:
		return &Refusal{[]string{"an episode is open: undo follows a reset"}}
	case p.UndoBy != "":
		return &Refusal{[]string{"an undo is under way, by " + p.UndoBy}}
	case p.Mode != Armed.String():
		return &Refusal{[]string{"the plan observes, and calls no hook: take it back by hand, then settle it"}}
	case m.next(rule, p) < 0:
		return &Refusal{[]string{"nothing that is outstanding has an undo"}}
	}
	if why := m.peerStands(now, rule); why != "" {
		return &Refusal{[]string{why}}
	}
	if why := m.needed(m.undoStep(rule, p.Ledger[m.next(rule, p)].Step), p); why != "" {
		return &Refusal{[]string{why}}
	}
	m.put(o, Record{Kind: "undo", Plan: plan, At: now, By: by})
	o.Events = append(o.Events, plugins.Event{Type: "undo.begun", Plan: plan, Detail: "by " + by})
	return nil
}

// next is the entry to take back now: of the last start.
func (m *Machine) next(rule *Plan, p *PlanRun) int {
	for i := len(p.Ledger) - 1; i >= 0; i-- {
		if m.undoStep(rule, p.Ledger[i].Step) != nil {
			return i
		}
	}
	return -1
}

func (m *Machine) undoStep(rule *Plan, step string) *Step {
	k := slices.IndexFunc(rule.Steps, func(s Step) bool { return s.Name == step && s.HasUndo })
	if k < 0 {
		return nil
	}
	return &rule.Steps[k]
}

// needed is why what a step did is not taken back now: another plan of this agent has an episode open and does the
// same. As between peers, that needs the reset of both (S13).
func (m *Machine) needed(st *Step, own *PlanRun) string {
	for i := range m.r.Plans {
		rule := &m.r.Plans[i]
		if q := m.state[rule.Name]; q == own || q.Run == nil {
			continue
		}
		for k := range rule.Steps {
			if s := &rule.Steps[k]; s.Hook == st.Hook && s.Target == st.Target || s.HasUndo && s.Undo == st.Undo && s.UndoTarget == st.UndoTarget {
				return fmt.Sprintf("plan %s has an episode open, and its step %q does what %q did: reset that plan first, or take it back by hand and settle it", rule.Name, s.Name, st.Name)
			}
		}
	}
	return ""
}

// advanceUndo moves the undo of a plan without episode.
func (m *Machine) advanceUndo(now sensors.Mono, rule *Plan, p *PlanRun, o *Out) (wake sensors.Mono) {
	if p.UndoBy == "" {
		return m.review(now, rule, p, o)
	}
	i := m.next(rule, p)
	if i < 0 {
		m.stopUndo(now, rule, p, "all is taken back that has an undo", o)
		return m.review(now, rule, p, o)
	}
	e := p.Ledger[i]
	switch e.State {
	case Starting:
		return never
	case Failed:
		e.State = Idle // by a new order
	case Waiting:
		if now < e.Retry {
			return e.Retry
		}
	}
	if why := m.needed(m.undoStep(rule, e.Step), p); why != "" {
		m.stopUndo(now, rule, p, why, o)
		return m.review(now, rule, p, o)
	}
	m.startUndo(now, rule, e, o)
	return never
}

func (m *Machine) startUndo(now sensors.Mono, rule *Plan, e Owed, o *Out) {
	st := m.undoStep(rule, e.Step)
	e.State, e.Called, e.Retry, e.Detail = Starting, now, 0, ""
	m.put(o, Record{Kind: "undo", Plan: rule.Name, At: now, Episode: e.Episode, Owed: &e})
	o.Events = append(o.Events, plugins.Event{Type: "undo.started", Plan: rule.Name, Stage: e.Stage, Step: e.Step, Key: undoKey(rule, st, &e).String()})
	o.Starts = append(o.Starts, Start{Hook: st.Undo, Call: plugins.Call{Key: undoKey(rule, st, &e), Target: st.UndoTarget, Timeout: st.Timeout}})
}

func undoKey(rule *Plan, st *Step, e *Owed) plugins.Key {
	return plugins.Key{Plan: rule.Name, Zone: rule.Zone, Stage: st.Stage, Step: st.Name, Episode: e.Episode, Undo: true, Attempt: e.Attempt}
}

// undone takes the outcome of an undo. That of one that is no longer waited for still settles its
// entry when it was done: the work is taken back, whoever waits.
func (m *Machine) undone(now sensors.Mono, key plugins.Key, oc plugins.Outcome, o *Out) {
	rule := m.rule(key.Plan)
	if rule == nil || rule.Zone != key.Zone {
		return
	}
	p := m.state[rule.Name]
	i := p.owed(key.Step)
	if i < 0 || p.Ledger[i].Episode != key.Episode || p.Ledger[i].Attempt != key.Attempt {
		return
	}
	e, st := p.Ledger[i], m.undoStep(rule, key.Step)
	by := p.UndoBy
	if by == "" {
		by = "firebreak"
	}
	if oc.Result == plugins.Done {
		m.settle(now, rule.Name, e, by, "undone", o)
		return
	}
	if e.State != Starting {
		return
	}
	e.Detail = clip(oc.Detail)
	again := st != nil && p.UndoBy != "" && e.Tries < st.Retries
	e.State = Failed
	if again {
		e.State, e.Retry = Waiting, now.Add(backoff(st.Backoff, e.Tries, key))
		e.Tries++
	} else {
		e.Tries = 0
	}
	if oc.Result == plugins.Failed {
		e.Attempt++ // only a known failure earns a new key (S9)
	}
	m.put(o, Record{Kind: "undo", Plan: rule.Name, At: now, Episode: e.Episode, Owed: &e})
	o.Events = append(o.Events, plugins.Event{Type: "undo." + e.State.String(), Plan: rule.Name, Stage: e.Stage, Step: e.Step, Detail: e.Detail})
	if e.State == Failed {
		m.stopUndo(now, rule, p, "the undo of step "+e.Step+" has failed: what came before it is left as it is", o)
	}
}

func (m *Machine) stopUndo(now sensors.Mono, rule *Plan, p *PlanRun, why string, o *Out) {
	if p.UndoBy == "" {
		return
	}
	m.put(o, Record{Kind: "undo-end", Plan: rule.Name, At: now, Reason: why})
	o.Events = append(o.Events, plugins.Event{Type: "undo.ended", Plan: rule.Name, Detail: why})
}

// resumeUndo takes up an undo after a restart: within one boot its call is asked again under its
// key; after a reboot nobody knows what ran, and a person orders it anew.
func (m *Machine) resumeUndo(now sensors.Mono, rule *Plan, p *PlanRun, sameBoot bool, o *Out) {
	if p.UndoBy == "" {
		return
	}
	i := slices.IndexFunc(p.Ledger, func(e Owed) bool { return e.State == Starting })
	if sameBoot && p.Run == nil && (i < 0 || m.undoStep(rule, p.Ledger[i].Step) != nil) {
		if i >= 0 {
			m.startUndo(now, rule, p.Ledger[i], o)
		}
		return
	}
	if i >= 0 {
		e := p.Ledger[i]
		e.State, e.Detail = Failed, "interrupted by a restart: its end is not known"
		m.put(o, Record{Kind: "undo", Plan: rule.Name, At: now, Episode: e.Episode, Owed: &e})
	}
	m.stopUndo(now, rule, p, "a restart", o)
}
