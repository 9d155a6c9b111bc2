package plugins

import (
	"encoding/json"
	"testing"
)

func TestKeyParsesBack(t *testing.T) {
	for _, k := range []Key{
		{Plan: "evacuate", Zone: "b3", Stage: SwitchOver, Step: "drain", Episode: 41},
		{Plan: "p", Zone: "z", Stage: Isolate, Step: "s", Episode: 1<<64 - 1, Undo: true, Attempt: 1<<16 - 1},
	} {
		got, err := ParseKey(k.String())
		if err != nil || got != k {
			t.Errorf("%v parses to %v, %v", k, got, err)
		}
	}
	for _, s := range []string{"", "a/b/2b/c/1/do", "a/b/9/c/1/do/0", "a/b/2b/c/x/do/0", "a/b/2b/c/1/maybe/0", "a/b/2b/c/1/do/65536"} {
		if k, err := ParseKey(s); err == nil {
			t.Errorf("%q parses to %v", s, k)
		}
	}
}

func TestStages(t *testing.T) {
	for s := Watch; s <= Isolate; s++ {
		if got, err := ParseStage(s.String()); err != nil || got != s {
			t.Errorf("%v parses to %v, %v", s, got, err)
		}
		if s.Latches() != (s >= Prepare) || s.Irreversible() != (s >= Shed) {
			t.Errorf("stage %v: latches %v, irreversible %v", s, s.Latches(), s.Irreversible())
		}
	}
}

// A drill's call and the real one never share an identity (S7).
func TestDrillHasItsOwnID(t *testing.T) {
	c := Call{Key: Key{Plan: "p", Zone: "z", Stage: Notify, Step: "s", Episode: 7}}
	drill := c
	drill.Mark = MarkDrill
	if c.ID() != c.Key.String() || drill.ID() == c.ID() {
		t.Errorf("real %q, drill %q", c.ID(), drill.ID())
	}
}

// A Why that is no JSON is told as text: a fault in the explanation must not stop the action.
func TestBodyTakesAnyWhy(t *testing.T) {
	for _, why := range []string{"", `{"k":2}`, `{broken`} {
		b, err := json.Marshal(Call{Why: []byte(why)}.Body("site", "agent"))
		if err != nil || !json.Valid(b) {
			t.Errorf("why %q: %s, %v", why, b, err)
		}
	}
}
