package guard

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"firebreak/agent/core"
	"firebreak/agent/response"
	"firebreak/plugins"
)

// A publisher that panics or blocks for ever costs its own messages only.
func TestBadPublishers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		blocks := &fakePub{offer: func(plugins.Update) { <-release }}
		panics := &fakePub{offer: func(plugins.Update) { panic("boom") }}
		good := &fakePub{}
		w := begin(t, rules(response.Step{Name: "drain"}), nil, func(c *Config) {
			c.Publishers = []plugins.Publisher{blocks, blocks, panics, good}
		})
		const reads = fanQueue + 500
		for range reads {
			w.read(heat, 20)
			synctest.Wait()
		}
		w.read(smoke, 5)
		start := time.Now()
		pass(time.Second)
		w.want("drain", "done")
		if d := w.hook.times()[0].Sub(start); d != 0 {
			t.Errorf("the hook was held up for %v", d)
		}
		if n := good.states(); n != reads+1 {
			t.Errorf("the good publisher was told %d of %d", n, reads+1)
		}
		d := w.g.Stats().Dropped
		if d[0] < 500 || d[2] < reads || d[3] != 0 {
			t.Errorf("dropped %v", d)
		}
		start = time.Now()
		err := w.stop()
		if d := time.Since(start); d != stopMargin || err == nil || !strings.Contains(err.Error(), "publisher 0") || strings.Contains(err.Error(), "publisher 3") {
			t.Errorf("stopped after %v with %v, want after %v with the two that hang", d, err, stopMargin)
		}
		close(release)
	})
}

// Stopping is bounded whatever hangs, and says what was left behind.
func TestStopIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		h := &fakeHook{do: func(context.Context, plugins.Call, func(plugins.Evidence)) plugins.Outcome {
			<-release
			return plugins.Outcome{Result: plugins.Failed}
		}}
		j := newFakeJournal(0)
		r := rules(response.Step{Name: "drain", Retries: 3})
		w := begin(t, r, nil, func(c *Config) {
			c.Journal, c.Hooks = j, []plugins.Hook{h}
			for range 3 {
				c.Publishers = append(c.Publishers, &fakePub{offer: func(plugins.Update) { <-release }})
			}
		})
		w.read(smoke, 5)
		pass(time.Second)
		start := time.Now()
		err := w.stop()
		if d := time.Since(start); d > 2*stopMargin || err == nil || !strings.Contains(err.Error(), "left behind") {
			t.Errorf("stopped after %v with %v", d, err)
		}
		if j.snaps != 1 {
			t.Errorf("%d snapshots at the end, want 1", j.snaps)
		}
		if err := w.g.Order(t.Context(), core.Order{Kind: core.ResetPlan, Name: "evacuate", By: "kim", Channel: core.AtTheBox}); err == nil || !strings.Contains(err.Error(), "stopping") {
			t.Errorf("an order after the end: %v", err)
		}
		// What the hook says now is not heard, so its key stands at the next start.
		close(release)
		synctest.Wait()
		rec := j.recovered()
		next := begin(t, r, rec, nil)
		pass(time.Second)
		if c := next.hook.seen(); len(c) != 1 || c[0].Key != h.seen()[0].Key {
			t.Errorf("after the restart: calls %v, want %v", c, h.seen()[0].Key)
		}
		next.end()
	})
}

// A hook that obeys its context lets go at once.
func TestStopIsPrompt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &fakeHook{do: func(ctx context.Context, _ plugins.Call, _ func(plugins.Evidence)) plugins.Outcome {
			<-ctx.Done()
			return plugins.Outcome{Result: plugins.Unknown}
		}}
		w := begin(t, rules(response.Step{Name: "drain"}), nil, func(c *Config) { c.Hooks = []plugins.Hook{h} })
		w.read(smoke, 5)
		pass(time.Second)
		start := time.Now()
		w.end()
		if d := time.Since(start); d != 0 {
			t.Errorf("stopped after %v", d)
		}
	})
}
