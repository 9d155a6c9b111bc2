package config

import (
	"cmp"
	"slices"
	"time"

	"firebreak/agent/response"
	"firebreak/plugins"
)

// PathStep is one step of the longest way through a plan.
type PathStep struct {
	Name string
	Cap  time.Duration
	Give time.Duration // by so much its cap is longer than one call of its hook may take
}

// Path is the longest way through a plan by the caps of its steps: what has to be shortened when the
// plan does not fit its power loss, and nothing else.
type Path struct {
	From  plugins.Stage // its first step starts when this stage lets it
	At    time.Duration // from the condition
	Steps []PathStep
	End   time.Duration
}

// Most is the step of the path that has most to give; false when none has any.
func (p *Path) Most() (most PathStep, ok bool) {
	for _, s := range p.Steps {
		if s.Give > most.Give {
			most, ok = s, true
		}
	}
	return most, ok
}

// spans are the start and end of each step, from the condition, and the one that each waited for last:
// -1 when that was its stage.
type spans struct {
	start, end []time.Duration
	waited     []int
}

// follow goes through a plan from the worst case of its stages, when each step takes so long as takes says. It
// starts them as the response does: after those that they wait for, in the order of the file where
// a stage lets only so many be at work.
func follow(p *response.Plan, stages []StageReport, takes func(*response.Step) time.Duration) spans {
	n := len(p.Steps)
	sp := spans{make([]time.Duration, n), make([]time.Duration, n), make([]int, n)}
	placed := make([]bool, n)
	for range n {
		next, at, by := -1, time.Duration(0), -1
		for i := range p.Steps {
			if placed[i] || slices.ContainsFunc(p.Steps[i].After, func(a int) bool { return !placed[a] }) {
				continue
			}
			if t, w := sp.ready(p, stages, placed, i); next < 0 || t < at {
				next, at, by = i, t, w
			}
		}
		if next < 0 {
			return sp // a circle, which is a fault of its own
		}
		placed[next] = true
		sp.start[next], sp.waited[next], sp.end[next] = at, by, at+takes(&p.Steps[next])
	}
	return sp
}

// ready is when step i can start, and what it waits for last.
func (sp *spans) ready(p *response.Plan, stages []StageReport, placed []bool, i int) (at time.Duration, by int) {
	s := &p.Steps[i]
	by, limit := -1, 0
	for k := range stages {
		if stages[k].Stage == s.Stage {
			at, limit = stages[k].Worst.Total+stages[k].Worst.Countdown, p.Stages[k].Parallel
		}
	}
	for _, a := range s.After {
		if sp.end[a] > at {
			at, by = sp.end[a], a
		}
	}
	if limit == 0 {
		return at, by
	}
	var busy []int // of its stage and not over at that time, the first to end last
	for k := range p.Steps {
		if placed[k] && p.Steps[k].Stage == s.Stage && sp.end[k] > at {
			busy = append(busy, k)
		}
	}
	slices.SortStableFunc(busy, func(a, b int) int { return cmp.Compare(sp.end[b], sp.end[a]) })
	if len(busy) >= limit {
		by = busy[limit-1]
		at = sp.end[by]
	}
	return at, by
}

// byClock says for each stage when its steps have ended at the latest, by their caps, and when they have
// if each is done within one time-out of its hook; and for the plan, which way is the longest.
func byClock(p *response.Plan, stages []StageReport) *Path {
	caps := follow(p, stages, func(s *response.Step) time.Duration { return s.Cap })
	calls := follow(p, stages, func(s *response.Step) time.Duration { return s.Timeout })
	last := -1
	for i := range p.Steps {
		k := slices.IndexFunc(stages, func(s StageReport) bool { return s.Stage == p.Steps[i].Stage })
		stages[k].LastCap, stages[k].LastCall = max(stages[k].LastCap, caps.end[i]), max(stages[k].LastCall, calls.end[i])
		if last < 0 || caps.end[i] > caps.end[last] {
			last = i
		}
	}
	if last < 0 {
		return nil
	}
	path := &Path{End: caps.end[last]}
	for i := last; i >= 0; i = caps.waited[i] {
		s := &p.Steps[i]
		path.From, path.At = s.Stage, caps.start[i]
		path.Steps = append(path.Steps, PathStep{s.Name, s.Cap, s.Cap - s.Timeout})
	}
	slices.Reverse(path.Steps)
	return path
}
