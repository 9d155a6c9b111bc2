package core_test

import (
	"testing"
	"time"

	"firebreak/agent/core"
	"firebreak/agent/response"
	"firebreak/plugins"
	"firebreak/sensors"
)

// From stage 1 on the devices of a plan are polled faster, and as before once it has fallen; a start
// in the middle asks again.
func TestFasterPollingInAnEpisode(t *testing.T) {
	rules := benchRules()
	p := &rules.Response.Plans[0]
	p.Stages = []response.Stage{{Level: plugins.Notify, When: 0}}
	p.Steps = nil
	rules.Hazard.Conds[0].OffDelay = time.Second
	rules.Sampling = []core.Sampling{{Device: 1, Period: 250 * time.Millisecond, Plans: []string{"other", "p"}}}
	c, err := core.New(rules, nil)
	if err != nil {
		t.Fatal(err)
	}
	now := firstMono
	step := func(ev core.Event) (asked []time.Duration) {
		t.Helper()
		now = now.Add(2 * time.Second)
		for i := range ev.Readings {
			ev.Readings[i].At = now
		}
		fx, _ := c.Step(now, ev, nil)
		for _, e := range fx {
			if e.Kind == core.Sample {
				if e.Device != 1 {
					t.Errorf("asked for device %d", e.Device)
				}
				asked = append(asked, e.Period)
			}
		}
		return asked
	}
	read := func(v float64) core.Event {
		return core.Event{Kind: core.Readings, Readings: []sensors.Reading{{Value: v, Quality: sensors.GoodQuality}}}
	}
	resumed := core.Event{Kind: core.Resumed, Resumed: core.ResumeInfo{Resumed: response.Resumed{AgeKnown: true, SameBoot: true, EpisodeBase: 1}}}
	expect := func(what string, got []time.Duration, want ...time.Duration) {
		t.Helper()
		if len(got) != len(want) || len(got) == 1 && got[0] != want[0] {
			t.Errorf("%s: asked %v, want %v", what, got, want)
		}
	}
	expect("at the start", step(resumed))
	expect("a quiet reading", step(read(25)))
	expect("stage 1", step(read(70)), 250*time.Millisecond)
	expect("still at stage 1", step(read(71)))
	if c, err = core.New(rules, c.Snapshot(nil)); err != nil {
		t.Fatal(err)
	}
	expect("a start in the middle", step(resumed), 250*time.Millisecond)
	step(read(25))
	got := step(read(25))
	for range 5 {
		got = append(got, step(read(25))...)
	}
	expect("after it has fallen", got, 0)
}
