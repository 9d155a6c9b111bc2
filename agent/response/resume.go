package response

import (
	"maps"
	"slices"
	"time"

	"firebreak/plugins"
	"firebreak/sensors"
)

// Resumed is what the shell knows after a start. It is the first thing a machine hears.
type Resumed struct {
	SameBoot    bool
	Shift       time.Duration // added to every stored instant
	Age         time.Duration // of the last record
	AgeKnown    bool
	EpisodeBase uint64 // first episode where the journal holds none
}

// Resume takes up what the journal holds (S8): modes that it lacks come from the configuration and
// are journaled, old runs ask for a fresh vote, and steps that were under way go on under the same
// keys.
func (m *Machine) Resume(now sensors.Mono, r Resumed, o *Out) {
	m.base = r.EpisodeBase
	m.Shift(r.Shift)
	m.resumeEnergise(now, o)
	for i := range m.r.Plans {
		rule := &m.r.Plans[i]
		p := m.state[rule.Name]
		m.resumeUndo(now, rule, p, r.SameBoot, o)
		if p.Mode == "" {
			m.put(o, Record{Kind: "mode", Plan: rule.Name, At: now, Mode: rule.Mode.String(), Reason: rule.Ungated, By: "configuration"})
		}
		if p.Run == nil {
			if p.Next == 0 { // else it stands: a run whose first records were lost gets the same keys again (S9)
				m.put(o, Record{Kind: "next", Plan: rule.Name, At: now, Episode: max(r.EpisodeBase, 1)})
			}
			continue
		}
		resumeMax := rule.ResumeMax
		if resumeMax <= 0 {
			resumeMax = 15 * time.Minute
		}
		if !p.Run.Stale && (!r.AgeKnown || r.Age > resumeMax) {
			m.put(o, Record{Kind: "stale", Plan: rule.Name, At: now, Episode: p.Run.Episode})
		}
		if p.Run.HoldAt != 0 { // a hold does not survive a restart; nobody knows that it was kept after its last renewal
			m.put(o, Record{Kind: "release", Plan: rule.Name, At: p.Run.HoldAt, Episode: p.Run.Episode, Reason: "a restart"})
			o.Events = append(o.Events, plugins.Event{Type: "hold.lapsed", Plan: rule.Name, Detail: "by a restart of the agent"})
		}
		p.LastTrue = now // not journaled by the second: the clear time starts anew
		m.resumeSteps(now, rule, p, r.SameBoot, o)
	}
	for _, name := range slices.Sorted(maps.Keys(m.state)) {
		if m.rule(name) == nil { // the rules have no undo for it any more
			m.resumeUndo(now, &Plan{Name: name}, m.state[name], r.SameBoot, o)
		}
	}
}

// Shift moves every stored instant by d, into the time of another boot.
func (m *Machine) Shift(d time.Duration) {
	for _, p := range m.state {
		p.shift(d)
	}
}

func (m *Machine) resumeSteps(now sensors.Mono, rule *Plan, p *PlanRun, sameBoot bool, o *Out) {
	for k := range rule.Steps {
		s := m.step(p, rule.Steps[k].Name)
		if s.State != Starting && s.State != Running {
			continue
		}
		// Of a hook that is not known to have been called nothing may have begun: where that cannot be
		// taken back, the vote is taken again first (S4).
		uncalled := s.State == Starting && rule.Steps[k].Irreversible
		if uncalled || !sameBoot || p.Run.Stale || p.Run.Hash != m.hash {
			// What ran is gone with the boot, or too old: it passes the gate again, under its key.
			s.State, s.Detail = Withheld, "interrupted by a restart"
			m.putStep(now, rule, p, s, o)
			continue
		}
		if now >= s.Start.Add(rule.Steps[k].Cap) {
			continue // downtime counts: the plan goes on without it
		}
		m.call(rule, p, k, s, m.timeLeft(now, &rule.Steps[k], &s), o) // attaches to what runs
	}
}

// lastLook is what a call gets whose time-out passed while the agent was down: enough to ask what
// became of it under its key.
const lastLook = 2 * time.Second

// timeLeft is what is left of the time-out of a call that was under way when the agent went down:
// downtime counts (S8). A call that is not known to have begun has all of it. Time-outs are real
// time; so is the time of a machine that is resumed.
func (m *Machine) timeLeft(now sensors.Mono, st *Step, s *StepRecord) time.Duration {
	if s.State != Running || s.Called == 0 {
		return st.Timeout
	}
	return min(st.Timeout, max(lastLook, st.Timeout-now.Sub(s.Called)))
}
