package hazard

import (
	"fmt"
	"math"
	"math/bits"

	"firebreak/sensors"
)

const never = sensors.Mono(math.MaxInt64)

// Engine evaluates the conditions of one set of rules.
type Engine struct {
	r       *Rules
	points  []point
	byPoint [][]int32 // detector inputs by point
	inputs  []input   // one for each point of each member of each detector
	members []member
	conds   []cond
	devices []device
	groups  []group
	losses  []Loss
	series  []series // samples of the detectors that look back
	medians []median
	bases   []baseline
	names   map[inputName]int32
	dirty   []uint64 // set of conditions to judge again

	started  bool
	begun    sensors.Mono
	next     sensors.Mono // no timer is due before
	scanLoss bool
	pending  int               // on-delays that run
	bare     []sensors.PointID // taken out of service or put back, and watched by no detector: not recorded yet
	bypassed bool              // a bypass or probation has begun, ended or moved
	learned  bool              // a baseline has moved
	late     uint64
	foreign  uint64
}

// point is the last reading of a point and what is remembered of its movement.
type point struct {
	val    float64
	at     sensors.Mono
	q      sensors.Quality
	have   bool
	usable bool // usable and fresh, as of the last look
	out    bool // out of service
	away   bool // out of service or bypassed: in no vote
	apart  bool // bypassed or on probation: what tells every reading to look at the two instants below
	other  bool // another device than the proven one is read (S23)
	rise   rise
	series []int32 // of its detectors that look back; nil when there is none
	in     []int32 // medians that it counts in; nil when there is none
	count  float64 // with this value
	counts bool
	base   int32 // index into Engine.bases; -1: none

	unheard sensors.Mono // after a start: until then its silence means nothing yet; 0: it was read since, or has been silent

	bypass sensors.Mono // it is bypassed until then; 0: it is not (S19)
	back   sensors.Mono // while it is on probation: when its bypass ended; else 0
}

type cond struct {
	v       Verdict
	m0, m1  int32 // members of a detector
	vote    *vote
	parents []CondID
}

// New builds an engine for r, whose conditions must be in dependency order.
func New(r *Rules) (*Engine, error) {
	e := &Engine{r: r, points: make([]point, len(r.Points)), byPoint: make([][]int32, len(r.Points)),
		conds: make([]cond, len(r.Conds)), devices: make([]device, len(r.Devices)),
		dirty: make([]uint64, (len(r.Conds)+63)/64)}
	for i := range e.points {
		e.points[i].base = -1
	}
	for i := range r.Points {
		if int(r.Points[i].Device) >= len(r.Devices) {
			return nil, fmt.Errorf("point %q: no device %d", r.Points[i].Name, r.Points[i].Device)
		}
	}
	for i := range r.Conds {
		if err := e.addCond(CondID(i)); err != nil {
			return nil, fmt.Errorf("condition %q: %w", r.Conds[i].Name, err)
		}
	}
	for i := range r.Points {
		d := &e.devices[r.Points[i].Device]
		d.points++
		d.list = append(d.list, sensors.PointID(i))
	}
	e.buildGroups()
	e.buildAlike()
	return e, nil
}

func (e *Engine) addCond(id CondID) error {
	c := &e.r.Conds[id]
	rt := &e.conds[id]
	e.mark(id)
	if c.Kind == Vote {
		for _, of := range c.Of {
			if of >= id {
				return fmt.Errorf("refers to a condition that does not come before it")
			}
			e.conds[of].parents = append(e.conds[of].parents, id)
		}
		v, err := e.newVote(c)
		rt.vote = v
		return err
	}
	rt.m0 = int32(len(e.members))
	for _, m := range c.Members {
		mi := int32(len(e.members))
		e.members = append(e.members, member{cond: id, device: m.Device, i0: int32(len(e.inputs))})
		if err := e.oneRef(&m); err != nil {
			return err
		}
		for k, p := range m.Points {
			if int(p) >= len(e.points) {
				return fmt.Errorf("no point %d", p)
			}
			e.byPoint[p] = append(e.byPoint[p], int32(len(e.inputs)))
			in := input{cond: id, member: mi, point: p, lost: true, wiring: e.wire(id, p, m.ref(k), k == 0)}
			e.inputs = append(e.inputs, in)
		}
		e.members[mi].i1 = int32(len(e.inputs))
	}
	rt.m1 = int32(len(e.members))
	return nil
}

// oneRef: a member rests on one other device at most, which is what its span can hold.
func (e *Engine) oneRef(m *Member) error {
	other := m.Device
	for _, p := range m.Ref {
		switch {
		case p == NoPoint:
		case int(p) >= len(e.r.Points):
			return fmt.Errorf("no reference %d", p)
		case e.r.Points[p].Device == m.Device || e.r.Points[p].Device == other:
		case other != m.Device:
			return fmt.Errorf("the references of one device are on several others")
		default:
			other = e.r.Points[p].Device
		}
	}
	return nil
}

// Verdict returns the present verdict of a condition; Unknown for NoCond.
func (e *Engine) Verdict(id CondID) Verdict {
	if int(id) >= len(e.conds) {
		return Verdict{}
	}
	return e.conds[id].v
}

// Late counts readings that came after a newer one of the same point and were ignored.
func (e *Engine) Late() uint64 { return e.late }

// Foreign counts readings of another origin than the rules', which were ignored (S7).
func (e *Engine) Foreign() uint64 { return e.foreign }

// Step takes readings in, lets time pass to now, and adds what changed to out. It returns the
// instant at which it must be called again even if nothing is read; never is a very late one.
func (e *Engine) Step(now sensors.Mono, in []sensors.Reading, out *Changes) (wake sensors.Mono) {
	if !e.started {
		e.started, e.next, e.begun = true, now, now
		for i := range e.devices {
			e.devices[i].lostSince = now // nothing heard yet
		}
	}
	for i := range in {
		e.read(now, in[i])
	}
	if now >= e.next {
		e.scan(now)
	}
	if e.scanLoss {
		e.fallDue(now)
	}
	e.settle(now, out)
	for _, id := range e.bare {
		out.Members = append(out.Members, MemberRecord{Point: e.r.Points[id].Name, Out: e.points[id].out})
	}
	e.bare = e.bare[:0]
	if e.scanLoss {
		e.judgeLosses(now, out)
	}
	if e.learned {
		e.tellBaselines(out)
	}
	out.Bypasses, e.bypassed = out.Bypasses || e.bypassed, false
	return e.next
}

func (e *Engine) wakeAt(t sensors.Mono) {
	if t < e.next {
		e.next = t
	}
}

// read takes one reading into its point and every detector that watches it.
func (e *Engine) read(now sensors.Mono, r sensors.Reading) {
	if int(r.Point) >= len(e.points) {
		return
	}
	if r.Quality.Origin() != e.r.Origin {
		e.foreign++ // not even as a failure: an injected value must not silence a real point (S7)
		return
	}
	p := &e.points[r.Point]
	if p.have && r.At < p.at {
		e.late++
		return
	}
	if r.At > now {
		r.At = now // a source's clock may be read a little after ours
	}
	at := r.At
	if p.apart {
		e.tend(now, r.Point)
		at = max(at, p.back) // what was sampled before a return counts from there
	}
	if p.out {
		r.Quality = sensors.BadQuality(sensors.OutOfService)
	} else if math.IsNaN(r.Value) || math.IsInf(r.Value, 0) {
		r.Value, r.Quality = 0, sensors.MakeQuality(sensors.Bad, sensors.Implausible, r.Quality.Origin())
	}
	rule := &e.r.Points[r.Point]
	if r.Quality.Usable() {
		if why := r.Quality.Reason(); p.other || why == sensors.Replaced {
			e.identify(p, why)
		}
		p.rise.observe(rule, r)
		for _, s := range p.series {
			e.series[s].samples = addSample(e.series[s].samples, r, e.series[s].window)
		}
		if p.base >= 0 {
			e.learn(&e.bases[p.base], r)
		}
	}
	seen := r.At // until here what was true before counts as true
	if p.usable {
		seen = min(seen, p.at.Add(rule.Stale))
	}
	for _, i := range e.byPoint[r.Point] {
		e.serve(&e.inputs[i], seen)
		e.missed(&e.inputs[i], seen, r.At)
	}
	p.val, p.at, p.q, p.have, p.unheard = r.Value, r.At, r.Quality, true, 0
	e.setUsable(r.Point, r.Quality.Usable() && now < r.At.Add(rule.Stale), r.At)
	e.recount(p)
	if p.usable {
		e.wakeAt(r.At.Add(rule.Stale))
	}
	for _, i := range e.byPoint[r.Point] {
		e.observe(&e.inputs[i], p, at)
		e.advance(&e.inputs[i], now)
	}
}

// scan looks at every timer. It runs only when one may be due, and finds the next.
func (e *Engine) scan(now sensors.Mono) {
	e.next = never
	for id := range e.points {
		p := &e.points[id]
		if p.apart {
			e.tend(now, sensors.PointID(id))
		}
		if p.unheard != 0 {
			e.hear(now, sensors.PointID(id))
		}
		if !p.usable {
			continue
		}
		staleAt := p.at.Add(e.r.Points[id].Stale)
		if now >= staleAt {
			e.setUsable(sensors.PointID(id), false, staleAt)
			e.recount(p)
			for _, i := range e.byPoint[id] {
				e.serve(&e.inputs[i], staleAt)
				e.inputs[i].lose(staleAt, false)
				e.touch(&e.inputs[i])
			}
			continue
		}
		e.wakeAt(staleAt)
	}
	for i := range e.inputs {
		e.advance(&e.inputs[i], now)
	}
	e.scanLoss = true
}

// hear ends the wait for the first reading after a start: the point is silent indeed.
func (e *Engine) hear(now sensors.Mono, id sensors.PointID) {
	p := &e.points[id]
	if now < p.unheard {
		e.wakeAt(p.unheard)
		return
	}
	p.unheard = 0
	for _, i := range e.byPoint[id] {
		e.touch(&e.inputs[i])
	}
}

func (e *Engine) mark(id CondID) { e.dirty[id/64] |= 1 << (id % 64) }

// settle brings members, detectors and votes up to date, in dependency order: a condition marks
// only later ones.
func (e *Engine) settle(now sensors.Mono, out *Changes) {
	for w := range e.dirty {
		for e.dirty[w] != 0 {
			bit := bits.TrailingZeros64(e.dirty[w])
			e.dirty[w] &^= 1 << bit
			e.judge(CondID(w*64+bit), now, out)
		}
	}
}

func (e *Engine) judge(id CondID, now sensors.Mono, out *Changes) {
	c := &e.conds[id]
	var v Verdict
	moved := false
	if c.vote != nil {
		// It is judged only when something below has moved: what nests it looks through it.
		v, moved = e.judgeVote(id, now), true
	} else {
		v, moved = e.judgeDetector(id, now, out)
	}
	v.Since = c.v.Since
	if v.Is != c.v.Is || v.Since == 0 {
		v.Since = now
	}
	if !v.same(c.v) {
		out.Conds = append(out.Conds, CondChange{id, c.v, v})
	}
	if moved || v != c.v {
		for _, p := range c.parents {
			e.mark(p)
		}
	}
	c.v = v
}

// SetOutOfService takes a point out of every vote, or returns it. A destroyed point is taken out
// by name before a reset (S6).
func (e *Engine) SetOutOfService(now sensors.Mono, id sensors.PointID, out bool) {
	for _, i := range e.byPoint[id] {
		in := &e.inputs[i]
		if out {
			*in = input{cond: in.cond, member: in.member, point: in.point, wiring: in.wiring, pend: in.pend}
		}
		in.lost, in.lostAt, in.dirty = true, now, true
	}
	e.points[id].out = out
	if len(e.byPoint[id]) == 0 {
		e.bare = append(e.bare, id)
	}
	e.follow(id, now)
	for _, i := range e.byPoint[id] {
		e.advance(&e.inputs[i], now)
	}
}
