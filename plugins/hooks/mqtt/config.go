package mqtt

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"firebreak/plugins"
)

// Defaults and bounds.
const (
	defaultResend = 5 * time.Second
	minResend     = 100 * time.Millisecond
	maxTopic      = 256
	maxConsumers  = 16
	maxBrokers    = 4

	tree      = "firebreak/1/"
	drillTree = tree + "drill/"
)

// Config is one hook. What follows Drill is filled in by the one who builds it.
type Config struct {
	Topic        string        `toml:"topic"`         // of the commands
	Brokers      []string      `toml:"brokers"`       // names; all are sent the same
	Consumers    []string      `toml:"consumers"`     // whose answers count
	ReplyTopic   string        `toml:"reply_topic"`   // default firebreak/1/receipt/SITE/ZONE/AGENT/HOOK
	DrillTopic   string        `toml:"drill_topic"`   // default: that of the commands, below firebreak/1/drill/
	Resend       time.Duration `toml:"resend"`        // until a receipt comes; default 5 s
	Wait         string        `toml:"wait"`          // for "accept" (default) or "receipt"
	AskConsumers bool          `toml:"probe"`         // Probe asks the consumers too
	ProbeVersion string        `toml:"probe_version"` // that they must have: "2" takes 2 and 2.anything
	Drill        string        `toml:"drill"`         // "native", "dry-run" or "": skipped in a drill (S7)

	Site     string `toml:"-"`
	Agent    string `toml:"-"`
	Epoch    uint64 `toml:"-"` // of this process; told, if there is one
	Instance string `toml:"-"`
	Levels   string `toml:"-"` // SITE/ZONE/AGENT/HOOK, as they stand in topics
	// Simulated: the readings that the process acts on are not real, so that nothing of it leaves the
	// drill topics, whatever the mark of a call (S7).
	Simulated bool `toml:"-"`
}

var _ plugins.Declarer = Config{}

// UsesBrokers are the names of the brokers, of which one that works is enough.
func (c Config) UsesBrokers() []string { return c.Brokers }

// Traits of the one target. What a command does is known to whoever writes it down: the key
// irreversible of the hook says it, for all kinds alike.
func (c Config) Traits(target string) (plugins.Traits, error) {
	if target != "" {
		return plugins.Traits{}, fmt.Errorf("target %q: an mqtt hook has one target, its topic: take the target out of the step, or make a hook for each", target)
	}
	return plugins.Traits{Drill: c.Drill}, nil
}

// Validate tells all faults of the configuration at once.
func (c Config) Validate() error {
	var faults []error
	bad := func(format string, a ...any) { faults = append(faults, fmt.Errorf(format, a...)) }
	if err := checkTopic(c.Topic, false); err != nil {
		bad("topic %w", err)
	}
	if c.DrillTopic != "" {
		if err := checkTopic(c.DrillTopic, true); err != nil {
			bad("drill_topic %w", err)
		} else if c.Drill != "native" {
			bad("drill_topic has no effect without drill = \"native\": add that, or take it out")
		}
	}
	if c.ReplyTopic != "" {
		if err := checkTopic(c.ReplyTopic, false); err != nil {
			bad("reply_topic %w", err)
		}
		if c.ReplyTopic == c.Topic {
			bad("reply_topic is that of the commands: give answers a topic of their own, or leave it out")
		}
	}
	if len(c.Brokers) == 0 || len(c.Brokers) > maxBrokers {
		bad("brokers: name 1 to %d [[broker]] tables", maxBrokers)
	}
	if len(c.Consumers) == 0 || len(c.Consumers) > maxConsumers {
		bad("consumers: name 1 to %d consumers: the answers of others do not count", maxConsumers)
	}
	if slices.Contains(c.Brokers, "") || slices.Contains(c.Consumers, "") {
		bad("brokers and consumers must not hold empty names")
	}
	if c.Resend != 0 && c.Resend < minResend {
		bad("resend %v: use %v or more, or leave it out for %v", c.Resend, minResend, defaultResend)
	}
	if c.Wait != "" && c.Wait != "accept" && c.Wait != "receipt" {
		bad("wait %q: use \"accept\" or \"receipt\", or leave it out for \"accept\"", c.Wait)
	}
	if c.ProbeVersion != "" && !c.AskConsumers {
		bad("probe_version has no effect without probe = true: add that, or take it out")
	}
	if c.Drill != "" && c.Drill != "native" && c.Drill != "dry-run" {
		bad("drill %q: use \"native\" (the consumers look at the mark) or \"dry-run\", or leave it out", c.Drill)
	}
	return errors.Join(faults...)
}

// checkTopic keeps out what a broker refuses, often by ending the connection, and keeps drills and
// real calls apart (S7).
func checkTopic(s string, drill bool) error {
	odd := func(r rune) bool { return r <= ' ' || r == 0x7f || r == 0xfffd }
	switch {
	case s == "":
		return errors.New("is empty: name the topic that the consumers subscribe to")
	case len(s) > maxTopic:
		return fmt.Errorf("has %d bytes: at most %d", len(s), maxTopic)
	case strings.ContainsAny(s, "+#"):
		return fmt.Errorf("%q holds a wildcard: a command goes to one topic", s)
	case strings.ContainsAny(s, "*>") || strings.ContainsFunc(s, odd):
		return fmt.Errorf("%q holds a space, a control character, * or >: some brokers end the connection for it", s)
	case s[0] == '$' || s[0] == '/' || strings.HasSuffix(s, "/") || strings.Contains(s, "//"):
		return fmt.Errorf("%q begins with $ or has an empty level: some brokers refuse that", s)
	case drill != strings.HasPrefix(s, drillTree):
		if drill {
			return fmt.Errorf("%q does not stand below %s: drills and real calls must not share a topic (S7)", s, drillTree)
		}
		return fmt.Errorf("%q stands below %s: drills and real calls must not share a topic (S7)", s, drillTree)
	}
	return nil
}

// topics are those of the real calls and of the drills.
type topics struct{ command, reply string }

func (c Config) topics(drill bool) topics {
	drill = drill || c.Simulated
	t := topics{c.Topic, c.ReplyTopic}
	if t.reply == "" {
		t.reply = tree + "receipt/" + c.Levels
	}
	if drill {
		t.reply = drillTree + strings.TrimPrefix(t.reply, tree)
		t.command = c.DrillTopic
		if t.command == "" {
			t.command = drillTree + strings.TrimPrefix(c.Topic, tree)
		}
	}
	return t
}
