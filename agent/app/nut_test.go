package app

import (
	"os"
	"strings"
	"testing"
	"time"

	"firebreak/agent/config"
	"firebreak/plugins"
	"firebreak/plugins/hooks/nut"
)

// TestNUTExample: the configuration of docs/hooks-nut.md, added to the annotated example, is one
// without a fault, and the hook can be built with it.
func TestNUTExample(t *testing.T) {
	doc, err := os.ReadFile("../../docs/hooks-nut.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(doc), "```toml\n")
	example, _, closed := strings.Cut(rest, "\n```")
	if !ok || !closed {
		t.Fatal("docs/hooks-nut.md has no block of toml")
	}
	_, text := room(t)
	c, faults := config.Parse("test.toml", []byte(string(text)+"\n"+example+"\n"), Kinds())
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	h := c.Hooks[len(c.Hooks)-1]
	k, ok := h.Config.(nut.Config)
	if !ok || h.Name != "power-down" || len(k.UPS) != 2 || len(k.Alias) != 1 || k.UPS[1].MinClients != 4 || k.UPS[0].Contacts[0].Point != "duct-1.smoke.alarm" || k.Drill != "dry-run" {
		t.Fatalf("hook %+v", h)
	}
	if tr, err := k.Traits("rack12"); err != nil || !tr.Irreversible {
		t.Errorf("traits %+v, %v", tr, err)
	}
	hooks, err := buildHooks(c, &devicesByName{}, "/nonexistent", t.TempDir(), time.Now, nil)
	if err != nil {
		t.Fatal(err)
	}
	built := hooks[len(hooks)-1]
	if _, ok := built.(plugins.Runner); !ok {
		t.Error("the hook would not be run")
	}
	if _, ok := built.(plugins.Publisher); !ok {
		t.Error("the hook would be told nothing")
	}
	k.UPS[0].Contacts[0].Point = "duct-1.nothing"
	if _, err := buildHooks(c, &devicesByName{}, "/nonexistent", t.TempDir(), time.Now, nil); err == nil || !strings.Contains(err.Error(), `no point "duct-1.nothing"`) {
		t.Errorf("a point that is not there: %v", err)
	}
}

// TestNUTFaults: all at once, each at its place.
func TestNUTFaults(t *testing.T) {
	_, text := room(t)
	bad := string(text) + `
[[hook]]
name = "n"
kind = "nut"
stands = { zone = "x", feed = "B" }
drill = "native"
odd = 1
[[hook.ups]]
name = "a b"
dust = true
plans = ["evacuate"]
[[hook.ups]]
name = "rack1"
min_clients = 0
vars = { "ups.status" = "p" }
contacts = [{ n = 1, x = 100, point = "p", config = "open" }]
[[hook.alias]]
listen = "127.0.0.1:1"
ups = "nobody"
`
	_, faults := config.Parse("f", []byte(bad), Kinds())
	base := strings.Count(string(text), "\n") + 1
	for want, line := range map[string]int{`drill "native"`: 5, `unknown key "odd"`: 6, "it is no name of a UPS": 7, `unknown key "dust"`: 9,
		`"min_clients" is 0`: 13, "give either plans": 11, `vars: "ups.status" is set by the hook`: 14, `"x" is 100`: 15, `"config" cannot be "open"`: 15, `there is no UPS "nobody"`: 16} {
		found := false
		for _, f := range faults {
			found = found || strings.Contains(f.Text, want) && f.Line == base+line
		}
		if !found {
			t.Errorf("no fault %q at line %d+%d: %v", want, base, line, faults)
		}
	}
}
