package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDesk: the room on a desk of docs/first-hour.md, as a person goes through it, but for the directory and the
// ports. Without hardware, broker and root a plan acts, and a killed agent takes it up where it stood.
func TestDesk(t *testing.T) {
	dir := t.TempDir()
	ups, turnUPS, _ := served(t, "apc-smart-ups", "--listen", "127.0.0.1:0")
	probe, turnProbe, _ := served(t, "xy-md02", "--listen", "127.0.0.1:0")
	text := readFile(t, "configs/desk.toml")
	for _, shown := range []string{"127.0.0.1:1502", "127.0.0.1:1503", "/tmp/firebreak-desk"} {
		if !strings.Contains(text, shown) || !strings.Contains(readFile(t, "docs/first-hour.md"), strings.TrimPrefix(shown, "127.0.0.1:")) {
			t.Errorf("configs/desk.toml or docs/first-hour.md has no %s", shown)
		}
	}
	b := &box{file: filepath.Join(dir, "desk.toml")}
	text = strings.NewReplacer("127.0.0.1:1502", strings.TrimPrefix(ups, "tcp://"), "127.0.0.1:1503", strings.TrimPrefix(probe, "tcp://"), "/tmp/firebreak-desk", dir).Replace(text)
	if err := os.WriteFile(b.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out, errs := firebreak("check", "-c", b.file); code != 0 || errs != "" || !strings.Contains(out, "the plan fits") {
		t.Fatalf("check: exit %d, %s", code, errs)
	}
	agent := b.agent(t)
	until(t, 0, "plan leave: armed, stage 0", "status", "-c", b.file)
	fmt.Fprintln(turnProbe, "temperature=50")
	until(t, 0, "plan leave: armed, stage 1", "status", "-c", b.file)
	fmt.Fprintln(turnUPS, "battery.temperature=50")
	until(t, 0, "plan leave: armed, stage 2a", "status", "-c", b.file)
	until(t, 0, "freeze                   done", "status", "-c", b.file)
	if called, err := os.ReadFile(filepath.Join(dir, "called")); string(called) != "tell\nfreeze\n" {
		t.Errorf("the hook was called for %q, %v", called, err)
	}
	_ = agent.Process.Kill()
	_ = agent.Wait()
	b.agent(t)
	until(t, 0, "plan leave: armed, stage 2a", "status", "-c", b.file)
	until(t, 1, "clear time", "reset", "leave", "-c", b.file, "--by", "anna")
	if called, _ := os.ReadFile(filepath.Join(dir, "called")); string(called) != "tell\nfreeze\n" {
		t.Errorf("after a kill the hook was called for %q", called)
	}
}
