package uplink

import "firebreak/agent/wire"

// maxGaps bounds the ranges that are told; what was dropped before stays in the counts.
const maxGaps = 8

// lost notes which message was dropped: ranges of numbers that follow each other.
func (b *backlog) lost(m *wire.Message) {
	b.gap(wire.GapRange{Class: m.Class.String(), Epoch: m.Epoch, Instance: m.Instance, Drill: m.Drill, From: m.Seq, To: m.Seq})
}

func (b *backlog) gap(r wire.GapRange) {
	for i := range b.gaps {
		if g := &b.gaps[i]; g.Class == r.Class && g.Epoch == r.Epoch && g.Instance == r.Instance && g.Drill == r.Drill && g.To+1 == r.From {
			g.To = r.To
			return
		}
	}
	if len(b.gaps) == maxGaps {
		b.gaps = append(b.gaps[:0], b.gaps[1:]...)
	}
	b.gaps = append(b.gaps, r)
}

// gone names what is missing of a class between two places, the second of which is m's.
func (b *backlog) gone(m *wire.Message, c wire.Class, after, to uint64) (n uint64) {
	if m.Class == c {
		to-- // this one is here
	}
	if to <= after {
		return 0
	}
	b.gap(wire.GapRange{Class: c.String(), Epoch: m.Epoch, Instance: m.Instance, From: after + 1, To: to})
	return to - after
}
