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
type vote struct {
	entries []entry
	alike   []alike
}

// span says over how many physics, devices and paths a set of members extends: one or more than
// one of each. The zero value is the empty set.
type span struct {
	physics, device, bus, gateway, supply axis
}

// axis is what all members of a set have in common: one name, or two where each of them rests on a
// reference besides its own point. Multi: nothing.
type axis struct {
	name, other string
	some, multi bool
}

func (a *axis) add(name string) { a.merge(axis{name: name, other: name, some: true}) }

// merge keeps what both have in common.
func (a *axis) merge(o axis) {
	switch {
	case !o.some:
		a.multi = a.multi || o.multi
		return
	case !a.some:
		o.multi = o.multi || a.multi
		*a = o
		return
	}
	a.multi = a.multi || o.multi
	mine, others := a.name, a.other
	in := func(n string) bool { return n == o.name || n == o.other }
	switch {
	case in(mine) && in(others):
	case in(mine):
		a.other = mine
	case in(others):
		a.name = others
	default:
		a.multi = true
	}
}

// also says that a member can be taken along by this too.
func (a *axis) also(name string) { a.other = name }

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
	if ref := refDevice(r, m); ref != nil {
		s.device.also(ref.Name)
		s.bus.also(ref.Path.Bus)
		s.supply.also(ref.Path.Supply)
		if ref.Path.Gateway != "" {
			s.gateway.also(ref.Path.Gateway)
			s.gateway.multi = false
			if dev.Path.Gateway == "" {
				s.gateway.name = ref.Path.Gateway
			}
		}
	}
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

// refDevice is the other device on which a member rests; nil: none. Its references are on one device:
// New refuses others.
func refDevice(r *Rules, m *Member) *sensors.Device {
	for _, p := range m.Ref {
		if p != NoPoint && r.Points[p].Device != m.Device {
			return &r.Devices[r.Points[p].Device]
		}
	}
	return nil
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

// addRegisters adds what a member is read from, references too: two that are compared with one thing
// are one observation (S5).
func addRegisters(r *Rules, m *Member, set map[string]bool) {
	add := func(p sensors.PointID) {
		pt := &r.Points[p]
		reg := pt.Register
		if reg == "" {
			reg = pt.Name
		}
		set[r.Devices[pt.Device].Name+"\x00"+reg] = true
	}
	for i, p := range m.Points {
		add(p)
		if ref := m.ref(i); ref != NoPoint {
			add(ref)
		}
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
