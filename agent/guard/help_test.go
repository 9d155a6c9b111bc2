package guard

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"firebreak/agent/core"
	"firebreak/agent/hazard"
	"firebreak/agent/journal"
	"firebreak/agent/response"
	"firebreak/plugins"
	"firebreak/sensors"
)

// Two devices on two buses and two feeds: a smoke detector and a thermometer. One of them opens
// stage 2b, both open stage 4.
const (
	smoke sensors.PointID = iota
	heat
)

func rules(steps ...response.Step) *core.Rules {
	dev := func(id sensors.DeviceID, name, bus, supply string) sensors.Device {
		return sensors.Device{ID: id, Name: name, Poll: time.Second, Path: sensors.Path{Bus: bus, Supply: supply}}
	}
	pt := func(id sensors.PointID, name string, ph sensors.Physics) sensors.Point {
		return sensors.Point{ID: id, Device: sensors.DeviceID(id), Name: name, Physics: ph, Hazard: 1, Stale: 10 * time.Second}
	}
	det := func(name string, p sensors.PointID, at float64) hazard.Cond {
		return hazard.Cond{Name: name, Kind: hazard.Above, Threshold: at, Priority: 2,
			Members: []hazard.Member{{Device: sensors.DeviceID(p), Points: []sensors.PointID{p}}}}
	}
	for i := range steps {
		s := &steps[i]
		if s.Name == "" {
			s.Name = fmt.Sprintf("s%03d", i)
		}
		if s.Stage == 0 {
			s.Stage = plugins.SwitchOver
		}
		s.Timeout, s.Cap = or(s.Timeout, 10*time.Second), or(s.Cap, time.Hour)
		s.OnlyIf, s.Irreversible = hazard.NoCond, s.Stage.Irreversible()
	}
	return &core.Rules{Site: "pangyo", Zone: "b3", Agent: "rack1", Hash: "h1",
		Hazard: &hazard.Rules{
			Devices: []sensors.Device{dev(0, "asd", "tcp", "A"), dev(1, "cab", "i2c", "B")},
			Points:  []sensors.Point{pt(smoke, "asd.smoke", sensors.Smoke), pt(heat, "cab.temp", sensors.Temperature)},
			Conds: []hazard.Cond{det("smoke", smoke, 1), det("heat", heat, 60),
				{Name: "any", Kind: hazard.Vote, Of: []hazard.CondID{0, 1}, Need: 1},
				{Name: "both", Kind: hazard.Vote, Of: []hazard.CondID{0, 1}, Need: 2, Independent: true}},
		},
		Response: &response.Rules{Hooks: []string{"hook"}, Plans: []response.Plan{{
			Name: "evacuate", Zone: "b3", Mode: response.Armed, Ungated: "test", ExpectedMode: response.Armed,
			Stages: []response.Stage{
				{Level: plugins.Notify, When: 2}, {Level: plugins.Prepare, When: 2}, {Level: plugins.SwitchOver, When: 2},
				{Level: plugins.Shed, When: 3, Countdown: 30 * time.Second, IfBlind: response.BlindProceed},
				{Level: plugins.Isolate, When: 3, Countdown: 60 * time.Second, IfBlind: response.BlindProceed}},
			Steps: steps}}}}
}

func or(d, def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return d
}

// world is one running guard.
type world struct {
	t      testing.TB
	g      *Guard
	c      Config
	in     *inbox
	hook   *fakeHook
	pub    *fakePub
	cancel context.CancelFunc
	done   chan error

	mu   sync.Mutex
	plan plugins.PlanState // at the end of the loop's last turn
}

// begin starts a guard on an empty journal (or what rec holds), with no disk unless one is given.
func begin(t testing.TB, r *core.Rules, rec *journal.Recovered, change func(*Config)) *world {
	t.Helper()
	w := &world{t: t, in: newInbox(), hook: &fakeHook{}, pub: &fakePub{}, done: make(chan error, 1)}
	w.c = Config{Clock: sensors.NewScaledClock(sensors.Mono(1000*time.Second), 1), Boot: Boot{ID: "boot", Epoch: 7, Instance: "i"},
		Hooks: []plugins.Hook{w.hook}, Publishers: []plugins.Publisher{w.pub}, Inbox: w.in}
	if change != nil {
		change(&w.c)
	}
	if h, ok := w.c.Hooks[0].(*fakeHook); ok {
		w.hook = h
	}
	got, err := Recover(r, rec, nil, w.c.Clock.Now(), "boot", false, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	w.c.Core, w.c.Resume = got.Core, got.Resume
	alive := w.c.Alive
	w.c.Alive = func() {
		if alive != nil {
			alive()
		}
		v := w.c.Core.View(w.c.Clock.Now(), "evacuate")
		w.mu.Lock()
		defer w.mu.Unlock()
		w.plan = v
	}
	if w.g, err = New(w.c); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	go func() { w.done <- w.g.Run(ctx) }()
	return w
}

// read puts one reading of one device.
func (w *world) read(p sensors.PointID, v float64) {
	w.in.put(sensors.Batch{Device: sensors.DeviceID(p), Wall: time.Now(),
		Readings: []sensors.Reading{{Point: p, Value: v, Quality: sensors.GoodQuality, At: w.c.Clock.Now()}}})
}

func (w *world) stop() error {
	w.t.Helper()
	w.cancel()
	return <-w.done
}

func (w *world) end() {
	w.t.Helper()
	if err := w.stop(); err != nil {
		w.t.Errorf("stop: %v", err)
	}
}

// view is the plan as the core has it, by step.
func (w *world) view() map[string]plugins.StepState {
	w.mu.Lock()
	defer w.mu.Unlock()
	m := map[string]plugins.StepState{}
	for _, s := range w.plan.Steps {
		m[s.Step] = s
	}
	return m
}

func (w *world) want(step, state string) {
	w.t.Helper()
	if s := w.view()[step]; s.State != state {
		w.t.Errorf("step %s is %s (%s), want %s", step, s.State, s.Detail, state)
	}
}

// pass lets fake time go by, in the bubble of a test, until all is at rest.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// kinds names the records of a journal in their order.
func kinds(t testing.TB, rec *journal.Recovered) (ks []string) {
	for _, r := range rec.Records {
		var e entry
		if err := json.Unmarshal(r.Payload, &e); err != nil {
			t.Fatal(err)
		}
		switch {
		case e.Snap != nil:
			ks = append(ks, "whole")
		case e.Boot != nil:
			ks = append(ks, "boot")
		case e.Rec.Plan != nil && e.Rec.Plan.Step != nil:
			ks = append(ks, e.Rec.Plan.Step.Name+" "+e.Rec.Plan.Step.State.String())
		case e.Rec.Plan != nil:
			ks = append(ks, e.Rec.Plan.Kind+e.Rec.Plan.Stage)
		case e.Rec.Member != nil:
			ks = append(ks, "member")
		case e.Rec.Alarm != nil:
			ks = append(ks, "alarm "+e.Rec.Alarm.Name)
		}
	}
	return ks
}
