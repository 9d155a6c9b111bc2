package consumer

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"firebreak/agent/wire"
	"firebreak/plugins"
)

// Agent is what is known of one agent.
type Agent struct {
	Site, Name, Zone string
	Verdict          Verdict
	Since            time.Time // of the verdict
	Heard            time.Time // its last word
	Instance         string    // empty: none was heard alive
	Epoch            uint64
	Complete         bool                 // what is known of its alarms and plans is what its hello speaks of
	Alarms           []*wire.AlarmMessage // active ones, by priority
	Plans            []*wire.PlanMessage  // by name
	Stage            plugins.Stage        // the highest of its plans; 2b at least when silent after an alarm
	Drill            bool
}

// Agents lists all agents, by site and name.
func (b *Book) Agents() []Agent {
	var out []Agent
	for k, a := range b.agents {
		v := Agent{Site: a.site, Name: a.name, Zone: a.zone, Verdict: a.verdict, Since: a.since, Heard: a.heardAt, Drill: k != key(a.place())}
		l := a.cur
		if l == nil { // what stands retained of one that nobody has heard
			for _, o := range a.lives {
				if l == nil || o.epoch > l.epoch {
					l = o
				}
			}
		} else {
			v.Instance, v.Epoch, v.Complete = l.instance, l.epoch, l.differsAt.IsZero()
		}
		if l != nil {
			v.words(l)
		}
		if a.verdict == SilentAfterAlarm {
			v.Stage = max(v.Stage, plugins.SwitchOver)
		}
		out = append(out, v)
	}
	slices.SortFunc(out, func(x, y Agent) int { return cmp.Or(cmp.Compare(x.Site, y.Site), cmp.Compare(x.Name, y.Name)) })
	return out
}

func (v *Agent) words(l *life) {
	for _, t := range l.topics {
		switch {
		case t.plan != nil:
			v.Plans = append(v.Plans, t.plan)
		case t.alarm != nil && t.alarm.Active:
			v.Alarms = append(v.Alarms, t.alarm)
		}
	}
	v.Stage = l.stage()
	slices.SortFunc(v.Alarms, func(x, y *wire.AlarmMessage) int {
		return cmp.Or(cmp.Compare(x.Priority, y.Priority), cmp.Compare(x.Hazard, y.Hazard))
	})
	slices.SortFunc(v.Plans, func(x, y *wire.PlanMessage) int { return cmp.Compare(x.Plan, y.Plan) })
}

// Compartment is one failure domain of a site, and all that speaks of it: agents whose plans give it
// up, or, where none has an episode, that stand for it.
type Compartment struct {
	Site, Zone string
	Stage      plugins.Stage // the highest of its agents
	Verdict    Verdict       // the worst of its agents
	Agents     []string
	Leave      bool                 // an open plan says that it is to be left
	Alarms     []*wire.AlarmMessage // active ones of its agents, by priority
}

// Compartments groups what is known by what burns together, the most urgent first.
func (b *Book) Compartments() []Compartment {
	all := map[[2]string]*Compartment{}
	for _, a := range b.Agents() {
		if a.Drill {
			continue
		}
		for zone, leave := range zones(&a) {
			c := all[[2]string{a.Site, zone}]
			if c == nil {
				c = &Compartment{Site: a.Site, Zone: zone, Verdict: Live}
				all[[2]string{a.Site, zone}] = c
			}
			c.Stage, c.Leave = max(c.Stage, a.Stage), c.Leave || leave
			if badness(a.Verdict) > badness(c.Verdict) {
				c.Verdict = a.Verdict
			}
			c.Agents, c.Alarms = append(c.Agents, a.Name), append(c.Alarms, a.Alarms...)
		}
	}
	out := []Compartment{}
	for _, c := range all {
		slices.SortStableFunc(c.Alarms, func(x, y *wire.AlarmMessage) int { return cmp.Compare(x.Priority, y.Priority) })
		out = append(out, *c)
	}
	slices.SortFunc(out, func(x, y Compartment) int {
		return cmp.Or(-cmp.Compare(x.Stage, y.Stage), -cmp.Compare(badness(x.Verdict), badness(y.Verdict)), cmp.Compare(x.Site, y.Site), cmp.Compare(x.Zone, y.Zone))
	})
	return out
}

// zones are those that an agent speaks of, and whether they are to be left.
func zones(a *Agent) map[string]bool {
	out := map[string]bool{}
	for _, p := range a.Plans {
		for _, z := range p.Leave {
			out[z] = true
		}
		if _, named := out[p.PlanZone]; !named && p.PlanZone != "" {
			out[p.PlanZone] = false
		}
	}
	if len(out) == 0 {
		out[a.Zone] = false
	}
	return out
}

func badness(v Verdict) int {
	return map[Verdict]int{Live: 0, Unknown: 1, Silent: 2, SilentAfterAlarm: 3}[v]
}

// Sites lists the sites of which something is known.
func (b *Book) Sites() []string {
	sites := map[string]bool{}
	for _, a := range b.agents {
		sites[a.site] = true
	}
	return slices.Sorted(maps.Keys(sites))
}
