// Package response turns verdicts and the outcomes of hooks into stages and steps. It is pure: no
// clock, no goroutine, no I/O. What lasts changes only through Apply of a Record, so that a
// journal of the records rebuilds a plan in the middle.
//
// Concurrency: a Machine belongs to one goroutine, the one that runs the core. Failure: a hook
// that fails, hangs or lies is bounded by its time-out, its attempts and the step's cap; a plan
// that may not go on says so and asks.
package response

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"firebreak/agent/hazard"
	"firebreak/plugins"
	"firebreak/sensors"
)

const never = sensors.Mono(math.MaxInt64)

// Judge is what the machine asks of the hazard engine.
type Judge interface {
	Verdict(hazard.CondID) hazard.Verdict
	Explain(sensors.Mono, hazard.CondID) hazard.Why
	Leaves(hazard.CondID, func(name string, v hazard.Verdict))
	Venting(hazard.CondID) bool
}

// Start asks for one call of a hook.
type Start struct {
	Hook int // index into Rules.Hooks
	Call plugins.Call
}

// Out collects what one call decided. The caller empties it with Reset.
type Out struct {
	Records []Record
	Starts  []Start
	Events  []plugins.Event
	Changed []string // plans whose state has changed
}

// Reset empties o and keeps its memory.
func (o *Out) Reset() {
	o.Records, o.Starts, o.Events, o.Changed = o.Records[:0], o.Starts[:0], o.Events[:0], o.Changed[:0]
}

// Machine runs the plans of one set of rules.
type Machine struct {
	r     *Rules
	hash  string
	state map[string]*PlanRun
	order [][]int             // of the steps of each plan: those that others wait for first
	names [][]stepNames       // of the alarms of each step of each plan
	clear [][]bool            // of each: none of them was raised when they were last told
	stray []string            // alarms of what is owed and has no step in the rules, as last told
	peers map[string]PeerSaid // by plan; what was heard last, in this process
	base  uint64              // of episodes: no number below is new (S9)
}

// New builds a machine. hash is that of the whole configuration.
func New(r *Rules, hash string) (*Machine, error) {
	m := &Machine{r: r, hash: hash, state: map[string]*PlanRun{}, peers: map[string]PeerSaid{}}
	for i := range r.Plans {
		p := &r.Plans[i]
		if m.state[p.Name] != nil {
			return nil, fmt.Errorf("plan %q: there are two of this name", p.Name)
		}
		if err := p.check(len(r.Hooks)); err != nil {
			return nil, fmt.Errorf("plan %q: %w", p.Name, err)
		}
		m.state[p.Name] = &PlanRun{}
		order, _ := p.order()
		m.order = append(m.order, order)
		m.names = append(m.names, p.alarmNames())
		m.clear = append(m.clear, make([]bool, len(p.Steps)))
	}
	return m, nil
}

// put applies a record and hands it on. The order of records is the order of decisions.
func (m *Machine) put(o *Out, rec Record) {
	if err := m.Apply(rec); err != nil {
		// A record made here always fits: an open episode is checked before it is made. If it does
		// not, saying so beats stopping the protection.
		o.Events = append(o.Events, plugins.Event{Type: "response.bug", Plan: rec.Plan, Detail: err.Error()})
		return
	}
	o.Records = append(o.Records, rec)
	m.changed(o, rec.Plan)
}

func (m *Machine) changed(o *Out, plan string) {
	for _, c := range o.Changed {
		if c == plan {
			return
		}
	}
	o.Changed = append(o.Changed, plan)
}

// step returns a copy of the state of a step.
func (m *Machine) step(p *PlanRun, name string) StepRecord {
	if s := p.Run.Steps[name]; s != nil {
		return *s
	}
	return StepRecord{Name: name}
}

func (m *Machine) putStep(now sensors.Mono, rule *Plan, p *PlanRun, s StepRecord, o *Out) {
	m.put(o, Record{Kind: "step", Plan: rule.Name, At: now, Episode: p.Run.Episode, Step: &s})
	ev := plugins.Event{Type: "step." + s.State.String(), Plan: rule.Name, Step: s.Name, Detail: s.Detail}
	for k := range rule.Steps {
		if st := &rule.Steps[k]; st.Name == s.Name {
			ev.Stage = st.Stage.String()
			if s.Start != 0 {
				ev.Key = key(rule, p, st, s.Attempt).String()
			}
		}
	}
	o.Events = append(o.Events, ev)
}

// Step looks at every plan. It returns the instant at which it must be called again.
func (m *Machine) Step(now sensors.Mono, j Judge, o *Out) (wake sensors.Mono) {
	wake = never
	for i := range m.r.Plans {
		rule := &m.r.Plans[i]
		wake = min(wake, m.plan(now, rule, m.order[i], j, o))
		m.tellAsking(rule, m.state[rule.Name], j, o)
	}
	return wake
}

func (m *Machine) plan(now sensors.Mono, rule *Plan, order []int, j Judge, o *Out) (wake sensors.Mono) {
	p := m.state[rule.Name]
	target, fresh := plugins.Watch, plugins.Watch
	for i := range rule.Stages {
		st := &rule.Stages[i]
		v := j.Verdict(st.When)
		if opens(st.Level, v) {
			target = max(target, st.Level)
			if v.Basis == hazard.Measured {
				fresh = max(fresh, st.Level)
			}
		}
	}
	if target > plugins.Watch && p.Run == nil {
		m.put(o, Record{Kind: "open", Plan: rule.Name, At: now, Episode: max(p.Next, 1), Hash: m.hash})
	}
	if p.Run == nil {
		return m.advanceUndo(now, rule, p, o)
	}
	m.stopUndo(now, rule, p, "an episode has opened", o)
	target = max(target, p.Run.Trip)
	m.lapse(now, rule, p, o)
	m.openStages(now, rule, p, target, j, o)
	m.seeTrue(now, rule, p, j, o)
	if m.falls(rule, p, j) {
		m.put(o, Record{Kind: "end", Plan: rule.Name, At: now, Episode: p.Run.Episode, Reason: "its conditions are false"})
		m.put(o, Record{Kind: "next", Plan: rule.Name, At: now, Episode: p.Next})
		o.Events = append(o.Events, plugins.Event{Type: "stage.fallen", Plan: rule.Name, Stage: "0"})
		return never
	}
	if p.Run.Stale && fresh >= m.highest(p) {
		m.put(o, Record{Kind: "fresh", Plan: rule.Name, At: now, Episode: p.Run.Episode})
	}
	for again := true; again; {
		again, wake = false, never
		for _, k := range order {
			did, w := m.advance(now, rule, p, k, j, o)
			again, wake = again || did, min(wake, w)
		}
	}
	return min(wake, p.Run.leaseEnd(rule))
}

// seeTrue notes when a member of any vote of the plan was last true, whether it was enough for a
// vote or not: the clear time runs from there (S6). A member that was true at the last look was
// true until now, however long ago that was.
func (m *Machine) seeTrue(now sensors.Mono, rule *Plan, p *PlanRun, j Judge, o *Out) {
	is := anyTrue(rule, j)
	if is || p.True {
		p.LastTrue = now
	}
	p.True = is
	for i := 0; i < len(rule.Stages) && !p.Run.Vented; i++ {
		if j.Venting(rule.Stages[i].When) {
			m.put(o, Record{Kind: "vented", Plan: rule.Name, At: now, Episode: p.Run.Episode})
		}
	}
}

func anyTrue(rule *Plan, j Judge) bool {
	is := false
	for i := 0; i < len(rule.Stages) && !is; i++ {
		j.Leaves(rule.Stages[i].When, func(_ string, v hazard.Verdict) { is = is || v.Is == hazard.True })
	}
	return is
}

// opens says whether a verdict opens a stage: stage 1 on anything that votes; above it at least one
// member must be true on a usable reading (S2) and not just back from a bypass (S19); stages 3 and 4 ask
// for a strong quorum (S3).
func opens(level plugins.Stage, v hazard.Verdict) bool {
	switch {
	case v.Is != hazard.True:
		return false
	case level.Irreversible():
		return v.Basis == hazard.Measured && v.Strong
	case level > plugins.Notify:
		return v.Basis == hazard.Measured && v.Settled
	}
	return true
}

// openStages opens target and all below it (S15).
func (m *Machine) openStages(now sensors.Mono, rule *Plan, p *PlanRun, target plugins.Stage, j Judge, o *Out) {
	for i := range rule.Stages {
		st := &rule.Stages[i]
		if st.Level > target || p.Run.Stages[st.Level].Open {
			continue
		}
		by := st.When
		for k := i; k < len(rule.Stages) && !opens(st.Level, j.Verdict(by)); k++ {
			by = rule.Stages[k].When // a higher stage took this one along
		}
		frozen := j.Explain(now, by)
		if !opens(st.Level, j.Verdict(by)) {
			frozen = byHand(p.Run.TripBy, frozen)
		}
		why, err := json.Marshal(frozen)
		if err != nil {
			why = nil // a value that JSON cannot hold must not stop a stage
		}
		m.put(o, Record{Kind: "stage", Plan: rule.Name, At: now, Episode: p.Run.Episode, Stage: st.Level.String(), Why: why})
		o.Events = append(o.Events, plugins.Event{Type: "stage.opened", Plan: rule.Name, Stage: st.Level.String(), Data: why})
	}
}

// falls: only stage 1 falls by itself, and only when its condition is false on usable readings:
// silence is not recovery (S6). An episode without any stage is one whose next records a crash has
// taken: it waits for all conditions, so that it starts again under the same keys (S9).
func (m *Machine) falls(rule *Plan, p *PlanRun, j Judge) bool {
	high := m.highest(p)
	if high.Latches() {
		return false
	}
	for i := range rule.Stages {
		looked := high == plugins.Watch || p.Run.Stages[rule.Stages[i].Level].Open
		if looked && j.Verdict(rule.Stages[i].When).Is != hazard.False {
			return false
		}
	}
	return true
}

func (m *Machine) highest(p *PlanRun) plugins.Stage {
	for s := plugins.Isolate; s > plugins.Watch; s-- {
		if p.Run.Stages[s].Open {
			return s
		}
	}
	return plugins.Watch
}

// Active is true while any plan has an open episode.
func (m *Machine) Active() bool {
	for i := range m.r.Plans {
		if m.state[m.r.Plans[i].Name].Run != nil {
			return true
		}
	}
	return false
}

// RunHash returns the hash of the configuration to which an open run is pinned; empty if none is.
func (m *Machine) RunHash() string {
	for i := range m.r.Plans {
		if p := m.state[m.r.Plans[i].Name]; p.Run != nil {
			return p.Run.Hash
		}
	}
	for _, name := range m.gone() {
		return m.state[name].Run.Hash
	}
	return ""
}

// gone names the plans that the rules no longer have and of which a run is open: taking a plan out
// of the configuration does not end its run (S8).
func (m *Machine) gone() []string {
	var names []string
	for name, p := range m.state {
		if p.Run != nil && m.rule(name) == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
