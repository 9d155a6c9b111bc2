package config

import (
	"fmt"

	"firebreak/agent/response"
	"firebreak/plugins"
)

// nothingLeft is what revert says of a step that leaves nothing behind: it stands in no ledger.
const nothingLeft = "nothing"

// traits is what a hook does to one of its targets: what its kind declares, and what its key
// irreversible says for every kind. A kind that declares nothing has one target, without a name.
func (c *compiler) traits(hook int, target string) (plugins.Traits, error) {
	h := &c.cfg.Hooks[hook]
	var tr plugins.Traits
	switch d, ok := h.Config.(plugins.Declarer); {
	case ok:
		var err error
		if tr, err = d.Traits(target); err != nil {
			return tr, fmt.Errorf("hook %q: %w", h.Name, err)
		}
	case target != "":
		return tr, fmt.Errorf("hook %q of kind %q has one target, without a name: take the target %q out", h.Name, h.Kind, target)
	}
	tr.Irreversible = tr.Irreversible || h.Irreversible
	return tr, nil
}

// known tells whether a hook may be asked for its traits: it is there, and was read without a fault.
func (c *compiler) known(hook int) bool {
	return hook >= 0 && hook < len(c.cfg.Hooks) && !c.hookBad[hook]
}

// acts reads what a step acts on, and holds the step to what its hook does to that target. The point
// of no return belongs to each step and target (S15), and no step switches power on (S1).
func (c *compiler) acts(t *Table, s *response.Step) {
	s.Target = t.String("target", "")
	s.Irreversible = t.Bool("irreversible", s.Stage.Irreversible())
	if s.Irreversible && !s.Stage.Irreversible() {
		t.Fault("irreversible", "stage %s holds reversible steps only: move the step to stage 3 or 4", s.Stage)
		s.Irreversible = false // what follows must not blame it again
		return
	}
	if !c.known(s.Hook) {
		return
	}
	tr, err := c.traits(s.Hook, s.Target)
	what := c.hookTarget(s.Hook, s.Target)
	switch {
	case err != nil:
		t.Fault(presentOf(t, "target", "hook"), "%v", err)
	case tr.PowersOn:
		t.Fault(presentOf(t, "target", "hook"), "%s switches power on, and no step does that: take the step out; after the reset an engineer orders it by hand (S1)", what)
	case tr.Irreversible && !s.Stage.Irreversible():
		t.Fault(presentOf(t, "target", "hook"), "%s cannot be taken back, and stage %s holds reversible steps only: move the step to stage 3 or 4 (S15)", what, s.Stage)
	case tr.Irreversible && !s.Irreversible:
		t.Fault("irreversible", "%s cannot be taken back, whatever the step says: take this out (S15)", what)
	}
}

// presentOf is key where the table has it, else other.
func presentOf(t *Table, key, other string) string {
	if t.Has(key) {
		return key
	}
	return other
}

func (c *compiler) hookTarget(hook int, target string) string {
	if target == "" {
		return fmt.Sprintf("hook %q", c.cfg.Hooks[hook].Name)
	}
	return fmt.Sprintf("hook %q at target %q", c.cfg.Hooks[hook].Name, target)
}

// takenBack reads how the work of a reversible step is taken back, and by whom. From stage 2a on each
// such step must say it: what is frozen or drained and stands in no ledger is forgotten (S21).
func (c *compiler) takenBack(t *Table, s *response.Step, owner string, noLevel bool) {
	undo := t.String("undo", "")
	s.UndoTarget = t.String("undo_target", "")
	s.Owner, s.Revert = t.String("owner", owner), t.String("revert", "")
	s.Review = t.Duration("review_after", defReview, minReview, maxCalendar)
	if s.Irreversible {
		for _, k := range []string{"undo", "undo_target", "owner", "revert", "review_after"} {
			if t.Has(k) && !noLevel {
				c.fault(t.kpos[k], "%q belongs to reversible steps, and this one is irreversible: take it out, or say irreversible = false if it can be taken back", k)
			}
		}
		s.UndoTarget, s.Owner, s.Revert, s.Review = "", "", "", 0
		return
	}
	c.undo(t, s, undo)
	if s.Revert == nothingLeft {
		s.Revert = ""
		if s.HasUndo {
			t.Fault("revert", `a step with an undo leaves something behind: say how a person takes it back, or take "revert" out`)
		}
	}
	switch entered := undo != "" || s.Revert != ""; {
	case entered && s.Owner == "":
		t.src.fault(t.at, `step %q stands in the ledger of what is to be taken back, and nobody owns it: name who does that with "owner", here or in the plan (S21)`, s.Name)
	case !entered && !t.Has("revert") && s.Stage.Latches() && !noLevel:
		t.src.fault(t.at, `step %q of stage %s says nothing of how it is taken back: name a hook with "undo", or tell a person how with "revert"; revert = "nothing" where it leaves nothing behind (S21)`, s.Name, s.Stage)
	}
	if s.Owner == "" || s.Revert == "" && !s.HasUndo {
		s.Owner, s.Review = "", 0 // not in the ledger
	}
}

// undo reads the hook that takes a step back by an order. It has the same target as the step where it
// is the same hook and names no other.
func (c *compiler) undo(t *Table, s *response.Step, name string) {
	if name == "" {
		if s.UndoTarget != "" {
			t.Fault("undo_target", `"undo_target" belongs to "undo", which is not there: name the hook, or take it out`)
		}
		return
	}
	i, ok := lookup(c, t.Pos("undo"), "hook", name, c.hooks)
	if !ok {
		return
	}
	s.HasUndo, s.Undo = true, i
	if i == s.Hook && s.UndoTarget == "" {
		s.UndoTarget = s.Target
	}
	if !c.known(i) {
		return
	}
	tr, err := c.traits(i, s.UndoTarget)
	what := c.hookTarget(i, s.UndoTarget)
	switch at := presentOf(t, "undo_target", "undo"); {
	case err != nil:
		t.Fault(at, "undo: %v", err)
	case tr.PowersOn:
		t.Fault(at, "%s switches power on, and no undo does that: take it out; after the reset an engineer orders it by hand (S1)", what)
	case tr.Irreversible:
		t.Fault(at, "%s cannot be taken back itself, so it is no undo: use another hook, or tell a person how with \"revert\" (S15)", what)
	}
}

// lister is implemented by the configuration of a hook that acts on several targets by name.
type lister interface{ Targets() []string }

// energise lists what an engineer can switch on by order, after the reset (S1): it stands in no step.
func (c *compiler) energise() {
	for i := range c.cfg.Hooks {
		if !c.known(i) {
			continue
		}
		targets := []string{""}
		if l, ok := c.cfg.Hooks[i].Config.(lister); ok && len(l.Targets()) > 0 {
			targets = l.Targets()
		}
		for _, target := range targets {
			tr, err := c.traits(i, target)
			if err != nil || !tr.PowersOn {
				continue
			}
			e := response.Energise{Name: c.cfg.Hooks[i].Name, Hook: i, Target: target, Timeout: energiseTimeout}
			if target != "" {
				e.Name += ":" + target
			}
			c.resp.Energise = append(c.resp.Energise, e)
		}
	}
}
