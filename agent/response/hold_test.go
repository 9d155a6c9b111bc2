package response_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"firebreak/agent/response"
	"firebreak/plugins"
)

func (r *rig) hold(by string) error {
	var err error
	r.do(func(o *response.Out) { err = r.m.Hold(r.now, "evacuate", by, o) })
	return err
}

func (r *rig) release(by string) error {
	var err error
	r.do(func(o *response.Out) { err = r.m.Release(r.now, "evacuate", by, o) })
	return err
}

// holds renews a hold every 2 s for d.
func (r *rig) holds(d time.Duration) {
	r.t.Helper()
	for end := r.now.Add(d); r.now < end; r.pass(2 * second) {
		if err := r.hold("kim"); err != nil {
			r.t.Fatal(err)
		}
	}
}

func held(steps ...response.Step) response.Plan {
	p := plan(steps...)
	p.MaxHold = 60 * second
	return p
}

// S15, S16: a hold stops the countdowns, which go on where they stood.
func TestHoldPausesCountdowns(t *testing.T) {
	r := newRig(t, held(at(plugins.SwitchOver, "drain"), at(plugins.Shed, "hosts"), at(plugins.Isolate, "breaker")))
	r.set(yes, shed)
	r.pass(20 * second)
	r.holds(10 * second)
	if err := r.hold("kim"); err != nil {
		t.Fatal(err)
	}
	r.pass(second)
	r.set(yes, isolate) // opens during the hold, and after a renewal: its countdown has not begun
	r.pass(second)
	r.holds(8 * second)
	v := r.m.View(r.now, "evacuate", r.j)
	if v.Countdown["3"] != 10 || v.Countdown["4"] != 60 || v.HoldS != 40 || v.HeldBy != "kim" {
		t.Errorf("countdowns %v, hold of %q with %d s left; want 10 and 60, kim, 40", v.Countdown, v.HeldBy, v.HoldS)
	}
	if err := r.release("kim"); err != nil {
		t.Fatal(err)
	}
	if v := r.m.View(r.now, "evacuate", r.j); v.HoldS != 0 || v.HeldBy != "" {
		t.Errorf("still held by %q for %d s", v.HeldBy, v.HoldS)
	}
	r.pass(10*second - 1)
	r.wantStarts("drain")
	r.pass(1)
	r.wantStarts("drain", "hosts")
	r.pass(50*second - 1)
	r.wantStarts("drain", "hosts")
	r.pass(1)
	r.wantStarts("drain", "hosts", "breaker")
}

// S16: without renewal a hold lapses after 5 s, whether anybody looks at that instant or not.
func TestHoldLapses(t *testing.T) {
	for _, late := range []time.Duration{0, 30 * second} {
		r := newRig(t, held(at(plugins.Shed, "hosts")))
		r.set(yes, shed)
		r.pass(20 * second)
		if err := r.hold("kim"); err != nil {
			t.Fatal(err)
		}
		if r.wake != r.now.Add(5*second) {
			t.Fatalf("wakes at %v, want when the lease ends, %v", r.wake, r.now.Add(5*second))
		}
		if late > 0 { // the machine sleeps
			r.now = r.now.Add(late)
			r.step()
			r.wantStarts("hosts")
			continue
		}
		r.pass(15*second - 1)
		r.wantStarts()
		r.pass(1)
		r.wantStarts("hosts")
	}
}

// S16: the holds of one run are max_hold together at most.
func TestMaxHold(t *testing.T) {
	r := newRig(t, held(at(plugins.Shed, "hosts")))
	r.set(yes, shed)
	r.holds(40 * second)
	if err := r.release("kim"); err != nil {
		t.Fatal(err)
	}
	r.pass(10 * second)
	r.holds(18 * second)
	if err := r.hold("kim"); err != nil {
		t.Fatal(err)
	}
	r.pass(2 * second)
	var no *response.Refusal
	if err := r.hold("kim"); !errors.As(err, &no) || !strings.Contains(err.Error(), "used up") {
		t.Fatalf("a hold beyond max_hold: %v", err)
	}
	r.pass(20*second - 1)
	r.wantStarts()
	r.pass(1)
	r.wantStarts("hosts")
}

// S16: what a hold refuses, and why.
func TestHoldRefused(t *testing.T) {
	r := newRig(t, held(at(plugins.Shed, "hosts")))
	refused := func(err error, because string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), because) {
			t.Errorf("%v, want a refusal: %s", err, because)
		}
	}
	refused(r.hold("kim"), "no episode")
	refused(r.release("kim"), "no hold")
	r.set(yes, switchOver)
	refused(r.hold("kim"), "no stage 3 or 4")
	r.set(yes, shed)
	refused(r.release("kim"), "no hold")
	r.rules.Plans[0].MaxHold = 0
	refused(r.hold("kim"), "max_hold")
	if n := r.m.State()["evacuate"].Run.HoldAt; n != 0 {
		t.Errorf("a refused hold is in force since %v", n)
	}
}

// S16: a hold keeps irreversible steps from starting. It ends no hook, clears no alarm and keeps
// nothing that is reversible.
func TestHoldStopsIrreversibleStepsOnly(t *testing.T) {
	notice := at(plugins.Shed, "notice", 0)
	p := held(at(plugins.Prepare, "freeze"), notice, at(plugins.Shed, "hosts"), at(plugins.Shed, "racks", 2), at(plugins.Shed, "late", 0))
	p.Steps[1].Irreversible = false
	r := newRig(t, p)
	r.set(yes, shed)
	r.pass(30 * second)
	r.wantStarts("freeze", "hosts")
	r.holds(10 * second)
	r.ends("hosts", plugins.Done)
	r.want("hosts", response.Done)
	r.ends("freeze", plugins.Done)
	r.wantStarts("freeze", "hosts", "notice")
	r.set(no, shed)
	r.want("late", response.Withheld)
	if a := r.alarms()["plan/evacuate/late/withheld"]; a.Priority != 1 {
		t.Error("no alarm of priority 1")
	}
	r.set(yes, shed)
	r.holds(2 * second)
	r.wantStarts("freeze", "hosts", "notice")
	if err := r.release("lee"); err != nil {
		t.Fatal(err)
	}
	r.wantStarts("freeze", "hosts", "notice", "racks", "late")
}

// S16: a hold does not survive a restart, but the time that it took stays taken, and the countdown
// knows of it.
func TestHoldOverARestart(t *testing.T) {
	r := newRig(t, held(at(plugins.Shed, "hosts")))
	r.set(yes, shed)
	r.pass(20 * second)
	r.holds(10 * second) // renewed last 2 s ago
	r.restart("h1", response.Resumed{SameBoot: true, AgeKnown: true})
	v := r.m.View(r.now, "evacuate", r.j)
	if v.HeldBy != "" || v.HoldS != 0 || v.Countdown["3"] != 8 {
		t.Errorf("held by %q for %d s, countdown %v; want no hold and 8", v.HeldBy, v.HoldS, v.Countdown)
	}
	if used := r.run().HoldUsed; used != 8*second {
		t.Errorf("hold time used %v, want 8s", used)
	}
	r.pass(8*second - 1)
	r.wantStarts()
	r.pass(1)
	r.wantStarts("hosts")
}

// The cap of a step goes on in a hold, and nobody but the clock says so.
func TestCapInAHold(t *testing.T) {
	off := at(plugins.Shed, "off")
	off.Retries, off.Backoff, off.Cap = 1, second, 8*second
	r := newRig(t, held(off))
	r.set(yes, shed)
	r.pass(30 * second)
	r.pass(4 * second)
	r.ends("off", plugins.Failed)
	r.pass(second)
	if err := r.hold("kim"); err != nil { // until 10 s after the start of the step
		t.Fatal(err)
	}
	r.pass(2 * second)
	r.want("off", response.Waiting)
	if want := r.now.Add(second); r.wake != want {
		t.Fatalf("wakes at %v, want at the end of the cap, %v", r.wake, want)
	}
	r.pass(second)
	r.want("off", response.Capped)
	r.wantStarts("off")
}
