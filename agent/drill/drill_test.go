package drill

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"firebreak/agent/core"
	"firebreak/agent/hazard"
	"firebreak/agent/response"
	"firebreak/plugins"
	"firebreak/sensors"
)

// hook notes its calls and takes its time.
type hook struct {
	mu    sync.Mutex
	takes time.Duration
	hangs bool
	skips bool
	calls []plugins.Call
}

func (h *hook) Probe(context.Context) error { return nil }

func (h *hook) Do(ctx context.Context, c plugins.Call, _ func(plugins.Evidence)) plugins.Outcome {
	h.mu.Lock()
	h.calls = append(h.calls, c)
	h.mu.Unlock()
	if h.skips {
		return plugins.Outcome{Result: plugins.Skipped, Detail: "would run it"}
	}
	wait := h.takes
	if h.hangs {
		wait = time.Hour
	}
	select {
	case <-time.After(wait):
		return plugins.Outcome{Result: plugins.Done}
	case <-ctx.Done():
		return plugins.Outcome{Result: plugins.Unknown, Detail: "it hung"}
	}
}

func (h *hook) marks() (m []plugins.Mark) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.calls {
		m = append(m, c.Mark)
	}
	return m
}

func room() *core.Rules {
	device := func(id sensors.DeviceID, name string) sensors.Device {
		return sensors.Device{ID: id, Name: name, Poll: time.Second, Path: sensors.Path{Bus: name, Supply: name}}
	}
	point := func(id sensors.PointID, name string, ph sensors.Physics) sensors.Point {
		return sensors.Point{ID: id, Device: sensors.DeviceID(id), Name: name, Physics: ph, Hazard: 1, Max: 100, Stale: 10 * time.Second}
	}
	above := func(name string, p sensors.PointID, at float64) hazard.Cond {
		return hazard.Cond{Name: name, Kind: hazard.Above, Threshold: at, Priority: 2,
			Members: []hazard.Member{{Device: sensors.DeviceID(p), Points: []sensors.PointID{p}}}}
	}
	step := func(name string, stage plugins.Stage, hook int) response.Step {
		return response.Step{Name: name, Stage: stage, Hook: hook, Timeout: 5 * time.Second, Cap: 20 * time.Second, OnlyIf: hazard.NoCond}
	}
	shed := step("shed", plugins.Shed, 2)
	shed.Irreversible = true
	return &core.Rules{Site: "s", Zone: "z", Agent: "a", Hash: "h",
		Hazard: &hazard.Rules{Devices: []sensors.Device{device(0, "asd"), device(1, "bms")},
			Points: []sensors.Point{point(0, "asd.smoke", sensors.Smoke), point(1, "bms.temp", sensors.Temperature)},
			Conds: []hazard.Cond{above("smoke", 0, 10), above("heat", 1, 60),
				{Name: "any", Kind: hazard.Vote, Of: []hazard.CondID{0, 1}, Need: 1},
				{Name: "both", Kind: hazard.Vote, Of: []hazard.CondID{0, 1}, Need: 2, Independent: true}}},
		Response: &response.Rules{Hooks: []string{"tell", "drain", "off"}, Plans: []response.Plan{{Name: "evacuate", Zone: "z",
			Stages: []response.Stage{{Level: plugins.Notify, When: 2}, {Level: plugins.SwitchOver, When: 2},
				{Level: plugins.Shed, When: 3, Countdown: 5 * time.Second, IfBlind: response.BlindHold}},
			Steps: []response.Step{step("tell", plugins.Notify, 0), step("drain", plugins.SwitchOver, 1), shed}}}}}
}

// quiet offers the readings of the real loop to the drill until ctx ends.
func quiet(ctx context.Context, d *Drill, clock *sensors.Clock) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		for id, v := range []float64{1, 25} {
			d.Offer(plugins.Update{State: &sensors.Batch{Device: sensors.DeviceID(id),
				Readings: []sensors.Reading{{Point: sensors.PointID(id), Value: v, Quality: sensors.GoodQuality, At: clock.Now()}}}})
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func exercise(t *testing.T, change func(*Config), hooks ...*hook) (*Report, *Drill) {
	t.Helper()
	clock := sensors.NewClock()
	c := Config{Rules: room(), Plan: "evacuate", By: "kim", Clock: clock, Wall: time.Now(), Budget: map[string]time.Duration{"1": 3 * time.Second}}
	for _, h := range hooks {
		c.Hooks = append(c.Hooks, h)
	}
	change(&c)
	d, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { quiet(ctx, d, clock) })
	r := d.Run(t.Context())
	cancel()
	wg.Wait()
	return r, d
}

// A stage that is tripped runs its steps, marked, and says what each took.
func TestTrippedDrill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hooks := []*hook{{takes: time.Second}, {skips: true}, {}}
		r, _ := exercise(t, func(c *Config) { c.Stage = plugins.SwitchOver }, hooks...)
		if !r.Good || r.Running || r.Stages[2].OpenedS != nil || r.Stages[1].OpenedS == nil {
			t.Fatalf("not as tripped: %s", r.Markdown())
		}
		for i, want := range []string{"done", "skipped", "idle"} {
			if r.Steps[i].State != want {
				t.Errorf("step %s is %s, want %s", r.Steps[i].Step, r.Steps[i].State, want)
			}
		}
		if r.Steps[1].Detail != "would run it" || r.Steps[0].EndedS == nil || *r.Steps[0].EndedS < 1 {
			t.Errorf("what was done, and how long it took, is not told: %+v", r.Steps)
		}
		for _, h := range hooks[:2] {
			if m := h.marks(); len(m) != 1 || m[0] != plugins.MarkDrill {
				t.Errorf("calls are marked %v", m)
			}
		}
		if len(hooks[2].marks()) != 0 {
			t.Error("a stage that was not tripped called its hook")
		}
		if text := r.Markdown(); !strings.Contains(text, "**Good.**") || !strings.Contains(text, "would run it") {
			t.Errorf("the report does not say it:\n%s", text)
		}
	})
}

// Injected smoke and heat open what they would open: the whole way from reading to hook, countdown
// included.
func TestInjectedDrill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hooks := []*hook{{}, {}, {}}
		r, _ := exercise(t, func(c *Config) { c.Inject = map[string]float64{"asd.smoke": 50, "bms.temp": 90} }, hooks...)
		if !r.Good || r.Stages[2].OpenedS == nil || r.Stages[2].FirstHookS == nil || *r.Stages[2].FirstHookS-*r.Stages[2].OpenedS < 5 {
			t.Fatalf("the injected fire did not run to stage 3 over its countdown:\n%s", r.Markdown())
		}
	})
}

// Timeline 12, and S7: a real stage ends the drill within 1 s; it is not good then.
func TestRealStageEndsTheDrill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hooks := []*hook{{}, {hangs: true}, {}}
		var d *Drill
		clock := sensors.NewClock()
		c := Config{Rules: room(), Plan: "evacuate", By: "kim", Stage: plugins.Shed, Clock: clock, Wall: time.Now()}
		for _, h := range hooks {
			c.Hooks = append(c.Hooks, h)
		}
		d, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan *Report, 1)
		go func() { done <- d.Run(t.Context()) }()
		<-time.After(2 * time.Second)
		at := time.Now()
		d.Offer(plugins.Update{Plan: &plugins.PlanState{Plan: "evacuate", Stage: "1"}})
		r := <-done
		if took := time.Since(at); r.Good || took > time.Second {
			t.Errorf("ended after %v, good %v", took, r.Good)
		}
		if !strings.Contains(r.Why, "a real stage 1") {
			t.Errorf("it does not say why: %s", r.Why)
		}
	})
}

// Evidence that comes after the call of a hook ends its step, if it is of the drill: that of a real call
// is not (S7). The report tells what was awaited, what came and when, and each part's time beside its budget.
func TestLateEvidenceOfADrill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hooks, rules := []plugins.Hook{&hook{skips: true}, &hook{takes: 2 * time.Second}, &hook{}}, room()
		rules.Response.Plans[0].Steps[1].Evidence, rules.Response.Plans[0].Steps[1].EvidenceName = response.ByHook, plugins.SeenDone
		d, err := New(Config{Rules: rules, Plan: "evacuate", By: "kim", Stage: plugins.SwitchOver, Clock: sensors.NewClock(), Wall: time.Now(), Hooks: hooks})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan *Report, 1)
		go func() { done <- d.Run(t.Context()) }()
		<-time.After(4 * time.Second)
		key := hooks[1].(*hook).calls[0].Key
		d.Seen(t.Context(), plugins.Evidence{Key: key, Name: plugins.SeenDone, OK: true, Detail: "a real one"})
		<-time.After(time.Second)
		if s := d.Report().Steps[1]; s.State != "working" || len(s.Came) != 0 {
			t.Errorf("evidence of a real call counted: %+v", s)
		}
		d.Seen(t.Context(), plugins.Evidence{Key: key, Mark: plugins.MarkDrill, Name: plugins.SeenDone, OK: true, Detail: "14 moved"})
		r := <-done
		s := r.Steps[1]
		if !r.Good || s.Awaits != "hook:done" || len(s.Came) != 1 || s.Came[0].AtS < 5 || !s.Evidence || s.Would != "" || s.CallS != 2 || s.TimeoutS != 5 {
			t.Errorf("good %v: %+v", r.Good, s)
		}
		if s := r.Steps[0]; s.Would != "would run it" || s.Did != "" || len(s.Came) != 0 {
			t.Errorf("a hook that was left out: %+v", s)
		}
		want := "| 2b | drain | drain | done | 0.0 s | 5.0 s | 20 s | 2.0 s | 5 s | - | done | hook:done | done at 5.0 s (14 moved) |"
		if text := r.Markdown(); !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	})
}

// A hook that hangs makes the drill bad and no more: it ends by the step's cap.
func TestHangingHook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := exercise(t, func(c *Config) { c.Stage = plugins.SwitchOver }, &hook{}, &hook{hangs: true}, &hook{})
		if r.Good || !strings.Contains(r.Why, "drain is") {
			t.Errorf("good %v: %s", r.Good, r.Why)
		}
	})
}

func TestNewRefusesADrillOfNothing(t *testing.T) {
	for name, c := range map[string]Config{
		"no stage and no value": {Plan: "evacuate"},
		"no such plan":          {Plan: "nope", Stage: plugins.Shed},
		"no such point":         {Plan: "evacuate", Inject: map[string]float64{"nope": 1}},
	} {
		c.Rules = room()
		if _, err := New(c); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
