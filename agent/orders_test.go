package main

import (
	"bytes"
	"strings"
	"testing"

	"firebreak/agent/app"
	"firebreak/plugins"
)

// The orders, as a person gives them: to a running agent, through the command line, each with the answer
// that it deserves.
func TestOrdersOfARunningAgent(t *testing.T) {
	b := newBox(t)
	b.agent(t)
	by := []string{"-c", b.file, "--by", "anna"}
	order := func(want int, says string, args ...string) {
		t.Helper()
		code, out, errs := firebreak(append(args, by...)...)
		if code != want || !strings.Contains(out+errs, says) {
			t.Errorf("%q: exit %d, want %d and %q in:\n%s%s", args, code, want, says, out, errs)
		}
	}
	until(t, 0, "plan evacuate: armed, stage 0", "status", "-c", b.file)
	until(t, 0, "nothing is outstanding", "outstanding", "-c", b.file)

	order(1, `no plan "evacuat" (did you mean "evacuate"?)`, "reset", "--by", "kim", "evacuat")
	order(2, "--stage is one of", "trip", "evacuate", "--stage", "9")
	order(2, "--for says how long", "shelve", "smoke", "--for", "soon")
	order(2, "usage: firebreak settle PLAN/STEP", "settle")
	order(1, "no plan", "drill", "nope", "--stage", "2a")
	order(1, "say what to exercise", "drill", "evacuate")
	order(2, "not POINT=VALUE", "drill", "evacuate", "--inject", "duct-1")
	order(0, "**Good.**", "drill", "evacuate", "--stage", "2a")
	order(0, `"good": true`, "drill", "evacuate", "--stage", "2a", "--json")
	order(1, "no drill runs", "end-drill", "evacuate")
	order(0, "nothing to do", "reload")
	order(1, "not run under a service manager", "restart")
	order(1, "nothing can be switched on", "energise", "feed-b", "--lockout-removed")
	order(1, "nothing of step", "settle", "evacuate/freeze", "--reason", "done by hand")
	order(1, "nothing that is outstanding", "undo", "evacuate")
	order(0, "", "disarm", "maintain", "--reason", "works on the detector")
	order(1, "stage 2a", "trip", "maintain", "--stage", "2a")
	order(1, "\n  not proven", "arm", "maintain")
	if code, _, errs := firebreak("run", "-c", b.file); code == 0 || !strings.Contains(errs, "another agent runs") || strings.Contains(errs, "protects without") {
		t.Errorf("a second agent: exit %d, %s", code, errs)
	}
	order(1, "no consumer", "answered", "noc")
	order(0, "done: shelve plan/maintain/mode, by anna\n", "shelve", "plan/maintain/mode", "--for", "1h", "--reason", "known")
	until(t, 0, "alarm P1 plan/maintain/mode: shelved", "status", "-c", b.file)
	order(0, "", "unshelve", "plan/maintain/mode")
	order(0, "", "shelve", "smoke", "--for", "1h", "--once") // before it comes
	order(0, "", "unshelve", "smoke")
	order(1, "no alarm", "shelve", "smoak", "--for", "1h")
	order(0, "", "out-of-service", "smoke")
	until(t, 0, "smoke: out-of-service", "status", "-c", b.file)
	order(0, "", "in-service", "smoke")
	order(1, "no point", "in-service", "smoak")
	order(1, "no detector compares", "learn", "duct-1")
	order(2, "--for says how long", "bypass", "duct-1")
	order(1, "lasts up to", "bypass", "duct-1", "--for", "13h")
	order(1, "could not open any more", "bypass", "duct-1", "--for", "1h")
	order(0, "", "bypass", "duct-1", "--for", "1h", "--reason", "a guard stands in the room")
	until(t, 0, "bypass/duct-1", "status", "-c", b.file)
	order(0, "", "end-bypass", "duct-1")
	order(1, "is not bypassed", "end-bypass", "duct-1")

	order(0, "", "trip", "evacuate", "--stage", "2a", "--reason", "seen with own eyes")
	b.hook(t, "freeze")
	until(t, 0, "tripped by anna", "status", "-c", b.file)
	order(1, "tripped already", "trip", "evacuate", "--stage", "2a")
	order(1, "clear time", "reset", "evacuate")
}

// What is owed is listed also where the configuration has its undo, or its plan, no more (S21).
func TestOutstandingOfWhatIsGone(t *testing.T) {
	var out bytes.Buffer
	printOutstanding(&out, &app.Status{
		Plans: []plugins.PlanState{{Plan: "leave", Outstanding: []plugins.Outstanding{{Step: "freeze", Stage: "2a", Episode: 4, State: "idle"}}}},
		Alarms: []plugins.AlarmState{
			{Name: "plan/leave/freeze/outstanding", Active: true, Cause: "told above"},
			{Name: "plan/flee/drain/outstanding", Active: true, Cause: "done in episode 3"},
			{Name: "plan/flee/halt/outstanding", Cause: "is over"},
			{Name: "plan/flee/drain/failed", Active: true}}})
	want := "leave/freeze: stage 2a, episode 4, for 0s, owner \n  to take back: by hand, then firebreak settle leave/freeze\nflee/drain: done in episode 3\n"
	if out.String() != want {
		t.Errorf("%s\nwant\n%s", out.String(), want)
	}
}
