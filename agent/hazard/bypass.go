package hazard

import (
	"slices"
	"time"

	"firebreak/sensors"
)

// A bypass takes a point out of every vote until an instant (S19). The votes re-form over the other
// members: need stays what it is, and a vote that can no longer trip says so. The point is still
// read and shown, and what it does to its rise and its rate is remembered, so that a jump in the
// meantime is known for one. Its device is no more silent for it, and it is nobody's child.
//
// A bypass forgets what its members had served and whether they were read, not that there was an
// alarm: one that was true is kept as held, without a vote, until the point has been read as false
// after its return, and a latch (S3) stays and votes again at the return.

const (
	// Probation is how long after its return a point alone opens at most stage 1 (S19).
	Probation = 10 * time.Minute
	// BypassWarning is how long before the end of a bypass people are warned (S19).
	BypassWarning = 10 * time.Minute
)

// Bypass is a point that is bypassed, or that has come back and is on probation.
type Bypass struct {
	Point  sensors.PointID
	Name   string // of the point
	Device string
	Until  sensors.Mono // it ends by itself then; 0: it has ended
	Trips  bool         // a detector on it would be true by its last reading
	Back   sensors.Mono // when it ended; 0: it has not
}

// SetBypass takes a point out of every vote until an instant. For one that is bypassed already it
// moves the end. A point that no detector watches has no vote to be taken out of.
func (e *Engine) SetBypass(now sensors.Mono, id sensors.PointID, until sensors.Mono) {
	if int(id) >= len(e.points) || len(e.byPoint[id]) == 0 {
		return
	}
	if until <= now {
		e.EndBypass(now, id)
		return
	}
	p := &e.points[id]
	was := p.bypass != 0
	p.bypass, p.back, e.bypassed = until, 0, true
	for _, i := range e.byPoint[id] {
		in := &e.inputs[i]
		in.dirty = true
		if !was && !in.silent { // a silence is heard on, so that it is what it would be without
			in.anew = in.active && !in.latched
			in.raw, in.on, in.onAt, in.offAt, in.held = Unknown, 0, 0, 0, false
			in.lost, in.lostAt = true, now // why it may not vote besides is still heard: a test stays one
		}
	}
	e.follow(id, now)
	for _, i := range e.byPoint[id] {
		e.advance(&e.inputs[i], now)
	}
	e.wakeAt(until)
}

// shadow notes whether a bypassed input would be true: whoever bypassed it is to know, and decides.
func (e *Engine) shadow(in *input, p *point) {
	if trips := !in.silent && e.compare(in, p) == True; trips != in.tripped {
		in.tripped, in.dirty, e.bypassed = trips, true, true
	}
}

func (e *Engine) trips(id sensors.PointID) bool {
	return slices.ContainsFunc(e.byPoint[id], func(i int32) bool { return e.inputs[i].tripped })
}

// EndBypass returns a point before its bypass has expired.
func (e *Engine) EndBypass(now sensors.Mono, id sensors.PointID) {
	if int(id) >= len(e.points) || e.points[id].bypass == 0 {
		return
	}
	e.comeBack(id, min(now, e.points[id].bypass))
	e.tend(now, id)
	for _, i := range e.byPoint[id] {
		e.advance(&e.inputs[i], now)
	}
}

// comeBack ends a bypass at its instant. Its members are as if silent until the next reading, and
// serve their on-delay from then on.
func (e *Engine) comeBack(id sensors.PointID, at sensors.Mono) {
	p := &e.points[id]
	p.bypass, p.back, e.bypassed = 0, at, true
	for _, i := range e.byPoint[id] {
		in := &e.inputs[i]
		in.dirty, in.tripped = true, false
		if !in.silent {
			in.lostAt = at
		}
	}
	e.follow(id, at)
}

// tend ends the bypass and the probation of a point that are due, at their own instants however
// late now is, and finds the next.
func (e *Engine) tend(now sensors.Mono, id sensors.PointID) {
	p := &e.points[id]
	if p.bypass != 0 {
		if now < p.bypass {
			e.wakeAt(p.bypass)
			return
		}
		e.comeBack(id, p.bypass)
	}
	if p.back == 0 {
		return
	}
	end := p.back.Add(Probation)
	if now < end {
		e.wakeAt(end)
		return
	}
	p.back, e.bypassed = 0, true
	for _, i := range e.byPoint[id] {
		e.inputs[i].dirty = true
	}
	e.follow(id, end)
}

// follow tells the inputs and the device of a point whether it is out of the votes or on probation:
// what a person took out is no loss.
func (e *Engine) follow(id sensors.PointID, now sensors.Mono) {
	p, d := &e.points[id], &e.devices[e.r.Points[id].Device]
	p.apart = p.bypass != 0 || p.back != 0
	if away := p.out || p.bypass != 0; away != p.away {
		p.away, e.scanLoss = away, true
		if away {
			d.points--
		} else {
			d.points++
			if d.usable == 0 && d.lostSince == 0 {
				d.lostSince = now
			}
		}
	}
	d.apart = false
	for _, k := range d.list {
		q := &e.points[k]
		d.apart = d.apart || q.away || q.apart
	}
	if p.out {
		p.q = sensors.BadQuality(sensors.OutOfService)
		e.setUsable(id, false, now)
	}
	e.recount(p)
	for _, i := range e.byPoint[id] {
		in := &e.inputs[i]
		in.away, in.probation = p.away, p.back != 0
		e.touch(in)
	}
}

// resumeBypass carries the bypasses over a restart: a reboot has ended them (S8); within one boot
// they go on and the downtime counts.
func (e *Engine) resumeBypass(now sensors.Mono, id sensors.PointID, shift time.Duration) {
	p := &e.points[id]
	if !p.apart {
		return
	}
	e.bypassed = true
	switch {
	case p.bypass != 0 && shift != 0:
		e.comeBack(id, now)
	case p.back != 0:
		p.back = p.back.Add(shift)
	}
}

// Bypasses visits the points that are bypassed or on probation, in the order of the rules.
func (e *Engine) Bypasses(visit func(Bypass)) {
	for i := range e.points {
		if p := &e.points[i]; p.apart {
			rule := &e.r.Points[i]
			visit(Bypass{Point: sensors.PointID(i), Name: rule.Name, Device: e.r.Devices[rule.Device].Name, Until: p.bypass, Back: p.back, Trips: e.trips(sensors.PointID(i))})
		}
	}
}

// Named returns the points that a person means by a name: a point, or all points of a device, as far as
// a detector watches them.
func (e *Engine) Named(name string) []sensors.PointID {
	var of []sensors.PointID
	for i := range e.r.Points {
		p := &e.r.Points[i]
		if len(e.byPoint[i]) == 0 {
			continue
		}
		if p.Name == name {
			return []sensors.PointID{sensors.PointID(i)}
		}
		if e.r.Devices[p.Device].Name == name {
			of = append(of, sensors.PointID(i))
		}
	}
	return of
}

// WouldInhibit returns the conditions that look at one of the points and that could not become true
// if they were bypassed now, with all that is silent, bypassed or out of service already; among
// them those that cannot even without. It asks a copy of the engine, which it leaves as it is.
func (e *Engine) WouldInhibit(now sensors.Mono, points []sensors.PointID) []CondID {
	h := *e
	h.points, h.inputs, h.members = slices.Clone(e.points), slices.Clone(e.inputs), slices.Clone(e.members)
	h.conds, h.devices, h.dirty = slices.Clone(e.conds), slices.Clone(e.devices), slices.Clone(e.dirty)
	looks := make([]bool, len(h.conds))
	for _, p := range points {
		h.SetBypass(now, p, never)
		if int(p) < len(h.points) {
			for _, i := range h.byPoint[p] {
				looks[h.inputs[i].cond] = true
			}
		}
	}
	for i := range h.inputs { // and those that are compared with one of them
		in := &h.inputs[i]
		looks[in.cond] = looks[in.cond] || in.ref != NoPoint && slices.Contains(points, in.ref)
	}
	h.loseReferences(now)
	h.settle(now, &Changes{})
	var dead []CondID
	for i := range h.conds {
		id := CondID(i)
		for _, of := range h.r.Conds[i].Of {
			looks[i] = looks[i] || looks[of]
		}
		if looks[i] && !h.canTrip(id) {
			dead = append(dead, id)
		}
	}
	return dead
}

// canTrip: it is true, or enough of it can be read.
func (e *Engine) canTrip(id CondID) bool {
	c := &e.conds[id]
	if c.vote != nil {
		return c.v.Basis != Inhibited
	}
	for m := c.m0; m < c.m1; m++ {
		if e.members[m].read || e.members[m].v.Is != Unknown {
			return true
		}
	}
	return false
}
