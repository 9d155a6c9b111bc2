package main

import (
	"cmp"
	"flag"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"firebreak/agent/app"
	"firebreak/agent/uplink"
	"firebreak/plugins"
)

// takes says what an order has beside its giver.
type takes struct {
	what                             string // PLAN, ALARM ...; empty: it is about no one thing
	stage, long, reason, safe, force bool
	once                             bool
}

// orders are the subcommands that are one request to the running agent.
var orders = map[string]takes{
	"ack":            {what: "ALARM"},
	"shelve":         {what: "ALARM", long: true, reason: true, once: true},
	"unshelve":       {what: "ALARM"},
	"reset-alarm":    {what: "ALARM"},
	"trip":           {what: "PLAN", stage: true, reason: true},
	"release":        {what: "PLAN"},
	"reset":          {what: "PLAN"},
	"undo":           {what: "PLAN"},
	"settle":         {what: "PLAN/STEP", reason: true},
	"arm":            {what: "PLAN"},
	"disarm":         {what: "PLAN", reason: true},
	"end-drill":      {what: "PLAN"},
	"prove":          {what: "POINT", reason: true},
	"answered":       {what: "CONSUMER"},
	"learn":          {what: "INPUT"},
	"bypass":         {what: "INPUT", long: true, reason: true},
	"end-bypass":     {what: "INPUT"},
	"out-of-service": {what: "POINT|ALARM"},
	"in-service":     {what: "POINT|ALARM"},
	"reload":         {reason: true, force: true},
	"restart":        {reason: true, force: true},
	"energise":       {what: "HOOK", safe: true},
}

// usage is what has to be said, and what may be.
func (t takes) usage(kind string, more bool) string {
	s := kind
	for _, w := range []struct {
		on   bool
		word string
	}{{t.what != "", t.what}, {t.stage, "--stage 2a|2b|3|4"}, {more, "[--stage 2a|2b|3|4] [--inject POINT=VALUE]"}, {t.long, "--for TIME"}, {t.once, "[--once]"}, {t.safe, "--lockout-removed"}, {t.reason, "[--reason TEXT]"}, {t.force, "[--force]"}} {
		if w.on {
			s += " " + w.word
		}
	}
	return s
}

// orderFlags reads an order: what it is about, who gives it, and what else its kind takes.
func orderFlags(kind string, t takes, args []string, stderr io.Writer, more func(*flag.FlagSet)) (r app.Request, path string, ok bool) {
	r.Order = kind
	fs, file := flags(kind, stderr)
	fs.StringVar(&r.By, "by", "", "`NAME` of the person who gives the order")
	if t.stage {
		fs.StringVar(&r.Stage, "stage", "", "`STAGE`: 2a, 2b, 3 or 4")
	}
	if t.long {
		fs.StringVar(&r.For, "for", "", "how long, such as `30m`")
	}
	if t.reason {
		fs.StringVar(&r.Reason, "reason", "", "`TEXT`: why, or what is done instead")
	}
	if t.once {
		fs.BoolVar(&r.Once, "once", false, "come back as soon as it clears, if that is earlier")
	}
	if t.safe {
		fs.BoolVar(&r.Confirm, "lockout-removed", false, "the lock-out is removed, and nobody works on what will be live")
	}
	if t.force {
		fs.BoolVar(&r.Force, "force", false, "even where hosts take it for the death of the agent")
	}
	if more != nil {
		more(fs)
	}
	var names []string
	bad := !parse(fs, args, &names)
	if len(names) > 0 && t.what != "" {
		r.Name, names = names[0], names[1:]
	}
	bad = bad || len(names) > 0 || t.what != "" && r.Name == ""
	switch {
	case bad:
		fmt.Fprintf(stderr, "usage: firebreak %s -c FILE --by NAME\n", t.usage(kind, more != nil))
	case t.stage:
		st, err := plugins.ParseStage(r.Stage)
		if bad = err != nil || !st.Latches(); bad {
			fmt.Fprintf(stderr, "firebreak: --stage is one of 2a, 2b, 3 and 4\n")
		}
	case t.long:
		d, err := time.ParseDuration(r.For)
		if bad = err != nil || d <= 0; bad {
			fmt.Fprintf(stderr, "firebreak: --for says how long, such as 30m\n")
		}
	}
	return r, *file, !bad
}

func order(kind string, t takes, args []string, stdout, stderr io.Writer) int {
	r, path, ok := orderFlags(kind, t, args, stderr, nil)
	if !ok {
		return 2
	}
	a, code := ask(path, r, stderr)
	if code == 0 {
		fmt.Fprintln(stdout, cmp.Or(a.Text, strings.TrimSpace("done: "+kind+" "+r.Name)+", by "+r.By))
	}
	if code == 0 && kind == "arm" {
		fmt.Fprintf(stdout, "plan %s is armed\n%s", r.Name, isNot)
	}
	return code
}

func status(args []string, stdout, stderr io.Writer) int {
	fs, path := flags("status", stderr)
	if !parseFlags(fs, args, stderr) {
		return 2
	}
	a, code := ask(*path, app.Request{Order: "status"}, stderr)
	if code != 0 {
		return code
	}
	for _, p := range a.Status.Plans {
		fmt.Fprintf(stdout, "plan %s: %s, stage %s", p.Plan, p.Mode, p.Stage)
		if p.Episode != 0 {
			fmt.Fprintf(stdout, ", episode %d, open for %v", p.Episode, time.Duration(p.ElapsedS)*time.Second)
		}
		if p.TrippedBy != "" {
			fmt.Fprintf(stdout, ", tripped by %s", p.TrippedBy)
		}
		fmt.Fprintln(stdout)
		if peer := p.Peer; peer != nil {
			fmt.Fprintf(stdout, "  %s\n", peerLine(peer))
		}
		if p.HeldBy != "" {
			fmt.Fprintf(stdout, "  held by %s, for %d s at most\n", p.HeldBy, p.HoldS)
		}
		for _, stage := range slices.Sorted(maps.Keys(p.Countdown)) {
			fmt.Fprintf(stdout, "  %s\n", countdownLine(&p, stage))
		}
		if p.Asking != "" {
			fmt.Fprintf(stdout, "  asks: %s\n", p.Asking)
		}
		for _, s := range p.Steps {
			fmt.Fprintf(stdout, "  %-3s %-24s %s %s\n", s.Stage, s.Step, s.State, s.Detail)
		}
		if n := len(p.Outstanding); n > 0 {
			fmt.Fprintf(stdout, "  outstanding: %d (firebreak outstanding)\n", n)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(a.Status.Buses)) {
		b := a.Status.Buses[name]
		fmt.Fprintf(stdout, "bus %s: %.0f %% busy, %d slots missed, %d devices silent\n", name, 100*b.Utilisation, b.Missed, b.Silent)
	}
	for _, al := range a.Status.Alarms {
		fmt.Fprintf(stdout, "alarm P%d %s: %s: %s [for %v]\n", al.Priority, al.Name, al.State, al.Cause, (time.Duration(al.SinceMs) * time.Millisecond).Round(time.Second))
	}
	if a.Status.Unsynced {
		fmt.Fprintln(stdout, "clock: NOT SYNCHRONISED: no proof is taken and no plan armed; see to its time service (chrony, timesyncd)")
	}
	printTelling(stdout, &a.Status.Telling)
	return 0
}

// printTelling says of each broker how it stands, and what keeps from being believed or heard.
func printTelling(w io.Writer, s *uplink.Stats) {
	for _, b := range s.Brokers {
		state := "connected"
		if !b.Connected {
			state = "NOT REACHED: " + b.LastError
		}
		fmt.Fprintf(w, "broker %s: %s, %d messages wait\n", b.Name, state, b.Queued)
		if b.TelemetryError != "" {
			fmt.Fprintf(w, "  its session for readings: %s\n", b.TelemetryError)
		}
		if b.Refused != "" {
			fmt.Fprintf(w, "  ERROR: %s\n", b.Refused)
		}
	}
	for _, e := range []string{s.Signing, s.Trusted, s.LastError} {
		if e != "" {
			fmt.Fprintf(w, "telling: ERROR: %s\n", e)
		}
	}
	if k := s.Kept; k != nil && k.Error != "" {
		fmt.Fprintf(w, "telling: ERROR: %s\n", k.Error)
	}
	if k := s.Kept; k != nil && k.Unkept > 0 {
		fmt.Fprintf(w, "telling: %d messages were kept in memory alone\n", k.Unkept)
	}
	for _, why := range slices.Sorted(maps.Keys(s.Dropped)) {
		fmt.Fprintf(w, "orders over the network: %d dropped: %s\n", s.Dropped[why], why)
	}
}

// countdownLine says how long there is to decide, and how.
func countdownLine(p *plugins.PlanState, stage string) string {
	switch left := p.Countdown[stage]; {
	case p.HeldBy != "":
		return fmt.Sprintf("stage %s stands still under the hold, %d s before its first step", stage, left)
	case p.Mode != "armed":
		return fmt.Sprintf("stage %s would start its first step in %d s", stage, left)
	default:
		return fmt.Sprintf("stage %s starts its first step in %d s; firebreak hold %s stops that", stage, left, p.Plan)
	}
}

func peerLine(p *plugins.PeerState) string {
	switch {
	case !p.Contact:
		return "peer " + p.Agent + " cannot be heard"
	case p.Episode == 0:
		return "peer " + p.Agent + ": quiet"
	case p.HeldBy == "":
		return fmt.Sprintf("peer %s: stage %s, episode %d, not holding", p.Agent, p.Stage, p.Episode)
	}
	return fmt.Sprintf("peer %s: stage %s, episode %d, held by %s", p.Agent, p.Stage, p.Episode, p.HeldBy)
}

// outstanding prints the ledger of every plan (S21).
func outstanding(args []string, stdout, stderr io.Writer) int {
	fs, path := flags("outstanding", stderr)
	if !parseFlags(fs, args, stderr) {
		return 2
	}
	a, code := ask(*path, app.Request{Order: "status"}, stderr)
	if code != 0 {
		return code
	}
	printOutstanding(stdout, a.Status)
	return 0
}

func printOutstanding(stdout io.Writer, s *app.Status) {
	n, plans := 0, map[string]bool{}
	for _, p := range s.Plans {
		plans[p.Plan] = true
		for _, o := range p.Outstanding {
			n++
			how := cmp.Or(o.Revert, "by hand, then firebreak settle "+p.Plan+"/"+o.Step)
			if o.Undo {
				how = strings.TrimSuffix("firebreak undo "+p.Plan+"; by hand: "+o.Revert, "; by hand: ")
			}
			fmt.Fprintf(stdout, "%s/%s: stage %s, episode %d, for %v, owner %s\n  to take back: %s\n", p.Plan, o.Step, o.Stage, o.Episode,
				(time.Duration(o.AgeS) * time.Second).String(), o.Owner, how)
			if o.Overdue {
				fmt.Fprintln(stdout, "  OVERDUE: revert it, or settle it with a reason")
			}
			if o.State != "idle" {
				fmt.Fprintf(stdout, "  undo: %s %s\n", o.State, o.Detail)
			}
		}
	}
	for _, al := range s.Alarms { // of a plan that the configuration has no more its alarm alone tells
		at, ok := strings.CutSuffix(al.Name, "/outstanding")
		at, is := strings.CutPrefix(at, "plan/")
		if plan, _, _ := strings.Cut(at, "/"); ok && is && al.Active && !plans[plan] {
			n++
			fmt.Fprintf(stdout, "%s: %s\n", at, al.Cause)
		}
	}
	if n == 0 {
		fmt.Fprintln(stdout, "nothing is outstanding")
	}
}
