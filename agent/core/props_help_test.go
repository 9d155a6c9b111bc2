package core_test

import (
	"encoding/json"
	"fmt"
	"math"
	"time"

	"pgregory.net/rapid"

	"firebreak/agent/core"
	"firebreak/agent/hazard"
	"firebreak/agent/response"
	"firebreak/plugins"
	"firebreak/sensors"
)

const (
	threshold = 60.0
	offDelay  = 7 * time.Second
	heldTrue  = 5 * time.Minute
)

// drawRules makes a room of a few devices that share buses, gateways and supplies at random, with
// a detector on each point, votes over them, and a plan up to stage 4.
func drawRules(t *rapid.T) *core.Rules {
	hz := &hazard.Rules{HeldTrue: heldTrue, LossPersist: 10 * time.Second}
	pick := func(name string, of ...string) string { return rapid.SampledFrom(of).Draw(t, name) }
	for d := range rapid.IntRange(2, 4).Draw(t, "devices") {
		hz.Devices = append(hz.Devices, sensors.Device{ID: sensors.DeviceID(d), Name: fmt.Sprint("d", d), Path: sensors.Path{
			Bus: pick("bus", "1", "2", "3"), Gateway: pick("gateway", "", "g", "h", "i"), Supply: pick("supply", "", "A", "B")}})
		for p := range rapid.IntRange(1, 2).Draw(t, "points") {
			hz.Points = append(hz.Points, sensors.Point{ID: sensors.PointID(len(hz.Points)), Device: sensors.DeviceID(d),
				Name: fmt.Sprintf("d%d.p%d", d, p), Register: pick("register", "", "40001"), Hazard: 1, Min: -40, Max: 150,
				Physics: rapid.SampledFrom([]sensors.Physics{sensors.Temperature, sensors.Smoke, sensors.Gas}).Draw(t, "physics"),
				Stale:   3 * time.Second, Panel: rapid.IntRange(0, 15).Draw(t, "panel") == 0})
		}
	}
	var of []hazard.CondID
	for i := range hz.Points {
		c := hazard.Cond{Name: "high-" + hz.Points[i].Name, Threshold: threshold, OffDelay: offDelay, Priority: 1 + i%3, Latching: i%2 == 0,
			OnDelay: rapid.SampledFrom([]time.Duration{0, 2 * time.Second}).Draw(t, "on"),
			Members: []hazard.Member{{Device: hz.Points[i].Device, Points: []sensors.PointID{sensors.PointID(i)}}}}
		of = append(of, hazard.CondID(len(hz.Conds)))
		hz.Conds = append(hz.Conds, c)
	}
	id := func(c hazard.Cond) hazard.CondID {
		hz.Conds = append(hz.Conds, c)
		return hazard.CondID(len(hz.Conds) - 1)
	}
	of = append(of, comparing(hz)...)
	anyHigh := id(hazard.Cond{Name: "any-high", Kind: hazard.Vote, Need: 1, Of: of})
	two := id(hazard.Cond{Name: "two", Kind: hazard.Vote, Need: 2, Independent: true, Of: of})
	three := id(hazard.Cond{Name: "three", Kind: hazard.Vote, Need: 3, Independent: true, Of: of})
	rate := id(hazard.Cond{Name: "rate", Kind: hazard.Rate, Threshold: 1, Window: 20 * time.Second, Priority: 2,
		Members: []hazard.Member{{Device: 0, Points: []sensors.PointID{0}}}})
	blind := response.BlindPolicy(rapid.IntRange(1, 2).Draw(t, "blind"))
	step := func(name string, st plugins.Stage, after ...int) response.Step {
		return response.Step{Name: name, Stage: st, After: after, Timeout: 5 * time.Second, Cap: 40 * time.Second, Retries: 1,
			OnlyIf: hazard.NoCond, Irreversible: st.Irreversible(), Evidence: response.ByOutcome}
	}
	steps := []response.Step{step("tell", plugins.Notify), step("drain", plugins.SwitchOver), step("off", plugins.Shed, 1), step("isolate", plugins.Isolate, 2)}
	steps[3].OnlyIf = rate
	return &core.Rules{Site: "s", Zone: "z", Agent: "a", Hash: "h", Hazard: hz, Response: &response.Rules{Hooks: []string{"hook"},
		Plans: []response.Plan{{Name: "p", Zone: "z", Mode: response.Armed, ExpectedMode: response.Armed, ClearTime: 10 * time.Second, MaxHold: 8 * time.Second,
			Stages: []response.Stage{{Level: plugins.Notify, When: anyHigh}, {Level: plugins.SwitchOver, When: anyHigh},
				{Level: plugins.Shed, When: two, Countdown: 5 * time.Second, IfBlind: blind},
				{Level: plugins.Isolate, When: three, Countdown: 8 * time.Second, IfBlind: blind}}, Steps: steps}}}}
}

// comparing adds detectors that never count towards an irreversible stage: a jump on the first point, and
// the silence of each device. The oracle knows nothing of them.
func comparing(hz *hazard.Rules) (of []hazard.CondID) {
	jump := hazard.Cond{Name: "jump", Kind: hazard.Jump, Threshold: 30, Window: 10 * time.Second, Side: hazard.Either, Priority: 2,
		Members: []hazard.Member{{Device: 0, Points: []sensors.PointID{0}}}}
	silent := hazard.Cond{Name: "silent", Kind: hazard.Silent, Window: 30 * time.Second, OffDelay: offDelay, Priority: 3}
	for i := range hz.Devices {
		m := hazard.Member{Device: sensors.DeviceID(i)}
		for p := range hz.Points {
			if hz.Points[p].Device == m.Device {
				m.Points = append(m.Points, sensors.PointID(p))
			}
		}
		silent.Members = append(silent.Members, m)
	}
	outlier := hazard.Cond{Name: "outlier", Kind: hazard.Deviation, From: hazard.FromMedian, Threshold: 30, Priority: 3, Members: silent.Members}
	crept := hazard.Cond{Name: "crept", Kind: hazard.Deviation, From: hazard.FromBaseline, Learn: time.Minute, Threshold: 30, Priority: 3,
		Members: jump.Members}
	for _, c := range []hazard.Cond{jump, silent} {
		of = append(of, hazard.CondID(len(hz.Conds)))
		hz.Conds = append(hz.Conds, c)
	}
	hz.Conds = append(hz.Conds, outlier, crept)
	return of
}

// happening is one event with the time since the one before.
type happening struct {
	after time.Duration
	ev    core.Event
	hook  int // >= 0: the end of this call, if there is one
}

func drawReading(t *rapid.T, points int, wild bool) sensors.Reading {
	r := sensors.Reading{Point: sensors.PointID(rapid.IntRange(0, points-1).Draw(t, "point")), Quality: sensors.GoodQuality}
	r.Value = rapid.SampledFrom([]float64{20, 20, 40, 59, 60, 70, 90, 120}).Draw(t, "value")
	switch rapid.IntRange(0, 7).Draw(t, "quality") {
	case 0:
		r.Quality = sensors.BadQuality(sensors.Reason(rapid.IntRange(0, 9).Draw(t, "reason")))
	case 1:
		if wild {
			r.Value, r.Quality = 150, sensors.MakeQuality(sensors.Uncertain, sensors.OverRange, sensors.Real)
		}
	}
	if wild && rapid.IntRange(0, 9).Draw(t, "wild") == 0 {
		r.Value = rapid.SampledFrom([]float64{math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat64, -math.MaxFloat64, 0}).Draw(t, "wild value")
		r.Quality = sensors.Quality(rapid.Uint16().Draw(t, "wild quality"))
		r.Point = sensors.PointID(rapid.Uint32Range(0, 30).Draw(t, "wild point"))
		r.At = sensors.Mono(rapid.Int64Range(-1e12, 1e12).Draw(t, "wild instant"))
	}
	return r
}

func drawEvents(t *rapid.T, rules *core.Rules, wild bool) []happening {
	out := make([]happening, rapid.IntRange(20, 120).Draw(t, "events"))
	for i := range out {
		h := happening{hook: -1, after: rapid.SampledFrom([]time.Duration{0, 100 * time.Millisecond, time.Second, time.Second, 4 * time.Second}).Draw(t, "after")}
		if rapid.IntRange(0, 30).Draw(t, "pause") == 0 {
			h.after = rapid.SampledFrom([]time.Duration{20 * time.Second, 6 * time.Minute}).Draw(t, "long")
		}
		switch k := rapid.IntRange(0, 19).Draw(t, "kind"); k {
		case 0:
			h.hook = rapid.IntRange(0, 3).Draw(t, "hook")
			h.ev = core.Event{Kind: core.HookDone, Outcome: plugins.Outcome{Result: plugins.Result(rapid.IntRange(0, 2).Draw(t, "result"))}}
		case 1:
			h.hook = rapid.IntRange(0, 3).Draw(t, "hook")
			h.ev = core.Event{Kind: core.HookStarted, Journaled: true}
		case 2:
			kind := rapid.SampledFrom([]core.OrderKind{core.ShelveAlarm, core.LearnBaseline, core.TakeOutOfServe, core.ReturnToService, core.AckAlarm, core.ResetAlarm, core.ResetPlan, core.HoldPlan, core.HoldPlan, core.ReleasePlan}).Draw(t, "order")
			name := "p"
			switch kind {
			case core.LearnBaseline:
				name = "d0.p0"
			case core.AckAlarm, core.ResetAlarm, core.ShelveAlarm, core.TakeOutOfServe, core.ReturnToService:
				name = "high-" + rapid.SampledFrom(rules.Hazard.Points).Draw(t, "alarm").Name
			}
			h.ev = core.Event{Kind: core.OrderGiven, Order: core.Order{Kind: kind, Name: name, By: "kim", Channel: core.AtTheBox, For: 5 * time.Minute, Once: i%2 == 0}}
		default:
			h.ev.Kind = core.Readings
			for range rapid.IntRange(1, 4).Draw(t, "batch") {
				h.ev.Readings = append(h.ev.Readings, drawReading(t, len(rules.Hazard.Points), wild))
			}
		}
		out[i] = h
	}
	return out
}

// sim runs one core through happenings, honouring its wakes.
type sim struct {
	t       *rapid.T
	rules   *core.Rules
	core    *core.Core
	now     sensors.Mono
	wake    sensors.Mono
	calls   []plugins.Key
	records []core.Record
	log     []byte // of every effect, as JSON
	on      func(core.Effect)
}

func newSim(t *rapid.T, rules *core.Rules) *sim {
	c, err := core.New(rules, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &sim{t: t, rules: rules, core: c, now: firstMono}
	s.step(core.Event{Kind: core.Resumed, Resumed: core.ResumeInfo{Resumed: response.Resumed{AgeKnown: true, EpisodeBase: 1}}})
	return s
}

func (s *sim) step(ev core.Event) {
	fx, wake := s.core.Step(s.now, ev, nil)
	s.wake = wake
	for _, e := range fx {
		switch e.Kind {
		case core.Start:
			s.calls = append(s.calls, e.Call.Key)
		case core.Write:
			b, err := json.Marshal(e.Record)
			if err != nil {
				s.t.Fatalf("a record that cannot be written: %v", err)
			}
			rec, err := core.ParseRecord(b)
			if err != nil {
				s.t.Fatalf("a record that cannot be read: %v", err)
			}
			s.records = append(s.records, rec)
		}
		if s.on != nil {
			s.on(e)
		}
		if e.Err != nil { // errors do not marshal
			s.log = append(s.log, e.Err.Error()...)
			e.Err = nil
		}
		b, err := json.Marshal(e)
		if err != nil {
			s.t.Fatalf("an effect that does not marshal: %v", err)
		}
		s.log = append(append(s.log, b...), '\n')
	}
}

func (s *sim) wait(d time.Duration) {
	end := s.now.Add(d)
	for spins := 0; s.wake <= end; spins++ {
		if s.wake > s.now {
			spins = 0
		}
		if spins > 20 {
			s.t.Fatalf("the core asks to be called again at once, without end")
		}
		s.now = max(s.now, s.wake)
		s.step(core.Event{})
	}
	s.now = end
}

func (s *sim) happen(h happening) {
	s.wait(h.after)
	ev := h.ev
	ev.Readings = append([]sensors.Reading(nil), h.ev.Readings...)
	for i := range ev.Readings {
		ev.Readings[i].At += s.now
	}
	if h.hook >= 0 {
		if h.hook >= len(s.calls) {
			return
		}
		ev.Key = s.calls[len(s.calls)-1-h.hook]
	}
	s.step(ev)
}
