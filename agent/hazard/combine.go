package hazard

import "firebreak/sensors"

// judgeDetector combines the inputs of each member, and the members of the detector. moved is true
// when a member has changed: votes look at members, not at the detector's own verdict.
func (e *Engine) judgeDetector(id CondID, now sensors.Mono, out *Changes) (_ Verdict, moved bool) {
	c := &e.conds[id]
	var all tally
	for m := c.m0; m < c.m1; m++ {
		mb := &e.members[m]
		var t tally
		readable, failed, read, probation := false, false, false, false
		for i := mb.i0; i < mb.i1; i++ {
			in := &e.inputs[i]
			readable = readable || in.noVote || !in.away && !in.lost
			failed = failed || !in.away && in.lost
			read = read || !in.away && (!in.lost || in.silent && !in.noVote)
			probation = probation || in.probation
			// The alarm of what was true when it was bypassed is kept, though it is in no vote (S19).
			all.held = all.held || in.away && in.active
			strong := !in.probation && !in.weak && !in.silent
			t.add(Verdict{Is: in.is, Basis: in.basis, Fresh: in.fresh, Settled: !in.probation, Strong: strong,
				Firm: strong && in.raw == True && e.points[in.point].unheard == 0}, !in.lost && !in.away)
			if in.dirty {
				in.dirty = false
				out.Members = append(out.Members, e.record(in))
			}
		}
		e.turns(mb)
		v := t.verdict()
		v.Since = mb.v.Since
		if v.Is != mb.v.Is || v.Since == 0 {
			v.Since = now
		}
		faulty := failed && !readable
		moved = moved || v != mb.v || faulty != mb.faulty || read != mb.read || probation != mb.probation
		mb.v, mb.faulty, mb.read, mb.probation = v, faulty, read, probation
		all.add(v, v.Is != Unknown)
	}
	return all.verdict(), moved
}

// tally combines truths: true if any is; unknown if none is true and one is held or under half of
// those in service are usable.
type tally struct {
	n, usable int
	best      Verdict // of the true ones
	held      bool
	bypassed  bool
	fresh     sensors.Mono // of those that are not true
}

func (t *tally) add(v Verdict, usable bool) {
	if v.Basis == Bypassed {
		t.bypassed = true
		return
	}
	t.n++
	if usable {
		t.usable++
	}
	if v.Is != True {
		t.held = t.held || v.Basis == Held
		t.fresh = max(t.fresh, v.Fresh)
		return
	}
	switch a, b := class(t.best), class(v); {
	case b > a:
		fresh := max(t.best.Fresh, v.Fresh)
		t.best = v
		t.best.Fresh = fresh
	case b == a && v.Basis == Measured:
		t.best.Basis = Measured
		fallthrough
	default:
		t.best.Fresh = max(t.best.Fresh, v.Fresh)
	}
}

// class orders truths by what may rest on them. The basis of a combination is that of its best
// class: a weak or falling point that is still read does not make a held-true one fresh (S4).
func class(v Verdict) int {
	switch {
	case v.Is != True:
		return 0
	case v.Firm:
		return 4
	case v.Strong:
		return 3
	case v.Settled:
		return 2
	}
	return 1
}

func (t *tally) verdict() Verdict {
	switch {
	case t.best.Is == True:
		return t.best
	case t.n == 0 && t.bypassed:
		return Verdict{Is: Unknown, Basis: Bypassed, Fresh: t.fresh}
	case t.held:
		return Verdict{Is: Unknown, Basis: Held, Fresh: t.fresh}
	case 2*t.usable < t.n || t.usable == 0:
		return Verdict{Is: Unknown, Fresh: t.fresh}
	}
	return Verdict{Is: False, Fresh: t.fresh}
}
