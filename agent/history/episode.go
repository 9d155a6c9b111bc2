package history

import (
	"time"

	"firebreak/agent/journal"
	"firebreak/plugins"
)

// Place is where a record stands.
type Place struct {
	Segment uint64
	Offset  int
}

func (p Place) before(o Place) bool {
	return p.Segment < o.Segment || p.Segment == o.Segment && p.Offset < o.Offset
}

// Episode is one run of a plan, as the history saw it.
type Episode struct {
	Plan, Zone  string
	Number      uint64
	Origin      string
	Config      string // hash of what the agent ran with at its start
	Start, End  Instant
	Open        bool // no end of it was seen
	Late        bool // its beginning was not seen: Start is what later states say
	Unseen      bool // the history does not hold it: Start and End come from elsewhere, and clocks decide
	first, last Place
}

// Episodes finds the runs of all plans, in the order of their beginnings.
func Episodes(dir journal.FS) ([]*Episode, *Report, error) {
	var all []*Episode
	open := map[string]*Episode{}
	rep, err := Walk(dir, func(r *Record) error {
		p := r.Plan
		if p == nil || r.Mark == plugins.MarkDrill { // a drill counts its own episodes
			return nil
		}
		here := Place{r.Segment, r.Offset}
		e := open[p.Plan]
		if e != nil {
			e.End, e.last = r.At, here
			if e.Number == p.Episode {
				return nil
			}
			e.Open = false
			delete(open, p.Plan)
		}
		if p.Episode == 0 {
			return nil
		}
		e = &Episode{Plan: p.Plan, Zone: p.Zone, Number: p.Episode, Origin: p.Origin, Open: true, first: here, last: here,
			Start: r.At.back(time.Duration(p.ElapsedS) * time.Second), End: r.At, Late: p.ElapsedS > 1}
		if r.Info != nil {
			e.Config = r.Info.Config
		}
		open[p.Plan], all = e, append(all, e)
		return nil
	})
	return all, rep, err
}

// Around visits what was read and told in an episode, and so long before its start and after its end.
// Between first and last the order of writing decides, not a clock, which may have been set meanwhile.
func Around(dir journal.FS, e *Episode, before, after time.Duration, visit func(*Record) error) (*Report, error) {
	return Walk(dir, func(r *Record) error {
		if !e.Near(r.At, Place{r.Segment, r.Offset}, before, after) {
			return nil
		}
		return visit(r)
	})
}

// Near tells whether something is within an episode or so near to it.
func (e *Episode) Near(at Instant, p Place, before, after time.Duration) bool {
	switch {
	case e.Unseen:
		return e.Covers(at, before, after)
	case p.before(e.first):
		d, _ := at.To(e.Start)
		return d <= before
	case e.last.before(p) && !e.Open:
		d, _ := e.End.To(at)
		return d <= after
	}
	return true
}

// Covers is Near by the clocks alone.
func (e *Episode) Covers(at Instant, before, after time.Duration) bool {
	to, _ := at.To(e.Start)
	past, _ := e.End.To(at)
	return to <= before && (e.Open || past <= after)
}

// Since is the time from the start of the episode; negative before it.
func (e *Episode) Since(at Instant) time.Duration {
	d, _ := e.Start.To(at)
	return d
}
