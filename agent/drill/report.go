package drill

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Report is what a drill has shown. Times are seconds after its start.
type Report struct {
	Plan    string             `json:"plan"`
	Zone    string             `json:"zone"`
	By      string             `json:"by"`
	Started time.Time          `json:"started"`
	TookS   float64            `json:"took_s"`
	Running bool               `json:"running"`
	Good    bool               `json:"good"`
	Why     string             `json:"why,omitempty"` // it was not good
	Tripped string             `json:"tripped,omitempty"`
	Inject  map[string]float64 `json:"inject,omitempty"`
	Stages  []Stage            `json:"stages"`
	Steps   []Step             `json:"steps"`
	Asks    string             `json:"asks,omitempty"`
}

// Stage is one stage of the plan; nil: never.
type Stage struct {
	Stage      string   `json:"stage"`
	OpenedS    *float64 `json:"opened_s"`
	FirstHookS *float64 `json:"first_hook_s"`
	BudgetS    float64  `json:"budget_s"` // condition to first hook, as check computes it, countdown apart
	CountdownS float64  `json:"countdown_s"`
}

// Step is one step of the plan.
type Step struct {
	Step     string   `json:"step"`
	Stage    string   `json:"stage"`
	Hook     string   `json:"hook"`
	Target   string   `json:"target,omitempty"`
	State    string   `json:"state"`
	StartedS *float64 `json:"started_s"`
	EndedS   *float64 `json:"ended_s"`
	CapS     float64  `json:"cap_s"`
	Attempt  int      `json:"attempt"`
	Detail   string   `json:"detail,omitempty"`

	Did      string  `json:"did,omitempty"`    // the hook was called, marked as a drill: how the call ended
	Would    string  `json:"would,omitempty"`  // it was not: what a real call would have done, in its own words
	CallS    float64 `json:"call_s,omitempty"` // how long the call took, of TimeoutS
	TimeoutS float64 `json:"timeout_s"`

	Awaits   string `json:"awaits"`         // the evidence that ends the step
	Evidence bool   `json:"evidence"`       // it came
	Came     []Seen `json:"came,omitempty"` // all that came
}

// Seen is evidence that came.
type Seen struct {
	Name   string  `json:"name"`
	OK     bool    `json:"ok"`
	AtS    float64 `json:"at_s"`
	Detail string  `json:"detail,omitempty"`
}

func (r *recorder) now() *Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.r
	out.Stages, out.Steps = slices.Clone(r.r.Stages), slices.Clone(r.r.Steps)
	if out.Running {
		out.TookS = time.Since(r.begin).Seconds()
	}
	return &out
}

// report ends the record. A drill is good when it came to its end, every step of the stages that
// opened with it, and no part took longer than its budget.
func (r *recorder) report(err error) *Report {
	r.mu.Lock()
	r.r.Running, r.r.TookS = false, time.Since(r.begin).Seconds()
	var why []string
	if err != nil {
		why = append(why, err.Error())
	}
	opened := false
	for _, s := range r.r.Stages {
		opened = opened || s.OpenedS != nil
		if s.OpenedS != nil && s.FirstHookS != nil && len(r.r.Inject) > 0 && s.BudgetS > 0 && *s.FirstHookS > s.BudgetS+s.CountdownS+ramp.Seconds() {
			why = append(why, fmt.Sprintf("stage %s: its first hook came after %.1f s, the budget is %.1f s", s.Stage, *s.FirstHookS, s.BudgetS))
		}
	}
	if !opened && err == nil {
		why = append(why, "no stage has opened")
	}
	for _, s := range r.r.Steps {
		switch s.State {
		case "failed", "capped", "blocked", "withheld":
			why = append(why, fmt.Sprintf("step %s is %s: %s", s.Step, s.State, s.Detail))
		}
	}
	r.r.Good, r.r.Why = len(why) == 0, strings.Join(why, "; ")
	r.mu.Unlock()
	return r.now()
}

// Markdown is the report for people.
func (r *Report) Markdown() string {
	var b strings.Builder
	line := func(format string, a ...any) { fmt.Fprintf(&b, format+"\n", a...) }
	line("# Drill of plan %s, zone %s", r.Plan, r.Zone)
	line("")
	line("Begun %s by %s, %.1f s.", r.Started.UTC().Format(time.RFC3339), r.By, r.TookS)
	if r.Tripped != "" {
		line("Stage %s was tripped by hand.", r.Tripped)
	}
	for _, p := range sortedKeys(r.Inject) {
		line("Injected: %s = %g.", p, r.Inject[p])
	}
	line("")
	switch {
	case r.Running:
		line("**It runs.**")
	case r.Good:
		line("**Good.**")
	default:
		line("**Not good:** %s", r.Why)
	}
	line("")
	line("| stage | opened | first hook | budget to it | countdown |")
	line("|---|---|---|---|---|")
	for _, s := range r.Stages {
		line("| %s | %s | %s | %.1f s | %.0f s |", s.Stage, secs(s.OpenedS), secs(s.FirstHookS), s.BudgetS, s.CountdownS)
	}
	line("")
	line("| stage | step | hook | state | started | took | cap | call took | time-out | would have run | did run | awaited evidence | what came |")
	line("|---|---|---|---|---|---|---|---|---|---|---|---|---|")
	for _, s := range r.Steps {
		line("%s", s.row())
	}
	return b.String()
}

// row is a step in the table. A drilled step tells its times beside what each may take.
func (s *Step) row() string {
	took, call, hook := "-", "-", s.Hook
	if s.StartedS != nil && s.EndedS != nil {
		took = fmt.Sprintf("%.1f s", max(0, *s.EndedS-*s.StartedS))
	}
	if s.Did != "" {
		call = fmt.Sprintf("%.1f s", s.CallS)
	}
	if s.Target != "" {
		hook += ":" + s.Target
	}
	came := []string{}
	for _, e := range s.Came {
		text := fmt.Sprintf("%s at %.1f s", e.Name, e.AtS)
		if !e.OK {
			text = "not OK: " + text
		}
		if e.Detail != "" {
			text += " (" + e.Detail + ")"
		}
		came = append(came, text)
	}
	if len(came) == 0 {
		came = []string{"-"}
	}
	cells := []string{s.Stage, s.Step, hook, s.State, secs(s.StartedS), took, fmt.Sprintf("%.0f s", s.CapS), call, fmt.Sprintf("%.0f s", s.TimeoutS),
		cmp.Or(s.Would, "-"), cmp.Or(s.Did, "-"), s.Awaits, strings.Join(came, "; ")}
	for i := range cells {
		cells[i] = strings.NewReplacer("|", "/", "\n", " ").Replace(cells[i])
	}
	return "| " + strings.Join(cells, " | ") + " |"
}

func secs(s *float64) string {
	if s == nil {
		return "never"
	}
	return fmt.Sprintf("%.1f s", *s)
}

func sortedKeys(m map[string]float64) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
