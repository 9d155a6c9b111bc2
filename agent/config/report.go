package config

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"firebreak/agent/hazard"
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
	for i := range c.Packs {
		p.pack(&c.Packs[i])
	}
	for _, name := range c.noRefresh() {
		p.line("note: profile %s does not say how often the device renews every value (refresh): check counts no time for it", name)
	}
	for _, line := range c.bareContacts() {
		p.line("WARNING: %s", line)
	}
	for _, line := range c.barePlain() {
		p.line("WARNING: %s", line)
	}
	for i := range c.Brokers {
		if b := &c.Brokers[i]; b.PlainText {
			p.line("WARNING: broker %s is reached in plain text (%s): whoever is on the way reads and changes what is told", b.Name, b.URL)
		}
	}
	if len(c.Brokers) > 0 && c.SigningKey == "" {
		p.line("note: messages are not signed: there is no signing_key, so nobody can tell a forged alarm from a real one")
	}
	for _, line := range c.unverified() {
		p.line("note: %s", line)
	}
	for i := range c.Hooks {
		if k, ok := c.Hooks[i].Config.(interface{ Note() string }); ok && k.Note() != "" {
			p.line("note: hook %s: %s", c.Hooks[i].Name, k.Note())
		}
	}
	p.telegraf(c)
	p.detectors(c)
	p.votes(c)
	for i := range c.Plans {
		p.plan(c, &c.Plans[i])
	}
	return p.err
}

// detectors prints what each detector waits for, those that no plan looks at apart.
func (p *printer) detectors(c *Config) {
	rules, used := c.Rules.Hazard, map[string]bool{}
	for i := range c.Plans {
		for _, s := range c.Plans[i].Stages {
			for _, n := range s.Sensors {
				name, _, _ := strings.Cut(n, "@")
				used[name] = true
			}
		}
	}
	for _, part := range []struct {
		title string
		used  bool
	}{{"detectors that open stages", true}, {"detectors that only raise alarms", false}} {
		title := part.title
		for i := range rules.Conds {
			k := &rules.Conds[i]
			if k.Kind == hazard.Vote || strings.Contains(k.Name, "/") || used[k.Name] != part.used {
				continue
			}
			if title != "" {
				p.line("")
				p.line("%s", title)
				title = ""
			}
			p.line("  %-20s %s", k.Name, detectorWords(rules, k))
		}
	}
}

// votes prints the votes that others are made of, since a stage names its own only.
func (p *printer) votes(c *Config) {
	rules := c.Rules.Hazard
	var inner []hazard.CondID
	for i := range c.Plans {
		for _, s := range c.Plans[i].Stages {
			for _, id := range votesBelow(rules, s.WhenID)[1:] {
				if !slices.Contains(inner, id) {
					inner = append(inner, id)
				}
			}
		}
	}
	if len(inner) > 0 {
		p.line("")
		p.line("votes within those of the stages")
	}
	for _, id := range inner {
		p.line("  %-20s %s", rules.Conds[id].Name, voteWords(rules, &rules.Conds[id]))
	}
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

// unverified says of each profile in use what nobody has confirmed of it, neighbours with one doubt together.
func (c *Config) unverified() (out []string) {
	seen := map[string]bool{}
	for i := range c.Devices {
		p := c.Devices[i].Profile
		if seen[p.Name] {
			continue
		}
		seen[p.Name] = true
		if p.Unverified != "" {
			out = append(out, fmt.Sprintf("profile %s is unverified in part: %s", p.Name, p.Unverified))
		}
		for k, n := 0, 0; k < len(p.Channels); k += n {
			first := &p.Channels[k]
			for n = 1; k+n < len(p.Channels) && p.Channels[k+n].Unverified == first.Unverified; n++ {
			}
			if first.Unverified == "" {
				continue
			}
			names := "channel " + first.Name
			if n > 1 {
				names = fmt.Sprintf("%d channels from %s on", n, first.Name)
			}
			out = append(out, fmt.Sprintf("profile %s: %s unverified: %s", p.Name, names, first.Unverified))
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
	p.line("  below, \"falsely\" is without any hazard, because those named lie; \"blocked\" is in spite of one, because")
	p.line("  those named are silent. All else works then.")
	for i := range r.Stages {
		p.stage(c, r, i)
	}
	p.clock(r)
}

// stage prints what opens a stage, what can go wrong with that, and how long it takes.
func (p *printer) stage(c *Config, r *PlanReport, i int) {
	s := &r.Stages[i]
	p.line("")
	if len(s.Steps) > 0 {
		p.line("  stage %s: %s", s.Stage, strings.Join(s.Steps, ", "))
	} else {
		p.line("  stage %s", s.Stage)
	}
	if s.Stage == plugins.Watch {
		p.line("    opened by      %s", s.When)
		return
	}
	if i > 0 && s.opensAs(&r.Stages[i-1]) {
		p.line("    opened by      %s, as stage %s: by the same, falsely and blocked by the same", s.When, r.Stages[i-1].Stage)
	} else {
		p.opened(c, r, i)
		p.sets("opened falsely by", s.Opens, s.Causes)
		p.sets("blocked by", s.Blocks, s.Causes)
	}
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
	if i > 0 && s.opensAs(&r.Stages[i-1]) && s.takesAs(&r.Stages[i-1]) {
		p.line("    worst case     as stage %s", r.Stages[i-1].Stage)
		return
	}
	p.worst(r, s)
}

// takesAs tells whether two stages take the same time.
func (s *StageReport) takesAs(o *StageReport) bool {
	return s.Slack == o.Slack && s.Worst.Countdown == o.Worst.Countdown && s.Worst.Sum() == o.Worst.Sum() && s.Worst.Never == o.Worst.Never && slices.Equal(s.Worst.Quorum, o.Worst.Quorum)
}

// opened prints the vote of a stage; the votes in it are printed once, before the plans.
func (p *printer) opened(c *Config, r *PlanReport, i int) {
	rules, s := c.Rules.Hazard, &r.Stages[i]
	what := s.When
	if k := &rules.Conds[s.WhenID]; k.Kind == hazard.Vote {
		what += ", " + voteWords(rules, k)
	}
	if i+1 < len(r.Stages) {
		what += "; or by what opens a stage above"
	}
	p.line("    opened by      %s", what)
}

// opensAs tells whether two stages are opened and blocked by the same.
func (s *StageReport) opensAs(o *StageReport) bool {
	same := func(a, b []FailureSet) bool {
		return slices.EqualFunc(a, b, func(x, y FailureSet) bool { return slices.Equal(x, y) })
	}
	return o.Stage != plugins.Watch && s.WhenID == o.WhenID && same(s.Opens, o.Opens) && same(s.Blocks, o.Blocks)
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
			p.line("      - and %d more of this size", len(sets)-maxSets)
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
		p.line("    worst case     by %s, even when any one sensor has failed:", strings.Join(w.Quorum, " with "))
	}
	p.line("      %10s  from the condition to the first hook, %s within the deadline", show(w.Total), show(r.Deadline-w.Total))
	p.line("      %10s  = %s", "", w.Sum())
	if w.Countdown > 0 {
		p.line("      %10s  countdown, on top", show(w.Countdown))
	}
	p.line("      %10s  left then, until the power is lost", show(s.Slack))
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
