package core_test

import (
	"fmt"
	"testing"
	"time"

	"firebreak/agent/core"
	"firebreak/agent/hazard"
	"firebreak/agent/response"
	"firebreak/plugins"
	"firebreak/sensors"
)

func benchRules() *core.Rules {
	hz := &hazard.Rules{}
	v := hazard.Cond{Name: "two of three", Kind: hazard.Vote, Need: 2, Independent: true}
	for i, ph := range []sensors.Physics{sensors.Smoke, sensors.Temperature, sensors.Gas} {
		n := fmt.Sprint("d", i)
		hz.Devices = append(hz.Devices, sensors.Device{ID: sensors.DeviceID(i), Name: n, Path: sensors.Path{Bus: n, Supply: n}})
		hz.Points = append(hz.Points, sensors.Point{ID: sensors.PointID(i), Device: sensors.DeviceID(i), Name: n + ".x", Physics: ph,
			Hazard: 1, Max: 150, Stale: time.Minute, Unit: sensors.Celsius})
		hz.Conds = append(hz.Conds, hazard.Cond{Name: n + "-high", Threshold: 60, Priority: 1,
			Members: []hazard.Member{{Device: sensors.DeviceID(i), Points: []sensors.PointID{sensors.PointID(i)}}}})
		v.Of = append(v.Of, hazard.CondID(i))
	}
	hz.Conds = append(hz.Conds, v)
	return &core.Rules{Hash: "h", Hazard: hz, Response: &response.Rules{Hooks: []string{"drain"}, Plans: []response.Plan{{Name: "p", Zone: "z",
		Mode: response.Armed, ExpectedMode: response.Armed, Stages: []response.Stage{{Level: plugins.SwitchOver, When: 3}},
		Steps: []response.Step{{Name: "drain", Stage: plugins.SwitchOver, Cap: time.Minute, OnlyIf: hazard.NoCond}}}}}}
}

// BenchmarkReadingToDecision is one reading that trips a vote of two of three, to the Start of the
// hook: judged, voted, explained, recorded, told.
func BenchmarkReadingToDecision(b *testing.B) {
	rules := benchRules()
	ready, err := core.New(rules, nil)
	if err != nil {
		b.Fatal(err)
	}
	now := firstMono
	at := func(p sensors.PointID, v float64) core.Event {
		return core.Event{Kind: core.Readings, Readings: []sensors.Reading{{Point: p, Value: v, Quality: sensors.GoodQuality, At: now}}}
	}
	ready.Step(now, core.Event{Kind: core.Resumed, Resumed: core.ResumeInfo{Resumed: response.Resumed{AgeKnown: true, EpisodeBase: 1}}}, nil)
	for p := range 3 {
		ready.Step(now, at(sensors.PointID(p), 25), nil)
	}
	ready.Step(now, at(0, 70), nil)
	snap := ready.Snapshot(nil)
	now = now.Add(time.Second)
	trip := at(1, 70)
	var fx []core.Effect
	b.ReportAllocs()
	var total time.Duration
	for range b.N {
		b.StopTimer()
		c, err := core.New(rules, snap)
		if err != nil {
			b.Fatal(err)
		}
		c.Step(now, core.Event{}, fx[:0])
		b.StartTimer()
		begin := time.Now()
		fx, _ = c.Step(now, trip, fx[:0])
		total += time.Since(begin)
		b.StopTimer()
		started := false
		for i := range fx {
			started = started || fx[i].Kind == core.Start
		}
		if !started {
			b.Fatal("no hook was started")
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(total.Nanoseconds())/float64(b.N), "ns/decision")
}

// BenchmarkQuietStep is a poll of a quiet device through the core.
func BenchmarkQuietStep(b *testing.B) {
	c, err := core.New(benchRules(), nil)
	if err != nil {
		b.Fatal(err)
	}
	now := firstMono
	fx, _ := c.Step(now, core.Event{Kind: core.Resumed, Resumed: core.ResumeInfo{Resumed: response.Resumed{AgeKnown: true, EpisodeBase: 1}}}, nil)
	in := make([]sensors.Reading, 1)
	b.ReportAllocs()
	for i := range b.N {
		now = now.Add(time.Millisecond)
		in[0] = sensors.Reading{Point: sensors.PointID(i % 3), Value: 25, Quality: sensors.GoodQuality, At: now}
		fx, _ = c.Step(now, core.Event{Kind: core.Readings, Readings: in}, fx[:0])
	}
}
