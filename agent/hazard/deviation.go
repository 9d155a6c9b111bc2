package hazard

import (
	"slices"

	"firebreak/sensors"
)

// A deviation is judged when its own point is read, against what the reference was last: a poll of
// the reference alone moves nothing, and one that cannot be read makes the detector unknown, as if
// the point itself were silent. Whoever rests on one reference falls with it, so all of them are
// one member of a vote (S5).

// wiring is what an input is compared with. It comes from the rules and never changes.
type wiring struct {
	ref    sensors.PointID // NoPoint: none
	series int32           // of the point: index into Engine.series
	volts  int32           // of its voltage; both are looked at by their kinds alone
	median int32           // index into Engine.medians
	silent bool            // true when nothing is heard
}

func (e *Engine) wire(id CondID, p, ref sensors.PointID, first bool) wiring {
	c, w := &e.r.Conds[id], wiring{ref: ref}
	switch c.Kind {
	case Rate, Jump:
		w.series = e.addSeries(p, c.Window)
	case Runaway:
		w.series = e.addSeries(p, c.Window)
		if ref != NoPoint && c.Drop > 0 {
			w.volts = e.addSeries(ref, c.DropOver)
		}
	case Silent:
		w.silent = true
	case Deviation:
		switch c.From {
		case FromMedian, FromDeviceMedian:
			w.median = e.addMedian(id, p, c.From == FromDeviceMedian && first)
		case FromBaseline:
			e.addBaseline(p, c.Learn)
		}
	}
	return w
}

// deviates applies a deviation. For Side Either the deadband is that of the side that it is on.
func (e *Engine) deviates(in *input, c *Cond, p *point, held bool) Tri {
	from, ok := e.reference(in, c, p)
	if !ok {
		return Unknown
	}
	up, down := from+c.Threshold, from-c.Threshold
	if c.Ratio {
		up = max(from, c.Floor) * c.Threshold
		down = up
	}
	v := p.val
	return tri(c.Side != Down && (v >= up || held && v > up-c.Deadband) ||
		c.Side != Up && (v <= down || held && v < down+c.Deadband))
}

// reference is what a deviation is measured from; ok is false while nobody knows it.
func (e *Engine) reference(in *input, c *Cond, p *point) (v float64, ok bool) {
	switch c.From {
	case FromPoint:
		return e.beside(in.ref, p.at)
	case FromMedian, FromDeviceMedian:
		return e.medians[in.median].value()
	case FromBaseline:
		b := &e.bases[p.base]
		return b.Value, b.Have
	}
	return 0, false
}

// beside is the value of another point at an instant, if it is fresh, in service and not bypassed.
func (e *Engine) beside(id sensors.PointID, at sensors.Mono) (v float64, ok bool) {
	if id == NoPoint {
		return 0, false
	}
	p := &e.points[id]
	return p.val, p.usable && !p.away && at < p.at.Add(e.r.Points[id].Stale)
}

// refOut: what it is compared with was taken out by a person. Then neither does it vote by what it was.
func (e *Engine) refOut(in *input) bool { return in.ref != NoPoint && e.points[in.ref].away }

// weakRef: it is true by a jump, which no rise precedes (S3), or against a point that is not the
// proven one or went over range itself (S23).
func (e *Engine) weakRef(in *input) bool {
	if in.ref != NoPoint {
		if ref := &e.points[in.ref]; ref.other || ref.rise.weak {
			return true
		}
	}
	return e.r.Conds[in.cond].Kind == Jump
}

// median holds the usable values of a group in order. A group of one that lies cannot move it far,
// and of one that moves as a whole it sees nothing: that is what rates and limits are for.
type median struct {
	cond CondID
	size int // points of the group
	vals []float64
}

// minMedian is how many usable values a median rests on at least; and half of its points.
const minMedian = 3

func (e *Engine) addMedian(id CondID, p sensors.PointID, begins bool) int32 {
	n := len(e.medians)
	if n == 0 || e.medians[n-1].cond != id || begins {
		e.medians = append(e.medians, median{cond: id})
		n++
	}
	m := &e.medians[n-1]
	m.size++
	m.vals = slices.Grow(m.vals[:0], m.size)
	e.points[p].in = append(e.points[p].in, int32(n-1))
	return int32(n - 1)
}

func (m *median) value() (v float64, ok bool) {
	n := len(m.vals)
	if n < minMedian || 2*n < m.size {
		return 0, false
	}
	if n%2 == 1 {
		return m.vals[n/2], true
	}
	return m.vals[n/2-1]/2 + m.vals[n/2]/2, true
}

// loseReferences makes unknown at once what will be at its next reading, because what it is compared
// with is gone.
func (e *Engine) loseReferences(now sensors.Mono) {
	for i := range e.inputs {
		in := &e.inputs[i]
		if c := &e.r.Conds[in.cond]; c.Kind == Deviation && !in.lost && !in.away {
			if _, ok := e.reference(in, c, &e.points[in.point]); !ok {
				in.lose(now, false)
				e.advance(in, now)
			}
		}
	}
}

// recount brings the medians that a point counts in up to date.
func (e *Engine) recount(p *point) {
	if p.in == nil {
		return
	}
	counts := p.usable && !p.out // a bypassed one is read as before: that it has no vote moves no median
	if counts == p.counts && (!counts || p.val == p.count) {
		return
	}
	for _, i := range p.in {
		m := &e.medians[i]
		if p.counts {
			at, _ := slices.BinarySearch(m.vals, p.count)
			m.vals = slices.Delete(m.vals, at, at+1)
		}
		if counts {
			at, _ := slices.BinarySearch(m.vals, p.val)
			m.vals = slices.Insert(m.vals, at, p.val)
		}
	}
	p.counts, p.count = counts, p.val
}
