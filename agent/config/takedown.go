package config

import (
	"fmt"
	"slices"
	"strings"

	"firebreak/agent/response"
)

// takes is one thing that a step switches off: a target or broker by name, a zone or a feed.
type takes struct {
	what, name string // what: "zone", "feed"; empty: a target or broker
	step       int
	at         Pos
}

func (k takes) String() string {
	if k.what == "" {
		return fmt.Sprintf("%q", k.name)
	}
	return fmt.Sprintf("%s %q", k.what, k.name)
}

// rests is one thing that a step, or the agent, cannot do without.
type rests struct {
	name   string // of a target or broker; empty: the hook itself, or the agent
	text   string // how a person calls it
	stands Stands
}

func (r *rests) fallsBy(k takes) bool {
	switch k.what {
	case "zone":
		return r.stands.Zone == k.name
	case "feed":
		return r.stands.Feed == k.name
	}
	return r.name == k.name
}

// shedding judges one plan: that no step depends on what another may have taken down before it, and
// that what the agent itself lives on goes last (S12).
type shedding struct {
	*compiler
	plan  *response.Plan
	downs []takes
	after [][]bool // after[i][k]: step i waits for step k, directly or through others
}

// checkTakeDowns judges every plan that says what its steps take down.
func (c *compiler) checkTakeDowns() {
	zones, feeds := c.knownStands()
	for _, t := range c.hookTabs {
		c.knownDowns(t, zones, feeds)
	}
	for i := range c.resp.Plans {
		p, src := &c.resp.Plans[i], &c.plans[i]
		s := &shedding{compiler: c, plan: p, after: waits(p.Steps)}
		for k := range p.Steps {
			c.knownDowns(src.steps[k], zones, feeds)
			s.downs = append(s.downs, takenBy(src.steps[k], k)...)
			if h := p.Steps[k].Hook; h >= 0 && h < len(c.hookTabs) {
				s.downs = append(s.downs, takenBy(c.hookTabs[h], k)...)
			}
		}
		for k := range p.Steps {
			s.step(k)
		}
		s.agent()
	}
}

// takenBy reads what a table, of a step or of its hook, says that it takes down.
func takenBy(t *Table, step int) (out []takes) {
	for _, item := range takesDown(t) {
		k := takes{name: item, step: step, at: t.itemPos("takes_down", item)}
		for _, what := range []string{"zone", "feed"} {
			if name, ok := strings.CutPrefix(item, what+" "); ok {
				k.what, k.name = what, strings.TrimSpace(name)
			}
		}
		out = append(out, k)
	}
	return out
}

// takesDown is the list as it was read, without telling its faults again.
func takesDown(t *Table) (out []string) {
	if v := t.vals["takes_down"]; v != nil {
		for _, e := range v.list {
			if e.s != "" && !slices.Contains(out, e.s) {
				out = append(out, e.s)
			}
		}
	}
	return out
}

// knownStands are the zones and feeds that the file names: one that stands nowhere else is a slip.
func (c *compiler) knownStands() (zones, feeds map[string]bool) {
	zones, feeds = map[string]bool{c.cfg.Zone: true}, map[string]bool{}
	add := func(s Stands) { zones[s.Zone], feeds[s.Feed] = true, true }
	add(c.cfg.Stands)
	for i := range c.cfg.Hooks {
		add(c.cfg.Hooks[i].Stands)
	}
	for _, d := range c.dependencies() {
		add(d.stands)
	}
	for i := range c.cfg.Devices {
		zones[c.cfg.Devices[i].Zone] = true
	}
	for i := range c.resp.Plans {
		for _, z := range c.resp.Plans[i].Protects {
			zones[z] = true
		}
	}
	delete(zones, "")
	delete(feeds, "")
	return zones, feeds
}

func (c *compiler) knownDowns(t *Table, zones, feeds map[string]bool) {
	all := c.dependencies()
	for _, k := range takenBy(t, 0) {
		switch k.what {
		case "zone":
			lookup(c, k.at, "zone", k.name, zones)
		case "feed":
			lookup(c, k.at, "feed", k.name, feeds)
		default:
			if _, ok := all[k.name]; !ok && !strings.Contains(k.name, " ") {
				lookup(c, k.at, "target or broker", k.name, all)
			} else if !ok {
				c.fault(k.at, `%q is nothing that can be taken down: name a target or a broker, or write "zone NAME" or "feed NAME"`, k.name)
			}
		}
	}
}

// waits tells for each step which ones it waits for, directly or through others.
func waits(steps []response.Step) [][]bool {
	out := make([][]bool, len(steps))
	var visit func(row []bool, i int)
	visit = func(row []bool, i int) {
		for _, a := range steps[i].After {
			if !row[a] {
				row[a] = true
				visit(row, a)
			}
		}
	}
	for i := range steps {
		out[i] = make([]bool, len(steps))
		visit(out[i], i)
	}
	return out
}

// mayFollow: step i may still be to come, or at work, when step k starts. Only one that k waits for is
// surely over; its stage proves nothing, since stages may open together.
func (s *shedding) mayFollow(i, k int) bool { return i != k && !s.after[k][i] }

// restsOn lists what a hook cannot do without, at any depth. Of its brokers one is enough: any holds
// them.
func (c *compiler) restsOn(h *Hook) (every, any []rests) {
	all := c.dependencies()
	every = append(every, rests{text: fmt.Sprintf("its hook %q stands there", h.Name), stands: h.Stands})
	c.walkNeeds(h.Needs, all, map[string]bool{}, func(name string, d dependsOn) {
		every = append(every, rests{name: name, text: fmt.Sprintf("its hook %q needs %s %q", h.Name, d.what, name), stands: d.stands})
	})
	for _, name := range h.brokers() {
		if d, ok := all[name]; ok {
			any = append(any, rests{name: name, text: fmt.Sprintf("broker %q", name), stands: d.stands})
		}
	}
	return every, any
}

// brokers that a hook reaches its target over, one of which is enough: its kind knows.
func (h *Hook) brokers() []string {
	if b, ok := h.Config.(interface{ UsesBrokers() []string }); ok {
		return b.UsesBrokers()
	}
	return nil
}

// step holds one step against all that may come before it.
func (s *shedding) step(i int) {
	h := s.plan.Steps[i].Hook
	if h < 0 || h >= len(s.cfg.Hooks) {
		return
	}
	every, any := s.restsOn(&s.cfg.Hooks[h])
	told := map[int]bool{}
	for _, k := range s.downs {
		for n := range every {
			if s.mayFollow(i, k.step) && !told[k.step] && every[n].fallsBy(k) {
				told[k.step] = true
				s.blame(i, k, every[n].text)
			}
		}
	}
	if last := s.noneLeft(i, any); last != nil {
		s.blame(i, *last, fmt.Sprintf("no broker of its hook %q is left then", s.cfg.Hooks[h].Name))
	}
}

func (s *shedding) blame(i int, k takes, why string) {
	late, early := s.plan.Steps[i].Name, s.plan.Steps[k.step].Name
	if s.after[i][k.step] {
		s.fault(k.at, "step %q takes %s down, and step %q of plan %q, which comes after it, depends on that: %s; turn the two round, or let it depend on something else (S12)", early, k, late, s.plan.Name, why)
		return
	}
	s.fault(k.at, "step %q takes %s down, and step %q of plan %q, which may come later or still be at work, depends on that: %s; let %q wait for it with after (S12)", early, k, late, s.plan.Name, why, early)
}

// noneLeft tells whether all that one of is needed may be gone when step i runs, and by what the last.
func (s *shedding) noneLeft(i int, any []rests) (last *takes) {
	for n := range any {
		gone := false
		for k := range s.downs {
			if s.mayFollow(i, s.downs[k].step) && any[n].fallsBy(s.downs[k]) {
				gone, last = true, &s.downs[k]
			}
		}
		if !gone {
			return nil
		}
	}
	return last
}

// agent sees to it that what the agent itself lives on, and the last broker that it tells, go with the
// last step.
func (s *shedding) agent() {
	self := rests{stands: s.cfg.Stands}
	told := map[int]bool{}
	for _, k := range s.downs {
		if told[k.step] || !self.fallsBy(k) {
			continue
		}
		told[k.step] = true
		if later := s.following(k.step); len(later) > 0 {
			s.fault(k.at, "step %q takes %s down, which the agent itself lives on, and is not the last of plan %q: %s may come after it; let it wait for them with after (S12)", s.plan.Steps[k.step].Name, k, s.plan.Name, strings.Join(later, ", "))
		}
	}
	var brokers []rests
	for _, b := range s.cfg.Brokers {
		brokers = append(brokers, rests{name: b.Name, stands: b.Stands})
	}
	for i := range s.plan.Steps {
		if last := s.noneLeft(i, brokers); last != nil {
			s.fault(last.at, "with step %q, which takes %s down, no broker may be left for step %q of plan %q: nobody would be told of it; take the last broker down with the last step (S12)", s.plan.Steps[last.step].Name, last, s.plan.Steps[i].Name, s.plan.Name)
			return
		}
	}
}

// following names the steps that may come after step k.
func (s *shedding) following(k int) (out []string) {
	for i := range s.plan.Steps {
		if s.mayFollow(i, k) {
			out = append(out, fmt.Sprintf("%q", s.plan.Steps[i].Name))
		}
	}
	return out
}
