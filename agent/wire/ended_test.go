package wire

import (
	"encoding/json"
	"strings"
	"testing"

	"firebreak/plugins"
)

// A message holds 1 KiB of what a hook's target said, and the update, which others share, stays whole.
func TestOutputIsShortInMessages(t *testing.T) {
	data, err := json.Marshal(plugins.NewHookEnded(plugins.Call{}, plugins.Outcome{Result: plugins.Done, Output: strings.Repeat("x", 40_000)}))
	if err != nil {
		t.Fatal(err)
	}
	e := NewEncoder(Identity{Site: "s", Zone: "z", Agent: "a"}, Life{}, nil, nil)
	ev := &plugins.Event{Type: plugins.EventHookEnded, Data: data}
	m, err := e.Encode(plugins.Update{Event: ev})
	if err != nil {
		t.Fatal(err)
	}
	var p EventMessage
	var h plugins.HookEnded
	if err := json.Unmarshal(m.Payload, &p); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(p.Data, &h); err != nil {
		t.Fatal(err)
	}
	if len(h.Output) != maxOutput || h.Cut != 40_000-maxOutput || h.Result != "done" {
		t.Errorf("%d bytes of output, %d cut, result %q", len(h.Output), h.Cut, h.Result)
	}
	if len(ev.Data) < 40_000 {
		t.Errorf("the update itself was cut to %d bytes", len(ev.Data))
	}
	ev.Data = []byte("no JSON")
	if m, err = e.Encode(plugins.Update{Event: ev}); err != nil || strings.Contains(string(m.Payload), "no JSON") {
		t.Errorf("%v %s", err, m.Payload)
	}
}
