package response

import (
	"fmt"
	"slices"
	"strings"

	"firebreak/plugins"
	"firebreak/sensors"
)

// Energise switches something on again (S1): the manual command of a named engineer who confirms
// that the lock-out is removed, at stage 0, after every reset. It is called once. Nothing repeats it:
// no retry, no restart, no replay.
func (m *Machine) Energise(now sensors.Mono, name, by string, lockoutRemoved bool, o *Out) error {
	i := slices.IndexFunc(m.r.Energise, func(e Energise) bool { return e.Name == name })
	if i < 0 {
		var names []string
		for _, e := range m.r.Energise {
			names = append(names, e.Name)
		}
		if names == nil {
			return fmt.Errorf("nothing can be switched on by order: no hook of the configuration declares it")
		}
		return fmt.Errorf("%q cannot be switched on by order: there is %s", name, strings.Join(names, ", "))
	}
	var why []string
	for plan, p := range m.state {
		switch {
		case p.Run != nil:
			why = append(why, fmt.Sprintf("plan %s has an episode open: reset it first", plan))
		case p.UndoBy != "":
			why = append(why, fmt.Sprintf("plan %s is being undone", plan))
		}
	}
	slices.Sort(why)
	if !lockoutRemoved {
		why = append(why, "confirm that the lock-out is removed, and that nobody works on what will be live")
	}
	if why != nil {
		return &Refusal{why}
	}
	rule := &m.r.Energise[i]
	zone := ""
	if len(m.r.Plans) > 0 {
		zone = m.r.Plans[0].Zone
	}
	p := m.state[plugins.EnergisePlan]
	next := uint64(1)
	if p != nil {
		next = max(next, p.Next)
	}
	next = max(next, m.base)
	key := plugins.Key{Plan: plugins.EnergisePlan, Zone: zone, Stage: plugins.Watch, Step: m.r.Hooks[rule.Hook], Episode: next}
	rec := Record{Kind: "energise", Plan: plugins.EnergisePlan, At: now, Episode: next, By: by, Reason: name}
	m.enter(rec, o)
	o.Events = append(o.Events, plugins.Event{Type: "energise.started", Step: name, Key: key.String(), Detail: "by " + by})
	o.Starts = append(o.Starts, Start{Hook: rule.Hook, Call: plugins.Call{Key: key, Target: rule.Target, Timeout: rule.Timeout}})
	return nil
}

func (p *PlanRun) applyEnergise(rec Record) {
	switch {
	case rec.Kind == "energise":
		p.Next, p.Energising = max(p.Next, rec.Episode+1), rec.Reason+" by "+rec.By
	case p.Next == rec.Episode+1: // else another was asked for meanwhile
		p.Energising = ""
	}
}

// enter makes a record of what is no plan, and of which no state is told.
func (m *Machine) enter(rec Record, o *Out) {
	_ = m.Apply(rec) // these two kinds always fit
	o.Records = append(o.Records, rec)
}

// energised tells how the order ended.
func (m *Machine) energised(now sensors.Mono, key plugins.Key, oc plugins.Outcome, o *Out) {
	m.enter(Record{Kind: "energised", Plan: plugins.EnergisePlan, At: now, Episode: key.Episode}, o)
	o.Events = append(o.Events, plugins.Event{Type: "energise." + oc.Result.String(), Step: key.Step, Key: key.String(), Detail: clip(oc.Detail)})
}

// resumeEnergise tells of an order whose end the process before did not live to hear. It is not
// repeated, and nobody can be asked: a person looks.
func (m *Machine) resumeEnergise(now sensors.Mono, o *Out) {
	p := m.state[plugins.EnergisePlan]
	if p == nil || p.Energising == "" {
		return
	}
	o.Events = append(o.Events, plugins.Event{Type: "energise.unknown",
		Detail: p.Energising + ": the agent ended before its outcome was known. It may be live: look before anybody touches it"})
	m.enter(Record{Kind: "energised", Plan: plugins.EnergisePlan, At: now, Episode: p.Next - 1}, o)
}
