package replay

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"firebreak/agent/core"
	"firebreak/agent/hazard"
	"firebreak/plugins"
	"firebreak/sensors"
)

// Entry is one line of the timeline.
type Entry struct {
	AtS    float64          `json:"t_s"` // after T+0
	Wall   string           `json:"wall"`
	Kind   string           `json:"kind"` // record, happens, order, alarm, vote, stage, step, asks, plan
	Plan   string           `json:"plan,omitempty"`
	Name   string           `json:"name,omitempty"`
	State  string           `json:"state,omitempty"`
	Prio   int              `json:"priority,omitempty"`
	Text   string           `json:"text,omitempty"`
	Source string           `json:"source,omitempty"` // of a record
	Vote   *plugins.Vote    `json:"vote,omitempty"`
	Seen   []plugins.Member `json:"members,omitempty"`
	Origin string           `json:"origin,omitempty"`
}

// timeline prints what the core tells, each change once.
type timeline struct {
	out    io.Writer
	json   bool
	begin  time.Time
	zero   time.Duration
	origin sensors.Origin
	rules  *core.Rules

	conds  []hazard.CondID // votes
	last   []hazard.Verdict
	vote   map[string]bool // names of votes
	alarms map[string]string
	asks   map[string]string
	raised int
	stages []StageEnd
	err    error
}

func (t *timeline) init() {
	t.vote, t.alarms, t.asks = map[string]bool{}, map[string]string{}, map[string]string{}
	for i := range t.rules.Hazard.Conds {
		if c := &t.rules.Hazard.Conds[i]; c.Kind == hazard.Vote {
			t.conds = append(t.conds, hazard.CondID(i))
			t.vote[c.Name] = true
		}
	}
	t.last = make([]hazard.Verdict, len(t.conds))
}

// since is an instant after T+0.
func (t *timeline) since(now sensors.Mono) time.Duration { return now.Sub(base) - t.zero }

func (t *timeline) print(format string, a ...any) {
	if _, err := fmt.Fprintf(t.out, format, a...); err != nil && t.err == nil {
		t.err = err
	}
}

func (t *timeline) object(v any) {
	b, err := json.Marshal(v)
	if err != nil {
		t.err = err
		return
	}
	t.print("%s\n", b)
}

// heading says what is replayed, and under what.
func (t *timeline) heading(title, file, what string, lasts time.Duration, more []string) {
	if t.json {
		t.object(struct {
			Kind   string   `json:"kind"`
			What   string   `json:"what"`
			Title  string   `json:"title"`
			Config string   `json:"config"`
			Origin string   `json:"origin"`
			Begins string   `json:"begins"`
			Zero   float64  `json:"zero_s"`
			Notes  []string `json:"notes"`
		}{"heading", what, title, file, t.origin.String(), t.begin.Format(time.RFC3339), t.zero.Seconds(), more})
		return
	}
	t.print("%s\n\n", title)
	t.print("%s, configuration %s, origin %s.\n", what, file, t.origin)
	t.print("From %s", t.begin.Format("2006-01-02 15:04:05 -07:00"))
	if lasts > 0 {
		t.print(" for %s; T+0 is %s", shortSpan(lasts), t.begin.Add(t.zero).Format("15:04:05"))
	}
	t.print(".\n")
	t.print("No hook is called and nothing is told: steps end after stated times. Plans are taken as armed.\n")
	for _, m := range more {
		t.print("%s\n", m)
	}
	t.print("\n")
}

func (t *timeline) add(now sensors.Mono, e Entry) {
	d := t.since(now)
	e.AtS, e.Wall = float64(d.Round(time.Millisecond))/float64(time.Second), t.begin.Add(now.Sub(base)).Format(time.RFC3339)
	if t.json {
		if e.Kind != "record" {
			e.Origin = t.origin.String()
		}
		t.object(e)
		return
	}
	text := strings.TrimSpace(strings.Join([]string{e.Name, e.State, e.Text}, " "))
	switch e.Kind {
	case "alarm":
		if t.vote[e.Name] {
			return // the vote has its own line
		}
		text = fmt.Sprintf("%s P%d %s", e.Name, e.Prio, e.State)
		if e.Text != "" {
			text += ": " + e.Text
		}
	case "record":
		text = e.Text
		if e.Source != "" {
			text += " [" + e.Source + "]"
		}
	case "stage":
		text = fmt.Sprintf("STAGE %s of %s %s: %s", e.Name, e.Plan, e.State, e.Text)
	case "step":
		text = fmt.Sprintf("%s %s", e.Name, e.State)
		if e.Text != "" {
			text += ": " + e.Text
		}
	}
	t.print("%-14s %-8s %s\n", "T"+signed(d), e.Kind, text)
}

// votes prints the votes that have changed.
func (t *timeline) votes(now sensors.Mono, c *core.Core) {
	if now == base {
		return // nothing is known before the first polls
	}
	for i, id := range t.conds {
		v, was := c.Judged(id), t.last[i]
		if v.Is == was.Is && v.Basis == was.Basis {
			continue
		}
		t.last[i] = v
		w := c.Why(now, id)
		state := v.Is.String()
		if v.Basis != hazard.Measured {
			state += ", " + v.Basis.String()
		}
		var who []string
		for _, m := range w.Members {
			if m.Is == hazard.True {
				who = append(who, member(&m))
			}
		}
		text := fmt.Sprintf("%d of %d, %d needed", w.True, w.N, w.K)
		if w.Bad > 0 {
			text += fmt.Sprintf(", %d bad", w.Bad)
		}
		if w.Bypassed > 0 {
			text += fmt.Sprintf(", %d bypassed", w.Bypassed)
		}
		if len(who) > 0 {
			text += ": " + strings.Join(who, ", ")
		}
		t.add(now, Entry{Kind: "vote", Name: w.Cond, State: state, Text: "(" + text + ")"})
	}
}

// member is a member with the first of its readings.
func member(m *hazard.WhyMember) string {
	s := m.Name
	if len(m.Readings) > 0 {
		r := &m.Readings[0]
		s += " at " + strings.TrimSpace(strconv.FormatFloat(r.Value, 'g', 4, 64)+" "+r.Unit)
	}
	if m.Basis != hazard.Measured {
		s += " " + m.Basis.String()
	}
	if m.Weak {
		s += " weak"
	}
	return s
}

// tell takes what the core tells.
func (t *timeline) tell(now sensors.Mono, u *plugins.Update) {
	switch {
	case u.Alarm != nil:
		t.alarm(now, u.Alarm)
	case u.Plan != nil:
		if was := t.asks[u.Plan.Plan]; u.Plan.Asking != was {
			t.asks[u.Plan.Plan] = u.Plan.Asking
			text := u.Plan.Asking
			if text == "" {
				text = "nothing more"
			}
			t.add(now, Entry{Kind: "asks", Plan: u.Plan.Plan, Text: text})
		}
	case u.Event != nil:
		t.event(now, u.Event)
	}
}

func (t *timeline) alarm(now sensors.Mono, a *plugins.AlarmState) {
	state := a.State
	if a.Basis != hazard.Measured.String() {
		state += ", " + a.Basis
	}
	was, known := t.alarms[a.Name]
	key := fmt.Sprint(a.Occurrence, a.Active, state)
	t.alarms[a.Name] = key
	if key == was || !known && !a.Active && a.State == "normal" {
		return
	}
	if a.Active && !strings.HasPrefix(was, fmt.Sprint(a.Occurrence, true)) {
		t.raised++
	}
	text := ""
	if a.Active {
		text = a.Cause
		if n := len(a.Children); n > 0 && text == "" {
			text = fmt.Sprintf("%d points", n)
		}
	}
	t.add(now, Entry{Kind: "alarm", Name: a.Name, State: state, Prio: a.Priority, Text: text, Vote: a.Vote, Seen: a.Evidence})
}

func (t *timeline) event(now sensors.Mono, e *plugins.Event) {
	switch {
	case e.Type == "stage.opened":
		t.stages = append(t.stages, StageEnd{e.Plan, e.Stage, t.since(now).Seconds()})
		t.add(now, Entry{Kind: "stage", Plan: e.Plan, Name: e.Stage, State: "opens", Text: why(e)})
	case e.Type == "stage.fallen":
		t.add(now, Entry{Kind: "stage", Plan: e.Plan, Name: "0", State: "again", Text: "the episode has ended by itself"})
	case e.Type == "step.running":
		t.add(now, Entry{Kind: "step", Plan: e.Plan, Name: e.Step, State: "starts", Text: "its hook would be called"})
	case e.Type == "step.starting":
	case strings.HasPrefix(e.Type, "step."):
		t.add(now, Entry{Kind: "step", Plan: e.Plan, Name: e.Step, State: strings.TrimPrefix(e.Type, "step."), Text: e.Detail})
	case strings.HasPrefix(e.Type, "plan."), strings.HasPrefix(e.Type, "hold."), strings.HasPrefix(e.Type, "undo."), strings.HasPrefix(e.Type, "baseline."):
		t.add(now, Entry{Kind: "plan", Plan: e.Plan, Name: e.Type, Text: e.Detail})
	}
}

// why is the vote that opened a stage.
func why(e *plugins.Event) string {
	var w hazard.Why
	if json.Unmarshal(e.Data, &w) != nil {
		return e.Detail
	}
	if w.ByHand != "" {
		return "by hand, by " + w.ByHand
	}
	var who []string
	for i := range w.Members {
		if w.Members[i].Is == hazard.True {
			who = append(who, member(&w.Members[i]))
		}
	}
	if who == nil { // by faults alone
		return w.Cause()
	}
	return w.Cond + " is true: " + strings.Join(who, ", ")
}

// active are the alarms that stand, sorted by name as the core has them.
func (t *timeline) active(c *core.Core) []string {
	var out []string
	c.Alarms(func(a hazard.Alarm) {
		if a.Active {
			out = append(out, a.Name)
		}
	})
	return out
}

// ending says how everything stood.
func (t *timeline) ending(now sensors.Mono, r *Result, c *core.Core) {
	if t.json {
		t.object(r)
		return
	}
	t.print("\n")
	for _, p := range r.Plans {
		t.print("In the end plan %s is at stage %s.", p.Plan, p.Stage)
		if p.Asking != "" {
			t.print(" It asks: %s", p.Asking)
		}
		t.print("\n")
		for _, s := range c.View(now, p.Plan).Steps {
			if s.State != "idle" {
				by := ""
				if s.State == "done" && s.Evidence {
					by = ", by evidence"
				}
				t.print("  step %s: %s%s\n", s.Step, s.State, by)
			}
		}
	}
	if len(r.Active) > 0 {
		t.print("Active alarms: %s.\n", strings.Join(r.Active, ", "))
	}
	if h := r.Then; h != nil {
		t.print("With the sensors that there were (%s) the same agent ", h.Config)
		if len(h.Stages) == 0 {
			t.print("opens no stage.\n")
		}
		for i, s := range h.Stages {
			t.print("%s", map[bool]string{true: "opens stage " + s.Stage + " at T", false: ", " + s.Stage + " at T"}[i == 0]+signed(time.Duration(s.AtS*float64(time.Second))))
		}
		if len(h.Stages) > 0 {
			t.print(".\n")
		}
	}
	t.print("%d readings, %d alarms raised, %s of simulated time.\n", r.Readings, r.Alarms, shortSpan(now.Sub(base)))
}

// signed is a time after T+0: "+0:01:05", "+2d 03:00:00", "-0:05:00".
func signed(d time.Duration) string {
	sign := "+"
	d = d.Round(time.Second)
	if d < 0 {
		sign, d = "-", -d
	}
	h, m, s := int(d/time.Hour), int(d/time.Minute)%60, int(d/time.Second)%60
	if h >= 24 {
		return fmt.Sprintf("%s%dd %02d:%02d:%02d", sign, h/24, h%24, m, s)
	}
	return fmt.Sprintf("%s%d:%02d:%02d", sign, h, m, s)
}

func shortSpan(d time.Duration) string { return strings.TrimPrefix(signed(d), "+") }
