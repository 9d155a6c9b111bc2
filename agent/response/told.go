package response

import (
	"cmp"
	"encoding/json"
	"math"
	"slices"

	"firebreak/agent/hazard"
	"firebreak/plugins"
	"firebreak/sensors"
)

// maxTold bounds the members that a message shows: a vote may have 64, and a person reads a few.
const maxTold = 16

// Told is a frozen verdict as others are told of it: the counts, and those members first that are
// true, then those that cannot be judged.
func Told(w *hazard.Why) (*plugins.Vote, []plugins.Member) {
	v := &plugins.Vote{Cond: w.Cond, Is: w.Is.String(), Basis: w.Basis.String(), K: w.K, N: w.N,
		True: w.True, Held: w.Held, Bad: w.Bad, Bypassed: w.Bypassed}
	order := slices.Clone(w.Members)
	slices.SortStableFunc(order, func(a, b hazard.WhyMember) int { return cmp.Compare(toldRank(a.Is), toldRank(b.Is)) })
	var members []plugins.Member
	for _, m := range order[:min(len(order), maxTold)] {
		t := plugins.Member{Name: m.Name, Is: m.Is.String(), Basis: m.Basis.String(), Weak: m.Weak}
		for _, r := range m.Readings {
			t.Readings = append(t.Readings, toldReading(r))
		}
		members = append(members, t)
	}
	return v, members
}

func toldRank(is hazard.Tri) int {
	switch is {
	case hazard.True:
		return 0
	case hazard.Unknown:
		return 1
	}
	return 2
}

// toldReading leaves out a value that means nothing: one never read, or read as bad. A stale one
// was good when it was read, and its age is told.
func toldReading(r hazard.WhyReading) plugins.MemberReading {
	t := plugins.MemberReading{Point: r.Point, Unit: r.Unit, Quality: r.Quality, AgeMs: r.AgeMs, State: r.State, Against: r.Against}
	if r.HasValue() && !math.IsNaN(r.Value) && !math.IsInf(r.Value, 0) {
		t.Value = &r.Value
	}
	return t
}

// tellRun adds what follows from an open episode.
func (m *Machine) tellRun(now sensors.Mono, rule *Plan, p *PlanRun, v *plugins.PlanState) {
	v.Protects = slices.Clone(rule.Protects)
	var why hazard.Why
	if len(v.Vote) > 0 && json.Unmarshal(v.Vote, &why) == nil {
		v.OpenedBy, v.Evidence = Told(&why)
		v.Cause = why.Cause()
	}
	left := rule.PowerLoss - now.Sub(p.Run.Start)
	for k := range rule.Steps {
		st, s := &rule.Steps[k], m.step(p, rule.Steps[k].Name)
		if !st.Irreversible {
			continue
		}
		v.Reversible = v.Reversible && s.Start == 0
		switch {
		case s.State.ended() || s.State == Blocked:
		case s.Start != 0: // of its cap, what is left: the rest is in the elapsed time
			left -= max(0, s.Start.Add(st.Cap).Sub(now))
		default:
			left -= st.Cap
		}
	}
	if rule.PowerLoss > 0 {
		s := max(0, int(left.Seconds()))
		v.ActByS = &s
	}
}
