package hazard

import (
	"fmt"

	"firebreak/sensors"
)

// A gas detector that goes over range latches until a person resets it (S3): what drove it there
// may have poisoned the sensor, and an engine that believes its next low reading would call a room
// full of gas clean.

// latch makes an input true by a gas reading over range, at once: a sensor that is poisoned may not
// stay over range for an on-delay. It votes until the reset, but not in the re-vote before an
// irreversible step once it has read false (S4).
func (e *Engine) latch(in *input, p *point) {
	if !in.latched && in.raw == True && p.q.Reason() == sensors.OverRange && e.r.Points[in.point].Physics == sensors.Gas {
		in.latched, in.active, in.anew, in.dirty = true, true, false, true
	}
}

// Latched tells whether a gas reading over range, or a confirmed runaway, keeps a condition true.
func (e *Engine) Latched(cond string) bool {
	for i := range e.inputs {
		if in := &e.inputs[i]; in.latched && e.r.Conds[in.cond].Name == cond {
			return true
		}
	}
	return false
}

// Unlatch is a person's reset of a latched condition. It is refused while the sensor still reads
// the gas, or cannot be read.
func (e *Engine) Unlatch(now sensors.Mono, cond string) error {
	for _, undo := range []bool{false, true} { // all or nothing
		for i := range e.inputs {
			in := &e.inputs[i]
			if !in.latched || e.r.Conds[in.cond].Name != cond {
				continue
			}
			name := e.r.Points[in.point].Name
			switch {
			case e.points[in.point].bypass != 0:
				return fmt.Errorf("%s is bypassed: end the bypass, and see what it reads", name)
			case in.lost:
				return fmt.Errorf("%s cannot be read: repair it, or take it out of service by name", name)
			case in.raw == True && e.r.Conds[in.cond].Kind != Runaway:
				return fmt.Errorf("%s still reads gas", name)
			case in.raw == True && e.stillRuns(in):
				return fmt.Errorf("%s is not down again: it is at the limit, or still rises", name)
			case undo:
				in.raw = False
				in.latched, in.active, in.on, in.weak, in.held, in.dirty = false, false, 0, false, false, true
				e.advance(in, now)
			}
		}
	}
	return nil
}

// stillRuns: a confirmed runaway is reset only once its temperature can be seen to be below the limit and
// not to rise.
func (e *Engine) stillRuns(in *input) bool {
	c, p := &e.r.Conds[in.cond], &e.points[in.point]
	return c.HasLimit && p.val >= c.Limit || e.rises(in, c, false) != False
}

// Venting tells whether a condition sees gas together with another physical effect: a cell that
// vents, not a spilt solvent.
func (e *Engine) Venting(id CondID) bool {
	gas, other := false, false
	e.eachMember(id, func(m *Member, v Verdict) {
		if v.Is != True || !v.Strong {
			return
		}
		for _, p := range m.Points {
			switch e.r.Points[p].Physics {
			case sensors.Gas:
				gas = true
			case sensors.Temperature, sensors.Smoke, sensors.Electrical:
				other = true
			}
		}
	})
	return gas && other
}

// eachMember visits the detector members below a condition, with their verdicts.
func (e *Engine) eachMember(id CondID, visit func(*Member, Verdict)) {
	if int(id) >= len(e.conds) {
		return
	}
	rule, c := &e.r.Conds[id], &e.conds[id]
	for i := range rule.Members {
		visit(&rule.Members[i], e.members[int(c.m0)+i].v)
	}
	for _, of := range rule.Of {
		e.eachMember(of, visit)
	}
}
