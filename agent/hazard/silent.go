package hazard

import "firebreak/sensors"

// A silence is known from the instant at which the last reading went stale or a bad one came. It is
// true by a fault alone, so its basis is never measured and it opens stage 1 at most (S2). What a
// person took out, a test or a warm-up is no silence.

// heard takes a usable reading into a detector of silence.
func (e *Engine) heard(in *input, t sensors.Mono) {
	if in.lost {
		in.offAt, in.dirty = t, true
	}
	in.lost, in.noVote, in.raw, in.fresh = false, false, False, t
	e.touch(in)
}

// missed ends a silence that was long enough by the instant at, at which a reading came: whoever steps
// late must find the same as who steps in time. Until then is when the last one went stale.
func (e *Engine) missed(in *input, then, at sensors.Mono) {
	if !in.silent || e.points[in.point].out {
		return
	}
	if then < at {
		in.lose(then, false)
	}
	if in.lost && !in.noVote && !in.active && at >= e.lostSince(in).Add(e.r.Conds[in.cond].Window) {
		in.active, in.raw, in.dirty = true, True, true
	}
}

// listen lets time pass for a detector of silence.
func (e *Engine) listen(in *input, c *Cond, now sensors.Mono) {
	due := func(t sensors.Mono) bool {
		if now < t {
			e.wakeAt(t)
		}
		return now >= t
	}
	switch {
	case e.points[in.point].out || in.lost && in.noVote:
	case in.lost && !in.active && due(e.lostSince(in).Add(c.Window)):
		in.active, in.raw, in.dirty = true, True, true
	case !in.lost && in.active && due(in.offAt.Add(c.OffDelay)):
		in.active, in.dirty = false, true
	}
	is, basis := in.truth(), Measured
	switch {
	case in.away:
		is, basis = Unknown, Bypassed
	case in.lost && (in.noVote || !in.active):
		is = Unknown // a test or a warm-up, or not for so long yet
	case in.active:
		basis = Held
	}
	if is != in.is || basis != in.basis || in.dirty {
		in.is, in.basis = is, basis
		e.touch(in)
	}
}

// lostSince is when an input fell silent; of one that was never heard, the start.
func (e *Engine) lostSince(in *input) sensors.Mono {
	if in.lostAt == 0 {
		in.lostAt, in.dirty = e.begun, true
	}
	return in.lostAt
}
