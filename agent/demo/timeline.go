package demo

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"firebreak/sensors/sim"
)

// record2022 is what is on record of 15 October 2022, from public reports and the ministry's
// findings of December 2022; see docs/incidents.md.
var record2022 = []struct {
	at   time.Duration
	text string
}{
	{0, "spark, fire in one battery; BMS had shown nothing"},
	{recordedSmoke, "fire detector; gas discharge, cells burn on"},
	{4 * time.Minute, "staff run to the tenants' offices"},
	{8 * time.Minute, "first power lost; first services fail"},
	{14 * time.Minute, "fire service called, after a walk to the alarm"},
	{81 * time.Minute, "tenants told that all power will be cut"},
	{93 * time.Minute, "power to all 32,000 servers cut"},
}

// row is one instant of the timeline: what is on record, and what firebreak did.
type row struct {
	at          time.Duration
	then, today string
}

// leftWidth holds the longest line of the record.
const leftWidth = 51

// rightWidth is what is left of a terminal of 120 columns.
const rightWidth = 58

// printTimeline shows what happened in 2022 beside what firebreak did.
func printTimeline(w io.Writer, sc sim.Scenario, res Result, now, old *run) {
	var rows []row
	for _, e := range record2022 {
		rows = append(rows, row{at: e.at, then: e.text})
	}
	now.rec.mu.Lock()
	for _, l := range now.rec.lines {
		if at := now.at(l.at); at >= 0 && !l.fine {
			rows = append(rows, row{at: at, today: shorten(l.text, rightWidth)})
		}
	}
	now.rec.mu.Unlock()
	rows = append(rows, row{at: sc.PowerLossAfter, today: "the building loses power (given, not modelled)"})
	slices.SortStableFunc(rows, func(a, b row) int { return cmp.Compare(a.at, b.at) })

	left := "2022, on record"
	if sc.Precursor {
		left += " (it had no precursor)"
	}
	fmt.Fprintf(w, "\n%s\n\n%-7s %-*s| %s\n", sc.Title, "T+", leftWidth, left, "firebreak, in the simulated room")
	for _, r := range rows {
		fmt.Fprintf(w, "%-7s %-*s| %s\n", clockText(r.at), leftWidth, r.then, r.today)
	}
	printSteps(w, res, now)
	printVerdict(w, res, old)
}

func printVerdict(w io.Writer, res Result, old *run) {
	reached := "reached no stage"
	if res.Old.Opened != nil {
		reached = fmt.Sprintf("reached stage %s at T+%s", res.Old.Stage, clockText(time.Duration(*res.Old.Opened*float64(time.Second))))
	}
	fmt.Fprintf(w, "\nWith the sensors of 2022 (UPS and BMS every 10 minutes, the panel wired to no machine) the same agent %s.\n", reached)
	fmt.Fprintf(w, "Its polls of the BMS fell at %s. One that falls minutes after the spark sees a hot cell and\nopens stage 2b; stage 3 it may never open: UPS and BMS are one kind of evidence.\n", pollTimes(old))
	var last float64
	for _, s := range res.Stages {
		if s.Done != nil {
			last = max(last, *s.Done)
		}
	}
	if res.Evacuated {
		fmt.Fprintf(w, "With firebreak's sensors the racks were left by T+%s, %.0f s before the power was lost.\n", clockText(time.Duration(last*float64(time.Second))), res.PowerLost-last)
		if res.Scenario == DefaultScenario && heatFirst(res) {
			fmt.Fprintln(w, "What it acted on first is heat as the model has it: what the battery's own sensors showed in the first\nminute is not on record. See docs/incidents.md.")
		}
	} else {
		fmt.Fprintf(w, "With firebreak's sensors the racks were NOT left before the power was lost.\n")
	}
	fmt.Fprintf(w, "%d hooks run, %d failed; %d MQTT messages; decision to hook p50 %.1f ms, p99 %.1f ms, max %.1f ms (real time).\n",
		res.HooksRun, res.HooksBad, res.Messages, res.Delay.P50, res.Delay.P99, res.Delay.Max)
}

// recordedSmoke is when the building's own detector told, after the spark.
const recordedSmoke = time.Minute

// heatFirst says that a stage above 1 was open before the smoke of the record was.
func heatFirst(res Result) bool {
	for _, s := range res.Stages {
		if s.Stage != "1" && s.Opened != nil && *s.Opened < recordedSmoke.Seconds() {
			return true
		}
	}
	return false
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
