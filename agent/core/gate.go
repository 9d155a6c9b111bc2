package core

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"firebreak/agent/hazard"
	"firebreak/agent/response"
	"firebreak/plugins"
	"firebreak/sensors"
)

// Calendar limits. They warn, and gate arming; no stage looks at them (S14).
const (
	defProofMax   = 365 * 24 * time.Hour
	defDrillEvery = 90 * 24 * time.Hour
	observeMax    = 30 * 24 * time.Hour
	defMaxShelve  = 8 * time.Hour // S17: shelving ends by itself, at the latest after a shift
	calendarAlarm = 24 * time.Hour
	clockSlack    = 24 * time.Hour // a clock that is put right by less makes no date unknown
)

// Proof is that a person has seen a point move, in the right sense and in time (S23).
type Proof struct {
	Point string `json:"point"`
	By    string `json:"by"`
	Wall  int64  `json:"wall"` // Unix seconds
	Note  string `json:"note,omitempty"`

	Serial string `json:"serial,omitempty"` // of the device, where it tells one: the proof is of this unit
}

// Answer is that a named consumer has been seen to have an alarm (S18).
type Answer struct {
	Consumer string `json:"consumer"`
	By       string `json:"by"`
	Wall     int64  `json:"wall"`
}

// gate is what arming a plan asks for, beyond the plan itself (S18).
type gate struct {
	proofs  map[string]Proof
	answers map[string]Answer
	serials map[string]string        // by device: the last that was read
	other   map[sensors.PointID]bool // points that were proven on another unit; true: a reading was marked since
	probes  map[int]error            // by hook; absent: not exercised yet
	wall    time.Time                // zero: not told yet
	synced  bool
}

func newGate() gate {
	return gate{proofs: map[string]Proof{}, answers: map[string]Answer{}, serials: map[string]string{}, other: map[sensors.PointID]bool{}, probes: map[int]error{}}
}

// unix is the wall clock in seconds; 0 where it is not known.
func (g *gate) unix() int64 {
	if !g.synced || g.wall.IsZero() {
		return 0
	}
	return g.wall.Unix()
}

// old says that an instant of the wall clock is further back than limit, or not known. One that has not come yet was
// taken from a clock that was ahead: it would be good for as long as that was wrong.
func (g *gate) old(wall int64, limit time.Duration) bool {
	age := g.age(wall)
	return wall == 0 || age > limit || age < -clockSlack && g.unix() != 0
}

// age is how long ago an instant of the wall clock was.
func (g *gate) age(wall int64) time.Duration { return g.wall.Sub(time.Unix(wall, 0)) }

// mayArm tells all that stands against arming a plan, at once (S18). That no single failure blocks a
// stage, the configuration has been held to when it was read (S5).
func (c *Core) mayArm(plan string) error {
	rule := c.resp.Rule(plan)
	if rule == nil {
		return c.r.Response.NoPlan(plan)
	}
	var why []string
	if c.gate.unix() == 0 {
		why = append(why, "the clock is not synchronised: see to its time service")
	}
	if points := c.unproven(rule); len(points) > 0 {
		why = append(why, "not proven, or not for too long: "+strings.Join(points, ", ")+` (make each move, then "firebreak prove POINT")`)
	}
	for _, h := range c.planHooks(rule) {
		switch err, probed := c.gate.probes[h]; {
		case !probed:
			why = append(why, fmt.Sprintf("hook %s has not been exercised yet: wait a moment", c.r.Response.Hooks[h]))
		case err != nil:
			why = append(why, fmt.Sprintf("hook %s would not work: %v", c.r.Response.Hooks[h], err))
		}
	}
	why = append(why, c.unanswered()...)
	if c.gate.old(c.resp.LastDrill(plan), drillEvery(rule)) {
		why = append(why, fmt.Sprintf(`no good drill in the last %d days: "firebreak drill %s"`, int(drillEvery(rule).Hours()/24), plan))
	}
	if c.resp.Stage(plan) > plugins.Watch {
		why = append(why, "a stage is open")
	}
	if why != nil {
		return &response.Refusal{Reasons: why}
	}
	return nil
}

func drillEvery(rule *response.Plan) time.Duration {
	if rule.DrillEvery > 0 {
		return rule.DrillEvery
	}
	return defDrillEvery
}

func (c *Core) proofMax() time.Duration {
	if c.r.ProofMax > 0 {
		return c.r.ProofMax
	}
	return defProofMax
}

// unproven names the points of the plan's votes of which no proof is good: none, an old one, or one of a unit that was exchanged.
func (c *Core) unproven(rule *response.Plan) (names []string) {
	seen := map[sensors.PointID]bool{}
	for i := range rule.Stages {
		c.r.eachPoint(rule.Stages[i].When, func(p sensors.PointID) {
			name := c.r.Hazard.Points[p].Name
			_, other := c.gate.other[p]
			if !seen[p] && (other || c.gate.old(c.gate.proofs[name].Wall, c.proofMax())) {
				names = append(names, name)
			}
			seen[p] = true
		})
	}
	slices.Sort(names)
	return names
}

// Voting are the points on which a stage of some plan rests, in order: those that arming wants proven (S23).
func (r *Rules) Voting() (points []sensors.PointID) {
	for i := range r.Response.Plans {
		for k := range r.Response.Plans[i].Stages {
			r.eachPoint(r.Response.Plans[i].Stages[k].When, func(p sensors.PointID) { points = append(points, p) })
		}
	}
	slices.Sort(points)
	return slices.Compact(points)
}

func (r *Rules) eachPoint(id hazard.CondID, visit func(sensors.PointID)) {
	k := &r.Hazard.Conds[id]
	for i := range k.Members {
		for _, p := range k.Members[i].Points {
			visit(p)
		}
		for _, ref := range k.Members[i].Ref {
			if ref != hazard.NoPoint {
				visit(ref)
			}
		}
	}
	for _, of := range k.Of {
		r.eachPoint(of, visit)
	}
}

func (c *Core) planHooks(rule *response.Plan) (hooks []int) {
	for i := range rule.Steps {
		hooks = append(hooks, rule.Steps[i].Hook)
		if rule.Steps[i].HasUndo {
			hooks = append(hooks, rule.Steps[i].Undo)
		}
	}
	slices.Sort(hooks)
	return slices.Compact(hooks)
}

// unanswered is why no consumer can be relied on: one that has answered is enough.
func (c *Core) unanswered() []string {
	if len(c.r.Consumers) == 0 {
		return []string{"the configuration names no consumers: who takes its alarms?"}
	}
	for _, name := range c.r.Consumers {
		if !c.gate.old(c.gate.answers[name].Wall, c.proofMax()) {
			return nil
		}
	}
	return []string{"no named consumer has answered yet: " + strings.Join(c.r.Consumers, ", ")}
}

func (c *Core) prove(now sensors.Mono, o Order, fx *[]Effect) error {
	i := c.point(o.Name)
	if i < 0 {
		return c.noPoint(o.Name)
	}
	if c.gate.unix() == 0 {
		return &response.Refusal{Reasons: []string{"the clock is not synchronised: the proof would have no date"}}
	}
	serial := c.gate.serials[c.deviceName(c.r.Hazard.Points[i].Device)]
	err := c.note(now, fx, Record{Proof: &Proof{Point: o.Name, By: o.By, Wall: c.gate.unix(), Note: o.Reason, Serial: serial}})
	*fx = c.exchangeAlarms(now, *fx)
	return err
}

func (c *Core) answered(now sensors.Mono, o Order, fx *[]Effect) error {
	if !slices.Contains(c.r.Consumers, o.Name) {
		return c.noConsumer(o.Name)
	}
	if c.gate.unix() == 0 {
		return &response.Refusal{Reasons: []string{"the clock is not synchronised: the answer would have no date"}}
	}
	return c.note(now, fx, Record{Answer: &Answer{Consumer: o.Name, By: o.By, Wall: c.gate.unix()}})
}

// receiptDated is how old what is known of a consumer may be before its next receipt is recorded: not each
// of a thousand is news.
const receiptDated = 24 * time.Hour

// receipt takes that a consumer has answered by itself. It is no order: nobody gave it, so nobody is refused.
// Without a clock it has no date, and the next one counts.
func (c *Core) receipt(now sensors.Mono, name string, fx []Effect) []Effect {
	if !slices.Contains(c.r.Consumers, name) || c.gate.unix() == 0 || !c.gate.old(c.gate.answers[name].Wall, min(receiptDated, c.proofMax())) {
		return fx
	}
	_ = c.note(now, &fx, Record{Answer: &Answer{Consumer: name, By: "its own receipt", Wall: c.gate.unix()}}) // it is one of ours
	return fx
}

// note applies a record and writes it.
func (c *Core) note(now sensors.Mono, fx *[]Effect, r Record) error {
	if err := c.Apply(r); err != nil {
		return err
	}
	*fx = c.record(now, *fx, r)
	return nil
}

// calendar takes the wall clock, and moves the alarms that depend on it.
func (c *Core) calendar(now sensors.Mono, ev Event, fx []Effect) []Effect {
	c.gate.wall, c.gate.synced = ev.Wall, ev.Synced
	if c.gate.unix() == 0 {
		return fx // what only warns waits for a clock
	}
	for i := range c.r.Response.Plans {
		rule := &c.r.Response.Plans[i]
		armed, since := c.resp.Mode(rule.Name)
		if since == 0 { // the clock was not known when the mode was set: it counts from now
			c.resp.DateMode(now, rule.Name, c.gate.unix(), &c.out)
			since = c.gate.unix()
		}
		name := "plan/" + rule.Name
		fx = c.setAlarm(now, fx, hazard.AlarmInput{Name: name + "/not-protecting", Active: !armed && c.gate.age(since) > observeMax, Priority: 1,
			ReAlarm: calendarAlarm, Cause: "NOT PROTECTING: this plan has only observed for more than 30 days; arm it"})
		fx = c.setAlarm(now, fx, hazard.AlarmInput{Name: name + "/drill", Active: armed && c.gate.old(c.resp.LastDrill(rule.Name), drillEvery(rule)),
			Priority: 3, ReAlarm: calendarAlarm, Cause: fmt.Sprintf("no good drill in the last %d days", int(drillEvery(rule).Hours()/24))})
		stale := c.unproven(rule)
		fx = c.setAlarm(now, fx, hazard.AlarmInput{Name: name + "/proofs", Active: armed && len(stale) > 0, Priority: 3, ReAlarm: calendarAlarm,
			Children: stale, Cause: "voting points whose proof is missing or has expired"})
	}
	return fx
}

// probed takes how the exercise of a hook has ended: a broken way out is an alarm before it is needed.
func (c *Core) probed(now sensors.Mono, ev Event, fx []Effect) []Effect {
	if ev.Hook < 0 || ev.Hook >= len(c.r.Response.Hooks) {
		return fx
	}
	cause, name := "", c.r.Response.Hooks[ev.Hook]
	var standby *plugins.StandbyError
	c.gate.probes[ev.Hook] = ev.Err
	switch {
	case errors.As(ev.Err, &standby): // it would work, and arming goes on; but the next loss would be the last
		c.gate.probes[ev.Hook] = nil
		cause = "hook " + name + " would work now, with one of its ways lost: " + ev.Err.Error()
	case ev.Err != nil:
		cause = "hook " + name + " would not work now: " + ev.Err.Error()
	}
	return c.setAlarm(now, fx, hazard.AlarmInput{Name: "hook/" + name, Active: ev.Err != nil, Priority: 2, Cause: cause, Newest: true})
}

// drillOver remembers a drill that was good; one that was not is an alarm until one is.
func (c *Core) drillOver(now sensors.Mono, d DrillResult, fx []Effect) []Effect {
	if !c.resp.Has(d.Plan) {
		return fx
	}
	if d.Good {
		c.resp.Drilled(now, d.Plan, c.gate.unix(), &c.out)
	}
	return c.setAlarm(now, fx, hazard.AlarmInput{Name: "plan/" + d.Plan + "/drill-failed", Active: !d.Good, Priority: 2,
		Cause: "the last drill went wrong: " + d.Why})
}

type gateState struct {
	Proofs  []Proof      `json:"proofs,omitempty"`
	Answers []Answer     `json:"answers,omitempty"`
	Serials []SerialRead `json:"serials,omitempty"`
}

func (g *gate) state() gateState {
	var s gateState
	for _, k := range slices.Sorted(maps.Keys(g.proofs)) {
		s.Proofs = append(s.Proofs, g.proofs[k])
	}
	for _, k := range slices.Sorted(maps.Keys(g.answers)) {
		s.Answers = append(s.Answers, g.answers[k])
	}
	for _, k := range slices.Sorted(maps.Keys(g.serials)) {
		s.Serials = append(s.Serials, SerialRead{k, g.serials[k]})
	}
	return s
}

func (g *gate) setState(s gateState) {
	for _, p := range s.Proofs {
		g.proofs[p.Point] = p
	}
	for _, a := range s.Answers {
		g.answers[a.Consumer] = a
	}
	for _, r := range s.Serials {
		g.serials[r.Device] = r.Serial
	}
}
