package mqtt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"firebreak/plugins"
)

// Probe: one broker and one consumer that work are enough for a call; what does not is a standby that is
// lost, and an error of its own.
func TestProbe(t *testing.T) {
	answers := func(versions map[string]string) func(*fakeBroker, map[string]any) {
		return func(b *fakeBroker, m map[string]any) {
			if m["probe"] != true || m["mark"] != "dry" || m["step"] != nil {
				panic(fmt.Sprint("not a probe: ", m))
			}
			for who, v := range versions {
				b.say(m["reply_to"].(string), fmt.Sprintf(`{"key":%q,"answer":"probe","consumer":%q,"version":%q}`, m["key"], who, v), false)
			}
		}
	}
	for _, tc := range []struct {
		name     string
		versions map[string]string
		version  string
		ask      bool
		err, log string // err "standby": the error says what is lost, and the log does not
	}{
		{"not asked", nil, "", false, "standby", "broker away: no route"},
		{"all answer", map[string]string{"failover-1": "2.1", "failover-2": "2"}, "2", true, "standby", "broker away: no route"},
		{"one is silent", map[string]string{"failover-1": "2.1"}, "2", true, "standby", "consumer failover-2 does not answer"},
		{"all are silent", nil, "", true, "not failover-1, failover-2", ""},
		{"strangers answer", map[string]string{"x": "2"}, "", true, "not failover-1, failover-2", "unknown consumer"},
		{"wrong version", map[string]string{"failover-1": "2", "failover-2": "20"}, "2", true, "failover-2 has version \"20\", want \"2\"", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				b := &fakeBroker{name: "site", consume: answers(tc.versions)}
				h, late, stop := newHook(t, slog.New(slog.NewTextHandler(&log, nil)), []*fakeBroker{{name: "away", refuse: errors.New("no route")}, b}, func(c *Config) {
					c.Consumers, c.AskConsumers, c.ProbeVersion = []string{"failover-1", "failover-2"}, tc.ask, tc.version
				})
				begin := time.Now()
				err := h.Probe(t.Context())
				if tc.err == "standby" {
					var standby *plugins.StandbyError
					if !errors.As(err, &standby) || !strings.Contains(err.Error(), tc.log) {
						t.Errorf("%v, want a lost standby %q", err, tc.log)
					}
					err, tc.err, tc.log = nil, "", ""
				}
				if (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) || time.Since(begin) > 5*time.Second {
					t.Errorf("%v after %v", err, time.Since(begin))
				}
				stop()
				if !strings.Contains(log.String(), tc.log) || late.names() != "" || len(h.probing) != 0 || (len(b.commands()) > 0) != tc.ask {
					t.Errorf("log %s, told %q, %d probes left, asked %v", log.String(), late.names(), len(h.probing), b.commands())
				}
			})
		})
	}
}

// Two calls of one key are one command; one that stops waiting knows nothing.
func TestCallsOfOneKeyShareACommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &fakeBroker{name: "site"}
		h, _, stop := newHook(t, nil, []*fakeBroker{b})
		defer stop()
		outs := make(chan plugins.Outcome, 3)
		for range 2 {
			go func() { outs <- h.Do(t.Context(), callOf(time.Minute), nil) }()
		}
		synctest.Wait()
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if o := h.Do(gone, callOf(time.Minute), nil); o.Result != plugins.Unknown || !o.Attached {
			t.Errorf("%+v", o)
		}
		b.answer(map[string]any{"key": id, "reply_to": replyTo}, "failover-1", "accept")
		x, y := <-outs, <-outs
		if x.Result != plugins.Done || y.Result != plugins.Done || x.Attached == y.Attached || len(b.commands()) != 1 {
			t.Errorf("%+v, %+v, %d commands", x, y, len(b.commands()))
		}
	})
}

func TestWhatIsRememberedIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &fakeBroker{name: "site", consume: answering("failover-1 accept")}
		h, _, stop := newHook(t, nil, []*fakeBroker{b})
		defer stop()
		for i := range maxEnded + 10 {
			c := callOf(time.Second)
			c.Key.Episode = uint64(i)
			if o := h.Do(t.Context(), c, nil); o.Result != plugins.Done {
				t.Fatal(o)
			}
		}
		if len(h.known) != maxEnded || len(h.ended) != maxEnded || len(h.calls) != 0 || len(h.newest) != 1 {
			t.Errorf("%d known, %d ended, %d running, %d plans", len(h.known), len(h.ended), len(h.calls), len(h.newest))
		}
	})
}

func TestValidateTellsAllFaults(t *testing.T) {
	good := Config{Topic: "site/failover/cmd", Brokers: []string{"site", "noc"}, Consumers: []string{"failover-1"}}
	for _, tc := range []struct {
		change func(*Config)
		want   []string
	}{
		{func(c *Config) {
			*c = Config{Wait: "done", Drill: "yes", Resend: -1, ProbeVersion: "2", DrillTopic: "x"}
		},
			[]string{"topic is empty", "brokers: name", "consumers: name", "wait \"done\"", "drill \"yes\"", "resend -1ns", "probe_version has no effect", "drill_topic \"x\" does not stand below firebreak/1/drill/"}},
		{func(c *Config) { c.Topic = "a/+/b" }, []string{"topic \"a/+/b\" holds a wildcard"}},
		{func(c *Config) { c.Topic = "a b" }, []string{"holds a space"}},
		{func(c *Config) { c.Topic = "$SYS/x" }, []string{"begins with $"}},
		{func(c *Config) { c.Topic = "a//b" }, []string{"empty level"}},
		{func(c *Config) { c.Topic = strings.Repeat("a", 257) }, []string{"257 bytes"}},
		{func(c *Config) { c.Topic = "firebreak/1/drill/cmd" }, []string{"must not share"}},
		{func(c *Config) { c.ReplyTopic = c.Topic }, []string{"reply_topic is that of the commands"}},
		{func(c *Config) { c.ReplyTopic = "a/#" }, []string{"reply_topic \"a/#\" holds a wildcard"}},
		{func(c *Config) { c.DrillTopic = "firebreak/1/drill/x" }, []string{"drill_topic has no effect"}},
		{func(c *Config) { c.Consumers = []string{""} }, []string{"empty names"}},
	} {
		c := good
		tc.change(&c)
		err := c.Validate()
		for _, w := range tc.want {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("no %q in: %v", w, err)
			}
		}
	}
	good.Drill = "native"
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	if tr, err := good.Traits(""); err != nil || tr != (plugins.Traits{Drill: "native"}) || !slices.Equal(good.UsesBrokers(), good.Brokers) {
		t.Errorf("%+v %v", tr, err)
	}
	if _, err := good.Traits("db"); err == nil || !strings.Contains(err.Error(), "one target") {
		t.Errorf("%v", err)
	}
	for _, b := range [][]Broker{nil, {{Name: "site"}}} {
		if _, err := New("h", good, b, nil); err == nil {
			t.Error("built without a reply topic or brokers")
		}
	}
}
