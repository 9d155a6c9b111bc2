package core

import (
	"fmt"
	"strings"

	"firebreak/agent/hazard"
	"firebreak/plugins"
	"firebreak/sensors"
)

// learnOrder begins to learn baselines. A person orders it, for a room at rest; nothing else does.
func (c *Core) learnOrder(now sensors.Mono, o Order) error {
	points := c.eng.Named(o.Name)
	if points == nil {
		return c.noInput(o.Name)
	}
	names, err := c.eng.Learn(now, points, o.By, c.gate.unix())
	if err != nil {
		return fmt.Errorf("%q: %w", o.Name, err)
	}
	c.out.Events = append(c.out.Events, plugins.Event{Type: "baseline.learning", Detail: strings.Join(names, ", ") + " by " + o.By})
	return nil
}

// baselines writes down what has moved, and tells of each device the points that have none: its
// detectors are unknown and nothing else would say so.
func (c *Core) baselines(now sensors.Mono, fx []Effect) []Effect {
	for i := range c.ch.Baselines {
		b := c.ch.Baselines[i]
		fx = c.record(now, fx, Record{Baseline: &b})
		if what, detail := baselineEvent(&b); what != "" {
			fx = append(fx, Effect{Kind: Tell, Update: plugins.Update{Event: &plugins.Event{Type: what, Detail: detail}}})
		}
	}
	missing := map[string]*hazard.AlarmInput{}
	var order []string
	c.eng.Baselines(func(b hazard.BaselineRecord, device string) {
		in := missing[device]
		if in == nil {
			in = &hazard.AlarmInput{Name: "baseline/" + device}
			missing[device], order = in, append(order, device)
		}
		if b.Have {
			return
		}
		in.Active, in.Basis, in.Priority = true, hazard.Inhibited, 3
		in.Children = append(in.Children, b.Point)
		switch {
		case b.Why != "":
			in.Cause = "no baseline, " + b.Why + `: once it is proven and the room is at rest, "firebreak learn ` + device + `"`
		case b.Learning:
			in.Cause = "the baseline is being learned"
		default:
			in.Cause = `no baseline was learned: with the room at rest, "firebreak learn ` + device + `"`
		}
	})
	for _, device := range order {
		fx = c.setAlarm(now, fx, *missing[device])
	}
	return fx
}

func baselineEvent(b *hazard.BaselineRecord) (what, detail string) {
	switch {
	case b.Learning:
		return "", ""
	case b.Why != "" && b.Have:
		return "baseline.kept", fmt.Sprintf("%s: a new one was not learned, %s; the one before stays: %.6g", b.Point, b.Why, b.Value)
	case b.Why != "":
		return "baseline.none", b.Point + ": " + b.Why
	}
	return "baseline.learned", fmt.Sprintf("%s: %.6g, ordered by %s", b.Point, b.Value, b.By)
}
