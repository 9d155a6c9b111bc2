package config

import (
	"slices"
	"time"

	"firebreak/agent/hazard"
	"firebreak/sensors"
)

// leaf is one member of one detector: the smallest thing that is true or not.
type leaf struct {
	cond    hazard.CondID
	index   int // of the member
	name    string
	device  sensors.DeviceID
	path    sensors.Path
	physics sensors.Physics
	panel   bool
	refs    []sensors.DeviceID // other devices that it is compared with
}

// model tells which conditions are true when given leaves are. It asks the engine itself, with
// rules in which every leaf has points of its own that are simply true or false: what check
// prints is what the engine does.
type model struct {
	rules  *hazard.Rules
	leaves []leaf
	byCond [][]int // leaves of a detector
	engine *hazard.Engine
	first  []int // first point of a leaf in the engine; the last entry is the number of points
	in     []sensors.Reading
	told   []bool // the leaves that are true in the engine; nil: it was told nothing
	now    sensors.Mono
	out    hazard.Changes
}

func newModel(r *hazard.Rules) (*model, error) {
	m := &model{rules: r, byCond: make([][]int, len(r.Conds))}
	plain := &hazard.Rules{Devices: r.Devices, HeldTrue: time.Hour, LossPersist: time.Hour, AlikeWithin: -1}
	for id := range r.Conds {
		k := r.Conds[id]
		c := hazard.Cond{Name: k.Name, Kind: k.Kind, Of: k.Of, Need: k.Need, Independent: k.Independent}
		if k.Kind != hazard.Vote {
			c.Kind, c.Values = hazard.In, []float64{1}
		}
		for i := range k.Members {
			m.byCond[id] = append(m.byCond[id], len(m.leaves))
			m.leaves = append(m.leaves, newLeaf(r, hazard.CondID(id), i))
			m.first = append(m.first, len(plain.Points))
			c.Members = append(c.Members, addPoints(plain, r, &k.Members[i]))
		}
		plain.Conds = append(plain.Conds, c)
	}
	m.first = append(m.first, len(plain.Points))
	var err error
	m.engine, err = hazard.New(plain)
	return m, err
}

// addPoints gives a leaf its own points, alike in all that votes look at: device, register,
// physics, panel.
func addPoints(plain, r *hazard.Rules, from *hazard.Member) hazard.Member {
	mem := hazard.Member{Device: from.Device}
	add := func(p sensors.PointID) sensors.PointID {
		pt := r.Points[p]
		if pt.Register == "" {
			pt.Register = pt.Name
		}
		id := sensors.PointID(len(plain.Points))
		plain.Points = append(plain.Points, sensors.Point{ID: id, Device: pt.Device, Name: pt.Name, Register: pt.Register,
			Kind: sensors.Binary, Physics: pt.Physics, Panel: pt.Panel, Stale: maxSpan})
		return id
	}
	for _, p := range from.Points {
		mem.Points = append(mem.Points, add(p))
	}
	for _, p := range from.Ref {
		mem.Ref = append(mem.Ref, add(p))
	}
	return mem
}

func newLeaf(r *hazard.Rules, id hazard.CondID, i int) leaf {
	k := &r.Conds[id]
	mem := &k.Members[i]
	dev := &r.Devices[mem.Device]
	l := leaf{cond: id, index: i, name: k.Name, device: mem.Device, path: dev.Path}
	if len(k.Members) > 1 {
		l.name += "@" + dev.Name
	}
	for _, p := range mem.Points {
		l.physics = r.Points[p].Physics
		l.panel = l.panel || r.Points[p].Panel
	}
	for _, p := range mem.Ref {
		if d := r.Points[p].Device; d != mem.Device && !slices.Contains(l.refs, d) {
			l.refs = append(l.refs, d)
		}
	}
	return l
}

// holds tells whether any of the conditions is true when exactly the leaves in set are. The engine is told
// what differs from the set before: its points keep what they were told.
func (m *model) holds(ids []hazard.CondID, set []bool) bool {
	m.now++
	m.in = m.in[:0]
	for l := range m.leaves {
		if m.told != nil && set[l] == m.told[l] {
			continue
		}
		v := 0.0
		if set[l] {
			v = 1
		}
		for p := m.first[l]; p < m.first[l+1]; p++ {
			m.in = append(m.in, sensors.Reading{Point: sensors.PointID(p), Value: v, Quality: sensors.GoodQuality, At: m.now})
		}
	}
	m.told = append(m.told[:0], set...)
	m.out = hazard.Changes{}
	m.engine.Step(m.now, m.in, &m.out)
	return slices.ContainsFunc(ids, func(id hazard.CondID) bool { return m.engine.Verdict(id).Is == hazard.True })
}

// below lists the leaves of a condition, each once.
func (m *model) below(id hazard.CondID) []int {
	var out []int
	seen := map[hazard.CondID]bool{}
	var walk func(hazard.CondID)
	walk = func(id hazard.CondID) {
		if id == hazard.NoCond || seen[id] {
			return
		}
		seen[id] = true
		out = append(out, m.byCond[id]...)
		for _, of := range m.rules.Conds[id].Of {
			walk(of)
		}
	}
	walk(id)
	return out
}

// scope lists the leaves below any of the conditions, each once.
func (m *model) scope(ids []hazard.CondID) []int {
	var out []int
	for _, id := range ids {
		out = append(out, m.below(id)...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// spread is over what a set of leaves extends (S5).
type spread struct {
	first   *leaf
	panel   bool
	physics bool // more than one
	device  bool
	bus     bool
	gateway bool
	supply  bool
}

func (s *spread) add(l *leaf) {
	s.panel = s.panel || l.panel
	s.gateway = s.gateway || l.path.Gateway == "" // no gateway: none can take all of them
	if s.first == nil {
		s.first = l
		return
	}
	f := s.first
	s.physics = s.physics || f.physics != l.physics
	s.device = s.device || f.device != l.device
	s.bus = s.bus || f.path.Bus != l.path.Bus
	s.gateway = s.gateway || f.path.Gateway != l.path.Gateway
	s.supply = s.supply || f.path.Supply != l.path.Supply
}

// common names what all of the set share, for a fault that says what is missing.
func (s *spread) common() []string {
	var out []string
	add := func(multi bool, what string) {
		if !multi && !s.panel {
			out = append(out, what)
		}
	}
	if s.first == nil {
		return nil
	}
	add(s.physics, "physics ("+s.first.physics.String()+")")
	add(s.device, "device")
	add(s.bus, "bus ("+s.first.path.Bus+")")
	add(s.gateway, "gateway ("+s.first.path.Gateway+")")
	add(s.supply, "supply ("+supplyName(s.first.path.Supply)+")")
	return out
}

func supplyName(s string) string {
	if s == "" {
		return "not declared"
	}
	return s
}
