package app

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"firebreak/agent/history"
	"firebreak/plugins"
)

// maxTimeline bounds the lines of timeline.md; a person reads no more, and the other files hold all.
const maxTimeline = 20_000

// timeline turns what was told into lines for a person.
type timeline struct {
	ep       *history.Episode
	lines    []string
	left     int // lines that had no room
	alarms   map[string]string
	asking   map[string]string
	instance string
	decided  bool // the episode's first state was seen
	steps    map[string]bool
}

func (t *timeline) init(ep *history.Episode) {
	t.ep, t.alarms, t.asking, t.steps = ep, map[string]string{}, map[string]string{}, map[string]bool{}
}

func (t *timeline) add(at history.Instant, format string, a ...any) {
	if len(t.lines) >= maxTimeline {
		t.left++
		return
	}
	text := strings.NewReplacer("\n", " ", "\r", " ", "|", "\\|").Replace(fmt.Sprintf(format, a...))
	t.lines = append(t.lines, fmt.Sprintf("| %s | %s | %s |", since(t.ep.Since(at)), at.Time().UTC().Format("2006-01-02 15:04:05.000"), text))
}

// since is a signed time as +H:MM:SS.mmm.
func since(d time.Duration) string {
	sign := "+"
	d = d.Round(time.Millisecond)
	if d < 0 {
		sign, d = "-", -d
	}
	return fmt.Sprintf("%s%d:%02d:%02d.%03d", sign, d/time.Hour, d/time.Minute%60, d/time.Second%60, d/time.Millisecond%1000)
}

func (t *timeline) record(r *history.Record) {
	if r.Info != nil && r.Info.Instance != "" && r.Info.Instance != t.instance {
		if t.instance != "" {
			t.add(r.At, "the agent has started anew: version %s, epoch %d", r.Info.Version, r.Info.Epoch)
		}
		t.instance = r.Info.Instance
	}
	mark := ""
	if r.Mark != plugins.MarkReal {
		mark = "(" + r.Mark.String() + ") "
	}
	switch {
	case r.Alarm != nil:
		t.alarm(r.At, mark, r.Alarm)
	case r.Plan != nil && r.Plan.Plan == t.ep.Plan:
		t.plan(r.At, mark, r.Plan)
	case r.Event != nil:
		t.event(r.At, mark, r.Event)
	case r.Gap != nil:
		t.add(r.At, "readings were lost here: %d polls, %d others; see gaps.txt", r.Gap.Polls, r.Gap.Others)
	}
}

// alarm tells changes only: a start tells every state again.
func (t *timeline) alarm(at history.Instant, mark string, a *plugins.AlarmState) {
	state := fmt.Sprint(a.Occurrence, a.State, a.Active)
	was, known := t.alarms[a.Name]
	t.alarms[a.Name] = state
	if state == was || !known && !a.Active && a.State == "normal" {
		return
	}
	active := "active"
	if !a.Active {
		active = "not active"
	}
	text := fmt.Sprintf("%s**alarm %s** (priority %d): %s, %s, %s", mark, a.Name, a.Priority, a.State, active, a.Basis)
	if a.Active && a.Cause != "" {
		text += ". " + a.Cause
	}
	t.add(at, "%s%s", text, votes(a.Vote, a.Evidence))
}

// votes tells how a vote stood, with the readings of its true members.
func votes(v *plugins.Vote, members []plugins.Member) string {
	out := ""
	if v != nil {
		needed := ""
		if v.K > 0 {
			needed = fmt.Sprintf(", %d needed", v.K)
		}
		out = fmt.Sprintf(". %s is %s (%s): %d true of %d%s; %d held, %d bad, %d bypassed", v.Cond, v.Is, v.Basis, v.True, v.N, needed, v.Held, v.Bad, v.Bypassed)
	}
	for _, m := range members {
		if m.Is != "true" {
			continue
		}
		out += fmt.Sprintf(". %s is true (%s)", m.Name, m.Basis)
		for i, r := range m.Readings {
			sep := ", "
			if i == 0 {
				sep = ": "
			}
			value := "no value"
			if r.Value != nil {
				value = strconv.FormatFloat(*r.Value, 'g', 6, 64) + " " + r.Unit
			}
			out += fmt.Sprintf("%s%s = %s (%s, %.1f s old)", sep, r.Point, strings.TrimSpace(value), r.Quality, float64(r.AgeMs)/1000)
		}
	}
	return out
}

func (t *timeline) plan(at history.Instant, mark string, p *plugins.PlanState) {
	if p.Episode == t.ep.Number && !t.decided {
		t.decided = true
		t.add(at, "%s**episode %d of plan %s** stands at stage %s; mode %s", mark, p.Episode, p.Plan, p.Stage, p.Mode)
	}
	if p.Episode != t.ep.Number && t.decided {
		t.decided = false
		t.add(at, "%s**episode %d of plan %s** has ended; stage %s", mark, t.ep.Number, p.Plan, p.Stage)
	}
	if p.Asking != t.asking[p.Plan] {
		t.asking[p.Plan] = p.Asking
		if p.Asking != "" {
			t.add(at, "%sa person is asked: %s", mark, p.Asking)
		}
	}
	for _, s := range p.Steps {
		id := p.Plan + "/" + strconv.FormatUint(p.Episode, 10) + "/" + s.Step
		if s.Evidence && !t.steps[id] {
			t.steps[id] = true
			t.add(at, "%sevidence: what step %s asks for as its proof is there. %s", mark, s.Step, s.Detail)
		}
	}
}

func (t *timeline) event(at history.Instant, mark string, e *plugins.Event) {
	detail := ""
	if e.Detail != "" {
		detail = ": " + e.Detail
	}
	switch {
	case e.Type == "stage.opened":
		t.add(at, "%s**stage %s of plan %s opens**%s%s", mark, e.Stage, e.Plan, detail, why(e.Data))
	case e.Type == plugins.EventHookEnded:
		var h plugins.HookEnded
		_ = json.Unmarshal(e.Data, &h) // what does not read back is empty, and named in the hook's file
		t.add(at, "%shook of step %s ended after %v: %s, exit code %d%s (key %s)", mark, e.Step, time.Duration(h.ElapsedMs)*time.Millisecond, h.Result, h.ExitCode, detail, e.Key)
	case strings.HasPrefix(e.Type, "step."):
		key := ""
		if e.Key != "" {
			key = " (key " + e.Key + ")"
		}
		t.add(at, "%sstep %s of plan %s, stage %s, is %s%s%s", mark, e.Step, e.Plan, e.Stage, strings.TrimPrefix(e.Type, "step."), detail, key)
	default:
		on := ""
		if e.Plan != "" {
			on = " plan " + e.Plan
		}
		t.add(at, "%s%s%s%s", mark, e.Type, on, detail)
	}
}

// why reads the frozen vote that opened a stage.
func why(data json.RawMessage) string {
	var w struct {
		plugins.Vote
		Members []plugins.Member `json:"members"`
	}
	if len(data) == 0 || json.Unmarshal(data, &w) != nil {
		return ""
	}
	return votes(&w.Vote, w.Members)
}

// timeline writes timeline.md.
func (b *bundle) timeline() error {
	f, err := b.dir.create("timeline.md")
	if err != nil {
		return err
	}
	fmt.Fprintf(f, "# %s\n\nTimes are from the start of the episode, and of the wall clock in UTC. What the agent said is told as it said it.\n\n", b.title())
	fmt.Fprintf(f, "| from start | UTC | what |\n|---|---|---|\n")
	for _, l := range b.seen.time.lines {
		fmt.Fprintln(f, l)
	}
	if n := b.seen.time.left; n > 0 {
		fmt.Fprintf(f, "\n%d lines more had no room; see events.jsonl and alarms.jsonl.\n", n)
	}
	return f.close() // it tells what went wrong before, too
}

func (b *bundle) title() string {
	return fmt.Sprintf("Episode %d of plan %s", b.ep.Number, b.ep.Plan)
}
