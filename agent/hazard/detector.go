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
	wiring

	raw     Tri           // comparison of the last usable reading, deadband included
	lost    bool          // the point is silent, bad or not ready since lostAt
	noVote  bool          // lost for a reason that never votes: test mode, not ready (S2)
	test    bool          // was in test mode when last heard: silence after it does not give the vote back
	away    bool          // its point is out of service or bypassed
	active  bool          // true: the on-delay has been served
	anew    bool          // active from before its bypass: the alarm is kept, but its on-delay is served anew (S19)
	weak    bool          // true only by readings without preceding rise (S3), or of a replaced device (S23)
	on      time.Duration // on-delay served up to onAt
	turn    sensors.Mono  // it was read false, and then true at this instant; 0: nobody has seen it turn
	onAt    sensors.Mono  // the on-delay counts from here, while raw is true and not lost
	offAt   sensors.Mono  // raw is false since, while active
	latched bool          // gas over range, or a confirmed runaway: true until a person resets it (S3)
	held    bool          // the off-delay runs after a silence: the alarm is kept, without a vote
	lostAt  sensors.Mono
	fresh   sensors.Mono // of the last usable reading

	tripped   bool // bypassed, and true by its last reading: told, and no vote
	is        Tri
	basis     Basis
	probation bool // its point has come back from a bypass (S19)
	dirty     bool // lasting state changed since the last record
	pend      bool // counted in Engine.pending
}

// member is the part of a detector on one device. It votes as one.
type member struct {
	cond   CondID
	device sensors.DeviceID
	i0, i1 int32
	v      Verdict
	faulty bool // silent or bad as a whole, not by test mode; what a person took out aside
	read   bool // some of it can be read: it can become true

	turn0, turn1 sensors.Mono // when its true points turned, first and last; 0: nobody has seen one of them turn

	probation bool // some of it has come back from a bypass (S19)
}

// observe takes the point's reading, of instant t, into the detector. Every change that a restart
// must not forget makes the input dirty.
func (e *Engine) observe(in *input, p *point, t sensors.Mono) {
	if p.out {
		return
	}
	if !p.usable {
		e.unusable(in, p, t)
		return
	}
	if in.test {
		in.test, in.dirty = false, true
	}
	if p.other && !in.weak { // it is not the device that was proven any more, whatever that one saw (S23)
		in.weak, in.dirty = true, true
	}
	if in.silent {
		e.heard(in, t)
		return
	}
	if in.away { // bypassed: it is read and shown, and stays out of the votes
		in.noVote = false
		e.shadow(in, p)
		e.touch(in)
		return
	}
	raw := e.compare(in, p)
	// A rate whose window is not filled again, or no reference, is as if silent; so is "no smoke" of a
	// detector that does not draw the room's air, and its "smoke" is not.
	if raw == Unknown || raw == False && p.q.Reason() == sensors.FlowFault {
		in.lose(t, e.refOut(in))
		e.touch(in)
		return
	}
	back, was := in.lost, in.raw
	in.lost, in.noVote = false, false
	switch {
	case raw == True:
		weak := p.rise.weak || p.other || e.weakRef(in)
		if was != True {
			in.on, in.dirty, in.turn = 0, true, 0
			if was == False && !back {
				in.turn = t
			}
			in.weak = in.weak || !in.active || in.anew // a new occurrence is as strong as what made it
		}
		if was != True || back {
			in.onAt, in.dirty = t, true
		}
		if in.weak && !weak { // a supported rise makes it strong; strength is not lost
			in.weak, in.dirty = false, true
		}
		in.offAt, in.held = 0, false
	case was != False || back:
		in.on, in.offAt = 0, t // silence restarts the off-delay: it is not recovery
		in.held = in.active && (in.held || back)
		in.dirty = in.dirty || in.active || was == True
	}
	in.raw = raw
	e.latch(in, p)
	if raw == True || !in.active {
		in.fresh = t // while the off-delay runs, "true" rests on the last reading that was
	}
	if back || raw != was || raw == True { // a reading that stays false changes nothing above
		e.touch(in)
	}
}

// unusable takes a reading that cannot be judged.
func (e *Engine) unusable(in *input, p *point, t sensors.Mono) {
	why := p.q.Reason()
	if test := why == sensors.TestMode || in.test && (why == sensors.Comm || why == sensors.Stale); test != in.test {
		in.test, in.dirty = test, true
	}
	in.lose(t, in.test || neverVotes(why))
	e.touch(in)
}

// serve ends an on-delay that was served by t, before something else happens at t: whoever steps
// late must find the same as who steps in time.
func (e *Engine) serve(in *input, t sensors.Mono) {
	if in.serving() && t >= in.onAt.Add(e.r.Conds[in.cond].OnDelay-in.on) {
		e.activate(in)
	}
}

// activate is the end of an on-delay. A confirmed runaway stays until a person resets it.
func (e *Engine) activate(in *input) {
	in.active, in.anew, in.dirty = true, false, true
	in.latched = in.latched || e.r.Conds[in.cond].Kind == Runaway
}

// serving: its on-delay runs.
func (in *input) serving() bool {
	return !in.lost && in.raw == True && (!in.active || in.anew) && !in.silent
}

// lose notes that the point cannot be read since t.
func (in *input) lose(t sensors.Mono, noVote bool) {
	if !in.lost {
		if in.serving() && t > in.onAt {
			in.on += t.Sub(in.onAt) // kept, not counted on (S8)
		}
		in.lost, in.lostAt = true, t
		in.dirty = in.dirty || in.raw == True || in.active || in.silent
	}
	in.dirty = in.dirty || in.noVote != noVote && (in.active || in.silent)
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
	if in.silent {
		e.listen(in, c, now)
		return
	}
	if in.serving() {
		due := in.onAt.Add(c.OnDelay - in.on)
		if now >= due {
			e.activate(in)
		} else {
			e.wakeAt(due)
		}
	}
	if !in.lost && in.raw == False && in.active && !in.latched {
		due := in.offAt.Add(c.OffDelay)
		if now >= due {
			in.active, in.anew, in.dirty, in.on, in.weak, in.held = false, false, true, 0, false, false
		} else {
			e.wakeAt(due)
		}
	}
	is, basis := in.truth(), Measured
	switch {
	case in.away:
		is, basis = Unknown, Bypassed
	case in.latched && (in.lost && !in.noVote || !in.lost && in.raw != True):
		is, basis = True, HeldTrue
	case in.lost && in.active && !in.anew && in.raw == True && !in.noVote:
		until := in.lostAt.Add(e.heldTrue(c))
		if now < until {
			is, basis = True, HeldTrue
			e.wakeAt(until)
		} else {
			is, basis = Unknown, Held
		}
	case in.active && (in.lost || in.held || in.anew):
		is, basis = Unknown, Held // neither false readings after a silence nor a return give the vote back
	case in.lost:
		is = Unknown
	}
	if is != in.is || basis != in.basis || in.dirty {
		in.is, in.basis = is, basis
		e.touch(in)
	}
	e.advancePend(in)
}

// advancePend keeps the count of the on-delays that run.
func (e *Engine) advancePend(in *input) {
	pend := in.serving()
	if pend == in.pend {
		return
	}
	in.pend = pend
	if pend {
		e.pending++
	} else {
		e.pending--
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

func (e *Engine) touch(in *input) { e.mark(in.cond) }

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
		return c.hot(v, e.rises(in, c, held))
	case Deviation:
		return c.hot(v, e.deviates(in, c, p, held))
	case Jump:
		return e.jumps(in, c, p, held)
	case Runaway:
		return e.runsAway(in, c, p, held)
	}
	return Unknown
}

// hot is what a rise or a distance above something comes to with its limit: below that it is the way
// back from a door in winter, or cold air, and no heat. A reference that cannot be read leaves it unknown.
func (c *Cond) hot(v float64, is Tri) Tri {
	if c.HasLimit && v < c.Limit && (is == True || c.Kind == Rate) {
		return False
	}
	return is
}

func tri(b bool) Tri {
	if b {
		return True
	}
	return False
}
