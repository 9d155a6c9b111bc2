package guard

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"firebreak/agent/response"
	"firebreak/plugins"
)

// startingOrder is what happens around a start, in its order.
func startingOrder(t *testing.T, change func(*Config)) (got []string, w *world) {
	t.Helper()
	j := newFakeJournal(7 * time.Millisecond)
	h := &fakeHook{do: func(context.Context, plugins.Call, func(plugins.Evidence)) plugins.Outcome {
		got = append(got, "hook")
		return plugins.Outcome{Result: plugins.Done}
	}}
	w = begin(t, rules(response.Step{Name: "drain"}), nil, func(c *Config) {
		c.Journal, c.Hooks = j, []plugins.Hook{h}
		c.Starting = func() {
			got = append(got, fmt.Sprint("starting, journaled ", slices.Contains(kinds(t, j.recovered()), "drain starting")))
		}
		change(c)
	})
	pass(time.Second)
	w.read(heat, 20)
	pass(time.Second)
	w.read(smoke, 5)
	pass(time.Second)
	w.end()
	return got, w
}

// Who makes room for hooks hears of a start before the disk is asked for anything, and again as the hook starts; not of a
// drill's, and not of what starts none.
func TestStarting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got, _ := startingOrder(t, func(*Config) {})
		if want := []string{"starting, journaled false", "starting, journaled true", "hook"}; !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		got, _ := startingOrder(t, func(c *Config) { c.Journal, c.Mark = nil, plugins.MarkDrill })
		if want := []string{"hook"}; !slices.Equal(got, want) {
			t.Errorf("of a drill: %q, want %q", got, want)
		}
	})
}

// That it panics is no fault of the start: the hook starts with its record, and no later.
func TestStartingPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got, w := startingOrder(t, func(c *Config) { c.Starting = func() { panic("no room") } })
		if !slices.Equal(got, []string{"hook"}) || !w.hook.seen()[0].Journaled {
			t.Errorf("%q, %+v", got, w.hook.seen())
		}
		w.want("drain", "done")
	})
}
