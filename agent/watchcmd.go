package main

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"firebreak/agent/consumer"
	"firebreak/agent/wire"
	"firebreak/agent/wire/session"
)

// watch shows the points of the agent at the box, or follows agents over their brokers, as any consumer may.
func watch(args []string, stdout, stderr io.Writer) int {
	if local(args) {
		ctx, stop := signals()
		defer stop()
		return watchLocal(ctx, args, stdout, stderr)
	}
	cfg, asJSON, code := watchFlags(args, stderr)
	if code != 0 {
		return code
	}
	ctx, stop := signals()
	defer stop()
	return follow(ctx, cfg, asJSON, stdout, stderr)
}

// local: nothing names a broker.
func local(args []string) bool {
	return !slices.ContainsFunc(args, func(a string) bool {
		name, _, _ := strings.Cut(strings.TrimLeft(a, "-"), "=")
		return strings.HasPrefix(a, "-") && name == "broker"
	})
}

// follow prints until the context ends.
func follow(ctx context.Context, cfg consumer.Config, asJSON bool, stdout, stderr io.Writer) int {
	enc := json.NewEncoder(stdout)
	cfg.Heard = func(n consumer.Note) {
		if asJSON {
			_ = enc.Encode(watchJSON(&n))
			return
		}
		fmt.Fprintln(stdout, watchLine(&n))
	}
	c, err := consumer.New(cfg)
	if err != nil {
		fmt.Fprintf(stderr, "firebreak: %v\n", err)
		return 2
	}
	if err := c.Run(ctx); err != nil && ctx.Err() == nil {
		fmt.Fprintf(stderr, "firebreak: %v\n", err)
		return 1
	}
	refused, overrun := c.Counts()
	for why, n := range refused {
		fmt.Fprintf(stderr, "refused %d: %s\n", n, why)
	}
	if overrun > 0 {
		fmt.Fprintf(stderr, "%d messages came faster than they were printed\n", overrun)
	}
	return 0
}

func watchFlags(args []string, stderr io.Writer) (cfg consumer.Config, asJSON bool, code int) {
	fs := flag.NewFlagSet("firebreak watch", flag.ContinueOnError)
	fs.SetOutput(stderr)
	var files session.Files
	fs.Func("broker", "`URL` of a broker, such as mqtts://hub:8883; may be given again, for all that the agents tell", func(s string) error {
		cfg.Brokers = append(cfg.Brokers, consumer.Broker{Name: strings.TrimPrefix(strings.TrimPrefix(s, "mqtts://"), "mqtt://"), URL: s})
		return nil
	})
	fs.Func("site", "`SITE` to watch; may be given again [all]", func(s string) error {
		cfg.Sites = append(cfg.Sites, s)
		return nil
	})
	fs.StringVar(&cfg.Name, "name", "", "client id, and the consumer's `NAME` in receipts [the common name of --cert]")
	fs.StringVar(&cfg.Trusted, "trusted", "", "`FILE` of trusted keys")
	fs.BoolVar(&cfg.Unsigned, "unsigned", false, "believe messages that nobody has signed, where no key is trusted")
	fs.StringVar(&cfg.SigningKey, "signing-key", "", "`FILE` of this consumer's key: it sends receipts")
	fs.BoolVar(&cfg.Readings, "readings", false, "readings too")
	fs.BoolVar(&cfg.Drills, "drills", false, "drills too")
	fs.StringVar(&files.CA, "ca", "", "`FILE`, PEM: who signs the brokers' certificates [the system's]")
	fs.StringVar(&files.Cert, "cert", "", "`FILE`, PEM: this client's certificate")
	fs.StringVar(&files.Key, "key", "", "`FILE`, PEM: its key")
	fs.StringVar(&files.Username, "username-file", "", "`FILE` that holds the user at the brokers")
	fs.StringVar(&files.Password, "password-file", "", "`FILE` that holds the password")
	plain := fs.Bool("plain-text", false, "mqtt:// to another host is meant: anybody on the way reads and changes what comes")
	fs.BoolVar(&asJSON, "json", false, "one JSON object a line")
	if !parseFlags(fs, args, stderr) || len(cfg.Brokers) == 0 {
		if len(cfg.Brokers) == 0 {
			fmt.Fprintln(stderr, "usage: firebreak watch --broker URL [--broker URL] --trusted FILE")
		}
		return cfg, false, 2
	}
	nameWatch(&cfg, files.Cert)
	for i := range cfg.Brokers {
		cfg.Brokers[i].Files, cfg.Brokers[i].PlainText = files, *plain
	}
	cfg.Log = slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	return cfg, asJSON, 0
}

// nameWatch names a watch that was given none. Brokers bind a session to the common name of its certificate; a hub takes that with
// something behind a colon too, so that the watch does not end the session of the consumer itself.
func nameWatch(cfg *consumer.Config, cert string) {
	if cfg.Name != "" {
		return
	}
	own := "watch-" + strconv.Itoa(os.Getpid())
	cfg.Name = own
	data, _ := os.ReadFile(cert) // one that is not there is told when it is used
	block, _ := pem.Decode(data)
	if block == nil {
		return
	}
	if c, err := x509.ParseCertificate(block.Bytes); err == nil && c.Subject.CommonName != "" {
		cfg.Name = c.Subject.CommonName
		for i := range cfg.Brokers {
			cfg.Brokers[i].ClientID = cfg.Name + ":" + own
		}
	}
}

// watchLine is a note for a person.
func watchLine(n *consumer.Note) string {
	who := n.Site + "/" + n.Agent
	if n.Past && n.State == nil {
		who += " (told late, by a life before this one)"
	}
	head := n.At.Format(time.TimeOnly) + " " + who + " "
	switch n.Kind {
	case consumer.AlarmTold:
		return head + actable(n) + fmt.Sprintf("P%d %s: %s: %s", n.Alarm.Priority, n.Alarm.Hazard, n.Alarm.State, n.Alarm.Cause)
	case consumer.PlanTold:
		s := head + actable(n) + fmt.Sprintf("plan %s: %s, stage %s", n.Plan.Plan, n.Plan.Mode, n.Plan.Stage)
		if len(n.Plan.Leave) > 0 {
			s += ", leave " + strings.Join(n.Plan.Leave, ", ")
		}
		return s
	case consumer.EventTold:
		return head + eventLine(n.Event)
	case consumer.StateTold:
		return head + n.State.Device + ": " + fmt.Sprint(len(n.State.Values)-len(n.State.Bad)) + " of " + fmt.Sprint(len(n.State.Values)) + " points usable"
	case consumer.VerdictNow:
		return head + strings.TrimSpace(strings.ToUpper(n.Verdict.String())+" "+n.Text)
	case consumer.Gap:
		return head + strings.TrimSpace(fmt.Sprintf("GAP: %s %d to %d have not come %s", n.Class, n.From, n.To, n.Text))
	case consumer.BlindNow:
		return n.At.Format(time.TimeOnly) + " BLIND: " + n.Text
	case consumer.SightedNow:
		return n.At.Format(time.TimeOnly) + " NO LONGER BLIND: " + n.Text
	}
	return head + strings.ToUpper(n.Kind.String()) + " " + n.Text
}

// eventLine is what has happened, without what does not apply.
func eventLine(e *wire.EventMessage) string {
	words := []string{e.Type, e.Plan, e.Step, e.Detail}
	if e.Stage != "" && e.Step == "" { // a step says where it belongs by itself
		words = slices.Insert(words, 2, "stage "+e.Stage)
	}
	return strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), " ")
}

// actable marks what nobody may act on.
func actable(n *consumer.Note) string {
	if n.Act() {
		return ""
	}
	return "(not to be acted on) "
}

// watchJSON is a note for a program: what was told stands in it as it came.
func watchJSON(n *consumer.Note) any {
	out := struct {
		Kind    string             `json:"kind"`
		At      int64              `json:"at"`
		Broker  string             `json:"broker,omitempty"`
		Site    string             `json:"site,omitempty"`
		Agent   string             `json:"agent,omitempty"`
		Verdict string             `json:"verdict"`
		Act     bool               `json:"act"`
		Type    string             `json:"cloudevents_type,omitempty"`
		Alarm   *wire.AlarmMessage `json:"alarm,omitempty"`
		Plan    *wire.PlanMessage  `json:"plan,omitempty"`
		Event   *wire.EventMessage `json:"event,omitempty"`
		State   *wire.StateMessage `json:"state,omitempty"`
		Class   string             `json:"class,omitempty"`
		From    uint64             `json:"from,omitempty"`
		To      uint64             `json:"to,omitempty"`
		Text    string             `json:"text,omitempty"`
	}{Kind: n.Kind.String(), At: n.At.UnixMilli(), Broker: n.Broker, Site: n.Site, Agent: n.Agent, Verdict: n.Verdict.String(), Act: n.Act(),
		Alarm: n.Alarm, Plan: n.Plan, Event: n.Event, State: n.State, From: n.From, To: n.To, Text: n.Text}
	if n.Kind == consumer.Gap {
		out.Class = n.Class.String()
	}
	if n.Alarm != nil {
		out.Type = wire.SeverityOf(n.Alarm.Priority).Event
	}
	return out
}
