package response_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"firebreak/agent/hazard"
	"firebreak/agent/response"
	"firebreak/plugins"
)

// S15: opening stage N opens all below.
func TestOpeningAStageOpensAllBelow(t *testing.T) {
	for _, c := range []struct {
		cond hazard.CondID
		want string
	}{{seen, "1"}, {prepare, "1 2a"}, {switchOver, "1 2a 2b"}, {shed, "1 2a 2b 3"}, {isolate, "1 2a 2b 3 4"}} {
		r := newRig(t, plan())
		r.set(yes, c.cond)
		r.wantOpen(c.want)
		for i, st := range r.run().Stages {
			if st.Open && !strings.Contains(string(st.Why), `"c`+string('0'+rune(c.cond))+`"`) {
				t.Errorf("stage %v, opened by c%d, gives as its reason %s", plugins.Stage(i), c.cond, st.Why)
			}
		}
	}
}

// S2, S3: what opens which stage.
func TestWhatOpens(t *testing.T) {
	for _, c := range []struct {
		name string
		v    hazard.Verdict
		want [5]bool // stages 1, 2a, 2b, 3, 4
	}{
		{"true", yes, [5]bool{true, true, true, true, true}},
		{"false", no, [5]bool{}},
		{"unknown", unknown, [5]bool{}},
		{"inhibited", blinded, [5]bool{}},
		{"faults alone", faults, [5]bool{true}},
		{"held-true alone", heldTrue, [5]bool{true}},
		{"weak", weak, [5]bool{true, true, true}},
		{"true, but false on the last reading", wavering, [5]bool{true, true, true, true, true}},
	} {
		for i, want := range c.want {
			r := newRig(t, plan())
			r.set(c.v, hazard.CondID(i))
			if got := r.run() != nil; got != want {
				t.Errorf("%s opens stage %v: %v, want %v", c.name, plugins.Stage(i+1), got, want)
			}
		}
	}
}

// S6: stage 1 falls by itself, on false only; silence is not recovery.
func TestStageOneFallsOnFalseOnly(t *testing.T) {
	r := newRig(t, plan(at(plugins.Notify, "tell")))
	r.set(yes, seen)
	r.wantOpen("1")
	for _, v := range []hazard.Verdict{unknown, blinded, heldTrue, bypassed} {
		r.set(v, seen)
		r.pass(time.Hour)
		r.wantOpen("1")
	}
	r.set(no, seen)
	r.wantOpen("")
	if n := r.m.State()["evacuate"].Next; n != 42 {
		t.Errorf("the next episode is %d, want 42", n)
	}
	r.set(yes, seen)
	if e := r.run().Episode; e != 42 {
		t.Errorf("the second episode is %d, want 42", e)
	}
	r.wantStarts("tell", "tell")
	if r.starts[0].Key == r.starts[1].Key {
		t.Error("two episodes share a key")
	}
}

// S9: the machine is killed after the record that opens the episode was durable and before that of
// its stage was. Nothing has been read yet after the restart: the episode stands, so that the run
// starts again under the same keys. It ends only when its conditions are false.
func TestEpisodeWithoutAStageStands(t *testing.T) {
	for _, back := range []hazard.Verdict{yes, no} {
		r := newRig(t, plan(at(plugins.Notify, "tell")))
		if err := r.m.Apply(response.Record{Kind: "open", Plan: "evacuate", At: r.now, Episode: 41, Hash: "h1"}); err != nil {
			t.Fatal(err)
		}
		r.set(unknown, seen, prepare, switchOver, shed, isolate)
		r.pass(time.Minute)
		if run := r.run(); run == nil || run.Episode != 41 {
			t.Fatalf("before anything is read the run is %+v", run)
		}
		r.set(no, prepare, switchOver, shed, isolate)
		r.set(back, seen)
		if run := r.run(); (run != nil) != (back.Is == hazard.True) {
			t.Fatalf("read as %v, the run is %+v", back.Is, run)
		}
		if back.Is == hazard.True && r.starts[0].Key.Episode != 41 {
			t.Errorf("it goes on under %v", r.starts[0].Key)
		}
	}
}

// S6: stage 2 and above latch, whatever the readings say later.
func TestStagesFromTwoLatch(t *testing.T) {
	for _, c := range []struct {
		cond hazard.CondID
		want string
	}{{prepare, "1 2a"}, {switchOver, "1 2a 2b"}, {shed, "1 2a 2b 3"}, {isolate, "1 2a 2b 3 4"}} {
		r := newRig(t, plan())
		r.set(yes, c.cond)
		for _, v := range []hazard.Verdict{unknown, no} {
			r.set(v, c.cond)
			r.pass(24 * time.Hour)
			r.wantOpen(c.want)
		}
		if v := r.m.View(r.now, "evacuate", r.j); !v.Latched {
			t.Errorf("stage %s is not shown as latched", v.Stage)
		}
	}
}

// S15: stages 0 to 2 start at once, 3 and 4 run a countdown first, and opening stage 4 later does
// not start that of stage 3 again.
func TestCountdown(t *testing.T) {
	r := newRig(t, plan(at(plugins.Prepare, "freeze"), at(plugins.SwitchOver, "drain"), at(plugins.Shed, "hosts"), at(plugins.Isolate, "breaker")))
	r.set(yes, shed)
	r.wantStarts("freeze", "drain")
	r.pass(20 * second)
	r.set(yes, isolate)
	v := r.m.View(r.now, "evacuate", r.j)
	if v.Countdown["3"] != 10 || v.Countdown["4"] != 60 || v.Stage != "4" {
		t.Errorf("view: stage %s, countdowns %v, want 4 with 10 and 60", v.Stage, v.Countdown)
	}
	r.pass(10*second - 1)
	r.wantStarts("freeze", "drain")
	r.pass(1)
	r.wantStarts("freeze", "drain", "hosts")
	r.pass(50*second - 1)
	r.wantStarts("freeze", "drain", "hosts")
	r.pass(1)
	r.wantStarts("freeze", "drain", "hosts", "breaker")
}

// S18: an observing plan says what it would do and does nothing.
func TestObserve(t *testing.T) {
	hosts := at(plugins.Shed, "hosts", 0)
	hosts.Proof = true
	p := plan(at(plugins.Prepare, "freeze"), hosts)
	p.Mode, p.Ungated = response.Observe, ""
	r := newRig(t, p)
	r.set(yes, shed)
	r.pass(time.Minute)
	r.wantStarts()
	r.want("freeze", response.Observed)
	r.want("hosts", response.Observed)
	if a := r.alarms()["plan/evacuate/mode"]; a.Priority != 1 {
		t.Errorf("observing where armed is expected raises no alarm of priority 1: %+v", r.alarms())
	}
}

// The mode is journaled at the first start; later the journal counts, not the configuration.
func TestModeIsJournaled(t *testing.T) {
	r := newRig(t, plan())
	if rec := r.log[0]; rec.Kind != "mode" || rec.Mode != "armed" || rec.Reason != "test" || rec.By != "configuration" {
		t.Fatalf("the first record is %+v", rec)
	}
	if a := r.alarms()["plan/evacuate/ungated"]; a.ReAlarm != 24*time.Hour || !strings.Contains(a.Cause, "test") {
		t.Errorf("armed without the gate: alarm %+v", a)
	}
	n := len(r.log)
	r.rules.Plans[0].Mode = response.Observe
	r.restart("h1", response.Resumed{SameBoot: true, AgeKnown: true})
	if len(r.log) != n {
		t.Errorf("a second start writes %+v", r.log[n:])
	}
	if v := r.m.View(r.now, "evacuate", r.j); v.Mode != "armed" {
		t.Errorf("mode is %q after the configuration has changed, want armed", v.Mode)
	}
}

func TestNewRefuses(t *testing.T) {
	step := func(f func(*response.Plan)) *response.Rules {
		p := plan(at(plugins.Prepare, "a"), at(plugins.SwitchOver, "b"), at(plugins.SwitchOver, "c"))
		f(&p)
		return &response.Rules{Plans: []response.Plan{p}, Hooks: []string{"hook"}}
	}
	for name, f := range map[string]func(*response.Plan){
		"irreversible in stage 1":    func(p *response.Plan) { p.Steps[0].Stage, p.Steps[0].Irreversible = plugins.Notify, true },
		"irreversible in stage 2a":   func(p *response.Plan) { p.Steps[0].Irreversible = true },
		"irreversible in stage 2b":   func(p *response.Plan) { p.Steps[1].Irreversible = true },
		"no such hook":               func(p *response.Plan) { p.Steps[0].Hook = 1 },
		"after a higher stage":       func(p *response.Plan) { p.Steps[0].After = []int{1} },
		"after itself":               func(p *response.Plan) { p.Steps[1].After = []int{1} },
		"after nothing":              func(p *response.Plan) { p.Steps[1].After = []int{7} },
		"two that wait for another":  func(p *response.Plan) { p.Steps[1].After, p.Steps[2].After = []int{2}, []int{1} },
		"two steps of one name":      func(p *response.Plan) { p.Steps[1].Name = "a" },
		"stages that do not ascend":  func(p *response.Plan) { p.Stages[0], p.Stages[1] = p.Stages[1], p.Stages[0] },
		"a step in no stage":         func(p *response.Plan) { p.Stages = p.Stages[:2] },
		"a step that cannot be late": func(p *response.Plan) { p.Steps[0].Cap = 0 },
	} {
		if _, err := response.New(step(f), "h"); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := response.New(step(func(*response.Plan) {}), "h"); err != nil {
		t.Errorf("the plan itself: %v", err)
	}
	r := step(func(*response.Plan) {})
	r.Plans = append(r.Plans, r.Plans[0])
	if _, err := response.New(r, "h"); err == nil {
		t.Error("two plans of one name: accepted")
	}
}

// S1: a call has no direction but do; nothing that the machine emits in a whole episode, its reset
// and a restart is an undo.
func TestNothingSwitchesOn(t *testing.T) {
	r := newRig(t, plan(at(plugins.Notify, "tell"), at(plugins.Prepare, "freeze"), at(plugins.Shed, "hosts"), at(plugins.Isolate, "breaker")))
	r.set(yes, seen, prepare, switchOver, shed, isolate)
	r.pass(2 * time.Minute)
	r.restart("h1", response.Resumed{SameBoot: true, AgeKnown: true})
	for _, s := range []string{"tell", "freeze", "hosts", "breaker"} {
		r.want(s, response.Capped)
	}
	r.set(no, seen, prepare, switchOver, shed, isolate)
	r.starts = nil
	r.pass(time.Hour)
	if err := r.reset(); err != nil {
		t.Fatal(err)
	}
	r.pass(time.Hour)
	r.wantStarts()
	for _, rec := range r.log {
		if b, _ := json.Marshal(rec); strings.Contains(string(b), "undo") {
			t.Errorf("a record speaks of an undo: %s", b)
		}
	}
}

// Calls carry what a hook needs: key, time-out, and the frozen reason of their stage.
func TestCall(t *testing.T) {
	r := newRig(t, plan(at(plugins.SwitchOver, "drain")))
	r.set(yes, switchOver)
	c := r.last("drain")
	if got := c.Key.String(); got != "evacuate/b3/2b/drain/41/do/0" || c.Timeout != 10*second || !strings.Contains(string(c.Why), `"c2"`) {
		t.Errorf("call %s, time-out %v, why %s", got, c.Timeout, c.Why)
	}
	if key, err := plugins.ParseKey(c.Key.String()); err != nil || key != c.Key {
		t.Errorf("key %v does not read back: %v, %v", c.Key, key, err)
	}
	for _, e := range r.events {
		if e.Type == "step.starting" && e.Key != c.Key.String() {
			t.Errorf("event %+v does not name the key", e)
		}
	}
}

// A hash is not needed to be active.
func TestActive(t *testing.T) {
	r := newRig(t, plan())
	r.boot("")
	r.resume(response.Resumed{AgeKnown: true, EpisodeBase: 1})
	if r.m.Active() {
		t.Error("active while idle")
	}
	r.set(yes, seen)
	if !r.m.Active() {
		t.Error("not active in an episode")
	}
}
