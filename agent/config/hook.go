package config

import "slices"

// target reads one [[target]]: a thing that hooks depend on.
func (c *compiler) target(t *Table) {
	name, ok := declare(c, t, "target", c.targets, len(c.cfg.Targets))
	t.Require("kind", "stands")
	g := Target{Name: name, At: t.at, Kind: c.name(t, "kind"), Stands: c.stands(t), Needs: t.Strings("needs")}
	c.end(t)
	if ok {
		c.cfg.Targets = append(c.cfg.Targets, g)
		c.needs(t, g.Needs)
	}
}

// hook reads one [[hook]]: the common keys here, the rest by its kind.
func (c *compiler) hook(t *Table) {
	name, ok := declare(c, t, "hook", c.hooks, len(c.cfg.Hooks))
	t.Require("kind", "stands")
	h := Hook{Name: name, At: t.at, Kind: t.String("kind", ""), Stands: c.stands(t), Needs: t.Strings("needs"), Irreversible: t.Bool("irreversible", false)}
	t.Strings("takes_down") // looked at once all is read (checkTakeDowns)
	bad := true
	if h.Kind != "" {
		kind, found := lookup(c, t.Pos("kind"), "kind of hook", h.Kind, c.kinds.Hooks)
		if found && kind != nil {
			faults := len(c.faults)
			h.Config = c.commands(t, kind(t))
			c.end(t)
			bad = len(c.faults) > faults
		}
	}
	if ok {
		c.cfg.Hooks, c.hookTabs, c.hookBad = append(c.cfg.Hooks, h), append(c.hookTabs, t), append(c.hookBad, bad)
		c.resp.Hooks = append(c.resp.Hooks, name)
		c.needs(t, h.Needs)
	}
}

// needs looks the names of needs up once all targets and brokers are read.
func (c *compiler) needs(t *Table, names []string) {
	for _, n := range names {
		c.wanted = append(c.wanted, want{t, n})
	}
}

type want struct {
	tab  *Table
	name string
}

// dependsOn is what stands behind a name in needs.
type dependsOn struct {
	what   string
	stands Stands
	needs  []string
}

func (c *compiler) dependencies() map[string]dependsOn {
	all := map[string]dependsOn{}
	for _, b := range c.cfg.Brokers {
		all[b.Name] = dependsOn{"broker", b.Stands, nil}
	}
	for _, g := range c.cfg.Targets {
		all[g.Name] = dependsOn{"target", g.Stands, g.Needs}
	}
	return all
}

// checkNeeds finds names in needs that nothing has.
func (c *compiler) checkNeeds() {
	all := c.dependencies()
	for _, w := range c.wanted {
		lookup(c, w.tab.itemPos("needs", w.name), "target or broker", w.name, all)
	}
}

// checkPlaces is the first part of S12: no step of a plan may depend on the zone that the plan
// gives up, neither by its own place nor through what it needs.
func (c *compiler) checkPlaces() {
	all := c.dependencies()
	for i := range c.resp.Plans {
		p := &c.resp.Plans[i]
		for _, s := range p.Steps {
			if s.Hook < 0 || s.Hook >= len(c.cfg.Hooks) {
				continue
			}
			h, t := &c.cfg.Hooks[s.Hook], c.hookTabs[s.Hook]
			if slices.Contains(p.Protects, h.Stands.Zone) {
				t.Fault("stands", "hook %q stands in zone %q, which plan %q gives up: the step %q would burn with it, let it stand elsewhere", h.Name, h.Stands.Zone, p.Name, s.Name)
			}
			c.walkNeeds(h.Needs, all, map[string]bool{}, func(name string, d dependsOn) {
				if slices.Contains(p.Protects, d.stands.Zone) {
					t.Fault("needs", "hook %q depends on %s %q in zone %q, which plan %q gives up: use one that stands elsewhere", h.Name, d.what, name, d.stands.Zone, p.Name)
				}
			})
			if b := h.brokers(); len(b) > 0 && !slices.ContainsFunc(b, func(name string) bool { return !slices.Contains(p.Protects, all[name].stands.Zone) }) {
				t.Fault("brokers", "every broker of hook %q stands in a zone that plan %q gives up: add one that stands elsewhere", h.Name, p.Name)
			}
		}
	}
}

func (c *compiler) walkNeeds(names []string, all map[string]dependsOn, seen map[string]bool, visit func(string, dependsOn)) {
	for _, n := range names {
		d, ok := all[n]
		if !ok || seen[n] {
			continue
		}
		seen[n] = true
		visit(n, d)
		c.walkNeeds(d.needs, all, seen, visit)
	}
}
