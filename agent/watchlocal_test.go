package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"firebreak/sensors/sim/slave"
)

// The points of a running agent, as they are now: what moves is seen, what is bad has its reason, and whoever
// votes is marked. Without an agent it says so.
func TestWatchLocal(t *testing.T) {
	b := newBox(t)
	if code, _, errs := firebreak("watch", "-c", b.file, "--once"); code != 1 || !strings.Contains(errs, "no agent answers") {
		t.Errorf("without an agent: exit %d, %q", code, errs)
	}
	b.agent(t)
	until(t, 0, "stage 0", "status", "-c", b.file) // its control socket is there
	line := func(name, value, quality, votes string) string {
		return strings.Join(strings.Fields(name+" "+value+" "+quality+" "+votes), " ")
	}
	sees := func(want string, args ...string) {
		t.Helper()
		for late := time.After(patience); ; {
			select {
			case <-late:
				t.Fatalf("never seen: %q", want)
			default:
			}
			code, out, errs := firebreak(append([]string{"watch", "-c", b.file, "--once"}, args...)...)
			if code != 0 || errs != "" {
				t.Fatalf("exit %d, %s", code, errs)
			}
			for _, l := range strings.Split(out, "\n") {
				if f := strings.Fields(l); len(f) > 3 {
					f = append(f[:3:3], f[4:]...) // but for its age
					if strings.Join(f, " ") == want {
						return
					}
				}
			}
		}
	}
	sees(line("duct-1.smoke.alarm", "0", "good", "yes"))
	b.bank.Set(slave.Discretes, 1, 1)
	sees(line("duct-1.service", "1", "good", "yes"))
	_, out, _ := firebreak("watch", "duct-1.smoke.*", "-c", b.file, "--once")
	if strings.Contains(out, "duct-1.service") || !strings.Contains(out, "1 of 4 points shown") {
		t.Errorf("a pattern:\n%s", out)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var stdout, stderr bytes.Buffer
	if code := watchLocal(ctx, []string{"-c", b.file}, &stdout, &stderr); code != 0 || strings.Count(stdout.String(), "points shown") != 1 {
		t.Errorf("interrupted: exit %d, %s\n%s", code, stderr.String(), stdout.String())
	}
}
