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

// What the answers of the consumers make of a call. An acknowledgement alone makes nothing of it.
func TestOutcomes(t *testing.T) {
	two := []string{"failover-1", "failover-2"}
	for _, tc := range []struct {
		name      string
		says      []string
		consumers []string
		wait      string
		result    plugins.Result
		detail    string
		evidence  string
	}{
		{"acknowledged only", nil, nil, "", plugins.Unknown, "nothing from failover-1 (brokers: site: acknowledged; an acknowledgement is no evidence)", ""},
		{"receipt only", []string{"failover-1 receipt"}, nil, "", plugins.Unknown, "failover-1 says receipt: because receipt", "receipt+"},
		{"receipt is enough", []string{"failover-1 receipt"}, nil, "receipt", plugins.Done, "failover-1 says receipt", "receipt+"},
		{"accept", []string{"failover-1 receipt", "failover-1 accept"}, nil, "", plugins.Done, "failover-1 says accept: because accept", "receipt+ accept+"},
		{"done at once", []string{"failover-1 done"}, nil, "", plugins.Done, "failover-1 says done", "done+"},
		{"decline", []string{"failover-1 receipt", "failover-1 decline"}, nil, "", plugins.Failed, "declined: failover-1 says decline: because decline: look at the consumer", "receipt+ decline-"},
		{"decline, overtaken by a receipt", []string{"failover-1 decline", "failover-1 receipt"}, nil, "", plugins.Failed, "declined", "decline-"},
		{"a receipt does not take a decline back", []string{"failover-1 decline", "failover-1 receipt", "failover-2 decline"}, two, "", plugins.Failed, "declined", "decline- receipt+ decline-"},
		{"one of two declines", []string{"failover-1 decline"}, two, "", plugins.Unknown, "failover-1 says decline: because decline; nothing from failover-2", "decline-"},
		{"both decline", []string{"failover-1 decline", "failover-2 decline"}, two, "", plugins.Failed, "failover-2 says decline", "decline- decline-"},
		{"one declines, one accepts", []string{"failover-1 decline", "failover-2 accept"}, two, "", plugins.Done, "failover-2 says accept", "decline- accept+"},
		{"a stranger accepts", []string{"somebody accept"}, nil, "", plugins.Unknown, "nothing from failover-1", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &fakeBroker{name: "site", consume: answering(tc.says...)}
				h, late, stop := newHook(t, nil, []*fakeBroker{b}, func(c *Config) {
					c.Wait = tc.wait
					if tc.consumers != nil {
						c.Consumers = tc.consumers
					}
				})
				defer stop()
				var s sightings
				o := h.Do(t.Context(), callOf(12*time.Second), s.seen)
				if o.Result != tc.result || !strings.Contains(o.Detail, tc.detail) {
					t.Errorf("%v %q, want %v with %q", o.Result, o.Detail, tc.result, tc.detail)
				}
				if want := 12 * time.Second; tc.result == plugins.Unknown && o.Elapsed != want {
					t.Errorf("took %v, want %v", o.Elapsed, want)
				}
				synctest.Wait()
				if got := strings.TrimSpace(s.names() + " " + late.names()); !strings.HasPrefix(got, tc.evidence) || tc.evidence == "" && got != "" {
					t.Errorf("evidence %q, want %q", got, tc.evidence)
				}
				n := len(b.commands())
				again := &sightings{}
				o = h.Do(t.Context(), callOf(time.Second), again.seen)
				if tried := len(b.commands()) > n; tried != (tc.result == plugins.Unknown) || o.Attached == tried {
					t.Errorf("second call: sent again %v, %+v", tried, o)
				}
				if o.Attached && !strings.HasPrefix(again.names(), tc.evidence) {
					t.Errorf("who asks again is told %q, want %q", again.names(), tc.evidence)
				}
			})
		})
	}
}

// What is sent, to each broker, and how often: every 5 s until there is a receipt, under one key.
func TestResendUntilReceipt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		site, noc := &fakeBroker{name: "site"}, &fakeBroker{name: "noc"}
		noc.consume = func(b *fakeBroker, m map[string]any) {
			if len(b.commands()) == 3 {
				time.Sleep(time.Second)
				b.answer(m, "failover-1", "receipt")
			}
		}
		h, _, stop := newHook(t, nil, []*fakeBroker{site, noc})
		defer stop()
		synctest.Wait()
		begin := time.Now()
		c := callOf(29500 * time.Millisecond)
		c.Key.Undo = true
		if o := h.Do(t.Context(), c, nil); o.Result != plugins.Unknown {
			t.Errorf("%+v", o)
		}
		for _, b := range []*fakeBroker{site, noc} {
			got := b.commands()
			if len(got) != 3 {
				t.Fatalf("%s got %d commands, want 3: none after the receipt", b.name, len(got))
			}
			for i, m := range got {
				if d := m.at.Sub(begin); d != time.Duration(i)*5*time.Second {
					t.Errorf("%s: command %d came after %v", b.name, i, d)
				}
				for k, v := range map[string]any{"key": "evacuate/b3/2b/move/41/undo/0", "undo": true, "mark": "real", "stage": "2b", "step": "move", "episode": 41.0, "site": "pangyo", "agent": "rack1",
					"journaled": true, "reply_to": replyTo, "epoch": 7.0, "instance": "ab", "ttl_s": []float64{30, 25, 20}[i]} {
					if m.body[k] != v {
						t.Errorf("%s: command %d has %s = %v, want %v", b.name, i, k, m.body[k], v)
					}
				}
				if m.topic != "site/failover/cmd" || m.body["why"].(map[string]any)["votes"] == nil {
					t.Errorf("%s %v", m.topic, m.body)
				}
			}
		}
	})
}

// A broker that is away, that never acknowledges or that loses its session holds up nothing: the
// other has the command at once; and who comes back is sent it at once.
func TestTroubledBrokersHoldUpNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		away := &fakeBroker{name: "away", refuse: errors.New("no route")}
		mute := &fakeBroker{name: "mute", publish: func(ctx context.Context, _ string, _ []byte) error { <-ctx.Done(); return ctx.Err() }}
		site := &fakeBroker{name: "site"}
		h, _, stop := newHook(t, nil, []*fakeBroker{away, mute, site})
		defer stop()
		time.Sleep(time.Hour)
		synctest.Wait()
		tries := len(away.attempts())
		if last := away.attempts()[tries-1].Sub(away.attempts()[tries-2]); tries > 1500 || tries < 360 || last > backoffMax+time.Second {
			t.Errorf("%d tries in an hour, the last after %v", tries, last)
		}
		begin := time.Now()
		out := make(chan plugins.Outcome, 1)
		go func() { out <- h.Do(t.Context(), callOf(time.Minute), nil) }()
		synctest.Wait()
		if len(away.attempts()) != tries+1 {
			t.Errorf("a broker in its pause was not tried for the call")
		}
		if got := site.commands(); len(got) != 1 || !got[0].at.Equal(begin) {
			t.Fatalf("site got %v", got)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		site.mu.Lock()
		site.consume = answering("failover-1 accept")
		site.sessions[0].lose()
		site.mu.Unlock()
		o := <-out
		stop()
		got := site.commands()
		if o.Result != plugins.Done || len(site.sessions) != 2 || len(got) != 2 || got[1].at.Sub(begin) > time.Second+2*backoffMin {
			t.Errorf("%+v after %v, %d sessions, commands at %v", o, o.Elapsed, len(site.sessions), got)
		}
		if n := len(mute.commands()); n != 1 {
			t.Errorf("the mute broker was sent %d", n)
		}
		if site.closed != 2 || mute.closed != 1 {
			t.Errorf("closed %d and %d sessions, want 2 and 1", site.closed, mute.closed)
		}
	})
}

// Nobody is there: Unknown, in time, and it says which broker is how.
func TestNoBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		away := &fakeBroker{name: "away", refuse: errors.New("no route")}
		denies := &fakeBroker{name: "denies", deny: errors.New("refused by the broker")}
		h, _, stop := newHook(t, nil, []*fakeBroker{away, denies})
		defer stop()
		o := h.Do(t.Context(), callOf(3*time.Second), nil)
		if o.Result != plugins.Unknown || o.Elapsed != 3*time.Second || !strings.Contains(o.Detail, "away: no session: no route") ||
			!strings.Contains(o.Detail, "denies: no session: the answers on "+replyTo+" cannot be heard: refused by the broker") {
			t.Errorf("%+v", o)
		}
		if len(denies.commands()) != 0 {
			t.Error("sent where no answer can be heard")
		}
		if o := h.Do(t.Context(), callOf(0), nil); o.Result != plugins.Failed {
			t.Errorf("%+v", o)
		}
		begin := time.Now()
		if err := h.Probe(t.Context()); err == nil || !strings.Contains(err.Error(), "no route") || !strings.Contains(err.Error(), "refused by the broker") || time.Since(begin) > probeSessions {
			t.Errorf("probe: %v after %v", err, time.Since(begin))
		}
	})
}

// Evidence that comes after the call, or to an agent that never made it, is told by Run; one that
// comes twice is told twice.
func TestLateEvidence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &fakeBroker{name: "site"}
		_, late, stop := newHook(t, nil, []*fakeBroker{b})
		defer stop()
		synctest.Wait()
		for _, a := range []string{"receipt", "accept", "decline", "done", "done"} {
			b.answer(map[string]any{"key": id, "reply_to": replyTo}, "failover-1", a)
		}
		synctest.Wait()
		if late.names() != "receipt+ accept+ decline- done+ done+" {
			t.Errorf("told %q", late.names())
		}
		if ev := late.all[3]; ev.Key != callOf(0).Key || ev.Detail != "failover-1 says done: because done" {
			t.Errorf("%+v", ev)
		}
	})
}

// What must not count is counted and dropped, with one line in the log a minute.
func TestDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		b := &fakeBroker{name: "site", consume: answering("failover-1 accept")}
		h, late, stop := newHook(t, slog.New(slog.NewTextHandler(&log, nil)), []*fakeBroker{b}, func(c *Config) { c.Drill = "native" })
		defer stop()
		if o := h.Do(t.Context(), callOf(time.Minute), nil); o.Result != plugins.Done {
			t.Fatal(o)
		}
		json := func(key, who, what string) string {
			return fmt.Sprintf(`{"key":%q,"consumer":%q,"answer":%q}`, key, who, what)
		}
		old := strings.Replace(id, "/41/", "/40/", 1)
		drillReply := "firebreak/1/drill/receipt/pangyo/b3/rack1/failover"
		for _, m := range []struct {
			topic, text string
			retained    bool
			reason      string
		}{
			{replyTo, json(id, "failover-1", "done"), true, "retained"},
			{replyTo, "{", false, "malformed"},
			{replyTo, `[]`, false, "malformed"},
			{replyTo, `{"consumer":"failover-1","answer":"done"}`, false, "malformed"},
			{replyTo, json("a/b", "failover-1", "done"), false, "malformed"},
			{replyTo, json(id, "failover-1", "maybe"), false, "malformed"},
			{replyTo, json("drill/"+id, "failover-1", "done"), false, "malformed"},
			{drillReply, json(id, "failover-1", "done"), false, "malformed"},
			{replyTo, strings.Repeat(" ", maxReply) + json(id, "failover-1", "done"), false, "malformed"},
			{replyTo, json(id, "failover-2", "done"), false, "unknown consumer"},
			{replyTo, json(id, "", "done"), false, "unknown consumer"},
			{replyTo, json(old, "failover-1", "done"), false, "stale"},
			{replyTo, json("probe/x", "failover-1", "probe"), false, "stale"},
		} {
			before := h.drops.count(m.reason)
			b.say(m.topic, m.text, m.retained)
			synctest.Wait()
			if h.drops.count(m.reason) != before+1 {
				t.Errorf("%s was not dropped as %s: %v", m.text, m.reason, h.drops.n)
			}
		}
		if late.names() != "" {
			t.Errorf("told %q", late.names())
		}
		for range 10 * maxReplies {
			b.say(replyTo, json(id, "failover-1", "done"), false)
			synctest.Wait()
		}
		if n := len(strings.Fields(late.names())); n != budgetMax || h.drops.count("too many") != 10*maxReplies-budgetMax {
			t.Errorf("%d of a flood were told, want %d: %v", n, budgetMax, h.drops.n)
		}
		time.Sleep(time.Minute)
		b.say(replyTo, "{", false)
		synctest.Wait()
		stop()
		if n := strings.Count(log.String(), "were dropped"); n != 2 {
			t.Errorf("%d lines, want 2:\n%s", n, log.String())
		}
	})
}

// A drill goes below drill and is answered there; its evidence is marked, and the
// real call that follows under the same key is sent (S7).
func TestDrill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for drill, change := range map[string]func(*Config){"": func(*Config) {}, "dry-run": func(c *Config) { c.Drill = "dry-run" }, "native": func(c *Config) { c.Drill = "native" },
			"own": func(c *Config) { c.Drill, c.DrillTopic, c.ReplyTopic = "native", "firebreak/1/drill/x", "answers" }} {
			b := &fakeBroker{name: "site", consume: answering("failover-1 accept", "failover-1 done")}
			h, late, stop := newHook(t, nil, []*fakeBroker{b}, change)
			synctest.Wait()
			c := callOf(time.Minute)
			c.Mark = plugins.MarkDry
			if o := h.Do(t.Context(), c, nil); o.Result != plugins.Skipped || !strings.Contains(o.Detail, "would publish to site/failover/cmd") {
				t.Errorf("dry: %+v", o)
			}
			c.Mark = plugins.MarkDrill
			var s sightings
			o := h.Do(t.Context(), c, s.seen)
			got := b.commands()
			if drill == "" || drill == "dry-run" {
				if o.Result != plugins.Skipped || len(got) != 0 || strings.Contains(o.Detail, "S7") != (drill == "") {
					t.Errorf("%q: %+v, sent %v", drill, o, got)
				}
			} else {
				topic := map[string]string{"native": "firebreak/1/drill/site/failover/cmd", "own": "firebreak/1/drill/x"}[drill]
				if o.Result != plugins.Done || len(got) != 1 || got[0].topic != topic || got[0].body["mark"] != "drill" || got[0].body["key"] != "drill/"+id ||
					!strings.HasPrefix(got[0].body["reply_to"].(string), "firebreak/1/drill/") || !strings.HasPrefix(s.names(), "accept+") {
					t.Errorf("%q: %+v, sent %v, seen %s", drill, o, got, s.names())
				}
			}
			synctest.Wait()
			if drill == "native" { // late evidence concerns the drill alone, and says so
				b.say("firebreak/1/drill/receipt/pangyo/b3/rack1/failover", `{"key":"drill/`+id+`","consumer":"failover-1","answer":"done","detail":"late"}`, false)
				synctest.Wait()
				if late.names() == "" || !strings.Contains(late.all[len(late.all)-1].Detail, "late") {
					t.Errorf("late evidence of a drill was dropped: %q", late.names())
				}
			}
			if i := slices.IndexFunc(late.all, func(ev plugins.Evidence) bool { return ev.Mark != plugins.MarkDrill }); i >= 0 {
				t.Errorf("%q: the real plan was told %+v", drill, late.all[i])
			}
			c.Mark = plugins.MarkReal
			if o := h.Do(t.Context(), c, nil); o.Result != plugins.Done || o.Attached {
				t.Errorf("%q: the real call: %+v", drill, o)
			}
			stop()
		}
	})
}

// Nothing of a process that acts on simulated readings leaves the drill topics: not a real call, its
// reply topic, nor a probe (S7).
func TestSimulatedKeepsToDrillTopics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, drill := range []string{"", "native"} {
			b := &fakeBroker{name: "site", consume: answering("failover-1 accept", "failover-1 done")}
			h, _, stop := newHook(t, nil, []*fakeBroker{b}, func(c *Config) { c.Simulated, c.Drill, c.AskConsumers = true, drill, true })
			synctest.Wait()
			marks := []plugins.Mark{plugins.MarkReal}
			if drill == "native" {
				marks = append(marks, plugins.MarkDrill)
			}
			for _, mark := range marks {
				c := callOf(time.Minute)
				c.Mark = mark
				var s sightings
				if o := h.Do(t.Context(), c, s.seen); o.Result != plugins.Done || !strings.HasPrefix(s.names(), "accept+") {
					t.Errorf("%q, %v: %+v, seen %s", drill, mark, o, s.names())
				}
			}
			_ = h.Probe(t.Context()) // the consumer does not know probes
			if n := len(b.commands()); n != len(marks)+1 {
				t.Errorf("%q: %d messages", drill, n)
			}
			for _, m := range b.commands() {
				if m.topic != "firebreak/1/drill/site/failover/cmd" || !strings.HasPrefix(m.body["reply_to"].(string), "firebreak/1/drill/") {
					t.Errorf("%q: sent to %s: %v", drill, m.topic, m.body)
				}
			}
			stop()
		}
	})
}

// A broker that never acknowledges is sent the command again all the same.
func TestMuteBrokerIsSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mute := &fakeBroker{name: "mute", publish: func(ctx context.Context, _ string, _ []byte) error { <-ctx.Done(); return ctx.Err() }}
		h, _, stop := newHook(t, nil, []*fakeBroker{mute})
		defer stop()
		synctest.Wait()
		o := h.Do(t.Context(), callOf(12*time.Second), nil)
		if n := len(mute.commands()); n != 3 || o.Result != plugins.Unknown || o.Elapsed != 12*time.Second || !strings.Contains(o.Detail, "mute: not acknowledged") {
			t.Errorf("sent %d times, want 3: %+v", n, o)
		}
	})
}

// A panic on the way to one broker costs that way and no other; one of a part that runs between the calls
// ends Run with an error, with all that it has started, and not the process (S22).
func TestPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad, good := &fakeBroker{name: "bad"}, &fakeBroker{name: "good", consume: answering("failover-1 accept")}
		bad.publish = func(context.Context, string, []byte) error { panic("on purpose") }
		h, _, stop := newHook(t, nil, []*fakeBroker{bad, good})
		synctest.Wait()
		if o := h.Do(t.Context(), callOf(30*time.Second), nil); o.Result != plugins.Done {
			t.Errorf("%+v", o)
		}
		stop()

		h.links[0].b.Connect = func(context.Context) (Session, error) { panic("on purpose") }
		ended := make(chan error, 1)
		go func() { ended <- h.Run(t.Context(), nil) }()
		if err := <-ended; err == nil || !strings.Contains(err.Error(), "on purpose") {
			t.Errorf("Run ends with %v", err)
		}
	})
}
