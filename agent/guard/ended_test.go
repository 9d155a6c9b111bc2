package guard

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"firebreak/agent/response"
	"firebreak/plugins"
)

// What a hook's target said is told once for each call, bounded and as valid text, under its key.
func TestEndOfAHookIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hook := &fakeHook{do: func(context.Context, plugins.Call, func(plugins.Evidence)) plugins.Outcome {
			<-time.After(3 * time.Second)
			return plugins.Outcome{Result: plugins.Done, Detail: "exit 0", ExitCode: 7, Output: "\xff" + strings.Repeat("ä", plugins.MaxOutput)}
		}}
		w := begin(t, rules(response.Step{Name: "freeze"}), nil, func(c *Config) { c.Hooks = []plugins.Hook{hook} })
		pass(time.Second)
		w.read(smoke, 2)
		pass(10 * time.Second)
		w.end()
		var told []plugins.Update
		w.pub.mu.Lock()
		defer w.pub.mu.Unlock()
		for _, u := range w.pub.got {
			if u.Event != nil && u.Event.Type == plugins.EventHookEnded {
				told = append(told, u)
			}
		}
		if len(told) != 1 {
			t.Fatalf("told %d times, want once", len(told))
		}
		ev := told[0].Event
		if calls := hook.seen(); ev.Key != calls[0].Key.String() || ev.Plan != "evacuate" || ev.Step != "freeze" || ev.Stage != "2b" || ev.Detail != "exit 0" {
			t.Errorf("%+v", ev)
		}
		var h plugins.HookEnded
		if err := json.Unmarshal(ev.Data, &h); err != nil {
			t.Fatal(err)
		}
		if h.Result != "done" || h.ExitCode != 7 || h.ElapsedMs != 3000 || h.Journaled {
			t.Errorf("%s %d %d ms, journaled %v", h.Result, h.ExitCode, h.ElapsedMs, h.Journaled)
		}
		if len(h.Output) > plugins.MaxOutput+2 || h.Cut < plugins.MaxOutput || !utf8.ValidString(h.Output) || !strings.HasPrefix(h.Output, "\ufffdä") {
			t.Errorf("output of %d bytes, %d cut", len(h.Output), h.Cut)
		}
	})
}

// A drill's end is told as one (S7).
func TestEndKeepsItsMark(t *testing.T) {
	w := &fakePub{}
	g := &Guard{c: Config{Mark: plugins.MarkDrill}, fans: []*fan{newFan(w, "p", nil)}}
	g.tellEnded(plugins.Call{}, plugins.Outcome{})
	if u := <-g.fans[0].ch; u.Mark != plugins.MarkDrill {
		t.Errorf("mark %v", u.Mark)
	}
}
