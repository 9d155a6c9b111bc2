package guard

import (
	"fmt"
	"slices"
	"time"

	"firebreak/agent/response"
	"firebreak/plugins"
)

// against is S15 in short: why step k may not be called now.
func (m *model) against(k int, now time.Duration, tripped bool) string {
	st := &m.plan.Steps[k]
	open, ok := m.opened[st.Stage]
	if !ok {
		return "its stage cannot be open"
	}
	if now < open+m.countdown(st.Stage)-grace && !tripped {
		return fmt.Sprintf("its stage opened at %v at the earliest, and its countdown runs", open)
	}
	if m.facts[k].first != 0 {
		return "" // a further attempt: its turn has come before
	}
	if st.Irreversible && now > m.held-4*time.Second && now < m.held-grace && !tripped {
		return "a hold is in force"
	}
	if r := m.out.read[mains]; st.OnlyIf == isMains && !tripped && (!r.is && now-r.since > grace || now-r.at > staleAfter+grace) {
		return fmt.Sprintf("its only_if was last true at %v", r.was)
	}
	for _, a := range st.After {
		if st.Proof && !m.proof(a) {
			return fmt.Sprintf("there is no proof of %s", m.plan.Steps[a].Name)
		}
		if !m.over(a, now) {
			return fmt.Sprintf("%s is not over", m.plan.Steps[a].Name)
		}
	}
	return ""
}

func (m *model) countdown(s plugins.Stage) time.Duration {
	for _, st := range m.plan.Stages {
		if st.Level == s {
			return st.Countdown
		}
	}
	return 0
}

func (m *model) proof(a int) bool {
	return m.facts[a].proven || m.facts[a].done && m.plan.Steps[a].Evidence == response.ByOutcome
}

// over: a step has ended, has spent its cap, or could not start for the length of its cap.
func (m *model) over(a int, now time.Duration) bool {
	st, f := &m.plan.Steps[a], m.facts[a]
	switch {
	case m.proof(a), f.gaveUp > st.Retries && st.Evidence == response.ByOutcome, f.gaveUp > 0 && f.gaveUp >= st.Retries+1:
		return true
	case st.OnlyIf == isMains && !m.out.read[mains].is:
		return true // it was passed by, or its next attempt was
	case f.first != 0 && !m.died(m.opened[st.Stage], f.first):
		return now >= f.first+st.Cap-grace
	}
	// A life that ended before the call may have asked for it, and written that down: the cap counts from there.
	return now >= m.opened[st.Stage]+st.Cap-grace
}

// died: the agent was killed between the two.
func (m *model) died(from, to time.Duration) bool {
	return slices.ContainsFunc(m.plot.Deaths, func(d death) bool { return d.At >= from && d.At <= to })
}
