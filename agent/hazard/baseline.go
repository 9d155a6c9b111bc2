package hazard

import (
	"fmt"
	"slices"
	"time"

	"firebreak/sensors"
)

// A baseline is what a point reads in a room at rest, learned once, at commissioning, because a person
// ordered it: for the window of its detectors one good reading in each of baseSlots equal parts of
// the window is kept, and their median is the baseline. After that nothing moves it: a gas that creeps
// up by 2 % a day for 60 days is the hazard that it is there to show, and whatever follows slowly
// would follow that too. Until one has been learned the detector is unknown, not false. It lasts: it
// is in the snapshot and in the journal, and a restart keeps it. Another device than the proven one
// drops it (S23).
//
// The parts make a burst of polls weigh no more than a slow hour; the median stands half of them
// being wrong, a door that was open for the morning among them.

const (
	baseSlots = 60
	baseNeeds = baseSlots * 4 / 5 // parts of the window in which the point was read
)

// BaselineRecord is the lasting state of one baseline, as the journal holds it.
type BaselineRecord struct {
	Point    string       `json:"point"`
	Have     bool         `json:"have,omitempty"`
	Value    float64      `json:"value,omitempty"`
	By       string       `json:"by,omitempty"`   // who had it learned
	Wall     int64        `json:"wall,omitempty"` // when, in Unix seconds; 0: the clock was not known
	Learning bool         `json:"learning,omitempty"`
	From     sensors.Mono `json:"from,omitempty"` // it is learned since
	Next     int          `json:"next,omitempty"` // part of the window that waits for a reading
	Samples  []float64    `json:"samples,omitempty"`
	Why      string       `json:"why,omitempty"` // it was dropped, or the last learning came to nothing
}

type baseline struct {
	BaselineRecord
	point  sensors.PointID
	window time.Duration
	moved  bool // since the last record
}

// addBaseline gives a point its baseline; of several detectors the longest window counts.
func (e *Engine) addBaseline(p sensors.PointID, window time.Duration) {
	if e.points[p].base < 0 {
		e.points[p].base = int32(len(e.bases))
		e.bases = append(e.bases, baseline{BaselineRecord: BaselineRecord{Point: e.r.Points[p].Name}, point: p})
	}
	b := &e.bases[e.points[p].base]
	b.window = max(b.window, window)
}

// Learn begins to learn the baselines of points, and says which of them have any; what is there already counts until
// the new one is learned. It is refused while a detector on one of them is true, silent or bypassed:
// that is no room at rest. by and wall are kept with it.
func (e *Engine) Learn(now sensors.Mono, points []sensors.PointID, by string, wall int64) ([]string, error) {
	var names []string
	for _, id := range points {
		p := &e.points[id]
		if p.base < 0 {
			continue
		}
		name := e.r.Points[id].Name
		if !p.usable || p.away || p.other {
			return nil, fmt.Errorf("%s cannot be relied on now (%s): repair and prove it, then learn", name, p.q)
		}
		for _, i := range e.byPoint[id] {
			if in := &e.inputs[i]; in.active || !in.lost && in.raw == True {
				return nil, fmt.Errorf("%s is not at rest: %s is true", name, e.r.Conds[in.cond].Name)
			}
		}
		names = append(names, name)
	}
	if names == nil {
		return nil, fmt.Errorf("no detector compares it with a baseline")
	}
	for _, id := range points {
		if k := e.points[id].base; k >= 0 {
			b := &e.bases[k]
			b.Learning, b.From, b.Next, b.Samples, b.Why = true, now, 0, make([]float64, 0, baseSlots), ""
			b.By, b.Wall = by, wall
			e.shift(b)
		}
	}
	return names, nil
}

func (e *Engine) shift(b *baseline) { b.moved, e.learned = true, true }

// learn takes a reading into a baseline that is being learned.
func (e *Engine) learn(b *baseline, r sensors.Reading) {
	if !b.Learning || r.Quality.Status() != sensors.Good || r.At < b.From {
		return
	}
	part := int(r.At.Sub(b.From) / (b.window / baseSlots))
	if part >= baseSlots {
		e.finish(b)
		return
	}
	if part >= b.Next {
		b.Samples, b.Next = append(b.Samples, r.Value), part+1
		e.shift(b)
	}
}

// finish ends the learning. What would leave a detector without a threshold that can be reached is
// no baseline: a room full of smoke must not be learned as one at rest (S24).
func (e *Engine) finish(b *baseline) {
	n := len(b.Samples)
	slices.Sort(b.Samples)
	b.Learning = false
	switch {
	case n < baseNeeds:
		b.Why = fmt.Sprintf("it was read in %d of %d parts of the window: %d are needed", n, baseSlots, baseNeeds)
	default:
		value := b.Samples[n/2]
		if n%2 == 0 {
			value = b.Samples[n/2-1]/2 + value/2
		}
		if b.Why = e.unreachable(b, value); b.Why == "" {
			b.Have, b.Value = true, value
		}
	}
	b.Samples, b.Next, b.From = nil, 0, 0
	e.shift(b)
}

// unreachable says which detector could never be true on a baseline.
func (e *Engine) unreachable(b *baseline, value float64) string {
	rule := &e.r.Points[b.point]
	for _, i := range e.byPoint[b.point] {
		c := &e.r.Conds[e.inputs[i].cond]
		if c.Kind != Deviation || c.From != FromBaseline || rule.Min == rule.Max {
			continue
		}
		up, down := value+c.Threshold, value-c.Threshold
		if c.Ratio {
			up = max(value, c.Floor) * c.Threshold
			down = up
		}
		if (c.Side == Down || up >= rule.Max) && (c.Side == Up || down <= rule.Min) {
			return fmt.Sprintf("at %.6g %s %s could never be true: the room was not at rest", value, rule.Unit, c.Name)
		}
	}
	return ""
}

// forget drops the baseline of a point whose device is not the proven one any more (S23).
func (e *Engine) forget(p *point) {
	if p.base < 0 {
		return
	}
	if b := &e.bases[p.base]; b.Have || b.Learning {
		b.BaselineRecord = BaselineRecord{Point: b.Point, Why: "the device was replaced"}
		e.shift(b)
	}
}

// Baselines visits every baseline that the rules ask for, learned or not, with the device of its
// point.
func (e *Engine) Baselines(visit func(b BaselineRecord, device string)) {
	for i := range e.bases {
		b := &e.bases[i]
		visit(b.BaselineRecord, e.r.Devices[e.r.Points[b.point].Device].Name)
	}
}

func (e *Engine) tellBaselines(out *Changes) {
	e.learned = false
	for i := range e.bases {
		if b := &e.bases[i]; b.moved {
			b.moved = false
			out.Baselines = append(out.Baselines, b.record())
		}
	}
}

func (b *baseline) record() BaselineRecord {
	r := b.BaselineRecord
	r.Samples = slices.Clone(r.Samples)
	return r
}

// RestoreBaseline takes one back; what the rules no longer have is passed over.
func (e *Engine) RestoreBaseline(r BaselineRecord) {
	for i := range e.bases {
		if b := &e.bases[i]; b.Point == r.Point {
			b.BaselineRecord = r
			b.Samples = append(make([]float64, 0, baseSlots), r.Samples[:min(len(r.Samples), baseSlots)]...)
		}
	}
}

// resumeBaselines: within one boot a learning goes on, and the downtime is a part of the window in
// which nothing was read. After a reboot it has come to nothing.
func (e *Engine) resumeBaselines(shift time.Duration) {
	for i := range e.bases {
		if b := &e.bases[i]; b.Learning && shift != 0 {
			b.Learning, b.Samples, b.Next, b.From = false, nil, 0, 0
			b.Why = "the machine was restarted while it was learned"
			e.shift(b)
		}
	}
}
