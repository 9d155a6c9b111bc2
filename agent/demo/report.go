package demo

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"time"

	"firebreak/plugins"
)

// Result is the last line of `firebreak demo --json`. Times are simulated seconds after T+0.
type Result struct {
	Scenario   string        `json:"scenario"`
	Speed      float64       `json:"speed"`
	FirstAlarm *float64      `json:"first_alarm_s"`
	Stages     []StageResult `json:"stages"`
	PowerLost  float64       `json:"power_lost_s"`
	Evacuated  bool          `json:"evacuated_before_power_lost"`
	HooksRun   int           `json:"hooks_run"`
	HooksBad   int           `json:"hooks_failed"`
	Messages   uint64        `json:"mqtt_messages"`
	Old        OldResult     `json:"sensors_2022"`
	Delay      Delay         `json:"decision_to_hook_ms"`
	Steps      []StepResult  `json:"steps"`
}

// StageResult is one stage; null means never.
type StageResult struct {
	Stage     string   `json:"stage"`
	Opened    *float64 `json:"opened_s"`
	FirstHook *float64 `json:"first_hook_s"`
	Done      *float64 `json:"done_s"`
}

// StepResult is how one step ended. BeforeCap is null for one that its cap or a failure ended.
type StepResult struct {
	Step      string   `json:"step"`
	Stage     string   `json:"stage"`
	Hook      string   `json:"hook"` // kind
	State     string   `json:"state"`
	Evidence  string   `json:"evidence"` // what must be seen of it
	Detail    string   `json:"detail"`   // what was, by the hook's word
	Started   *float64 `json:"started_s"`
	Ended     *float64 `json:"ended_s"`
	Cap       float64  `json:"cap_s"`
	BeforeCap *float64 `json:"before_cap_s"`
}

// OldResult is the highest stage that the sensors of 2022 reached.
type OldResult struct {
	Stage  string   `json:"stage"`
	Opened *float64 `json:"opened_s"`
}

// Delay is real time, not scaled.
type Delay struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

var stages = []string{"1", "2a", "2b", "3", "4"}

func result(o Options, now, old *run) Result {
	res := Result{Scenario: now.sc.Name, Speed: o.Speed, PowerLost: now.sc.PowerLossAfter.Seconds()}
	c := now.rec
	delays := c.delays()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.raised) > 0 {
		res.FirstAlarm = seconds(now.at(c.raised[0].at))
	}
	for _, st := range stages {
		res.Stages = append(res.Stages, stageResult(now, st))
	}
	for _, s := range c.plan.Steps {
		res.Steps = append(res.Steps, stepResult(now, s))
	}
	res.Evacuated = evacuated(now)
	res.HooksRun, res.HooksBad = c.starts, c.failed
	now.mu.Lock()
	if now.running.Uplink != nil {
		res.Messages = now.running.Uplink.Messages()
	}
	now.mu.Unlock()
	res.Old = OldResult{Stage: "0"}
	old.rec.mu.Lock()
	for _, st := range stages {
		if at, ok := old.rec.opened[st]; ok {
			res.Old = OldResult{st, seconds(old.at(at))}
		}
	}
	old.rec.mu.Unlock()
	if n := len(delays); n > 0 {
		res.Delay = Delay{delays[(n-1)/2], delays[int(math.Ceil(0.99*float64(n)))-1], delays[n-1]}
	}
	return res
}

func seconds(d time.Duration) *float64 {
	s := math.Round(d.Seconds()*10) / 10
	return &s
}

// stageResult is called with the recorder's lock held.
func stageResult(r *run, stage string) StageResult {
	c := r.rec
	out := StageResult{Stage: stage}
	if at, ok := c.opened[stage]; ok {
		out.Opened = seconds(r.at(at))
	}
	steps, done := 0, 0
	var first, last time.Time
	for _, s := range c.plan.Steps {
		if s.Stage != stage {
			continue
		}
		steps++
		if at, ok := c.ran[s.Step]; ok && (first.IsZero() || at.Before(first)) {
			first = at
		}
		if e, ok := c.ended[s.Step]; ok && e.state == "done" {
			done++
			if e.at.After(last) {
				last = e.at
			}
		}
	}
	if !first.IsZero() {
		out.FirstHook = seconds(r.at(first))
	}
	if steps > 0 && done == steps {
		out.Done = seconds(r.at(last))
	}
	return out
}

// stepResult is called with the recorder's lock held.
func stepResult(r *run, s plugins.StepState) StepResult {
	c := r.rec
	rule := c.rules[s.Step]
	out := StepResult{Step: s.Step, Stage: s.Stage, Hook: rule.kind, State: s.State, Evidence: rule.evidence, Cap: rule.cap.Seconds()}
	if at, ok := c.decided[s.Step]; ok {
		out.Started = seconds(r.at(at))
	}
	e, ok := c.ended[s.Step]
	if !ok {
		return out
	}
	out.Ended, out.Detail = seconds(r.at(e.at)), c.words(s.Step)
	if e.seen() {
		out.BeforeCap = seconds(c.beforeCap(s.Step))
	}
	return out
}

// evacuated: every step of 2a, 2b and 3 done by evidence, not by cap, before power was lost. It is
// called with the recorder's lock held.
func evacuated(r *run) bool {
	n := 0
	for _, s := range r.rec.plan.Steps {
		if s.Stage != plugins.Prepare.String() && s.Stage != plugins.SwitchOver.String() && s.Stage != plugins.Shed.String() {
			continue
		}
		n++
		e, ok := r.rec.ended[s.Step]
		if !ok || !e.seen() || r.at(e.at) >= r.sc.PowerLossAfter {
			return false
		}
	}
	return n > 0
}

func printJSON(w io.Writer, res Result) error {
	b, err := json.Marshal(res)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", b)
	return err
}
