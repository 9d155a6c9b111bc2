package guard

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"firebreak/agent/core"
	"firebreak/agent/response"
	"firebreak/plugins"
	"firebreak/sensors"
)

// From a reading to the outcome of a hook: every effect, each in its order.
func TestEffectsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newFakeJournal(7 * time.Millisecond)
		w := begin(t, rules(response.Step{Name: "drain"}), nil, func(c *Config) { c.Journal = j })
		pass(time.Second)
		start := time.Now()
		w.read(smoke, 5)
		pass(time.Second)
		w.want("drain", "done")
		if got := w.hook.times()[0].Sub(start); got != 7*time.Millisecond || !w.hook.seen()[0].Journaled {
			t.Errorf("the hook started after %v, journaled %v; want with its record, after 7ms", got, w.hook.seen()[0].Journaled)
		}
		ks := kinds(t, j.recovered())
		from := slices.Index(ks, "open")
		if want := []string{"open", "stage1", "stage2a", "stage2b", "drain starting"}; from < 0 || !slices.Equal(ks[from:from+5], want) || ks[0] != "boot" {
			t.Errorf("journal %v, want %v after the boot", ks, want)
		}
		if i, k := slices.Index(ks, "drain running"), slices.Index(ks, "drain done"); i < 0 || k < i {
			t.Errorf("journal %v: running comes before done", ks)
		}
		var told []string
		for _, u := range w.pub.got {
			switch {
			case u.Event != nil && u.Event.Type == plugins.EventHookEnded: // told by the hook's goroutine, in its own time
			case u.Event != nil:
				told = append(told, u.Event.Type)
			case u.State != nil:
				told = append(told, "state")
			}
			if u.Wall.IsZero() {
				t.Error("an update without a time")
			}
		}
		if want := []string{"stage.opened", "stage.opened", "stage.opened", "step.starting", "state", "step.running", "step.done"}; !slices.Equal(told, want) {
			t.Errorf("told %v, want %v", told, want)
		}
		// The journal alone leads to the same plan.
		rest := j.recovered()
		w.end()
		live := w.c.Core.View(w.c.Clock.Now(), "evacuate")
		rec, err := Recover(rules(response.Step{Name: "drain"}), rest, nil, w.c.Clock.Now(), "boot", false, time.Now())
		if err != nil || len(rec.Notes) > 0 || rec.Epoch != 7 {
			t.Fatalf("recover: %v, notes %v, epoch %d", err, rec.Notes, rec.Epoch)
		}
		if got := rec.Core.View(w.c.Clock.Now(), "evacuate"); fmt.Sprint(got.Steps, got.Stage, got.Episode) != fmt.Sprint(live.Steps, live.Stage, live.Episode) {
			t.Errorf("recovered %+v, want %+v", got, live)
		}
	})
}

// A hook that neither returns nor obeys is given up, and changes no other.
func TestHungHook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release, hung := make(chan struct{}), []string{"s000", "s001", "s100", "s199"}
		h := &fakeHook{do: func(_ context.Context, c plugins.Call, _ func(plugins.Evidence)) plugins.Outcome {
			if slices.Contains(hung, c.Key.Step) {
				<-release
			}
			return plugins.Outcome{Result: plugins.Done}
		}}
		steps := make([]response.Step, 200)
		w := begin(t, rules(steps...), nil, func(c *Config) { c.Hooks = []plugins.Hook{h} })
		pass(time.Second)
		start := time.Now()
		w.read(smoke, 5)
		pass(time.Second)
		if n := len(h.seen()); n != 200 {
			t.Fatalf("%d of 200 hooks were called", n)
		}
		for i, at := range h.times() {
			if d := at.Sub(start); d > 0 {
				t.Errorf("hook %d started %v late", i, d)
			}
		}
		for name, s := range w.view() {
			if want := map[bool]string{true: "running", false: "done"}[slices.Contains(hung, name)]; s.State != want {
				t.Errorf("step %s is %s, want %s", name, s.State, want)
			}
		}
		pass(10*time.Second + hookMargin + stopMargin)
		w.want("s000", "failed")
		if d := w.view()["s000"].Detail; !strings.Contains(d, "did not return") {
			t.Errorf("detail %q", d)
		}
		close(release)
		w.end()
	})
}

// A hook that panics has an unknown end; it is tried again under its key.
func TestPanickingHook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		h := &fakeHook{do: func(context.Context, plugins.Call, func(plugins.Evidence)) plugins.Outcome {
			if n++; n == 1 {
				panic("boom")
			}
			return plugins.Outcome{Result: plugins.Done}
		}}
		w := begin(t, rules(response.Step{Name: "drain", Retries: 1}), nil, func(c *Config) { c.Hooks = []plugins.Hook{h} })
		w.read(smoke, 5)
		pass(time.Minute)
		w.want("drain", "done")
		if c := h.seen(); len(c) != 2 || c[0].Key != c[1].Key {
			t.Errorf("calls %+v, want two under one key", c)
		}
		w.end()
	})
}

func TestOrders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, rules(response.Step{Name: "drain"}), nil, nil)
		order := func(k core.OrderKind, name string) error {
			return w.g.Order(t.Context(), core.Order{Kind: k, Name: name, By: "kim", Channel: core.AtTheBox})
		}
		w.read(smoke, 5)
		w.read(heat, 20)
		pass(time.Second)
		if err := order(core.ResetPlan, "evacuate"); err == nil || !strings.Contains(err.Error(), "smoke@asd") {
			t.Errorf("reset in a fire: %v", err)
		}
		if err := order(core.AckAlarm, "smoke"); err != nil {
			t.Error(err)
		}
		if err := order(core.AckAlarm, "smoke"); err == nil {
			t.Error("acknowledged twice")
		}
		if err := order("nonsense", ""); err == nil {
			t.Error("nonsense was carried out")
		}
		for range 650 {
			w.read(smoke, 0)
			w.read(heat, 20)
			pass(time.Second)
		}
		if err := order(core.ResetPlan, "evacuate"); err != nil {
			t.Error(err)
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if err := w.g.Order(gone, core.Order{}); err == nil && gone.Err() != nil {
			t.Error("an order of nobody was carried out")
		}
		w.end()
		if len(w.g.replies) != 0 {
			t.Errorf("%d orders were not answered", len(w.g.replies))
		}
	})
}

// Evidence reaches its own step only, whatever key the hook names.
func TestEvidence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &fakeHook{do: func(_ context.Context, c plugins.Call, seen func(plugins.Evidence)) plugins.Outcome {
			if c.Key.Step == "a" {
				k := c.Key
				k.Step = "b"
				seen(plugins.Evidence{Key: k, Name: "x", OK: true})
				seen(plugins.Evidence{Key: k, Name: "x", OK: true})
			}
			return plugins.Outcome{Result: plugins.Done}
		}}
		w := begin(t, rules(response.Step{Name: "a", Evidence: response.ByHook}, response.Step{Name: "b", Evidence: response.ByHook}), nil,
			func(c *Config) { c.Hooks = []plugins.Hook{h} })
		w.read(smoke, 5)
		pass(time.Second)
		w.want("a", "done")
		w.want("b", "working")
		late := plugins.Evidence{Key: h.seen()[1].Key, Name: "x", OK: true, Mark: plugins.MarkDrill}
		if late.Key.Step != "b" {
			late.Key = h.seen()[0].Key
		}
		w.g.Post(t.Context(), core.Event{Kind: core.Seen, Evidence: late}) // of a drill: it is none of the real plan (S7)
		pass(time.Second)
		w.want("b", "working")
		late.Mark = plugins.MarkReal
		w.g.Post(t.Context(), core.Event{Kind: core.Seen, Evidence: late})
		pass(time.Second)
		w.want("b", "done")
		w.end()
	})
}

// More results than the queue holds wait for the loop; none is lost.
func TestFullQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var hold atomic.Bool
		h := &fakeHook{do: func(_ context.Context, _ plugins.Call, seen func(plugins.Evidence)) plugins.Outcome {
			hold.Store(true) // the next turn of the loop stands still
			seen(plugins.Evidence{Name: "x"})
			return plugins.Outcome{Result: plugins.Done}
		}}
		steps := make([]response.Step, eventQueue+50)
		w := begin(t, rules(steps...), nil, func(c *Config) {
			c.Hooks = []plugins.Hook{h}
			c.Alive = func() {
				if hold.Load() {
					<-release
				}
			}
		})
		w.read(smoke, 5)
		synctest.Wait()
		if n := len(w.g.in); n != eventQueue {
			t.Fatalf("%d results wait, want a full queue of %d", n, eventQueue)
		}
		close(release)
		pass(time.Second)
		for name, s := range w.view() {
			if s.State != "done" {
				t.Fatalf("step %s is %s", name, s.State)
			}
		}
		w.end()
	})
}

// Countdowns scale with the clock; the wait for the journal is real time.
func TestScaledClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newFakeJournal(-1)
		w := begin(t, rules(response.Step{Name: "drain"}, response.Step{Name: "hosts", Stage: plugins.Shed}), nil, func(c *Config) {
			c.Clock, c.Journal = sensors.NewScaledClock(sensors.Mono(1000*time.Second), 60), j
		})
		pass(time.Second)
		start := time.Now()
		w.read(smoke, 5)
		w.read(heat, 80)
		pass(time.Second)
		at := map[string]time.Duration{}
		for i, c := range w.hook.seen() {
			at[c.Key.Step] = w.hook.times()[i].Sub(start)
		}
		near := func(d, want time.Duration) bool { return d >= want && d < want+time.Millisecond }
		if !near(at["drain"], 100*time.Millisecond) || !near(at["hosts"], 600*time.Millisecond) {
			t.Errorf("started after %v, want 100ms, and 30s/60 + 100ms", at)
		}
		w.end()
	})
}

// The supervisor's watchdog is fed by the loop, and so stops with it.
func TestAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fed []time.Time
		w := begin(t, rules(response.Step{Name: "drain"}), nil, func(c *Config) {
			c.Alive = func() { fed = append(fed, time.Now()) }
		})
		pass(time.Minute)
		w.end()
		for i := 1; i < len(fed); i++ {
			if d := fed[i].Sub(fed[i-1]); d > maxIdle {
				t.Fatalf("not fed for %v", d)
			}
		}
		if n := len(fed); n < int(time.Minute/maxIdle) || n > 400 {
			t.Errorf("fed %d times in a quiet minute", n)
		}
	})
}

func TestNewRefuses(t *testing.T) {
	c, err := core.New(rules(response.Step{}), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{Core: c}); err == nil {
		t.Error("a guard without the hooks that its rules name")
	}
}
