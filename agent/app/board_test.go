package app

import (
	"testing"
	"testing/synctest"
	"time"

	"firebreak/plugins"
	"firebreak/sensors"
)

// An alarm and a plan are told when they change. Who asks later hears of the time as of then: an alarm that has stood for
// an hour is no new one, and a countdown is what is left of it.
func TestStatusIsAsOfNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		act := 100
		alarm := &plugins.AlarmState{Name: "smoke", State: "shelved", Active: true, SinceMs: 500, Part9: &plugins.Part9{UnshelveTime: 20_000}}
		runs := &plugins.PlanState{Plan: "runs", Episode: 1, ElapsedS: 7, ActByS: &act, Countdown: map[string]int{"3": 30, "4": 5}, Outstanding: []plugins.Outstanding{{AgeS: 3}}}
		held := &plugins.PlanState{Plan: "held", Episode: 1, ElapsedS: 7, HeldBy: "kim", HoldS: 60, Countdown: map[string]int{"3": 30}}
		b := NewBoard(sensors.NewClock())
		b.Offer(plugins.Update{Alarm: alarm})
		b.Offer(plugins.Update{Plan: runs})
		b.Offer(plugins.Update{Plan: held})
		for _, after := range []int{0, 10, 50} { // each from what was told, and not from the answer before
			s := b.Status()
			if a := s.Alarms[0]; a.SinceMs != 500+int64(after)*1000 || a.Part9.UnshelveTime != max(0, 20_000-int64(after)*1000) {
				t.Errorf("after %d s: %+v %+v", after, a, a.Part9)
			}
			h, r := s.Plans[0], s.Plans[1]
			if r.ElapsedS != 7+after || *r.ActByS != 100-after || r.Countdown["3"] != max(0, 30-after) || r.Countdown["4"] != max(0, 5-after) || r.Outstanding[0].AgeS != 3+after {
				t.Errorf("after %d s: %+v, to act in %d s", after, r, *r.ActByS)
			}
			if h.ElapsedS != 7+after || h.HoldS != max(0, 60-after) || h.Countdown["3"] != 30 {
				t.Errorf("after %d s, held: %+v", after, h)
			}
			time.Sleep(time.Duration(map[int]int{0: 10, 10: 40, 50: 0}[after]) * time.Second)
		}
		if alarm.SinceMs != 500 || alarm.Part9.UnshelveTime != 20_000 || act != 100 || runs.Countdown["3"] != 30 || runs.Outstanding[0].AgeS != 3 {
			t.Errorf("what was told is changed: %+v %+v", alarm, runs)
		}
	})
}
