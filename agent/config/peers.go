package config

import (
	"fmt"
	"reflect"

	"firebreak/agent/response"
)

// Peers holds two configurations to S13: what two agents drive, each must know of the other, and
// both must derive the same key for it. A stage that only tells is left out: two pages are no harm.
func Peers(a, b *Config) []Fault {
	p := &pair{a: a, b: b}
	if a.Site == b.Site && a.Agent == b.Agent {
		p.fault(a, Pos{Line: 1, Column: 1}, "%s describes an agent %q of site %q too: brokers would end the session of one for the other, give each its own name (S13)", b.File, b.Agent, b.Site)
	}
	p.named(a, b)
	p.named(b, a)
	p.shared(a, b)
	p.shared(b, a)
	return p.faults
}

type pair struct {
	a, b   *Config
	faults []Fault
}

func (p *pair) fault(c *Config, at Pos, format string, args ...any) {
	f := Fault{c.File, at.Line, at.Column, fmt.Sprintf(format, args...)}
	for _, o := range p.faults {
		if o == f {
			return
		}
	}
	p.faults = append(p.faults, f)
}

// named sees to it that a plan and the one of its peer name each other.
func (p *pair) named(c, other *Config) {
	for i := range c.Rules.Response.Plans {
		plan := &c.Rules.Response.Plans[i]
		if plan.Peer != other.Agent || c.Site != other.Site {
			continue
		}
		at, back := c.Plans[i].PeerAt, planOf(other, plan.Name)
		switch {
		case back == nil:
			p.fault(c, at, "%s has no plan %q: peers agree on episodes by the name of the plan, use one name (S13)", other.File, plan.Name)
		case back.Peer != c.Agent:
			p.fault(c, at, "plan %q in %s does not name %q as its peer: each must name the other (S13)", plan.Name, other.File, c.Agent)
		case back.Zone != plan.Zone:
			p.fault(c, at, "the zone is %q here and %q in %s, and it is part of every key: peers would do the same work twice (S13)", plan.Zone, back.Zone, other.File)
		}
	}
}

func planOf(c *Config, name string) *response.Plan {
	for i := range c.Rules.Response.Plans {
		if p := &c.Rules.Response.Plans[i]; p.Name == name {
			return p
		}
	}
	return nil
}

// drives is one thing that a step acts on.
type drives struct {
	plan *response.Plan
	step *response.Step
	at   Pos
	text string // how a person calls it

	hook   *Hook
	target string
	down   string // or what it takes down
}

func (d *drives) same(o *drives, site bool) bool {
	if d.hook == nil || o.hook == nil {
		return d.hook == o.hook && site && d.down == o.down
	}
	return d.target == o.target && d.hook.Kind == o.hook.Kind && reflect.DeepEqual(d.hook.Config, o.hook.Config)
}

// drivenBy lists what the steps of a configuration change: those from stage 2a on, and their undo.
func drivenBy(c *Config) (out []drives) {
	for i := range c.Rules.Response.Plans {
		plan, r := &c.Rules.Response.Plans[i], &c.Plans[i]
		for k := range plan.Steps {
			s := &plan.Steps[k]
			if !s.Stage.Latches() {
				continue
			}
			add := func(hook int, target string) {
				h := &c.Hooks[hook]
				text := fmt.Sprintf("hook %q", h.Name)
				if target != "" {
					text += fmt.Sprintf(" at target %q", target)
				}
				out = append(out, drives{plan: plan, step: s, at: r.StepAt[k], text: text, hook: h, target: target})
			}
			add(s.Hook, s.Target)
			for _, down := range r.Down[k] {
				out = append(out, drives{plan: plan, step: s, at: r.StepAt[k], text: "what it takes down, " + down + ",", down: down})
			}
			if s.HasUndo && (s.Undo != s.Hook || s.UndoTarget != s.Target) {
				add(s.Undo, s.UndoTarget)
			}
		}
	}
	return out
}

// shared finds what c drives and the other agent too.
func (p *pair) shared(c, other *Config) {
	theirs := drivenBy(other)
	for _, x := range drivenBy(c) {
		var found *drives
		agreed := false
		for i := range theirs {
			y := &theirs[i]
			if !x.same(y, c.Site == other.Site) {
				continue
			}
			peers := x.plan.Peer == other.Agent && y.plan.Peer == c.Agent && c.Site == other.Site
			agreed = agreed || peers && x.plan.Name == y.plan.Name && x.step.Stage == y.step.Stage && x.step.Name == y.step.Name
			if found == nil || peers {
				found = y
			}
		}
		switch {
		case found == nil || agreed:
		case x.plan.Peer != other.Agent || found.plan.Peer != c.Agent:
			p.fault(c, x.at, "step %q drives %s, and so does step %q of plan %q of agent %q (%s): both plans must name the other agent as peer, or drive different targets (S13)",
				x.step.Name, x.text, found.step.Name, found.plan.Name, other.Agent, other.File)
		default:
			p.fault(c, x.at, "step %q drives %s, which peer %q drives in step %q of stage %s of plan %q (%s): give plan, stage and step the same names, or the work is done twice (S13)",
				x.step.Name, x.text, other.Agent, found.step.Name, found.step.Stage, found.plan.Name, other.File)
		}
	}
}
