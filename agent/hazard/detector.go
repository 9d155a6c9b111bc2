package hazard

import (
	"time"

	"firebreak/sensors"
)

// input is the state of one detector on one point. Its lasting part is written to the journal as
// a MemberRecord at every change that a restart must not forget.
type input struct {
	cond   CondID
	member int32
	point  sensors.PointID

	raw    Tri           // comparison of the last usable reading, deadband included
	lost   bool          // the point is silent, bad or not ready since lostAt
	noVote bool          // lost for a reason that never votes: test mode, not ready (S2)
	out    bool          // out of service
	active bool          // true: the on-delay has been served
	weak   bool          // true only by a reading without preceding rise (S3)
	on     time.Duration // on-delay served up to onAt
	onAt   sensors.Mono  // the on-delay counts from here, while raw is true and not lost
	offAt  sensors.Mono  // raw is false since, while active
	lostAt sensors.Mono
	fresh  sensors.Mono // of the last usable reading

	is    Tri
	basis Basis
	dirty bool // lasting state changed since the last record
}

// member is the part of a detector on one device. It votes as one.
type member struct {
	cond   CondID
	device sensors.DeviceID
	i0, i1 int32
	v      Verdict
	faulty bool // silent or bad as a whole, not by test mode or a person
}

// observe takes the point's reading, of instant t, into the detector.
func (e *Engine) observe(in *input, p *point, t sensors.Mono) {
	if in.out {
		return
	}
	if !p.usable {
		in.lose(t, neverVotes(p.q.Reason()))
		e.touch(in)
		return
	}
	raw := e.compare(in, p)
	if raw == Unknown { // a rate whose window is not filled again: as if silent
		in.lose(t, false)
		in.fresh = t
		e.touch(in)
		return
	}
	back := in.lost
	in.lost, in.noVote, in.fresh = false, false, t
	weak := p.rise.weak || p.q.Reason() == sensors.Replaced
	switch {
	case raw == True:
		if in.raw != True {
			in.on, in.weak, in.dirty = 0, weak, true
		}
		if in.raw != True || back {
			in.onAt = t
		}
		in.weak = in.weak && weak // a supported rise makes it strong; strength is not lost
		in.offAt = 0
	case in.raw != False || back:
		in.on, in.offAt = 0, t // silence restarts the off-delay: it is not recovery
		in.dirty = in.dirty || in.active
	}
	in.raw = raw
	e.touch(in)
}

// lose notes that the point cannot be read since t.
func (in *input) lose(t sensors.Mono, noVote bool) {
	if !in.lost {
		if in.raw == True && !in.active && t > in.onAt {
			in.on += t.Sub(in.onAt) // kept, not counted on (S8)
		}
		in.lost, in.lostAt = true, t
		in.dirty = in.dirty || in.raw == True || in.active
	}
	in.noVote = noVote
}

func neverVotes(r sensors.Reason) bool {
	switch r {
	case sensors.TestMode, sensors.NotReady, sensors.OutOfService, sensors.Identity:
		return true
	}
	return false
}

// advance lets time pass for one input and finds its next timer.
func (e *Engine) advance(in *input, now sensors.Mono) {
	c := &e.r.Conds[in.cond]
	if !in.lost && in.raw == True && !in.active {
		due := in.onAt.Add(c.OnDelay - in.on)
		if now >= due {
			in.active, in.dirty = true, true
		} else {
			e.wakeAt(due)
		}
	}
	if !in.lost && in.raw == False && in.active {
		due := in.offAt.Add(c.OffDelay)
		if now >= due {
			in.active, in.dirty, in.on, in.weak = false, true, 0, false
		} else {
			e.wakeAt(due)
		}
	}
	is, basis := in.truth(), Measured
	switch {
	case in.out:
		is, basis = Unknown, Bypassed
	case in.lost && in.active && in.raw == True && !in.noVote:
		until := in.lostAt.Add(e.heldTrue(c))
		if now < until {
			is, basis = True, HeldTrue
			e.wakeAt(until)
		} else {
			is, basis = Unknown, Held
		}
	case in.lost && in.active:
		is, basis = Unknown, Held
	case in.lost:
		is = Unknown
	}
	if is != in.is || basis != in.basis {
		in.is, in.basis = is, basis
		e.touch(in)
	}
}

// truth is the verdict of an input that is being read: pending on-delays are not yet true.
func (in *input) truth() Tri {
	switch {
	case in.active:
		return True
	case in.raw == Unknown:
		return Unknown
	}
	return False
}

func (e *Engine) heldTrue(c *Cond) time.Duration {
	if c.HeldTrue > 0 {
		return c.HeldTrue
	}
	if e.r.HeldTrue > 0 {
		return e.r.HeldTrue
	}
	return 30 * time.Minute
}

func (e *Engine) touch(in *input) { e.conds[in.cond].dirty = true }

// compare applies the detector to a usable reading. While the detector is true, or its on-delay
// runs, the deadband must be crossed for it to become false.
func (e *Engine) compare(in *input, p *point) Tri {
	c := &e.r.Conds[in.cond]
	v, held := p.val, in.raw == True
	switch c.Kind {
	case Above:
		return tri(v >= c.Threshold || held && v > c.Threshold-c.Deadband)
	case Below:
		return tri(v <= c.Threshold || held && v < c.Threshold+c.Deadband)
	case In, NotIn:
		found := false
		for _, x := range c.Values {
			found = found || x == v
		}
		return tri(found == (c.Kind == In))
	case Rate:
		slope, ok := rate(p.samples, c.Window)
		if !ok {
			return Unknown
		}
		if c.Threshold < 0 {
			slope, held = -slope, held && -slope > -c.Threshold-c.Deadband
			return tri(slope >= -c.Threshold || held)
		}
		return tri(slope >= c.Threshold || held && slope > c.Threshold-c.Deadband)
	}
	return Unknown
}

func tri(b bool) Tri {
	if b {
		return True
	}
	return False
}

// judgeDetector combines the inputs of each member, and the members of the detector.
func (e *Engine) judgeDetector(id CondID, now sensors.Mono, out *Changes) Verdict {
	c := &e.conds[id]
	var all tally
	for m := c.m0; m < c.m1; m++ {
		mb := &e.members[m]
		var t tally
		mb.faulty = true
		for i := mb.i0; i < mb.i1; i++ {
			in := &e.inputs[i]
			mb.faulty = mb.faulty && in.lost && !in.noVote && !in.out
			t.add(Verdict{Is: in.is, Basis: in.basis, Fresh: in.fresh, Strong: !in.weak,
				Firm: !in.weak && in.raw == True}, !in.lost && !in.out)
			if in.dirty {
				in.dirty = false
				out.Members = append(out.Members, e.record(in))
			}
		}
		v := t.verdict()
		v.Since = mb.v.Since
		if v.Is != mb.v.Is || v.Since == 0 {
			v.Since = now
		}
		mb.v = v
		all.add(v, v.Is != Unknown)
	}
	return all.verdict()
}

// tally combines truths: true if any is, unknown if none is true and under half are usable.
type tally struct {
	n, usable int
	best      Verdict // of the true ones
	held      bool
	bypassed  int
	fresh     sensors.Mono
}

func (t *tally) add(v Verdict, usable bool) {
	t.n++
	if usable {
		t.usable++
	}
	if v.Fresh > t.fresh {
		t.fresh = v.Fresh
	}
	t.held = t.held || v.Basis == Held
	if v.Basis == Bypassed {
		t.bypassed++
	}
	if v.Is != True {
		return
	}
	if t.best.Is != True {
		t.best = v
		return
	}
	if v.Basis == Measured {
		t.best.Basis = Measured
	}
	t.best.Strong = t.best.Strong || v.Strong
	t.best.Firm = t.best.Firm || v.Firm
}

func (t *tally) verdict() Verdict {
	switch {
	case t.best.Is == True:
		v := t.best
		v.Fresh = t.fresh
		return v
	case t.n > 0 && t.bypassed == t.n:
		return Verdict{Is: Unknown, Basis: Bypassed, Fresh: t.fresh}
	case t.held:
		return Verdict{Is: Unknown, Basis: Held, Fresh: t.fresh}
	case 2*t.usable < t.n || t.usable == 0:
		return Verdict{Is: Unknown, Fresh: t.fresh}
	}
	return Verdict{Is: False, Fresh: t.fresh}
}
