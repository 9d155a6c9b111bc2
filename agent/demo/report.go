package demo

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"firebreak/plugins"
	"firebreak/sensors/sim"
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
}

// StageResult is one stage; null means never.
type StageResult struct {
	Stage     string   `json:"stage"`
	Opened    *float64 `json:"opened_s"`
	FirstHook *float64 `json:"first_hook_s"`
	Done      *float64 `json:"done_s"`
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
		if !ok || e.state != "done" || !e.evidence || r.at(e.at) >= r.sc.PowerLossAfter {
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

// record2022 is what is on record of 15 October 2022, from public reports and the ministry's
// findings of December 2022; see docs/incidents.md.
var record2022 = []struct {
	at   time.Duration
	text string
}{
	{0, "spark and fire in one lithium-ion battery; the BMS had shown nothing"},
	{1 * time.Minute, "fire detector; gas discharge: it worked, and did not stop the cells"},
	{4 * time.Minute, "staff run to the tenants' offices"},
	{8 * time.Minute, "first power lost; first services fail"},
	{14 * time.Minute, "first call to the fire service, after a walk to the alarm"},
	{81 * time.Minute, "tenants told that all power will be cut"},
	{93 * time.Minute, "power to all 32,000 servers cut"},
}

// printTimeline shows what happened in 2022 beside what firebreak did.
func printTimeline(w io.Writer, sc sim.Scenario, res Result, now, old *run) {
	fmt.Fprintf(w, "\n%s\n\n", sc.Title)
	fmt.Fprintf(w, "%-9s %s\n", "T+", "2022, on record")
	for _, e := range record2022 {
		fmt.Fprintf(w, "%-9s %s\n", clockText(e.at), e.text)
	}
	fmt.Fprintf(w, "\n%-9s %s\n", "T+", "firebreak, in the simulated room")
	now.rec.mu.Lock()
	for _, l := range now.rec.lines {
		if at := now.at(l.at); at >= 0 && (strings.HasPrefix(l.text, "STAGE") || strings.HasPrefix(l.text, "step") || strings.HasPrefix(l.text, "alarm")) {
			fmt.Fprintf(w, "%-9s %s\n", clockText(at), shorten(l.text, 110))
		}
	}
	now.rec.mu.Unlock()
	fmt.Fprintf(w, "%-9s the building loses power (given, not modelled)\n\n", clockText(sc.PowerLossAfter))
	reached := "reached no stage"
	if res.Old.Opened != nil {
		reached = fmt.Sprintf("reached stage %s at T+%s", res.Old.Stage, clockText(time.Duration(*res.Old.Opened*float64(time.Second))))
	}
	fmt.Fprintf(w, "With the sensors of 2022 (UPS and BMS every 10 minutes, the panel wired to no machine) the same agent %s.\n", reached)
	fmt.Fprintf(w, "Its polls of the BMS fell at %s. One that falls minutes after the spark sees a hot cell and opens stage 2b;\nstage 3 it may never open: UPS and BMS are one kind of evidence.\n", pollTimes(old))
	var last float64
	for _, s := range res.Stages {
		if s.Done != nil {
			last = max(last, *s.Done)
		}
	}
	if res.Evacuated {
		fmt.Fprintf(w, "With firebreak's sensors the racks were left by T+%s, %.0f s before the power was lost.\n", clockText(time.Duration(last*float64(time.Second))), res.PowerLost-last)
	} else {
		fmt.Fprintf(w, "With firebreak's sensors the racks were NOT left before the power was lost.\n")
	}
	fmt.Fprintf(w, "%d hooks run, %d failed; %d MQTT messages; decision to hook p50 %.1f ms, p99 %.1f ms, max %.1f ms (real time).\n",
		res.HooksRun, res.HooksBad, res.Messages, res.Delay.P50, res.Delay.P99, res.Delay.Max)
}

// pollTimes are the instants at which the sensors of 2022 were read, up to the loss of power.
func pollTimes(r *run) string {
	r.rec.mu.Lock()
	defer r.rec.mu.Unlock()
	var out []string
	for _, p := range r.rec.polls {
		if at := r.at(p); at < r.sc.PowerLossAfter {
			out = append(out, "T"+signed(at))
		}
	}
	return strings.Join(out, " and ")
}

func clockText(d time.Duration) string {
	sign := ""
	if d < 0 {
		sign, d = "-", -d
	}
	d = d.Round(time.Second)
	return fmt.Sprintf("%s%02d:%02d", sign, int(d.Minutes()), int(d.Seconds())%60)
}

func shorten(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n-3]) + "..."
}
