package main

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestReplayCommand: exit codes, and the last line of --json is the result.
func TestReplayCommand(t *testing.T) {
	code, out, errs := firebreak("replay", "battery-test", "--json")
	if code != 0 || !strings.Contains(errs, "readings/s") {
		t.Fatalf("exit %d: %s", code, errs)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var r struct {
		Kind, What, Origin string
		Alarms             int
		Plans              []struct{ Plan, Stage string }
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &r); err != nil {
		t.Fatal(err)
	}
	if r.Kind != "result" || r.What != "battery-test" || r.Origin != "simulated" || r.Alarms != 1 || len(r.Plans) != 1 || r.Plans[0].Stage != "0" {
		t.Errorf("the result is %+v", r)
	}
	for _, l := range lines {
		if !json.Valid([]byte(l)) {
			t.Errorf("no JSON: %s", l)
		}
	}
	for args, want := range map[string]int{"": 2, "no-such": 2, "battery-test extra": 2, "battery-test --config /nowhere": 2} {
		if code, _, errs := firebreak(append([]string{"replay"}, strings.Fields(args)...)...); code != want || errs == "" {
			t.Errorf("replay %s: exit %d, want %d: %s", args, code, want, errs)
		}
	}
}
