package hazard

import (
	"fmt"
	"math"
	"time"

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

	started  bool
	next     sensors.Mono // no timer is due before
	scanLoss bool
	late     uint64
}

// point is the last reading of a point and what is remembered of its movement.
type point struct {
	val     float64
	at      sensors.Mono
	q       sensors.Quality
	have    bool
	usable  bool // usable and fresh, as of the last look
	out     bool // out of service
	rise    rise
	samples []sample // for rate detectors; nil when there is none
}

type cond struct {
	v       Verdict
	m0, m1  int32 // members of a detector
	vote    *vote
	parents []CondID
	dirty   bool
}

// New builds an engine for r, whose conditions must be in dependency order.
func New(r *Rules) (*Engine, error) {
	e := &Engine{r: r, points: make([]point, len(r.Points)), byPoint: make([][]int32, len(r.Points)),
		conds: make([]cond, len(r.Conds)), devices: make([]device, len(r.Devices))}
	for i := range r.Conds {
		if err := e.addCond(CondID(i)); err != nil {
			return nil, fmt.Errorf("condition %q: %w", r.Conds[i].Name, err)
		}
	}
	for i := range r.Points {
		if int(r.Points[i].Device) >= len(r.Devices) {
			return nil, fmt.Errorf("point %q: no device %d", r.Points[i].Name, r.Points[i].Device)
		}
		e.devices[r.Points[i].Device].points++
	}
	e.buildGroups()
	return e, nil
}

func (e *Engine) addCond(id CondID) error {
	c := &e.r.Conds[id]
	rt := &e.conds[id]
	rt.dirty = true
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
		for _, p := range m.Points {
			if int(p) >= len(e.points) {
				return fmt.Errorf("no point %d", p)
			}
			e.byPoint[p] = append(e.byPoint[p], int32(len(e.inputs)))
			e.inputs = append(e.inputs, input{cond: id, member: mi, point: p, lost: true})
			if c.Kind == Rate && e.points[p].samples == nil {
				e.points[p].samples = make([]sample, 0, maxSamples)
			}
		}
		e.members[mi].i1 = int32(len(e.inputs))
	}
	rt.m1 = int32(len(e.members))
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

// Step takes readings in, lets time pass to now, and adds what changed to out. It returns the
// instant at which it must be called again even if nothing is read; never is a very late one.
func (e *Engine) Step(now sensors.Mono, in []sensors.Reading, out *Changes) (wake sensors.Mono) {
	if !e.started {
		e.started, e.next = true, now
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
	e.settle(now, out)
	if e.scanLoss {
		e.judgeLosses(now, out)
	}
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
	p := &e.points[r.Point]
	if p.have && r.At < p.at {
		e.late++
		return
	}
	if r.At > now {
		r.At = now // a source's clock may be read a little after ours
	}
	if p.out {
		r.Quality = sensors.BadQuality(sensors.OutOfService)
	} else if math.IsNaN(r.Value) || math.IsInf(r.Value, 0) {
		r.Value, r.Quality = 0, sensors.MakeQuality(sensors.Bad, sensors.Implausible, r.Quality.Origin())
	} else if r.Quality.Origin() != e.r.Origin {
		r.Quality = sensors.MakeQuality(sensors.Bad, sensors.TestMode, r.Quality.Origin()) // S7
	}
	rule := &e.r.Points[r.Point]
	if r.Quality.Usable() {
		p.rise.observe(rule, p, r)
		if p.samples != nil {
			p.samples = addSample(p.samples, r, e.rateWindow(r.Point))
		}
	}
	p.val, p.at, p.q, p.have = r.Value, r.At, r.Quality, true
	e.setUsable(r.Point, r.Quality.Usable() && now < r.At.Add(rule.Stale), r.At)
	if p.usable {
		e.wakeAt(r.At.Add(rule.Stale))
	}
	for _, i := range e.byPoint[r.Point] {
		e.observe(&e.inputs[i], p, r.At)
		e.advance(&e.inputs[i], now)
	}
}

// rateWindow is the longest window of the rate detectors on a point.
func (e *Engine) rateWindow(p sensors.PointID) time.Duration {
	var w time.Duration
	for _, i := range e.byPoint[p] {
		if c := &e.r.Conds[e.inputs[i].cond]; c.Kind == Rate && c.Window > w {
			w = c.Window
		}
	}
	return w
}

// scan looks at every timer. It runs only when one may be due, and finds the next.
func (e *Engine) scan(now sensors.Mono) {
	e.next = never
	for id := range e.points {
		p := &e.points[id]
		if !p.usable {
			continue
		}
		staleAt := p.at.Add(e.r.Points[id].Stale)
		if now >= staleAt {
			e.setUsable(sensors.PointID(id), false, staleAt)
			for _, i := range e.byPoint[id] {
				e.inputs[i].lose(staleAt, false)
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

// settle brings members, detectors and votes up to date, in dependency order.
func (e *Engine) settle(now sensors.Mono, out *Changes) {
	for i := range e.conds {
		c := &e.conds[i]
		if !c.dirty {
			continue
		}
		c.dirty = false
		id := CondID(i)
		var v Verdict
		if c.vote != nil {
			v = e.judgeVote(id, now)
		} else {
			v = e.judgeDetector(id, now, out)
		}
		v.Since = c.v.Since
		if v.Is != c.v.Is || v.Since == 0 {
			v.Since = now
		}
		changed := !v.same(c.v)
		if changed {
			out.Conds = append(out.Conds, CondChange{id, c.v, v})
		}
		if changed || v.Fresh != c.v.Fresh {
			for _, p := range c.parents {
				e.conds[p].dirty = true
			}
		}
		c.v = v
	}
}

// SetOutOfService takes a point out of every vote, or returns it. A destroyed point is taken out
// by name before a reset (S6).
func (e *Engine) SetOutOfService(now sensors.Mono, id sensors.PointID, out bool) {
	p := &e.points[id]
	p.out = out
	if out {
		p.q = sensors.BadQuality(sensors.OutOfService)
		e.setUsable(id, false, now)
	}
	for _, i := range e.byPoint[id] {
		in := &e.inputs[i]
		if out {
			*in = input{cond: in.cond, member: in.member, point: in.point}
		}
		in.out, in.lost, in.lostAt, in.dirty = out, true, now, true
		e.advance(in, now)
		e.touch(in)
	}
}
