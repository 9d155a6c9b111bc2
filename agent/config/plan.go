package config

import (
	"cmp"
	"slices"
	"time"

	"firebreak/agent/hazard"
	"firebreak/agent/response"
	"firebreak/plugins"

	"github.com/pelletier/go-toml/v2/unstable"
)

// plan reads one [[plan]] with its stages and steps.
func (c *compiler) plan(t *Table) {
	t.Require("name", "deadline", "power_loss")
	p := response.Plan{Name: c.name(t, "name"), Zone: c.cfg.Zone, Protects: t.Strings("protects")}
	for _, o := range c.resp.Plans {
		if p.Name != "" && o.Name == p.Name {
			t.Fault("name", "there is another plan named %q: a name is given once", p.Name)
		}
	}
	for _, z := range p.Protects {
		if !goodName(z, false) {
			c.fault(t.itemPos("protects", z), "%q cannot be the name of a zone: use letters, digits, - and _", z)
		}
	}
	if len(p.Protects) == 0 {
		p.Protects = []string{c.cfg.Zone}
	}
	p.Deadline = t.Duration("deadline", 0, time.Second, 24*time.Hour)
	p.PowerLoss = t.Duration("power_loss", 0, time.Second, maxSpan)
	p.MaxHold = t.Duration("max_hold", defMaxHold, 0, time.Hour)
	p.ResumeMax = t.Duration("resume_max", defResumeMax, time.Minute, 24*time.Hour)
	p.ClearTime = t.Duration("clear_time", defClearTime, time.Minute, maxSpan)
	p.MaxZones2b = int(t.Int("max_zones_2b", 0, 0, 1000))
	p.DrillEvery = t.Duration("drill_every", defDrillEvery, time.Hour, maxCalendar)
	if p.Peer = c.name(t, "peer"); p.Peer != "" && p.Peer == c.cfg.Agent {
		t.Fault("peer", "%q is this agent itself: name the other one that drives the same targets", p.Peer)
	}
	c.mode(t, &p)
	c.drillSchedule(t, p.Name)
	if n := len(c.cfg.Drills) - 1; n >= 0 && c.cfg.Drills[n].Plan == p.Name && c.cfg.Drills[n].Every > p.DrillEvery && p.Name != "" {
		t.Fault("drill", "it drills by itself every %s only, and drill_every asks for a good drill within %s: drill more often", short(c.cfg.Drills[n].Every), short(p.DrillEvery))
	}
	if p.Deadline > 0 && p.PowerLoss > 0 && p.Deadline >= p.PowerLoss {
		t.Fault("deadline", "the deadline of %s is not before the power is lost, after %s: nothing would be saved, ask for less", short(p.Deadline), short(p.PowerLoss))
	}
	src := planSource{tab: t, name: p.Name, owner: t.String("owner", "")}
	c.stages(t, &p, &src)
	c.end(t)
	if len(p.Stages) == 0 {
		t.src.fault(t.at, "plan %q has no stage: add a [[plan.stage]]", p.Name)
	}
	c.resp.Plans, c.plans = append(c.resp.Plans, p), append(c.plans, src)
}

// mode reads mode, ungated and expected_mode (S18).
func (c *compiler) mode(t *Table, p *response.Plan) {
	modes := map[string]response.Mode{"observe": response.Observe, "armed": response.Armed}
	p.Mode = modes[t.Enum("mode", "observe", "observe", "armed")]
	p.Ungated = t.String("ungated", "")
	p.ExpectedMode = modes[t.Enum("expected_mode", p.Mode.String(), "observe", "armed")]
	switch {
	case p.Mode == response.Armed && !t.Has("ungated"):
		t.Fault("mode", `"armed" in the file passes by the checks of "firebreak arm": leave the mode out and arm by command, or say ungated = "reason"`)
	case p.Mode == response.Observe && t.Has("ungated"):
		t.Fault("ungated", `"ungated" has no meaning unless mode = "armed": take it out`)
	}
}

// stageDraft is a stage with its steps, before stages are put in order.
type stageDraft struct {
	tab     *Table
	stage   response.Stage
	steps   []*stepDraft
	noLevel bool // kept with its fault, so that steps which refer to its steps are not blamed
}

func (c *compiler) stages(t *Table, p *response.Plan, src *planSource) {
	var drafts []*stageDraft
	for _, st := range t.Tables("stage") {
		d := c.stage(st, src)
		for _, o := range drafts {
			if !d.noLevel && !o.noLevel && o.stage.Level == d.stage.Level {
				st.Fault("level", "plan %q has stage %s twice: put the steps into one", p.Name, d.stage.Level)
			}
		}
		drafts = append(drafts, d)
	}
	slices.SortStableFunc(drafts, func(a, b *stageDraft) int { return cmp.Compare(a.stage.Level, b.stage.Level) })
	var steps []*stepDraft
	for _, d := range drafts {
		p.Stages, src.stages = append(p.Stages, d.stage), append(src.stages, d.tab)
		steps = append(steps, d.steps...)
	}
	c.order(steps)
	for _, s := range steps {
		p.Steps, src.steps = append(p.Steps, s.step), append(src.steps, s.tab)
	}
}

// stage reads one [[plan.stage]].
func (c *compiler) stage(t *Table, plan *planSource) *stageDraft {
	t.Require("level", "when")
	d := &stageDraft{tab: t, stage: response.Stage{When: hazard.NoCond}}
	s := &d.stage
	level, err := plugins.ParseStage(c.level(t))
	if s.Level, d.noLevel = level, err != nil; d.noLevel {
		s.Level = plugins.Isolate // where every key is allowed
	}
	if err != nil && t.Has("level") {
		t.Fault("level", "a stage has one of the levels 0, 1, 2a, 2b, 3 and 4, in quotes")
	}
	if when := t.String("when", ""); when != "" {
		if c.leftOut(t.Pos("when"), "vote or detector", when) {
			s.When = hazard.NoCond // said there
		} else if id, ok := lookup(c, t.Pos("when"), "vote or detector", when, c.conds); ok {
			s.When = id
		}
	}
	c.irreversible(t, s, err != nil)
	s.AcceptSingle = t.String("accept_single", "")
	s.Parallel = int(t.Int("max_parallel", 0, 1, 1000))
	for _, st := range t.Tables("step") {
		step := c.step(st, plan, s.Level, d.noLevel)
		if !d.noLevel {
			c.isolated(st, &step.step)
		}
		d.steps = append(d.steps, step)
	}
	c.end(t)
	if len(d.steps) > 0 && s.Level == plugins.Watch && !d.noLevel {
		t.src.fault(t.at, "stage 0 has steps, which would not start: an episode begins with stage 1, move them there")
	}
	if len(d.steps) == 0 && s.Level > plugins.Watch {
		t.src.fault(t.at, "stage %s has no step: opening it would do nothing, add a [[plan.stage.step]] or take the stage out", s.Level)
	}
	return d
}

// level accepts 1, 3 and 4 without quotes too.
func (c *compiler) level(t *Table) string {
	if v := t.vals["level"]; v != nil && v.kind == unstable.Integer && v.i >= 0 && v.i <= 9 {
		t.used["level"] = true
		return string(rune('0' + v.i))
	}
	return t.String("level", "")
}

// irreversible reads the keys of stages 3 and 4.
func (c *compiler) irreversible(t *Table, s *response.Stage, noLevel bool) {
	if noLevel {
		t.used["countdown"], t.used["if_blind"] = true, true
		return
	}
	if !s.Level.Irreversible() {
		for _, k := range []string{"countdown", "if_blind"} {
			t.used[k] = true
			if t.Has(k) {
				c.fault(t.kpos[k], "%q belongs to stages 3 and 4 only: the steps of stage %s start at once", k, s.Level)
			}
		}
		return
	}
	def := defCountdown3
	if s.Level == plugins.Isolate {
		def = defCountdown4
	}
	s.Countdown = t.Duration("countdown", def, 0, time.Hour)
	if !t.Has("if_blind") {
		t.used["if_blind"] = true
		t.src.fault(t.at, `stage %s needs if_blind = "proceed" or "hold": what to do when the sensors that opened it have burnt; there is no default`, s.Level)
		return
	}
	switch t.Enum("if_blind", "", "proceed", "hold") {
	case "proceed":
		s.IfBlind = response.BlindProceed
	case "hold":
		s.IfBlind = response.BlindHold
	}
}
