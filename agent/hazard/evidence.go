package hazard

import (
	"fmt"
	"slices"
	"time"

	"firebreak/sensors"
)

// inputState says in a few words what the detector on one point does, so that an alarm is understood
// without the configuration at hand: which delay runs, how long it has been silent, what it is held by.
func (e *Engine) inputState(now sensors.Mono, in *input) string {
	c := &e.r.Conds[in.cond]
	since := func(t sensors.Mono) time.Duration { return now.Sub(t).Round(time.Second) }
	switch {
	case in.away && in.active:
		return "bypassed while it was true"
	case in.away:
		return "bypassed"
	case in.silent && in.active:
		return fmt.Sprintf("silent for %v, limit %v", since(e.lostSince(in)), c.Window)
	case in.latched && c.Kind == Runaway:
		return "confirmed, until it is reset"
	case in.latched:
		return "latched by gas over range"
	case in.lost && in.active && in.basis == HeldTrue:
		return fmt.Sprintf("was true, silent for %v, votes for %v", since(in.lostAt), e.heldTrue(c))
	case in.lost && in.active:
		return fmt.Sprintf("was true, silent for %v", since(in.lostAt))
	case in.lost && in.lostAt == 0:
		return "never judged"
	case in.lost:
		return fmt.Sprintf("cannot be judged for %v", since(in.lostAt))
	case in.serving():
		return fmt.Sprintf("on-delay %v of %v", (in.on + now.Sub(in.onAt)).Round(time.Second), c.OnDelay)
	case in.active && in.raw == False:
		return fmt.Sprintf("off-delay %v of %v", since(in.offAt), c.OffDelay)
	}
	return in.is.String()
}

// against is what the value of a comparing detector was held against; nil where there is nothing to show.
func (e *Engine) against(in *input) *float64 {
	c := &e.r.Conds[in.cond]
	if c.Kind != Deviation {
		return nil
	}
	if v, ok := e.reference(in, c, &e.points[in.point]); ok {
		return &v
	}
	return nil
}

// maxWhyMembers bounds what the record of an alarm holds of a vote with many members.
const maxWhyMembers = 16

// Bounded keeps those members that a person needs first: the true ones, then those that cannot be
// judged. The counts stay.
func (w Why) Bounded() *Why {
	rank := func(m *WhyMember) int { return map[Tri]int{True: 0, Unknown: 1, False: 2}[m.Is] }
	w.Members = slices.Clone(w.Members)
	slices.SortStableFunc(w.Members, func(a, b WhyMember) int { return rank(&a) - rank(&b) })
	w.Members = w.Members[:min(len(w.Members), maxWhyMembers)]
	return &w
}
