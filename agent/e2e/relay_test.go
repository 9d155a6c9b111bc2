//go:build peers

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"text/template"
	"time"
)

// A relay board that we did not write is switched off by a step, and the master that we did not write
// either sees it: relay 3, then relay 4, and no other. A drill writes nothing.
func TestPeerRelayBoard(t *testing.T) {
	port := freePort(t)
	board := startPymodbus(t, "tcp", fmt.Sprint(port), 1)
	board.set(t, 1, 0, 1, 1, 1, 1, 1, 1, 1, 1)
	l := newLab(t, fmt.Sprintf("127.0.0.1:%d", port), "", "")
	tmpl, err := template.ParseFiles("testdata/relay.toml.tmpl")
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if err := tmpl.Execute(&text, l.settings); err != nil {
		t.Fatal(err)
	}
	l.file = filepath.Join(l.Dir, "firebreak.toml")
	if err := os.WriteFile(l.file, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	firebreak := func(args ...string) string {
		t.Helper()
		out, err := exec.Command(binary, append(args, "-c", l.file)...).CombinedOutput()
		if err != nil {
			t.Fatalf("firebreak %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	coils := func() string {
		t.Helper()
		out, err := exec.Command("mbpoll", "-m", "tcp", "-p", fmt.Sprint(port), "-a", "1", "-t", "0", "-r", "1", "-c", "8", "-1", "-q", "127.0.0.1").CombinedOutput()
		if err != nil {
			t.Fatalf("mbpoll: %v\n%s", err, out)
		}
		var b strings.Builder
		for line := range strings.Lines(string(out)) {
			if _, v, ok := strings.Cut(strings.TrimSpace(line), "]:"); ok {
				b.WriteString(strings.TrimSpace(v))
			}
		}
		return b.String()
	}
	if w := firebreak("check", "--writes"); !strings.Contains(w, "relay-3-off of board-1") || !strings.Contains(w, "function 5, coil 2, values [0]") || !strings.Contains(w, "step rack-12-off of stage 2b") {
		t.Errorf("check --writes:\n%s", w)
	}
	start(t, binary, "run", "-c", l.file)
	l.until(t, func() bool { return strings.Contains(l.status(), "plan evacuate: armed, stage 0") })
	if got := coils(); got != "11111111" {
		t.Fatalf("relays %s before anything", got)
	}
	if r := firebreak("drill", "evacuate", "--stage", "2b", "--by", "kim"); !strings.Contains(r, "would send relay-3-off") || coils() != "11111111" {
		t.Errorf("the drill: relays %s\n%s", coils(), r)
	}
	firebreak("trip", "evacuate", "--stage", "2b", "--by", "kim")
	l.until(t, func() bool { return strings.Count(l.status(), " done ") == 2 })
	if got := coils(); got != "11001111" {
		t.Errorf("relays %s after the trip, want 11001111\n%s", got, l.status())
	}
}

// status is what the running agent says; empty while none answers.
func (l *lab) status() string {
	out, _ := exec.Command(binary, "status", "-c", l.file).Output()
	return string(out)
}

// until waits for something of other processes, for patience at most.
func (l *lab) until(t testing.TB, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(patience); !ok(); {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("it does not come:\n%s", l.status())
		}
	}
}
