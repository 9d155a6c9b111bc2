package app

import (
	"fmt"
	"runtime"
	"strings"
	"time"

	"firebreak/agent/history"
)

// near tells whether a stretch of time touches the window.
func (b *bundle) near(from, to history.Instant) bool {
	if to == (history.Instant{}) || b.ep.Covers(from, b.o.Before, b.o.After) || b.ep.Covers(to, b.o.Before, b.o.After) {
		return true
	}
	early, _ := from.To(b.ep.Start)
	late, _ := b.ep.Start.To(to)
	return early > 0 && late > 0 // it begins before and ends after
}

// reported turns what the history's reader could not read into words, as far as it touches the window.
func (b *bundle) reported(rep *history.Report) []string {
	var out []string
	for _, d := range rep.Damage {
		if b.near(d.After, d.After) {
			out = append(out, fmt.Sprintf("Segment %d of the history, after %s: %d bytes, %s.", d.Segment, when(d.After), d.Bytes, d.What))
		}
	}
	for _, h := range rep.Holes {
		if b.near(h.After, h.Before) {
			out = append(out, fmt.Sprintf("Between %s and %s %d polls, states or events are not there: dropped (then a line says so), damaged, or evicted.", when(h.After), when(h.Before), h.Count))
		}
	}
	for _, m := range rep.Missing {
		switch {
		case !b.near(m.First, m.Last):
		case m.Short > 0:
			out = append(out, fmt.Sprintf("Segment %d of the history (%s to %s) is %d bytes shorter than it was.", m.Index, when(m.First), when(m.Last), m.Short))
		default:
			out = append(out, fmt.Sprintf("Segment %d of the history (%s to %s, %d bytes) is not there any more: evicted by history_max or history_age, or removed.", m.Index, when(m.First), when(m.Last), m.Bytes))
		}
	}
	if e := rep.Evicted; e.Segments > 0 && b.near(e.Last, e.Last) {
		out = append(out, fmt.Sprintf("The bounds of the history have taken %d segments (%d bytes) since it began, the newest up to %s.", e.Segments, e.Bytes, when(e.Last)))
	}
	if len(rep.Ignored) > 0 {
		out = append(out, "Files in the history that are none of its own, not read: "+strings.Join(rep.Ignored, ", "))
	}
	return out
}

func when(i history.Instant) string {
	if i == (history.Instant{}) {
		return "an unknown time"
	}
	return wall(i.Wall)
}

// gaps writes gaps.txt.
func (b *bundle) gaps() error {
	text := "What is missing from this archive, as far as it is known:\n\n"
	for _, l := range b.missing {
		text += "- " + strings.ReplaceAll(l, "\n", " ") + "\n"
	}
	if len(b.missing) == 0 {
		text += "Nothing is known to be missing.\n"
	}
	text += `
A poll that the agent itself replaced by a newer one before it was judged was never recorded. A line of readings.csv
stands for one reading that the agent judged; sensors may have seen more between two polls.
`
	return b.dir.write("gaps.txt", []byte(text))
}

// versions writes versions.json.
func (b *bundle) versions() error {
	type made struct {
		At      string `json:"at"`
		Version string `json:"version"`
		Go      string `json:"go"`
	}
	type span struct {
		Plan   string `json:"plan"`
		Number uint64 `json:"number"`
		Zone   string `json:"zone,omitempty"`
		Origin string `json:"origin,omitempty"`
		Config string `json:"config"`
		Start  string `json:"start"`
		End    string `json:"end,omitempty"`
		Open   bool   `json:"open"`
	}
	v := struct {
		Made      made       `json:"bundle_made"`
		Episode   span       `json:"episode"`
		Processes []*process `json:"processes"`
	}{Made: made{wall(b.o.Now.UnixMilli()), Version(), runtime.Version()}, Processes: b.seen.processes,
		Episode: span{Plan: b.ep.Plan, Number: b.ep.Number, Zone: b.ep.Zone, Origin: b.ep.Origin, Config: b.ep.Config, Start: wall(b.ep.Start.Wall), Open: b.ep.Open}}
	if h := b.jr.hash(b.ep); h != "" {
		v.Episode.Config = h
	}
	if !b.ep.Open {
		v.Episode.End = wall(b.ep.End.Wall)
	}
	if v.Processes == nil { // the history told of none: the journal may
		for i := range b.jr.entries {
			if e := &b.jr.entries[i]; e.boot != nil && b.ep.Covers(e.at, b.o.Before, b.o.After) {
				v.Processes = append(v.Processes, &process{Info: history.Info{Version: e.boot.Version, Instance: e.boot.Instance, Boot: e.boot.ID, Epoch: e.boot.Epoch}, From: wall(e.at.Wall), SyncedFirst: e.at.Synced})
			}
		}
	}
	return b.dir.json("versions.json", v)
}

// readme writes README.txt. Whoever opens this has no firebreak, and perhaps no idea of it.
func (b *bundle) readme() error {
	from := b.ep.Start.Time().Add(-b.o.Before).UTC().Format(time.RFC3339)
	to := "the last record: the episode was still open, or the agent ended before it"
	if !b.ep.Open {
		to = b.ep.End.Time().Add(b.o.After).UTC().Format(time.RFC3339)
	}
	who := ""
	if n := len(b.seen.processes); n > 0 {
		p := b.seen.processes[n-1]
		who = fmt.Sprintf("Site %s, zone %s, agent %s. ", p.Site, p.Zone, p.Agent)
	}
	origin := ""
	if b.ep.Origin != "" && b.ep.Origin != "real" {
		origin = "\nATTENTION: these readings are " + b.ep.Origin + ", not real. No fire, and no real equipment, is recorded here.\n"
	}
	return b.dir.write(readmeName, []byte(fmt.Sprintf(readmeText, b.title(), origin, who, b.ep.Start.Time().UTC().Format(time.RFC3339), from, to,
		b.seen.readings, b.seen.polls, b.seen.alarmN, b.seen.eventN)))
}

const readmeText = `%s
%s
%sIt began %s. This archive covers
  from  %s
  to    %s
with %d readings in %d polls, %d states of alarms and %d events.

What this is
  Firebreak is an agent on the controller of a battery room. It polls sensors, judges whether a hazard develops, opens
  stages of a plan, and calls hooks that get the load out before the power is cut. It is not a fire alarm system and no
  proof of what happened: it is what the agent read, decided and did. This archive needs no firebreak to be read.

Check first that nothing was changed
  sha256sum -c SHA256SUMS
  The checksums show changes to single files. To show that the archive as a whole is the one that was made, keep its own
  sha256sum apart from it, from the day it was made.

Files
  timeline.md     begin here: alarms, votes, stages, steps, hooks and evidence in their order, with the readings
                  that caused them. Plain text; a Markdown viewer shows it as a table
  gaps.txt        what is known to be missing. Read it before you conclude anything from an absence
  readings.csv    every reading that was judged, at its full rate, one a line. It may have more lines than a spreadsheet
                  takes (1,048,576): filter it first, with grep or any database
  alarms.jsonl    states of alarms, one JSON object a line
  plan.jsonl      states of plans: stage, votes, steps, countdowns, what a person was asked
  events.jsonl    what happened once: stages, steps, orders of persons, ends of hooks
  hooks/          what the target of each call said, by the call's key: plan.zone.stage.step.episode.do.attempt
  journal.jsonl   records of the agent's journal, which it writes before it acts
  config.toml     the configuration that the episode ran under; config-present.toml is that of the day of the archive.
                  profiles/ and hazards/ hold device profiles and hazard packs of the site's own
  versions.json   versions, starts (epoch, instance), boots of the machine, and whether its clock was synchronised
  status.json     what the running agent said when the archive was made, if one ran

Columns of readings.csv
  wall_time       of the poll, UTC, by the machine's clock. See versions.json for whether that was synchronised
  mono_ns         of the reading, nanoseconds of a clock that is never set and counts from the boot: take differences of
                  times from here. Values of two boots cannot be compared
  device, point   names of the configuration
  value, unit     empty where nothing was read
  quality         good; uncertain (used, with care); bad (not used, whatever the value)
  reason          why it is not good: comm (no answer), stale, implausible, sentinel (the device's own "none"), stuck,
                  not-ready, test-mode, identity (another device), out-of-service, over-range, fast, replaced
  origin          real; injected, simulated and replay are tests

Order
  Lines stand in the order in which the agent worked. Within a second, an alarm may stand before the poll that caused
  it, since readings are told after they are judged: compare mono_ns.

Secrets
  Passwords, tokens and keys lie in files of their own, which this archive does not hold. What a hook's target said, and
  what somebody wrote into the configuration, is here as it was: look through hooks/ and config.toml before you hand this on.
`
