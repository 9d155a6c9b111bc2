package config

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"firebreak/agent/response"
	"firebreak/plugins"
	"firebreak/sensors"
	"firebreak/sensors/profile"
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
	for _, name := range c.noRefresh() {
		p.line("note: profile %s does not say how often the device renews every value (refresh): check counts no time for it", name)
	}
	for i := range c.Brokers {
		if b := &c.Brokers[i]; b.PlainText {
			p.line("WARNING: broker %s is reached in plain text (%s): whoever is on the way reads and changes what is told", b.Name, b.URL)
		}
	}
	if len(c.Brokers) > 0 && c.SigningKey == "" {
		p.line("note: messages are not signed: there is no signing_key, so nobody can tell a forged alarm from a real one")
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

// noRefresh lists the own profiles in use with a measurement of which nobody said how often it is renewed.
func (c *Config) noRefresh() (out []string) {
	for _, name := range c.OwnProfiles {
		i := slices.IndexFunc(c.Devices, func(d Device) bool { return d.Profile.Name == name })
		if i >= 0 && slices.ContainsFunc(c.Devices[i].Profile.Channels, func(k profile.Channel) bool { return k.Kind == sensors.Measurement && k.Refresh == 0 }) {
			out = append(out, name)
		}
	}
	return out
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
	if r.Peer != "" {
		p.line("  peer %s drives the same targets under the same keys: check its file too, with --peer", r.Peer)
	}
	for _, z := range r.Blind {
		p.line("  note: no sensor in zone %s opens this plan: it leaves that zone by what others see", z)
	}
	for _, b := range r.NoGateway {
		p.line("  note: bus %s names no gateway: check assumes that no switch is shared", b)
	}
	for i := range r.Stages {
		p.stage(r, &r.Stages[i])
	}
	p.clock(r)
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
}

// clock prints whether the plan fits the time to its power loss, and where time is to be found.
func (p *printer) clock(r *PlanReport) {
	if r.Path == nil {
		return
	}
	p.line("")
	p.line("  by the clock, from the condition at the sensor; the power is lost after %s", short(r.PowerLoss))
	p.line("    %-7s %9s %9s %9s | %-29s | %s", "", "", "", "first", "if every step needs its cap:", "if each needs one time-out:")
	p.line("    %-7s %9s %9s %9s | %12s %16s | %12s %14s", "stage", "opens", "countdown", "hook", "last ends", "to power loss", "last ends", "to power loss")
	for i := range r.Stages {
		s := &r.Stages[i]
		if s.LastCap == 0 {
			continue
		}
		p.line("    %-7s %9s %9s %9s | %12s %16s | %12s %14s", s.Stage, show(s.Worst.Total), show(s.Worst.Countdown), show(s.Worst.Total+s.Worst.Countdown),
			show(s.LastCap), show(r.PowerLoss-s.LastCap), show(s.LastCall), show(r.PowerLoss-s.LastCall))
	}
	last := ""
	way := fmt.Sprintf("    longest way    stage %s at %s", r.Path.From, show(r.Path.At))
	for _, s := range r.Path.Steps {
		way += fmt.Sprintf(", %s %s", s.Name, short(s.Cap))
		last = s.Name
	}
	p.line("%s: ends at %s", way, show(r.Path.End))
	over := r.Path.End - r.PowerLoss
	if over <= 0 {
		p.line("    the plan fits: by its caps the last step, %s, ends %s before the power is lost", last, show(-over))
	} else {
		p.line("    note: by its caps the plan does not fit: the last step, %s, ends %s after the power is lost", last, show(over))
	}
	if most, ok := r.Path.Most(); ok {
		p.line("    most to give   on that way: %s, whose cap is %s longer than one call of its hook may take", most.Name, show(most.Give))
	}
}
