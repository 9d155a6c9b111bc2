package config

import (
	"slices"
	"strings"
	"time"

	"firebreak/agent/hazard"
	"firebreak/agent/near"
	"firebreak/agent/response"
	"firebreak/plugins"
	"firebreak/sensors"
)

// stepDraft is a step whose "after" is not resolved yet.
type stepDraft struct {
	tab     *Table
	step    response.Step
	after   []string
	tier    int  // 0: none
	noLevel bool // of its stage
}

// step reads one [[plan.stage.step]].
func (c *compiler) step(t *Table, plan *planSource, level plugins.Stage, noLevel bool) *stepDraft {
	t.Require("name", "hook")
	d := &stepDraft{tab: t, noLevel: noLevel, after: t.Strings("after"), tier: int(t.Int("tier", 0, 1, 9))}
	s := &d.step
	*s = response.Step{Name: c.name(t, "name"), Stage: level, Hook: -1, EvidenceCond: hazard.NoCond, OnlyIf: hazard.NoCond}
	if h := t.String("hook", ""); h != "" {
		if i, ok := lookup(c, t.Pos("hook"), "hook", h, c.hooks); ok {
			s.Hook = i
		}
	}
	s.Timeout = t.Duration("timeout", defTimeout, 100*time.Millisecond, time.Hour)
	s.Cap = t.Duration("cap", max(defCap, s.Timeout), time.Second, 24*time.Hour)
	if s.Cap < s.Timeout {
		t.Fault("cap", "the cap of %s is shorter than the time-out of one call, %s: the plan would go on before the hook can answer", short(s.Cap), short(s.Timeout))
	}
	c.onFailure(t, s)
	c.evidence(t, s, plan.name)
	if e := t.String("only_if", ""); e != "" {
		s.OnlyIf = c.expression(t, "only_if", e, plan.name+"/"+s.Name+"/only_if")
	}
	s.Proof = t.Bool("proof_required", false)
	c.acts(t, s)
	c.takenBack(t, s, plan.owner, noLevel)
	t.Strings("takes_down") // looked at once all is read (checkTakeDowns)
	c.end(t)
	return d
}

func (c *compiler) onFailure(t *Table, s *response.Step) {
	kinds := map[string]response.OnFailure{"continue": response.Continue, "retry": response.Retry, "escalate": response.Escalate, "abort": response.Abort}
	s.OnFailure = kinds[t.Enum("on_failure", "continue", "continue", "retry", "escalate", "abort")]
	def := int64(0)
	if s.OnFailure == response.Retry {
		def = defRetries
	}
	s.Retries = int(t.Int("retries", def, 0, 100))
	if s.OnFailure == response.Retry && s.Retries == 0 {
		t.Fault("retries", `on_failure = "retry" with no retries is "continue": give a number, or say so`)
	}
	s.Backoff = t.Duration("backoff", defBackoff, 100*time.Millisecond, time.Minute)
}

// evidenceNames are those of evidence that says yes, the one that says least first; plugins.SeenDecline says no, and proves nothing.
var evidenceNames = []string{plugins.SeenReceipt, plugins.SeenAccept, plugins.SeenDone, plugins.SeenVerified, plugins.SeenLoggedOut}

// evidence reads how it is known that the work of a step is done.
func (c *compiler) evidence(t *Table, s *response.Step, plan string) {
	e := t.String("evidence", "")
	name, named := strings.CutPrefix(e, "hook:")
	switch {
	case e == "":
	case e == "hook":
		s.Evidence = response.ByHook
	case named:
		s.Evidence, s.EvidenceName = response.ByHook, name
		if !slices.Contains(evidenceNames, name) {
			t.Fault("evidence", "no hook gives evidence named %q%s", name, near.Hint(name, evidenceNames))
		}
	default:
		s.Evidence = response.ByCondition
		s.EvidenceCond = c.expression(t, "evidence", e, plan+"/"+s.Name+"/evidence")
	}
}

// isolated holds the irreversible steps of stage 4 to S15: that something is isolated is known from
// measured voltage and current, never from a breaker's bit or from what a hook says of itself.
func (c *compiler) isolated(t *Table, s *response.Step) {
	if s.Stage != plugins.Isolate || !s.Irreversible {
		return
	}
	var what string
	switch {
	case s.Evidence == response.ByHook:
		what = "this is the word of the hook"
	case s.Evidence != response.ByCondition:
		what = "there is none"
	case s.EvidenceCond == hazard.NoCond:
		return // it has a fault of its own
	default:
		p := &c.hz.Points[c.hz.Conds[s.EvidenceCond].Members[0].Points[0]]
		if p.Kind == sensors.Measurement && p.Physics == sensors.Electrical && (p.Unit == sensors.Volt || p.Unit == sensors.MilliV || p.Unit == sensors.Ampere) {
			return
		}
		what = "this is " + describe(p)
	}
	t.Fault("evidence", `step %q of stage 4 needs evidence from a measured voltage or current, and %s: a breaker's bit does not show that anything is isolated; write e.g. evidence = "load.rack_current < 1 A"`, s.Name, what)
}

// describe says what a point is: "a binary point", "a measurement of temperature in C".
func describe(p *sensors.Point) string {
	if p.Kind != sensors.Measurement {
		return "a " + p.Kind.String() + " point"
	}
	text := "a measurement of " + p.Physics.String()
	if p.Unit != sensors.None {
		text += " in " + string(p.Unit)
	}
	return text
}

// expression compiles a condition on one point and enters it under a name of its own.
func (c *compiler) expression(t *Table, key, text, name string) hazard.CondID {
	e, err := parseExpr(text)
	if err != nil {
		t.Fault(key, "%q: %v", key, err)
		return hazard.NoCond
	}
	id, ok := c.points[e.point]
	if !ok {
		c.noPoint(t.Pos(key), e.point)
		return hazard.NoCond
	}
	cond, err := e.cond(name, &c.hz.Points[id])
	if err != nil {
		t.Fault(key, "%q: %v", key, err)
		return hazard.NoCond
	}
	c.hz.Conds, c.condTab = append(c.hz.Conds, cond), append(c.condTab, nil)
	return hazard.CondID(len(c.hz.Conds) - 1)
}

// order resolves "after" into indices, and finds doubles, steps of a higher stage and cycles.
func (c *compiler) order(steps []*stepDraft) {
	byName := map[string]int{}
	for i, d := range steps {
		if d.step.Name == "" {
			continue
		}
		if _, dup := byName[d.step.Name]; dup {
			d.tab.Fault("name", "there is another step named %q in this plan: a name is given once", d.step.Name)
			continue
		}
		byName[d.step.Name] = i
	}
	for _, d := range steps {
		for _, n := range d.after {
			at := d.tab.itemPos("after", n)
			i, ok := lookup(c, at, "step", n, byName)
			switch {
			case !ok:
			case steps[i].step.Stage > d.step.Stage && !steps[i].noLevel:
				c.fault(at, "step %q is of stage %s and cannot wait for %q of stage %s, which may never open", d.step.Name, d.step.Stage, n, steps[i].step.Stage)
			default:
				d.step.After = append(d.step.After, i)
			}
		}
	}
	tiers(steps)
	for _, d := range steps {
		if d.step.Proof && len(d.after)+len(d.step.After) == 0 {
			d.tab.Fault("proof_required", "it waits for the evidence of the steps in after or of a lower tier, and there is none: name them, or take it out")
		}
	}
	state := make([]int, len(steps))
	for i := range steps {
		c.findCycle(steps, i, state, nil)
	}
}

// tiers makes the steps of a tier wait for those of the next lower one in their stage.
func tiers(steps []*stepDraft) {
	for _, d := range steps {
		lower := 0
		for _, o := range steps {
			if d.with(o) && o.tier < d.tier {
				lower = max(lower, o.tier)
			}
		}
		for i, o := range steps {
			if lower > 0 && d.with(o) && o.tier == lower && !slices.Contains(d.step.After, i) {
				d.step.After = append(d.step.After, i)
			}
		}
	}
}

// with tells whether both are of one stage.
func (d *stepDraft) with(o *stepDraft) bool {
	return d.step.Stage == o.step.Stage && !d.noLevel && !o.noLevel
}

// waitsAt is the place that says that a step waits for another.
func (d *stepDraft) waitsAt(name string) Pos {
	if slices.Contains(d.after, name) {
		return d.tab.itemPos("after", name)
	}
	return d.tab.Pos("tier")
}

// findCycle reports a cycle once, at the "after" or "tier" that closes it.
func (c *compiler) findCycle(steps []*stepDraft, i int, state []int, way []string) {
	if state[i] == 2 {
		return
	}
	d := steps[i]
	state[i] = 1
	way = append(way, d.step.Name)
	for _, a := range d.step.After {
		if n := steps[a].step.Name; state[a] == 1 {
			from := slices.Index(way, n)
			c.fault(d.waitsAt(n), "these steps wait for each other and none would start: %s", strings.Join(append(slices.Clone(way[from:]), n), " after "))
			continue
		}
		c.findCycle(steps, a, state, way)
	}
	state[i] = 2
}
