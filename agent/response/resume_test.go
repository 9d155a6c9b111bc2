package response_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"firebreak/agent/hazard"
	"firebreak/agent/response"
	"firebreak/plugins"
	"firebreak/sensors"
)

var sameBoot = response.Resumed{SameBoot: true, AgeKnown: true}

// S8, S9: within one boot, what was under way goes on under the same keys.
func TestResumeInOneBoot(t *testing.T) {
	a, c := at(plugins.Prepare, "waiting"), at(plugins.Prepare, "working")
	a.Retries, a.Backoff = 3, 30*second
	c.Evidence = response.ByHook
	r := newRig(t, plan(at(plugins.Prepare, "starting"), at(plugins.Prepare, "running"), a, c, at(plugins.Prepare, "done")))
	r.set(yes, prepare)
	r.started("running")
	r.ends("waiting", plugins.Failed)
	r.ends("working", plugins.Done)
	r.ends("done", plugins.Done)
	before := map[string]plugins.Key{}
	for _, c := range r.starts {
		before[c.Key.Step] = c.Key
	}
	r.pass(10 * second)
	r.restart("h1", sameBoot)
	r.wantStarts("starting", "running")
	for _, c := range r.starts {
		if c.Key != before[c.Key.Step] {
			t.Errorf("%s goes on under %v, was %v", c.Key.Step, c.Key, before[c.Key.Step])
		}
	}
	r.want("waiting", response.Waiting)
	r.want("working", response.Working)
	r.want("done", response.Done)
	r.pass(40 * second) // the back-off and the caps count on
	r.wantStarts("starting", "running", "waiting")
	r.pass(10 * second)
	for _, s := range []string{"starting", "running", "working"} {
		r.want(s, response.Capped)
	}
}

// Downtime counts for caps: what has spent its cap meanwhile is not called again.
func TestResumeAfterTheCap(t *testing.T) {
	r := newRig(t, plan(at(plugins.Prepare, "drain"), at(plugins.SwitchOver, "next", 0)))
	r.set(yes, switchOver)
	r.now = r.now.Add(2 * time.Minute)
	r.restart("h1", response.Resumed{SameBoot: true, AgeKnown: true, Age: 2 * time.Minute})
	r.wantStarts("next")
	r.want("drain", response.Capped)
}

// S8: a run whose last record is old, or of unknown age, starts no step without a fresh vote.
func TestStaleRun(t *testing.T) {
	for _, c := range []struct {
		name  string
		re    response.Resumed
		stale bool
	}{
		{"15 min", response.Resumed{SameBoot: true, AgeKnown: true, Age: 15 * time.Minute}, false},
		{"more than 15 min", response.Resumed{SameBoot: true, AgeKnown: true, Age: 15*time.Minute + 1}, true},
		{"20 days later on a bench", response.Resumed{AgeKnown: true, Age: 20 * 24 * time.Hour}, true},
		{"unknown age", response.Resumed{}, true},
		{"reboot of a minute", response.Resumed{AgeKnown: true, Age: time.Minute}, false},
	} {
		long := at(plugins.Prepare, "drain")
		long.Cap = 1000 * time.Hour
		r := newRig(t, plan(long, at(plugins.SwitchOver, "next", 0)))
		r.set(yes, switchOver)
		r.now = r.now.Add(c.re.Age)
		r.set(unknown, switchOver)
		r.restart("h1", c.re)
		if !c.stale {
			r.wantStarts("drain")
			continue
		}
		r.wantStarts()
		r.want("drain", response.Withheld)
		r.wantOpen("1 2a 2b") // latched
		if v := r.m.View(r.now, "evacuate", r.j); v.Asking == "" {
			t.Errorf("%s: nobody is asked", c.name)
		}
		r.set(heldTrue, switchOver) // no fresh vote
		r.set(yes, prepare)         // fresh, but of a lower stage
		r.wantStarts()
		r.set(yes, switchOver)
		r.wantStarts("drain")
		if r.run().Stale {
			t.Errorf("%s: still stale after a fresh vote", c.name)
		}
	}
}

// What is held-true, or lost, opens stage 1, but makes no old run of stage 1 fresh.
func TestStaleRunOfStageOne(t *testing.T) {
	for _, v := range []hazard.Verdict{heldTrue, faults} {
		page := at(plugins.Notify, "page")
		page.Cap = 1000 * time.Hour
		r := newRig(t, plan(page))
		r.set(yes, seen)
		r.set(v, seen)
		r.restart("h1", response.Resumed{})
		r.pass(time.Minute)
		r.wantStarts()
		r.set(yes, seen)
		r.wantStarts("page")
	}
}

// A stale run in which every step has ended still asks.
func TestStaleRunAsks(t *testing.T) {
	r := newRig(t, plan(at(plugins.Prepare, "drain")))
	r.set(yes, prepare)
	r.ends("drain", plugins.Done)
	r.set(unknown, prepare)
	r.restart("h1", response.Resumed{})
	if v := r.m.View(r.now, "evacuate", r.j); !strings.Contains(v.Asking, "fresh vote") {
		t.Errorf("asked: %q", v.Asking)
	}
}

// After a reboot what ran is gone: it passes the gate again, under its key.
func TestReboot(t *testing.T) {
	long := at(plugins.Shed, "off")
	long.Cap = time.Hour
	r := newRig(t, plan(at(plugins.Prepare, "drain"), long))
	r.set(yes, shed)
	r.pass(35 * second)
	key := r.last("off").Key
	r.set(unknown, shed)
	shift := -500 * second // the clock of the new boot is behind
	r.now = r.now.Add(shift + 20*second)
	r.restart("h1", response.Resumed{Shift: shift, Age: 20 * second, AgeKnown: true})
	r.wantStarts("drain") // reversible: goes on at once
	r.want("off", response.Withheld)
	r.set(yes, shed)
	if got := r.last("off").Key; got != key {
		t.Errorf("goes on under %v, was %v", got, key)
	}
	if got := r.now.Sub(r.of("drain").Start); got != 55*second {
		t.Errorf("the cap of drain has counted %v over the reboot, want 55s", got)
	}
}

// S8: a run is pinned to the configuration that started it.
func TestPinnedHash(t *testing.T) {
	r := newRig(t, plan(at(plugins.Prepare, "drain"), at(plugins.SwitchOver, "next")))
	r.set(yes, prepare)
	r.restart("h2", sameBoot)
	r.set(yes, switchOver)
	r.wantStarts()
	r.want("drain", response.Withheld)
	r.want("next", response.Withheld)
	if h := r.m.RunHash(); h != "h1" {
		t.Errorf("the run is pinned to %q", h)
	}
	if a := r.alarms()["plan/evacuate/pinned"]; a.Priority != 1 {
		t.Error("no alarm of priority 1")
	}
	r.restart("h1", sameBoot)
	r.wantStarts("drain", "next")
}

// S8: a configuration from which the plan is gone does not make its run forgotten (timeline 25).
func TestPinnedThoughThePlanIsGone(t *testing.T) {
	r := newRig(t, plan(at(plugins.Prepare, "drain")))
	r.set(yes, prepare)
	m, err := response.New(&response.Rules{}, "h2")
	if err != nil {
		t.Fatal(err)
	}
	m.SetState(r.m.State())
	if h := m.RunHash(); h != "h1" {
		t.Errorf("the run of a plan that the configuration no longer has is pinned to %q, want h1", h)
	}
	told := false
	m.Alarms(func(a hazard.AlarmInput) {
		told = told || a.Name == "plan/evacuate/pinned" && a.Active && a.Priority == 1
	})
	if !told {
		t.Error("no alarm of priority 1")
	}
}

// S9: a run whose first records were lost starts again under the same keys, and an episode that
// has ended never gives its id to another.
func TestLostRecords(t *testing.T) {
	r := newRig(t, plan(at(plugins.Prepare, "drain")))
	idle := len(r.log)
	r.set(yes, prepare)
	key := r.last("drain").Key
	full := r.log
	r.log = full[:idle]
	r.restart("h1", sameBoot)
	if got := r.last("drain").Key; got != key {
		t.Errorf("started again under %v, was %v", got, key)
	}

	r = newRig(t, plan())
	r.set(yes, seen)
	r.set(no, seen)
	end := r.log[len(r.log)-2]
	if end.Kind != "end" {
		t.Fatalf("%+v", end)
	}
	r.log = append(r.log[:idle:idle], end) // its opening, and what followed, is lost
	r.restart("h1", sameBoot)
	r.set(yes, seen)
	if e := r.run().Episode; e != 42 {
		t.Errorf("episode %d, want 42: 41 has ended", e)
	}
}

// A record that does not fit is refused with its reason, and changes nothing.
func TestApplyRefuses(t *testing.T) {
	r := newRig(t, plan(at(plugins.Prepare, "drain")))
	r.set(yes, prepare)
	before := r.m.State()
	for _, rec := range []response.Record{
		{Kind: "step", Plan: "evacuate", Episode: 41},
		{Kind: "step", Plan: "evacuate", Episode: 40, Step: &response.StepRecord{Name: "drain"}},
		{Kind: "stage", Plan: "evacuate", Episode: 41, Stage: "9"},
		{Kind: "end", Plan: "evacuate", Episode: 40},
		{Kind: "what", Plan: "evacuate", Episode: 41},
		{Kind: "stage", Plan: "other", Episode: 41, Stage: "1"},
	} {
		if err := r.m.Apply(rec); err == nil {
			t.Errorf("%+v was taken", rec)
		}
	}
	after := r.m.State()
	if !reflect.DeepEqual(before["evacuate"], after["evacuate"]) {
		t.Errorf("state moved from %+v to %+v", before["evacuate"], after["evacuate"])
	}
}

// Snapshot and records lead to the same state, and a snapshot shares nothing.
func TestState(t *testing.T) {
	r := newRig(t, plan(at(plugins.Prepare, "drain"), at(plugins.SwitchOver, "next", 0)))
	r.set(yes, switchOver)
	r.started("drain")
	b, err := json.Marshal(r.m.State())
	if err != nil {
		t.Fatal(err)
	}
	var s map[string]*response.PlanRun
	if err := json.Unmarshal(b, &s); err != nil {
		t.Fatal(err)
	}
	old := r.m
	r.boot("h1")
	r.m.SetState(s)
	if !reflect.DeepEqual(old.State(), r.m.State()) {
		t.Errorf("restored %+v, want %+v", r.m.State()["evacuate"], old.State()["evacuate"])
	}
	old.State()["evacuate"].Run.Steps["drain"].State = response.Failed
	if st := old.State()["evacuate"].Run.Steps["drain"].State; st != response.Running {
		t.Errorf("a change of the copy reached the machine: %v", st)
	}
	// What a later or damaged program may have written must not be a panic.
	r.m.SetState(map[string]*response.PlanRun{"evacuate": {Run: &response.Run{Episode: 41, Steps: map[string]*response.StepRecord{"drain": nil}}}, "x": nil})
	_ = r.m.State()
	r.do(func(o *response.Out) { r.m.Resume(r.now, response.Resumed{Shift: 1}, o) })
	if r.m.Step(sensors.Mono(2000*second), r.j, &response.Out{}) == 0 {
		t.Error("no wake")
	}
}
