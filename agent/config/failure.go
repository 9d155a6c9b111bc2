package config

import (
	"fmt"
	"slices"
	"strings"

	"firebreak/agent/hazard"
	"firebreak/sensors"
)

// Bounds of the search: with more causes than maxCauses only single failures are looked at, with
// more than maxTriples no sets of three. The report says so.
const (
	maxCauses  = 200
	maxTriples = 40
)

// FailureSet is a smallest set of failures. Each entry is one failure; things that take the same
// sensors along stand in one entry: "device bms-1 (or bus upsnet, or supply A)".
type FailureSet []string

func (f FailureSet) String() string { return strings.Join(f, " and ") }

// cause is one thing that can fail, or several that take the same leaves along.
type cause struct {
	names []string
	set   []bool // leaves that it takes along
}

func (k cause) String() string {
	if len(k.names) == 1 {
		return k.names[0]
	}
	return k.names[0] + " (or " + strings.Join(k.names[1:], ", or ") + ")"
}

// causes lists devices, buses, gateways and supplies with the leaves behind each, among those in
// scope. A device with a supply of its own falls with the supply of its bus too.
func (c *compiler) causes(m *model, scope []int) []cause {
	var order []string
	sets := map[string][]bool{}
	add := func(name string, leaf int) {
		if sets[name] == nil {
			sets[name] = make([]bool, len(m.leaves))
			order = append(order, name)
		}
		sets[name][leaf] = true
	}
	for _, i := range scope {
		for _, name := range c.behind(m.leaves[i].device) {
			add(name, i)
		}
		for _, d := range m.leaves[i].refs {
			for _, name := range c.behind(d) {
				add(name, i)
			}
		}
		for _, name := range c.swayed(&m.leaves[i]) {
			add(name, i)
		}
	}
	var out []cause
next:
	for _, n := range order {
		for i := range out {
			if slices.Equal(out[i].set, sets[n]) {
				out[i].names = append(out[i].names, n)
				continue next
			}
		}
		out = append(out, cause{[]string{n}, sets[n]})
	}
	return out
}

// behind names all that takes a device along.
func (c *compiler) behind(id sensors.DeviceID) []string {
	d, dev := &c.cfg.Devices[id], &c.hz.Devices[id]
	out := []string{"device " + dev.Name, "bus " + dev.Path.Bus}
	if dev.Path.Gateway != "" {
		out = append(out, "gateway "+dev.Path.Gateway)
	}
	out = append(out, supplyTitle(dev.Path.Supply))
	if d.Supply != "" {
		out = append(out, supplyTitle(c.cfg.Buses[d.Bus].Supply))
	}
	return out
}

// swayed names what takes half of a group or more along: its median goes with it, and all others
// seem to deviate.
func (c *compiler) swayed(l *leaf) (out []string) {
	k := &c.hz.Conds[l.cond]
	if k.Kind != hazard.Deviation || k.From != hazard.FromMedian {
		return nil
	}
	n, total := map[string]int{}, 0
	for i := range k.Members {
		total += len(k.Members[i].Points)
		for _, name := range c.behind(k.Members[i].Device) {
			if n[name] == 0 {
				out = append(out, name)
			}
			n[name] += len(k.Members[i].Points)
		}
	}
	return slices.DeleteFunc(out, func(name string) bool { return 2*n[name] < total })
}

func supplyTitle(s string) string {
	if s == "" {
		return "the supply that is not declared"
	}
	return "supply " + s
}

// failures finds the smallest sets, of one or two, that open a stage by lying and that block it
// by silence; where there is none, those of three. What has failed may say anything: this is about the worst that it can do.
type failures struct {
	open, block []FailureSet
	panelOnly   []bool // per open set of one: it opens through the fire panel's contact alone
	causes      int
}

func (c *compiler) failures(m *model, whens []hazard.CondID) failures {
	scope := m.scope(whens)
	causes := c.causes(m, scope)
	all := make([]bool, len(m.leaves))
	for _, i := range scope {
		all[i] = true
	}
	f := failures{causes: len(causes)}
	opens, blocks := make([]bool, len(causes)), make([]bool, len(causes))
	for i, k := range causes {
		if opens[i] = m.holds(whens, k.set); opens[i] {
			f.open = append(f.open, FailureSet{k.String()})
			f.panelOnly = append(f.panelOnly, m.holds(whens, m.panels(k.set)))
		}
		if blocks[i] = !m.holds(whens, minus(all, k.set)); blocks[i] {
			f.block = append(f.block, FailureSet{k.String()})
		}
	}
	if len(causes) > maxCauses {
		return f
	}
	for i := range causes {
		for j := i + 1; j < len(causes); j++ {
			both := union(causes[i].set, causes[j].set)
			pair := FailureSet{causes[i].String(), causes[j].String()}
			if !opens[i] && !opens[j] && m.holds(whens, both) {
				f.open = append(f.open, pair)
			}
			if !blocks[i] && !blocks[j] && !m.holds(whens, minus(all, both)) {
				f.block = append(f.block, pair)
			}
		}
	}
	f.triples(m, whens, causes, all)
	return f
}

// triples looks for sets of three where no smaller one was found, so that each is a smallest one.
func (f *failures) triples(m *model, whens []hazard.CondID, causes []cause, all []bool) {
	open, block := len(f.open) == 0, len(f.block) == 0
	if !open && !block || len(causes) > maxTriples {
		return
	}
	for i := range causes {
		for j := i + 1; j < len(causes); j++ {
			both := union(causes[i].set, causes[j].set)
			for k := j + 1; k < len(causes); k++ {
				three := union(both, causes[k].set)
				set := FailureSet{causes[i].String(), causes[j].String(), causes[k].String()}
				if open && m.holds(whens, three) {
					f.open = append(f.open, set)
				}
				if block && !m.holds(whens, minus(all, three)) {
					f.block = append(f.block, set)
				}
			}
		}
	}
}

// panels keeps the leaves that are contacts of the fire panel.
func (m *model) panels(set []bool) []bool {
	out := make([]bool, len(set))
	for i := range set {
		out[i] = set[i] && m.leaves[i].panel
	}
	return out
}

func minus(a, b []bool) []bool {
	out := make([]bool, len(a))
	for i := range a {
		out[i] = a[i] && !b[i]
	}
	return out
}

func union(a, b []bool) []bool {
	out := make([]bool, len(a))
	for i := range a {
		out[i] = a[i] || b[i]
	}
	return out
}

// judgeFailures turns what S5 forbids into faults.
func (c *compiler) judgeFailures(m *model, r *StageReport, t *Table, whens []hazard.CondID) {
	c.judgeForeign(m, r, t, whens)
	f := c.failures(m, whens)
	r.Opens, r.Blocks, r.Causes = f.open, f.block, f.causes
	for i, s := range f.open {
		if len(s) > 1 || !r.Stage.Irreversible() {
			continue
		}
		if f.panelOnly[i] {
			r.PanelOpens = append(r.PanelOpens, s)
			continue
		}
		if r.AcceptSingle == "" {
			t.Fault("when", `one failure opens stage %s: %s, if it lies; let the vote span a second device on another path, or say accept_single = "reason"`, r.Stage, s)
		}
	}
	for _, s := range f.block {
		if len(s) == 1 && r.AcceptSingle == "" {
			t.Fault("when", `one failure blocks stage %s: %s, if it falls silent; add a sensor that does not share it, or say accept_single = "reason"`, r.Stage, s)
		}
	}
}

// judgeIndependence is S5 on the rule itself: every quorum that opens a stage with irreversible
// steps is independent, whatever happens to be true.
func (c *compiler) judgeIndependence(m *model, r *StageReport, t *Table, when hazard.CondID) {
	scope := m.below(when)
	all := make([]bool, len(m.leaves))
	var s spread
	for _, i := range scope {
		all[i] = true
		s.add(&m.leaves[i])
	}
	if !m.holds([]hazard.CondID{when}, all) {
		missing := ": members that read the same register count as one, lower need or add others"
		if both := s.common(); c.hz.Conds[when].Independent && len(both) > 0 {
			missing = fmt.Sprintf(": all of its members share %s, and an independent quorum spans two of each", strings.Join(both, " and "))
		}
		t.Fault("when", "%q can never open stage %s%s", c.hz.Conds[when].Name, r.Stage, missing)
		return
	}
	if r.Stage.Irreversible() && !c.alwaysIndependent(m, when) {
		t.Fault("when", "stage %s needs an independent vote, over two physics, two devices and two paths: %q can be true without, set independent = true in its [[vote]]", r.Stage, c.hz.Conds[when].Name)
	}
	if !r.Stage.Irreversible() {
		return
	}
	c.walkConds(when, map[hazard.CondID]bool{}, func(id hazard.CondID) {
		if k := &c.hz.Conds[id]; k.Kind == hazard.Silent && c.condTab[id] != nil {
			c.condTab[id].Fault("stale", "detector %q takes part in stage %s of plan %q: silence must not vote for an irreversible stage (S2)", k.Name, r.Stage, r.plan)
		} else if k.OnFault == hazard.FaultVotes && c.condTab[id] != nil {
			c.condTab[id].Fault("on_fault", `detector %q takes part in stage %s of plan %q: a fault must not vote for an irreversible stage, use "no-vote" there`, k.Name, r.Stage, r.plan)
		}
	})
}

// alwaysIndependent: the vote says so itself, or no quorum gets by without a member that does.
func (c *compiler) alwaysIndependent(m *model, id hazard.CondID) bool {
	k := &c.hz.Conds[id]
	if k.Kind != hazard.Vote {
		return len(m.byCond[id]) > 0 && !slices.ContainsFunc(m.byCond[id], func(l int) bool { return !m.leaves[l].panel })
	}
	if k.Independent {
		return true
	}
	weak := 0
	for _, of := range k.Of {
		if c.hz.Conds[of].Kind != hazard.Vote {
			for _, l := range m.byCond[of] {
				if !m.leaves[l].panel {
					weak++
				}
			}
		} else if !c.alwaysIndependent(m, of) {
			weak++
		}
	}
	return weak < k.Need
}
