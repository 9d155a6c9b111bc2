package response

import (
	"fmt"
	"hash/fnv"
	"strings"
	"time"

	"firebreak/agent/hazard"
	"firebreak/plugins"
	"firebreak/sensors"
)

// advance moves one step as far as it goes now. did is true when it changed, so that those that
// wait for it are looked at again.
func (m *Machine) advance(now sensors.Mono, rule *Plan, p *PlanRun, k int, j Judge, o *Out) (did bool, wake sensors.Mono) {
	s, st := m.step(p, rule.Steps[k].Name), &rule.Steps[k]
	switch {
	case s.State == Idle || s.State == Withheld:
		if s.Start != 0 && now >= s.Start.Add(st.Cap) {
			return m.to(now, rule, p, s, Capped, fmt.Sprintf("no evidence within its cap of %v", st.Cap), o), never
		}
		did, wake = m.begin(now, rule, p, k, s, j, o)
		if s.Start != 0 { // withheld after a first start: its cap goes on
			wake = min(wake, s.Start.Add(st.Cap))
		}
		return did, wake
	case s.State.started() || s.State == Capped:
		if st.Evidence == ByCondition {
			// Only a reading taken after the start is evidence of this step's work.
			if v := j.Verdict(st.EvidenceCond); v.Is == hazard.True && v.Basis == hazard.Measured && v.Fresh > s.Start {
				late := ""
				if s.State == Capped {
					late = "evidence came after the cap"
				}
				s.Evidence = true
				return m.to(now, rule, p, s, Done, late, o), never
			}
		}
		if s.State == Capped {
			return false, never
		}
		spent := s.Start.Add(st.Cap)
		if now >= spent {
			return m.to(now, rule, p, s, Capped, fmt.Sprintf("no evidence within its cap of %v", st.Cap), o), never
		}
		if s.State == Waiting {
			if now >= s.Retry {
				did, wake = m.begin(now, rule, p, k, s, j, o)
				return did, min(wake, spent)
			}
			return false, min(spent, s.Retry)
		}
		return false, spent
	}
	return false, never
}

// maxDetail bounds what a hook may say: a record that the journal refuses for its size is lost.
const maxDetail = 1024

func clip(detail string) string {
	if len(detail) > maxDetail {
		return strings.ToValidUTF8(detail[:maxDetail], "") + " ..."
	}
	return detail
}

func (m *Machine) to(now sensors.Mono, rule *Plan, p *PlanRun, s StepRecord, st StepState, detail string, o *Out) bool {
	detail = clip(detail)
	if s.State == st && s.Detail == detail {
		return false
	}
	s.State, s.Detail = st, detail
	m.putStep(now, rule, p, s, o)
	return true
}

// begin starts a step if everything that S15, S4 and S8 ask for holds.
func (m *Machine) begin(now sensors.Mono, rule *Plan, p *PlanRun, k int, s StepRecord, j Judge, o *Out) (did bool, wake sensors.Mono) {
	st := &rule.Steps[k]
	open := p.Run.Stages[st.Stage]
	if !open.Open {
		return false, never
	}
	if left := p.Run.left(now, rule, st.Stage); left > 0 {
		if p.Run.HoldAt != 0 {
			return false, never // the countdown stands still; plan knows the end of the lease
		}
		return false, now.Add(left)
	}
	for _, a := range st.After {
		prev := m.step(p, rule.Steps[a].Name)
		if prev.State == Blocked || prev.State == Failed && rule.Steps[a].OnFailure == Abort {
			return m.to(now, rule, p, s, Blocked, fmt.Sprintf("step %q, for which it waits, was aborted", prev.Name), o), never
		}
		if s.Start == 0 && !prev.State.ended() && !spent(now, &prev, &rule.Steps[a]) {
			if s.State != Withheld {
				return false, never
			}
			s.Since = 0 // it was this one's turn because prev was withheld, and prev has started after all
			return m.to(now, rule, p, s, Idle, "", o), never
		}
		if st.Proof && !(prev.State == Done && prev.Evidence) && prev.State != Observed {
			return m.withhold(now, rule, p, st, s, fmt.Sprintf("needs proof of step %q, which is %s", prev.Name, prev.State), o)
		}
	}
	if why := m.withheld(rule, p, k, &s, j); why != "" {
		return m.withhold(now, rule, p, st, s, why, o)
	}
	if st.Irreversible && p.Run.HoldAt != 0 {
		return false, never // plan knows the end of the lease
	}
	if st.OnlyIf != hazard.NoCond {
		v := j.Verdict(st.OnlyIf)
		if v.Is == hazard.False && v.Basis == hazard.Measured {
			return m.to(now, rule, p, s, Skipped, "its only_if is false", o), never
		}
		byHand := p.Run.TripBox && st.Stage <= p.Run.Trip // an unknown one yields to a named person at the box (S16)
		if (v.Is != hazard.True || v.Basis != hazard.Measured) && !byHand {
			return m.withhold(now, rule, p, st, s, "its only_if cannot be known: a person at the box decides", o)
		}
	}
	if m.full(rule, p, st) {
		return false, never // looked at again when one of them ends
	}
	if p.Mode != Armed.String() {
		return m.to(now, rule, p, s, Observed, "the plan observes: this step would have started", o), never
	}
	m.owe(now, rule, p, k, o)
	s.State, s.Detail, s.Retry, s.Called = Starting, "", 0, now
	if s.Start == 0 {
		s.Start, s.Since = now, 0
	}
	m.putStep(now, rule, p, s, o)
	m.call(rule, p, k, s, st.Timeout, o)
	return true, s.Start.Add(st.Cap)
}

// withheld is the re-vote before an irreversible step (S4), and what stands against a stale run or
// one of another configuration (S8), a step whose turn has passed, and one that has no room (S15).
// It returns the reason, or nothing.
func (m *Machine) withheld(rule *Plan, p *PlanRun, k int, s *StepRecord, j Judge) string {
	st := &rule.Steps[k]
	if why := m.unfit(p); why != "" {
		return why
	}
	if st.Stage <= p.Run.Trip {
		return "" // a person has decided: over the vote, the order and the limit of zones (S16)
	}
	if s.Start == 0 {
		if by := m.overtaken(rule, p, k); by != "" {
			return fmt.Sprintf("step %q went on without it, and proof is asked for: a person decides", by)
		}
	}
	if st.Stage == plugins.SwitchOver && s.Start == 0 {
		if why := m.crowded(rule, p); why != "" {
			return why
		}
	}
	if !st.Irreversible {
		return ""
	}
	blind := false
	for i := range rule.Stages {
		sr := &rule.Stages[i]
		if sr.Level < st.Stage || !p.Run.Stages[sr.Level].Open {
			continue
		}
		v := j.Verdict(sr.When)
		if v.Is != hazard.True || !v.Firm {
			continue
		}
		if v.Basis == hazard.Measured || v.Basis == hazard.HeldTrue && ifBlind(rule, st.Stage) == BlindProceed {
			return ""
		}
		blind = blind || v.Basis == hazard.HeldTrue
	}
	if blind {
		return "no member of its vote is fresh and if_blind is hold: trip it by hand, or wait for a reading"
	}
	return "the re-vote does not hold: it starts by itself when it does, or trip it by hand"
}

// unfit is why no step of a run may start at all (S8); empty: it may.
func (m *Machine) unfit(p *PlanRun) string {
	switch {
	case p.Run.Hash != m.hash:
		return "the run belongs to configuration " + p.Run.Hash + ": start the agent with that one, or reset"
	case p.Run.Stale:
		return "the run is old or of unknown age: it waits for a fresh vote"
	}
	return ""
}

func countdown(rule *Plan, level plugins.Stage) time.Duration {
	for i := range rule.Stages {
		if rule.Stages[i].Level == level {
			return rule.Stages[i].Countdown
		}
	}
	return 0
}

func ifBlind(rule *Plan, level plugins.Stage) BlindPolicy {
	for i := range rule.Stages {
		if rule.Stages[i].Level == level {
			return rule.Stages[i].IfBlind
		}
	}
	return BlindHold
}

func (m *Machine) call(rule *Plan, p *PlanRun, k int, s StepRecord, timeout time.Duration, o *Out) {
	st := &rule.Steps[k]
	o.Starts = append(o.Starts, Start{Hook: st.Hook, Call: plugins.Call{
		Key: key(rule, p, st, s.Attempt), Target: st.Target, Timeout: timeout, Why: p.Run.Stages[st.Stage].Why}})
}

// full: so many steps of its stage are at work that this one waits for one of them to end.
func (m *Machine) full(rule *Plan, p *PlanRun, st *Step) bool {
	limit := 0
	for i := range rule.Stages {
		if rule.Stages[i].Level == st.Stage {
			limit = rule.Stages[i].Parallel
		}
	}
	if limit <= 0 {
		return false
	}
	for k := range rule.Steps {
		if o := &rule.Steps[k]; o != st && o.Stage == st.Stage && m.step(p, o.Name).State.started() {
			limit--
		}
	}
	return limit <= 0
}

func key(rule *Plan, p *PlanRun, st *Step, attempt uint16) plugins.Key {
	return plugins.Key{Plan: rule.Name, Zone: rule.Zone, Stage: st.Stage, Step: st.Name, Episode: p.Run.Episode, Attempt: attempt}
}

// find returns the plan and step that a key of the present episode and attempt belongs to.
func (m *Machine) find(key plugins.Key) (rule *Plan, p *PlanRun, k int, ok bool) {
	for i := range m.r.Plans {
		rule = &m.r.Plans[i]
		if rule.Name != key.Plan || rule.Zone != key.Zone || key.Undo {
			continue
		}
		p = m.state[rule.Name]
		if p.Run == nil || p.Run.Episode != key.Episode {
			return nil, nil, 0, false
		}
		for k = range rule.Steps {
			if rule.Steps[k].Name == key.Step && rule.Steps[k].Stage == key.Stage {
				return rule, p, k, true
			}
		}
	}
	return nil, nil, 0, false
}

// Started notes that a hook has been called, and whether its record was durable before (S9).
func (m *Machine) Started(now sensors.Mono, key plugins.Key, journaled bool, o *Out) {
	rule, p, k, ok := m.find(key)
	if !ok {
		return // an undo, an order, or one that is over
	}
	s := m.step(p, rule.Steps[k].Name)
	if s.State != Starting || s.Attempt != key.Attempt {
		return
	}
	s.State, s.Journaled = Running, journaled
	m.putStep(now, rule, p, s, o)
}

// Done takes the outcome of a call. One that is late, or of another attempt, changes nothing.
func (m *Machine) Done(now sensors.Mono, key plugins.Key, oc plugins.Outcome, o *Out) {
	switch {
	case key.Undo:
		m.undone(now, key, oc, o)
		return
	case key.Plan == plugins.EnergisePlan:
		m.energised(now, key, oc, o)
		return
	}
	rule, p, k, ok := m.find(key)
	if !ok {
		return
	}
	st, s := &rule.Steps[k], m.step(p, rule.Steps[k].Name)
	if oc.Result == plugins.Skipped || oc.Result == plugins.Failed && s.Tries == 0 {
		m.settleUndone(now, p, rule.Name, s.Name, oc, o)
	}
	if s.State == Capped && s.Attempt == key.Attempt && oc.Result == plugins.Done && st.Evidence == ByOutcome {
		s.Evidence = true
		m.to(now, rule, p, s, Done, "evidence came after the cap", o)
		return
	}
	if (s.State != Starting && s.State != Running) || s.Attempt != key.Attempt {
		return
	}
	again := s.Tries < st.Retries
	switch {
	case oc.Result == plugins.Done && st.Evidence == ByOutcome:
		s.Evidence = true
		m.to(now, rule, p, s, Done, oc.Detail, o)
	case oc.Result == plugins.Done, oc.Result == plugins.Unknown && !again && st.Evidence != ByOutcome:
		m.to(now, rule, p, s, Working, oc.Detail, o)
	case oc.Result == plugins.Skipped:
		m.to(now, rule, p, s, Skipped, oc.Detail, o)
	case again:
		s.Retry = now.Add(backoff(st.Backoff, s.Tries, key))
		s.Tries++
		if oc.Result == plugins.Failed {
			s.Attempt++ // only a known failure earns a new key (S9)
		}
		m.to(now, rule, p, s, Waiting, oc.Detail, o)
	default:
		m.to(now, rule, p, s, Failed, oc.Detail, o)
	}
}

// backoff doubles from first up to a minute, and is spread by up to a quarter so that the agents
// of one building do not come back to one target at once. The spread follows from the key: equal
// input gives equal output.
func backoff(first time.Duration, tries int, key plugins.Key) time.Duration {
	d := max(first, 100*time.Millisecond)
	for ; tries > 0 && d < time.Minute; tries-- {
		d *= 2
	}
	d = min(d, time.Minute)
	h := fnv.New32a()
	_, _ = h.Write([]byte(key.String()))
	return d + time.Duration(h.Sum32()%1024)*(d/4096)
}

// Seen takes evidence from a hook. It may be late and may come twice.
func (m *Machine) Seen(now sensors.Mono, ev plugins.Evidence, o *Out) {
	rule, p, k, ok := m.find(ev.Key)
	if !ok || !ev.OK || rule.Steps[k].Evidence != ByHook {
		return
	}
	if name := rule.Steps[k].EvidenceName; name != "" && name != ev.Name {
		return
	}
	s := m.step(p, rule.Steps[k].Name)
	if !s.State.started() && s.State != Capped {
		return
	}
	s.Evidence = true
	m.to(now, rule, p, s, Done, ev.Name+" "+ev.Detail, o)
}
