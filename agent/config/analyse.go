package config

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"firebreak/agent/hazard"
	"firebreak/agent/response"
	"firebreak/plugins"
)

// PlanReport is what check knows about one plan.
type PlanReport struct {
	Name      string
	Protects  []string
	Mode      response.Mode
	Deadline  time.Duration
	PowerLoss time.Duration
	MaxHold   time.Duration
	NoGateway []string // buses to devices that vote for stages 3 and 4 that share no switch, as far as the file says
	Blind     []string // protected zones in which no sensor stands that opens the plan
	Stages    []StageReport
	Path      *Path // nil: no step

	Peer   string
	PeerAt Pos        // of the key; places for what is found later, between files
	StepAt []Pos      // as the plan's Steps
	Down   [][]string // what each takes down
}

// StageReport is what check knows about one stage.
type StageReport struct {
	Stage        plugins.Stage
	When         string
	WhenID       hazard.CondID
	Sensors      []string // members that open it, by itself or by opening a higher stage
	Steps        []string
	Opens        []FailureSet // smallest sets of failures that can open it
	Blocks       []FailureSet // smallest sets of failures that can block it
	Causes       int          // things that can fail; how many bounds what sizes of sets were searched
	PanelOpens   []FailureSet // of Opens: accepted, a supervised contact of the fire panel
	AcceptSingle string
	IfBlind      response.BlindPolicy
	Worst        WorstCase
	Slack        time.Duration // from the first hook, countdown included, to the loss of power
	LastCap      time.Duration // from the condition until every step has ended or spent its cap
	LastCall     time.Duration // the same, if each is done within one time-out of its hook
	plan         string
}

// analyse computes the report of every plan and holds it against S5, S24 and the deadline.
func (c *compiler) analyse() {
	m, err := newModel(&c.hz)
	if err != nil { // a rule of the engine that is not held above
		c.root.Fault("", "the rules cannot be judged: %v", err)
		return
	}
	for i := range c.resp.Plans {
		p, src := &c.resp.Plans[i], &c.plans[i]
		r := PlanReport{Name: p.Name, Protects: p.Protects, Mode: p.Mode, Deadline: p.Deadline, PowerLoss: p.PowerLoss, Peer: p.Peer, PeerAt: src.tab.Pos("peer")}
		for k, t := range src.steps {
			down := append(takesDown(t), takesDown(c.hookTabs[p.Steps[k].Hook])...)
			r.StepAt, r.Down = append(r.StepAt, t.at), append(r.Down, down)
		}
		for j := range p.Stages {
			r.Stages = append(r.Stages, c.analyseStage(m, p, src, j))
		}
		c.judgeDeadline(p, src, r.Stages)
		c.judgeHold(p, src, r.Stages)
		r.Path = byClock(p, r.Stages)
		r.MaxHold, r.NoGateway, r.Blind = p.MaxHold, c.noGateway(m, p), c.blind(p)
		c.cfg.Plans = append(c.cfg.Plans, r)
	}
}

// blind lists the zones that a plan gives up without a sensor in them that would open it.
func (c *compiler) blind(p *response.Plan) (out []string) {
	seen := map[string]bool{}
	for id := range c.pointsThatOpen(p) {
		seen[c.cfg.Devices[c.hz.Points[id].Device].Zone] = true
	}
	for _, z := range p.Protects {
		if !seen[z] {
			out = append(out, z)
		}
	}
	return out
}

// noGateway lists the TCP buses without gateway that stages 3 and 4 rest on: S5 takes such a bus as
// independent of every other path, which nothing in the file shows.
func (c *compiler) noGateway(m *model, p *response.Plan) (out []string) {
	for _, s := range p.Stages {
		if !s.Level.Irreversible() {
			continue
		}
		for _, l := range m.below(s.When) {
			b := &c.cfg.Buses[c.cfg.Devices[m.leaves[l].device].Bus]
			if b.Kind == "modbus-tcp" && b.Gateway == "" && !slices.Contains(out, b.Name) {
				out = append(out, b.Name)
			}
		}
	}
	return out
}

func (c *compiler) analyseStage(m *model, p *response.Plan, src *planSource, j int) StageReport {
	s, t := &p.Stages[j], src.stages[j]
	r := StageReport{Stage: s.Level, When: c.hz.Conds[s.When].Name, WhenID: s.When, AcceptSingle: s.AcceptSingle, IfBlind: s.IfBlind, plan: p.Name}
	for _, st := range p.Steps {
		if st.Stage == s.Level {
			r.Steps = append(r.Steps, st.Name)
		}
	}
	var whens []hazard.CondID // opening a stage opens all below (S15)
	for _, higher := range p.Stages[j:] {
		whens = append(whens, higher.When)
	}
	for _, l := range m.below(s.When) {
		r.Sensors = append(r.Sensors, m.leaves[l].name)
	}
	faults := len(c.faults)
	c.judgeIndependence(m, &r, t, s.When)
	if s.Level == plugins.Watch || len(c.faults) > faults {
		return r // a vote that is wrong as a rule need not be told what it leads to
	}
	c.judgeFailures(m, &r, t, whens)
	r.Worst = c.worstCase(m, whens)
	if r.Worst.Never && r.AcceptSingle == "" {
		return r // a member that can block alone does so with its device: the fault is there
	}
	r.Worst.Countdown = s.Countdown
	r.Slack = p.PowerLoss - r.Worst.Total - s.Countdown
	c.judgeTime(m, p, src, &r, whens)
	return r
}

// judgeDeadline holds every stage to the plan's deadline (design rule 8). Stages that are late for
// one and the same reason are one fault.
func (c *compiler) judgeDeadline(p *response.Plan, src *planSource, stages []StageReport) {
	var sums []string
	late := map[string][]string{}
	for i := range stages {
		if w := &stages[i].Worst; w.Total > p.Deadline {
			sum := fmt.Sprintf("%s at the latest (%s, at %s)", show(w.Total), w.Sum(), w.Member)
			if late[sum] == nil {
				sums = append(sums, sum)
			}
			late[sum] = append(late[sum], stages[i].Stage.String())
		}
	}
	for _, sum := range sums {
		src.tab.Fault("deadline", "the first hook of stage %s starts after %s, later than the deadline of %s: poll faster, shorten windows and delays, or promise less",
			strings.Join(late[sum], ", "), sum, short(p.Deadline))
	}
}

// judgeTime finds countdowns that outlast the power, and on-delays that eat the deadline up.
func (c *compiler) judgeTime(m *model, p *response.Plan, src *planSource, r *StageReport, whens []hazard.CondID) {
	fixed := decisionTime + c.cfg.Rules.JournalBound + hookStart
	if r.Worst.Total <= p.Deadline && r.Slack < 0 {
		src.stages[indexOfStage(p, r.Stage)].Fault("countdown", "the first hook of stage %s starts %s after the condition, countdown included, but the power is lost after %s: shorten the countdown",
			r.Stage, show(r.Worst.Total+r.Worst.Countdown), short(p.PowerLoss))
	}
	told := map[hazard.CondID]bool{}
	for _, l := range m.scope(whens) {
		id := m.leaves[l].cond
		total := c.delay(m, l) + fixed
		delay := c.hz.Conds[id].OnDelay
		if slack := p.Deadline - (total - delay); total > p.Deadline && slack >= 0 && !told[id] {
			told[id] = true
			c.condTab[id].Fault("on_delay", "an on-delay of %s is beyond the slack of plan %q: %s are left for it of the deadline of %s", short(delay), p.Name, show(slack), short(p.Deadline))
		}
	}
}

func indexOfStage(p *response.Plan, level plugins.Stage) int {
	for i := range p.Stages {
		if p.Stages[i].Level == level {
			return i
		}
	}
	return 0
}

// judgeHold caps max_hold at the slack of the stages that a hold stops (S16).
func (c *compiler) judgeHold(p *response.Plan, src *planSource, stages []StageReport) {
	for i := range stages {
		r := &stages[i]
		if !r.Stage.Irreversible() || r.Worst.Total == 0 || r.Slack < 0 || p.MaxHold <= r.Slack {
			continue
		}
		if src.tab.Has("max_hold") {
			src.tab.Fault("max_hold", "a hold of %s is longer than the slack of stage %s, %s: the power would be lost before its first hook", short(p.MaxHold), r.Stage, show(r.Slack))
			return
		}
		p.MaxHold = r.Slack
	}
}

// hash names the effective configuration: what the file says in canonical form, and what the
// rules are with all defaults and profiles applied.
func (c *compiler) hash() string {
	h := sha256.New()
	c.root.write(h)
	for _, part := range []any{c.hz, c.resp, c.cfg.Rules.JournalBound, c.cfg.Buses, c.cfg.Stands} {
		b, err := json.Marshal(part)
		if err != nil { // no type in there can fail; if one ever does, the hash must still differ
			b = []byte(fmt.Sprintf("%+v", part))
		}
		h.Write(b)
	}
	for i := range c.cfg.Devices {
		d := &c.cfg.Devices[i]
		b, _ := json.Marshal(d.Profile) // plain data
		h.Write(b)
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}
