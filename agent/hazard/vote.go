package hazard

import (
	"fmt"
	"math/bits"

	"firebreak/sensors"
)

// maxEntries bounds the members of one vote: they are sets in one word.
const maxEntries = 64

// entry is one member of a vote: a detector's member on one device, or a nested vote.
type entry struct {
	member  int32 // index into Engine.members, or -1
	nested  CondID
	cond    CondID // the detector or nested vote itself
	weight  int    // a supervised contact of a cross-zoned panel counts as two (S5)
	span    span   // of a member; that of a nested vote depends on what is true in it
	overlap uint64 // entries that share a register with this one, itself included
	device  sensors.DeviceID
	votes   bool // on_fault = vote
}

// vote is the compiled form of one vote.
type vote struct{ entries []entry }

// span says over how many physics, devices and paths a set of members extends: one or more than
// one of each. The zero value is the empty set.
type span struct {
	physics, device, bus, gateway, supply axis
}

type axis struct {
	name        string
	some, multi bool
}

func (a *axis) add(name string) {
	if a.some && a.name != name {
		a.multi = true
	}
	a.name, a.some = name, true
}

func (a *axis) merge(o axis) {
	if o.some {
		a.add(o.name)
	}
	a.multi = a.multi || o.multi
}

func (s *span) merge(o span) {
	s.physics.merge(o.physics)
	s.device.merge(o.device)
	s.bus.merge(o.bus)
	s.gateway.merge(o.gateway)
	s.supply.merge(o.supply)
}

// Independent is S5: nothing that can fail or lie alone is common to all of the set.
func (s *span) independent() bool {
	return s.physics.multi && s.device.multi && s.bus.multi && s.gateway.multi && s.supply.multi
}

// memberSpan is the span of one member. A member that observes several effects at once is still one
// observation: it spans one physics. A supervised panel contact stands for two of each (S5).
func memberSpan(r *Rules, m *Member) (s span, panel bool) {
	dev := &r.Devices[m.Device]
	s.device.add(dev.Name)
	s.bus.add(dev.Path.Bus)
	s.supply.add(dev.Path.Supply)
	s.gateway.add(dev.Path.Gateway)
	s.gateway.multi = dev.Path.Gateway == "" // no gateway: none can take all of them
	for _, p := range m.Points {
		s.physics.add(r.Points[p].Physics.String())
		panel = panel || r.Points[p].Panel
	}
	s.physics.multi = false
	if panel {
		for _, a := range []*axis{&s.physics, &s.device, &s.bus, &s.gateway, &s.supply} {
			a.multi = true
		}
	}
	return s, panel
}

func (e *Engine) newVote(c *Cond) (*vote, error) {
	v := &vote{}
	var regs []map[string]bool
	for _, of := range c.Of {
		k := &e.r.Conds[of]
		if k.Kind == Vote {
			n := entry{member: -1, nested: of, cond: of, weight: 1}
			set := map[string]bool{}
			e.leaves(of, func(m *Member) { addRegisters(e.r, m, set) })
			v.entries, regs = append(v.entries, n), append(regs, set)
			continue
		}
		for i := range k.Members {
			m := &k.Members[i]
			n := entry{member: e.conds[of].m0 + int32(i), cond: of, weight: 1, device: m.Device, votes: k.OnFault == FaultVotes}
			var panel bool
			if n.span, panel = memberSpan(e.r, m); panel {
				n.weight = 2
			}
			set := map[string]bool{}
			addRegisters(e.r, m, set)
			v.entries, regs = append(v.entries, n), append(regs, set)
		}
	}
	if len(v.entries) > maxEntries {
		return nil, fmt.Errorf("%d members: a vote holds at most %d; nest votes", len(v.entries), maxEntries)
	}
	for i := range regs {
		v.entries[i].overlap = 1 << i
		for j := range regs {
			if intersects(regs[i], regs[j]) {
				v.entries[i].overlap |= 1 << j
			}
		}
	}
	return v, nil
}

func addRegisters(r *Rules, m *Member, set map[string]bool) {
	for _, p := range m.Points {
		pt := &r.Points[p]
		reg := pt.Register
		if reg == "" {
			reg = pt.Name
		}
		set[r.Devices[m.Device].Name+"\x00"+reg] = true
	}
}

func intersects(a, b map[string]bool) bool {
	for k := range a {
		if b[k] {
			return true
		}
	}
	return false
}

// leaves visits every detector member below a condition.
func (e *Engine) leaves(id CondID, visit func(*Member)) {
	c := &e.r.Conds[id]
	for i := range c.Members {
		visit(&c.Members[i])
	}
	for _, of := range c.Of {
		e.leaves(of, visit)
	}
}

func (e *Engine) entryVerdict(n *entry) (v Verdict, faulty, read bool) {
	if n.member < 0 {
		v = e.conds[n.nested].v
		return v, false, v.Basis != Inhibited && v.Basis != Bypassed
	}
	m := &e.members[n.member]
	return m.v, m.faulty, m.read
}

// causes counts the losses among faulty members: those that share a bus, a gateway or a supply
// are one loss (S2). Others that are silent do not vote, but may be what two have in common: a
// bypass makes no two losses of one.
func (e *Engine) causes(v *vote, faulty, others uint64) int {
	n := 0
	for rest := faulty | others; rest&faulty != 0; n++ {
		one := rest & faulty & -(rest & faulty)
		for changed := true; changed; {
			changed = false
			for a := one; a != 0; a &= a - 1 {
				for b := rest &^ one; b != 0; b &= b - 1 {
					i, j := bits.TrailingZeros64(a), bits.TrailingZeros64(b)
					if e.sharesCause(v.entries[i].device, v.entries[j].device) {
						one |= 1 << j
						changed = true
					}
				}
			}
		}
		rest &^= one
	}
	return n
}

// silentApart returns the members on silent devices that are out of the vote, and those that are on
// probation (S19).
func (e *Engine) silentApart(v *vote) (bypassed, returned uint64) {
	for i := range v.entries {
		n := &v.entries[i]
		if n.member < 0 || e.devices[n.device].usable > 0 {
			continue
		}
		if m := &e.members[n.member]; m.v.Basis == Bypassed {
			bypassed |= 1 << i
		} else if m.probation {
			returned |= 1 << i
		}
	}
	return bypassed, returned
}

func (e *Engine) sharesCause(a, b sensors.DeviceID) bool {
	x, y := e.r.Devices[a].Path, e.r.Devices[b].Path
	return a == b || x.Bus == y.Bus || x.Supply == y.Supply || x.Gateway != "" && x.Gateway == y.Gateway
}
