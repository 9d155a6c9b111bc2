package response_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"firebreak/agent/hazard"
	"firebreak/agent/response"
	"firebreak/plugins"
)

// S4: the re-vote before an irreversible step, by what the vote says when the countdown ends.
func TestRevote(t *testing.T) {
	for _, c := range []struct {
		name    string
		v       hazard.Verdict
		if3     bool // stage 3 has if_blind = "hold"
		if4     bool // stage 4 "proceed"
		because string
	}{
		{"fresh and firm", yes, true, true, ""},
		{"held-true", heldTrue, false, true, "if_blind is hold"},
		{"false since", wavering, false, false, "does not hold"},
		{"weak", weak, false, false, "does not hold"},
		{"false", no, false, false, "does not hold"},
		{"unknown", unknown, false, false, "does not hold"},
		{"inhibited", blinded, false, false, "does not hold"},
		{"faults", faults, false, false, "does not hold"},
	} {
		for _, stage := range []plugins.Stage{plugins.Shed, plugins.Isolate} {
			cond, want := shed, c.if3
			if stage == plugins.Isolate {
				cond, want = isolate, c.if4
			}
			r := newRig(t, plan(at(plugins.SwitchOver, "drain"), at(stage, "off")))
			r.set(yes, cond)
			r.pass(10 * second)
			r.set(c.v, cond)
			r.pass(time.Minute)
			if !want {
				r.want("off", response.Withheld)
				r.wantStarts("drain")
				if d := r.of("off").Detail; stage == plugins.Shed && !strings.Contains(d, c.because) {
					t.Errorf("%s: withheld because %q, want %q", c.name, d, c.because)
				}
				if a := r.alarms()["plan/evacuate/off/withheld"]; a.Priority != 1 {
					t.Errorf("%s: no alarm of priority 1", c.name)
				}
				if v := r.m.View(r.now, "evacuate", r.j); v.Asking == "" {
					t.Errorf("%s: nobody is asked", c.name)
				}
				r.set(yes, cond) // it starts by itself when the vote holds again
			}
			r.want("off", response.Starting)
			r.wantStarts("drain", "off")
		}
	}
}

// The vote of a higher open stage carries the steps below it.
func TestRevoteByAHigherStage(t *testing.T) {
	r := newRig(t, plan(at(plugins.Shed, "hosts")))
	r.set(yes, isolate)
	r.pass(time.Minute)
	r.want("hosts", response.Starting)

	for _, v := range []hazard.Verdict{weak, heldTrue} { // true, but not open
		p := plan(at(plugins.Shed, "hosts"))
		p.Stages[3].IfBlind = response.BlindProceed
		r = newRig(t, p)
		r.set(yes, shed)
		r.set(v, isolate)
		r.wantOpen("1 2a 2b 3")
		r.set(no, shed)
		r.pass(time.Minute)
		r.want("hosts", response.Withheld)
	}
}

// The vote of a lower stage carries nothing irreversible.
func TestRevoteByALowerStage(t *testing.T) {
	r := newRig(t, plan(at(plugins.Shed, "hosts"), at(plugins.Isolate, "breaker")))
	r.set(yes, seen, prepare, switchOver, shed, isolate)
	r.set(no, shed, isolate)
	r.pass(2 * time.Minute)
	r.want("hosts", response.Withheld)
	r.want("breaker", response.Withheld)
	r.set(yes, shed)
	r.want("hosts", response.Starting)
	r.want("breaker", response.Withheld)
}

// A step whose first attempt failed is voted upon again before the second.
func TestRevoteBeforeARetry(t *testing.T) {
	a := at(plugins.Shed, "off")
	a.Retries, a.Backoff, a.Cap = 1, 10*second, 10*time.Minute
	r := newRig(t, plan(a))
	r.set(yes, shed)
	r.pass(30 * second)
	r.ends("off", plugins.Failed)
	r.set(no, shed)
	r.pass(time.Minute)
	r.want("off", response.Withheld)
	r.wantStarts("off")
	// Its cap goes on, and nobody but the clock says so.
	r.pass(10 * time.Minute)
	r.want("off", response.Capped)
}

// The cap of a withheld step that was started once is an instant to wake at.
func TestWithheldWakesAtItsCap(t *testing.T) {
	a := at(plugins.Shed, "off")
	a.Retries, a.Backoff, a.Cap = 1, 10*second, 10*time.Minute
	r := newRig(t, plan(a))
	r.set(yes, shed)
	r.pass(30 * second)
	r.ends("off", plugins.Failed)
	r.set(no, shed)
	r.pass(time.Minute)
	r.want("off", response.Withheld)
	if spent := r.of("off").Start.Add(10 * time.Minute); r.wake != spent {
		t.Errorf("wakes at %v, want %v", r.wake, spent)
	}
}

// S6: a reset is refused while any member is true, held-true, unknown or bad, and before the clear time.
func TestReset(t *testing.T) {
	r := newRig(t, plan(at(plugins.Prepare, "freeze")))
	if err := r.reset(); err == nil {
		t.Error("a reset without an episode was not refused")
	}
	r.set(yes, prepare)
	r.pass(time.Minute)
	r.set(no, prepare)
	for _, c := range []struct {
		v    hazard.Verdict
		says string
	}{{yes, "smoke@a is true (measured)"}, {heldTrue, "held-true"}, {unknown, "unknown"}, {hazard.Verdict{Basis: hazard.Held}, "held"}} {
		r.j.leaves = map[hazard.CondID]map[string]hazard.Verdict{isolate: {"smoke@a": c.v, "heat@b": no}}
		r.pass(time.Hour)
		err := r.reset()
		var no *response.Refusal
		if !errors.As(err, &no) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "smoke@a") || strings.Contains(err.Error(), "heat@b") {
			t.Errorf("reset with %+v: %v", c.v, err)
		}
	}
	r.wantOpen("1 2a")
	// Out of service by name: it no longer stands in the way (S6).
	r.j.leaves = map[hazard.CondID]map[string]hazard.Verdict{isolate: {"smoke@a": bypassed}}
	if err := r.reset(); err != nil {
		t.Fatal(err)
	}
	r.wantOpen("")
	if last := r.log[len(r.log)-2]; last.Kind != "end" || last.By != "kim" {
		t.Errorf("the reset is recorded as %+v", last)
	}
	if len(r.alarms()) != 1 { // ungated
		t.Errorf("alarms are left: %v", r.alarms())
	}
	r.set(yes, prepare)
	if e := r.run().Episode; e != 42 {
		t.Errorf("the next episode is %d, want 42", e)
	}
}

// The clear time runs from the last true member, voted or not.
func TestClearTime(t *testing.T) {
	r := newRig(t, plan())
	r.set(yes, prepare)
	r.pass(time.Minute)
	r.j.leaves = map[hazard.CondID]map[string]hazard.Verdict{prepare: {"smoke@a": yes, "smoke@b": no}}
	r.set(no, prepare) // one of two is still true
	r.pass(9 * time.Minute)
	r.j.leaves = nil
	r.set(no, prepare) // the engine tells of every change
	r.pass(9 * time.Minute)
	if err := r.reset(); err == nil || !strings.Contains(err.Error(), "clear time") {
		t.Errorf("reset 9 min after the last true member: %v", err)
	}
	r.pass(time.Minute)
	if err := r.reset(); err != nil {
		t.Errorf("reset after the clear time: %v", err)
	}
}

// Once cells were seen to vent, the clear time is a day: what has vented can burn again (S6). A
// restart does not forget it.
func TestClearTimeAfterVenting(t *testing.T) {
	r := newRig(t, plan())
	r.j.vents = true
	r.set(yes, prepare)
	r.j.vents = false
	r.set(no, prepare)
	r.pass(23 * time.Hour)
	if err := r.reset(); err == nil || !strings.Contains(err.Error(), "clear time") {
		t.Errorf("reset 23 h after cells have vented: %v", err)
	}
	r.pass(time.Hour)
	if err := r.reset(); err != nil {
		t.Errorf("reset after a day: %v", err)
	}
}

// A stage that cannot open by itself any more is a question to a person (timeline 2).
func TestInhibitedAsks(t *testing.T) {
	r := newRig(t, plan())
	r.set(yes, switchOver)
	r.set(blinded, shed)
	if v := r.m.View(r.now, "evacuate", r.j); !strings.Contains(v.Asking, "stage 3") {
		t.Errorf("asked: %q", v.Asking)
	}
}

func TestViewIdle(t *testing.T) {
	r := newRig(t, plan(at(plugins.Prepare, "freeze")))
	v := r.m.View(r.now, "evacuate", r.j)
	if v.Stage != "0" || v.Episode != 0 || v.Latched || v.Mode != "armed" || v.PowerLoss != 420 || len(v.Steps) != 1 || v.Steps[0].State != "idle" {
		t.Errorf("view %+v", v)
	}
	r.set(yes, prepare)
	r.ends("freeze", plugins.Done)
	r.pass(90 * second)
	v = r.m.View(r.now, "evacuate", r.j)
	if v.Stage != "2a" || v.Episode != 41 || v.ElapsedS != 90 || v.Steps[0].State != "done" || !v.Steps[0].Evidence || !strings.Contains(string(v.Vote), `"c1"`) {
		t.Errorf("view %+v", v)
	}
	if v := r.m.View(r.now, "none", r.j); v.Plan != "none" || v.Steps != nil {
		t.Errorf("view of no plan: %+v", v)
	}
}

// S4, S8: a restart finds an irreversible step whose hook is not known to have been called. The vote is
// taken again before it is; a hook that is known to have been called is asked what became of it.
func TestRevoteAfterAKillBeforeTheCall(t *testing.T) {
	for _, begun := range []bool{false, true} {
		r := newRig(t, plan(at(plugins.Prepare, "drain"), at(plugins.Shed, "off")))
		r.set(yes, shed)
		r.pass(40 * second)
		r.want("off", response.Starting)
		key := r.starts[len(r.starts)-1].Key
		if begun {
			r.started("off")
		}
		r.set(no, shed)
		r.restart("h1", sameBoot)
		if begun {
			r.wantStarts("drain", "off")
			continue
		}
		r.wantStarts("drain")
		r.want("off", response.Withheld)
		r.set(yes, shed)
		r.wantStarts("drain", "off")
		if got := r.starts[len(r.starts)-1].Key; got != key {
			t.Errorf("goes on under %v, was %v", got, key)
		}
	}
}
