package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"firebreak/agent/config"
	"firebreak/plugins"
	"firebreak/plugins/hooks/exec"
)

// The run directory lies in memory: what ended episodes left goes, what may be asked again stays.
func TestSweep(t *testing.T) {
	dir := t.TempDir()
	s := &sweeper{dir: dir, open: func(plan string) uint64 { return map[string]uint64{"p": 5}[plan] }, log: discard()}
	left := func(plan string, episode uint64, mark plugins.Mark, age time.Duration) string {
		id := plugins.Call{Key: plugins.Key{Plan: plan, Zone: "z", Stage: plugins.Notify, Step: "s", Episode: episode}, Mark: mark}.ID()
		k := filepath.Join(dir, "k-"+filepath.Base(t.TempDir())+plan+mark.String()+time.Duration(episode).String())
		if err := os.Mkdir(k, 0o700); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{"call.json": `{"v":1,"id":"` + id + `"}`, "outcome": "x"} {
			if err := os.WriteFile(filepath.Join(k, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		then := time.Now().Add(-age)
		if err := os.Chtimes(filepath.Join(k, "outcome"), then, then); err != nil {
			t.Fatal(err)
		}
		return k
	}
	for _, k := range []struct {
		path string
		stay bool
	}{
		{left("p", 3, plugins.MarkReal, 2*time.Hour), false},
		{left("p", 4, plugins.MarkReal, 2*time.Hour), false},
		{left("p", 4, plugins.MarkDrill, 2*time.Hour), false},
		{left("p", 2, plugins.MarkReal, time.Minute), true},
		{left("p", 5, plugins.MarkReal, 48*time.Hour), true},
		{left("q", 7, plugins.MarkReal, 2*time.Hour), true}, // its records may be lost: it would come again
		{left("q", 6, plugins.MarkReal, 2*time.Hour), false},
		{left("r", 1, plugins.MarkReal, 48*time.Hour), false},
	} {
		defer func() {
			if _, err := os.Stat(k.path); (err == nil) != k.stay {
				t.Errorf("%s: %v, want it to stay: %v", filepath.Base(k.path), err, k.stay)
			}
		}()
	}
	if err := s.sweep(exec.KeepPast, exec.KeepLast); err != nil {
		t.Fatal(err)
	}
}

// Exactly one of action and command, and what a fault of each looks like.
func TestExecKind(t *testing.T) {
	for text, want := range map[string]string{
		`action = "power"`:        "",
		`command = ["/bin/true"]`: "",
		``:                        "command is empty",
		"action = \"power\"\ncommand = [\"/bin/true\"]": "action and command are both there",
		"action = \"power\"\ndir = \"/\"":               "dir belongs to the action",
		"action = \"\"":                                 `"action" must not be empty`,
		"command = \"x\"":                               `"command" must be`,
		"command = [\"/bin/true\"]\nhelper = \"/x\"":    "helper and helper_uid go with action",
	} {
		_, faults := config.Parse("f", []byte("[[hook]]\nname = \"h\"\nkind = \"exec\"\nstands = { zone = \"z\", feed = \"A\" }\n"+text+"\n"), Kinds())
		got := []string{}
		for _, f := range faults {
			if f.Line > 0 && f.Line < 10 && (strings.Contains(f.Text, "action") || strings.Contains(f.Text, "command")) {
				got = append(got, f.Text)
			}
		}
		if want == "" && len(got) > 0 || want != "" && (len(got) != 1 || !strings.Contains(got[0], want)) {
			t.Errorf("%q: %q, want one with %q", text, got, want)
		}
	}
	c := &config.Config{Hooks: []config.Hook{{Config: exec.Config{Action: "a"}}, {Config: exec.Config{Action: "b", Helper: "/x", HelperUID: 7}}, {Config: exec.Config{}}}}
	if got := helpersOf(c); len(got) != 2 || got["/x"] != 7 || got[exec.DefaultHelper] != 0 {
		t.Errorf("%v", got)
	}
}
