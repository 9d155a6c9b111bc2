package config

import (
	"fmt"
	"io"
	"strings"
	"time"

	"firebreak/agent/response"
	"firebreak/plugins"
)

// maxSets is how many failure sets of one kind are printed; the rest is counted.
const maxSets = 8

// Sum is the worst case as a sum of its named parts, those of zero left out.
func (w *WorstCase) Sum() string {
	var parts []string
	for _, p := range w.Parts {
		if p.Dur > 0 {
			parts = append(parts, p.Name+" "+show(p.Dur))
		}
	}
	return strings.Join(parts, " + ")
}

// show rounds a duration to what a person reads: milliseconds below ten seconds, else tenths.
func show(d time.Duration) string {
	if d < 10*time.Second && d > -10*time.Second {
		return short(d.Round(time.Millisecond))
	}
	return short(d.Round(100 * time.Millisecond))
}

// Report prints what a configuration without faults means, for each stage of each plan.
func Report(w io.Writer, c *Config) error {
	p := &printer{w: w}
	p.line("%s: site %s, zone %s, agent %s, configuration %s", c.File, c.Site, c.Zone, c.Agent, c.Rules.Hash)
	p.line("%d buses, %d devices, %d points, %d hooks, %d brokers", len(c.Buses), len(c.Devices), len(c.Rules.Hazard.Points), len(c.Hooks), len(c.Brokers))
	if len(c.OwnProfiles) > 0 {
		p.line("profiles from %s: %s", c.Profiles, strings.Join(c.OwnProfiles, ", "))
	}
	for i := range c.Hooks {
		if k, ok := c.Hooks[i].Config.(interface{ Note() string }); ok && k.Note() != "" {
			p.line("note: hook %s: %s", c.Hooks[i].Name, k.Note())
		}
	}
	for i := range c.Plans {
		p.plan(c, &c.Plans[i])
	}
	return p.err
}

// printer keeps the first error of its writer.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}

func (p *printer) plan(c *Config, r *PlanReport) {
	p.line("")
	p.line("plan %s: protects %s; %s in the file", r.Name, strings.Join(r.Protects, ", "), r.Mode)
	p.line("  deadline %s to the first hook of each stage, power lost after %s, a hold lasts %s at most", short(r.Deadline), short(r.PowerLoss), show(r.MaxHold))
	for _, z := range r.Protects {
		if z == c.Stands.Zone {
			p.line("  note: this agent itself stands in zone %s", z)
		}
	}
	p.line("  the agent itself (zone %s, feed %s): alone blocks every stage", c.Stands.Zone, c.Stands.Feed)
	for _, b := range r.NoGateway {
		p.line("  note: bus %s names no gateway: check assumes that no switch is shared", b)
	}
	for i := range r.Stages {
		p.stage(r, &r.Stages[i])
	}
}

func (p *printer) stage(r *PlanReport, s *StageReport) {
	p.line("")
	p.line("  stage %s", s.Stage)
	p.line("    opened by      %s: %s", s.When, strings.Join(s.Sensors, ", "))
	if len(s.Steps) > 0 {
		p.line("    steps          %s", strings.Join(s.Steps, ", "))
	}
	if s.Stage == plugins.Watch {
		return
	}
	p.sets("can be opened by", s.Opens, s.Causes)
	p.sets("can be blocked by", s.Blocks, s.Causes)
	for _, f := range s.PanelOpens {
		p.line("    accepted       %s opens it: a supervised contact of the fire panel", f)
	}
	if s.AcceptSingle != "" {
		p.line("    accepted       single failures: %s", s.AcceptSingle)
	}
	switch s.IfBlind {
	case response.BlindHold:
		p.line("    if blind       hold: with all of its sensors burnt, steps wait for a person")
	case response.BlindProceed:
		p.line("    if blind       proceed: with all of its sensors burnt, steps go on")
	}
	p.worst(r, s)
}

// sets prints the smallest sets of failures, and what was not searched for them.
func (p *printer) sets(title string, sets []FailureSet, causes int) {
	none, limit := "no one, two or three failures", ""
	switch {
	case causes > maxCauses:
		none, limit = "no single failure", fmt.Sprintf("pairs were not searched: there are %d causes of failure, more than %d", causes, maxCauses)
	case causes > maxTriples && len(sets) == 0:
		none, limit = "no one or two failures", fmt.Sprintf("triples were not searched: there are %d causes of failure, more than %d", causes, maxTriples)
	}
	if len(sets) == 0 {
		p.line("    %s %s", title, none)
	} else {
		p.line("    %s", title)
	}
	for i, f := range sets {
		if i == maxSets {
			p.line("      - and %d more sets of this size", len(sets)-maxSets)
			break
		}
		p.line("      - %s", f)
	}
	if limit != "" {
		p.line("      (%s)", limit)
	}
}

func (p *printer) worst(r *PlanReport, s *StageReport) {
	w := &s.Worst
	if w.Never {
		p.line("    worst case     never, when %s has failed (accepted); with nothing failed:", w.Lost)
	} else {
		p.line("    worst case     at %s, whichever one member has failed:", strings.Join(w.Quorum, " with "))
	}
	for _, part := range w.Parts {
		if part.Dur > 0 {
			p.line("      %10s  %s", show(part.Dur), part.Name)
		}
	}
	p.line("      %10s  from the condition to the first hook; %s within the deadline", show(w.Total), show(r.Deadline-w.Total))
	if w.Countdown > 0 {
		p.line("      %10s  countdown, on top", show(w.Countdown))
	}
	p.line("      %10s  slack until the power is lost", show(s.Slack))
	if over := s.LastCap - r.PowerLoss; over > 0 {
		p.line("    note: if every step needs its whole cap, the last one ends %s after the power is lost", show(over))
	} else {
		p.line("    if every step needs its whole cap, the last one ends %s before the power is lost", show(-over))
	}
}
