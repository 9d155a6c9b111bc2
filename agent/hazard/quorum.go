package hazard

import (
	"math/bits"

	"firebreak/sensors"
)

// pick says which members of a vote count in a quorum.
type pick uint8

const (
	pickTrue     pick = iota
	pickSettled       // S19
	pickStrong        // S3
	pickFirm          // S4
	pickUsable        // could it trip?
	pickPossible      // true, or nobody knows
)

// takes says whether an entry counts. One whose alarm is only held, but which can be read, and a
// nested vote that nobody knows, but which could trip, are usable.
func (k pick) takes(v Verdict, read bool) bool {
	switch k {
	case pickTrue:
		return v.Is == True
	case pickSettled:
		return v.Is == True && v.Settled
	case pickStrong:
		return v.Is == True && v.Strong
	case pickFirm:
		return v.Is == True && v.Firm
	case pickUsable:
		return v.Is != Unknown || read
	}
	return v.Is == True || v.Is == Unknown && v.Basis != Bypassed
}

// judgeVote counts the members of a vote.
func (e *Engine) judgeVote(id CondID, now sensors.Mono) Verdict {
	c, v := &e.r.Conds[id], e.conds[id].vote
	var is [pickPossible + 1]uint64
	var measured, silent, faulty uint64
	var fresh sensors.Mono
	for i := range v.entries {
		n := &v.entries[i]
		bit := uint64(1) << i
		ev, bad, read := e.entryVerdict(n)
		for k := range is {
			if pick(k).takes(ev, read) {
				is[k] |= bit
			}
		}
		switch {
		case ev.Is == True:
			switch ev.Basis {
			case Measured:
				measured |= bit
			case Held:
				silent |= bit
			}
			fresh = max(fresh, ev.Fresh)
		case ev.Is == Unknown && bad && n.votes && e.lostLongEnough(n.device, now):
			faulty |= bit
		}
	}
	out := Verdict{Is: False, Fresh: fresh}
	var all, settled faults
	if faulty != 0 {
		bypassed, returned := e.silentApart(v)
		all = faults{faulty, bypassed}
		settled = faults{faulty &^ returned, bypassed | returned}
	}
	switch {
	case e.quorum(c, v, pickTrue, is[pickTrue], all):
		out.Is = True
		out.Settled = e.quorum(c, v, pickSettled, is[pickSettled], settled)
		out.Strong = out.Settled && e.quorum(c, v, pickStrong, is[pickStrong], faults{})
		out.Firm = out.Strong && e.quorum(c, v, pickFirm, is[pickFirm], faults{})
		out.Basis = basisOf(&out, is, measured, silent)
	case !e.quorum(c, v, pickUsable, is[pickUsable], faults{}):
		out.Is, out.Basis = Unknown, Inhibited
	case e.quorum(c, v, pickPossible, is[pickPossible], faults{}):
		out.Is = Unknown
	}
	return out
}

// basisOf is the basis of the best quorum: a weak member that is still read does not make a quorum
// of held-true ones a fresh one (S4).
func basisOf(v *Verdict, is [pickPossible + 1]uint64, measured, silent uint64) Basis {
	best := is[pickTrue]
	switch {
	case v.Firm:
		best = is[pickFirm]
	case v.Strong:
		best = is[pickStrong]
	case v.Settled:
		best = is[pickSettled]
	}
	if best&^silent == 0 {
		return Held // faults alone: opens stage 1 at most (S2)
	}
	if measured&best != 0 {
		return Measured
	}
	return HeldTrue
}

// faults are members that are lost and whose loss votes, and others that are silent.
type faults struct{ vote, others uint64 }

// quorum: at least Need members, each register counted once; if independent, over two physics,
// two devices and two paths. faults adds votes of lost members.
func (e *Engine) quorum(c *Cond, v *vote, k pick, set uint64, f faults) bool {
	n := e.weight(v, k, set)
	if f.vote != 0 {
		// A register that is lost and another detector on it that is held true are one observation:
		// it counts as the one or as the other, whichever is more.
		lost := f.vote & v.overlaps(set)
		n = max(n+e.causes(v, f.vote&^lost, f.others|lost),
			e.weight(v, k, set&^v.overlaps(f.vote))+e.causes(v, f.vote, f.others))
	}
	if n < c.Need {
		return false
	}
	if !c.Independent {
		return true
	}
	var s span
	e.spanOf(v, k, set, &s)
	return s.independent()
}

func (e *Engine) weight(v *vote, k pick, set uint64) int {
	w := v.weigh(set)
	if v.alike != nil && k < pickUsable && w > maxAlike {
		w = e.weighTrusted(v, set)
	}
	return w
}

// spanOf adds the span of a set to s. A nested vote reaches as far as those of its members that
// count, not as far as all that it names: one true member of any-of-ten is one device.
func (e *Engine) spanOf(v *vote, k pick, set uint64, s *span) {
	for b := set; b != 0; b &= b - 1 {
		n := &v.entries[bits.TrailingZeros64(b)]
		if n.member >= 0 {
			s.merge(n.span)
			continue
		}
		in := e.conds[n.nested].vote
		var sub uint64
		for i := range in.entries {
			if ev, _, read := e.entryVerdict(&in.entries[i]); k.takes(ev, read) {
				sub |= 1 << i
			}
		}
		e.spanOf(in, k, sub, s)
	}
}

// weigh returns the greatest weight of members of set no two of which share a register: those
// that do are one observation (S5). One more true member never makes it less.
func (v *vote) weigh(set uint64) int {
	total := 0
	for rest := set; rest != 0; {
		i := bits.TrailingZeros64(rest)
		group := v.overlap(i, rest)
		if group == 1<<i { // the usual case: it shares with nobody
			total += v.entries[i].weight
			rest &^= group
			continue
		}
		group = v.connected(i, rest)
		total += v.heaviest(group)
		rest &^= group
	}
	return total
}

func (v *vote) overlap(i int, set uint64) uint64 { return v.entries[i].overlap & set }

// overlaps is all entries that share a register with one of set.
func (v *vote) overlaps(set uint64) uint64 {
	var all uint64
	for b := set; b != 0; b &= b - 1 {
		all |= v.entries[bits.TrailingZeros64(b)].overlap
	}
	return all
}

// connected is all of set that shares a register with entry i, directly or through another.
func (v *vote) connected(i int, set uint64) uint64 {
	group := uint64(1) << i
	for {
		grown := group
		for b := group; b != 0; b &= b - 1 {
			grown |= v.overlap(bits.TrailingZeros64(b), set)
		}
		if grown == group {
			return group
		}
		group = grown
	}
}

// heaviest takes or leaves the entry that shares with most others, whichever weighs more. Groups are small:
// the points of one register, or a vote and what it nests.
func (v *vote) heaviest(set uint64) int {
	if set == 0 {
		return 0
	}
	pivot, most := -1, -1
	for b := set; b != 0; b &= b - 1 {
		i := bits.TrailingZeros64(b)
		deg := bits.OnesCount64(v.overlap(i, set)) - 1
		if deg == 0 || deg == 1 && v.lightNeighbour(i, set) {
			return v.entries[i].weight + v.weigh(set&^v.entries[i].overlap)
		}
		if deg > most {
			pivot, most = i, deg
		}
	}
	if v.clique(set) {
		return v.maxWeight(set)
	}
	with := v.entries[pivot].weight + v.weigh(set&^v.entries[pivot].overlap)
	return max(with, v.weigh(set&^(1<<pivot)))
}

// lightNeighbour: the only entry that i shares with weighs no more, so taking i loses nothing.
func (v *vote) lightNeighbour(i int, set uint64) bool {
	other := v.overlap(i, set) &^ (1 << i)
	return v.entries[bits.TrailingZeros64(other)].weight <= v.entries[i].weight
}

func (v *vote) clique(set uint64) bool {
	for b := set; b != 0; b &= b - 1 {
		if v.overlap(bits.TrailingZeros64(b), set) != set {
			return false
		}
	}
	return true
}

func (v *vote) maxWeight(set uint64) int {
	w := 0
	for b := set; b != 0; b &= b - 1 {
		w = max(w, v.entries[bits.TrailingZeros64(b)].weight)
	}
	return w
}
