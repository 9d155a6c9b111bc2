package guard

import (
	"context"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"firebreak/agent/response"
	"firebreak/plugins"
)

// poisedHook gets calls ready in the way of the test, and notes what is seen of a leave at its end.
type poisedHook struct {
	*fakeHook
	ready func(context.Context, plugins.Call, plugins.Leave) plugins.Outcome

	mu   sync.Mutex
	said []string
}

func (h *poisedHook) DoPoised(ctx context.Context, c plugins.Call, leave plugins.Leave, _ func(plugins.Evidence)) plugins.Outcome {
	return h.ready(ctx, c, leave)
}

// wait is a hook that is ready, and tells how it has ended: by the channel and by the pipe.
func (h *poisedHook) wait(ctx context.Context, c plugins.Call, leave plugins.Leave) plugins.Outcome {
	how := "given"
	select {
	case <-leave.Given:
	case <-ctx.Done():
		how = "dropped"
	}
	b, err := io.ReadAll(leave.Pipe)
	h.mu.Lock()
	h.said = append(h.said, fmt.Sprint(how, " ", len(b), " ", err, " ", c.Journaled))
	h.mu.Unlock()
	if how == "dropped" {
		return plugins.Outcome{Result: plugins.Failed, Detail: "nobody wants to know"}
	}
	return plugins.Outcome{Result: plugins.Done}
}

func (h *poisedHook) told() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.said...)
}

func withPoised(t *testing.T, j *fakeJournal, steps []response.Step, ready func(*poisedHook) func(context.Context, plugins.Call, plugins.Leave) plugins.Outcome) (*world, *poisedHook) {
	h := &poisedHook{fakeHook: &fakeHook{}}
	h.ready = ready(h)
	return begin(t, rules(steps...), nil, func(c *Config) { c.Journal, c.Hooks = j, []plugins.Hook{h} }), h
}

var oneStep = []response.Step{{Name: "drain", Retries: 1}}

func waits(h *poisedHook) func(context.Context, plugins.Call, plugins.Leave) plugins.Outcome {
	return h.wait
}

// A hook that has its call ready gets its leave with the record, both ways; without the record in time it is let go, and
// the call is made anew and says so.
func TestLeaveComesWithTheRecord(t *testing.T) {
	for _, c := range []struct {
		name  string
		lag   time.Duration
		ready string
		calls int // by the plain way
	}{
		{"durable", 99 * time.Millisecond, "given 1 <nil> true", 0},
		{"late", 101 * time.Millisecond, "dropped 0 <nil> true", 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			j := newFakeJournal(0)
			w, h := withPoised(t, j, oneStep, waits)
			pass(time.Second)
			j.set(func() { j.lag = c.lag })
			w.read(smoke, 5)
			pass(98 * time.Millisecond)
			if got := h.told(); len(got) != 0 || len(h.seen()) != 0 {
				t.Errorf("%s: before the record: ready hook %q, %d calls", c.name, got, len(h.seen()))
			}
			pass(time.Second)
			w.want("drain", "done")
			if got := h.told(); len(got) != 1 || got[0] != c.ready {
				t.Errorf("%s: the ready hook saw %q, want %q", c.name, got, c.ready)
			}
			if calls := h.seen(); len(calls) != c.calls || c.calls == 1 && calls[0].Journaled {
				t.Errorf("%s: calls %+v", c.name, calls)
			}
			if s := w.view()["drain"]; s.Journaled != (c.calls == 0) || s.Attempt != 0 {
				t.Errorf("%s: step %+v", c.name, s)
			}
			w.end()
		})
	}
}

// What a hook says, or that it panics, before its leave is heard after it.
func TestSaidBeforeTheLeave(t *testing.T) {
	for name, say := range map[string]func() plugins.Outcome{
		"says":   func() plugins.Outcome { return plugins.Outcome{Result: plugins.Done} },
		"panics": func() plugins.Outcome { panic("boom") },
	} {
		synctest.Test(t, func(t *testing.T) {
			j, n := newFakeJournal(0), 0
			w, _ := withPoised(t, j, oneStep, func(h *poisedHook) func(context.Context, plugins.Call, plugins.Leave) plugins.Outcome {
				return func(ctx context.Context, c plugins.Call, l plugins.Leave) plugins.Outcome {
					if n++; n == 1 {
						return say()
					}
					return h.wait(ctx, c, l)
				}
			})
			pass(time.Second)
			j.set(func() { j.lag = 50 * time.Millisecond })
			w.read(smoke, 5)
			pass(49 * time.Millisecond)
			w.want("drain", "starting")
			pass(time.Minute)
			w.want("drain", "done")
			if s := w.view()["drain"]; s.Attempt != 0 || (n == 2) != (name == "panics") {
				t.Errorf("%s: step %+v, got ready %d times", name, s, n)
			}
			w.end()
		})
	}
}

// One that hangs while it gets ready is given up like any other, and holds up nothing: neither the loop, nor
// another step, nor the stop.
func TestHangsWhileItGetsReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		w, _ := withPoised(t, newFakeJournal(0), []response.Step{{Name: "drain"}, {Name: "other"}}, func(h *poisedHook) func(context.Context, plugins.Call, plugins.Leave) plugins.Outcome {
			return func(ctx context.Context, c plugins.Call, l plugins.Leave) plugins.Outcome {
				if c.Key.Step == "drain" {
					<-release
				}
				return h.wait(ctx, c, l)
			}
		})
		w.read(smoke, 5)
		pass(time.Second)
		w.want("drain", "running")
		w.want("other", "done")
		pass(10*time.Second + hookMargin + stopMargin)
		w.want("drain", "failed")
		close(release)
		w.end()
	})
}

// A guard that stops tells those that are ready that nothing comes of it, and nobody what they say then.
func TestStopBeforeTheLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newFakeJournal(0)
		w, h := withPoised(t, j, oneStep, waits)
		pass(time.Second)
		j.set(func() { j.lag = -1 })
		w.read(smoke, 5)
		pass(50 * time.Millisecond)
		w.end()
		if got := h.told(); len(got) != 1 || got[0] != "dropped 0 <nil> true" || len(h.seen()) != 0 {
			t.Errorf("the ready hook saw %q, %d calls", got, len(h.seen()))
		}
	})
}
