package app

import (
	"testing"
	"testing/synctest"
	"time"

	"firebreak/plugins"
)

// What is told once goes on counting at the box: how long an alarm stands, and how long there is to hold a stage.
func TestBoardAges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBoard()
		b.Offer(plugins.Update{Alarm: &plugins.AlarmState{Name: "smoke", State: "unacknowledged", Active: true, SinceMs: 1500}})
		b.Offer(plugins.Update{Plan: &plugins.PlanState{Plan: "go", Episode: 7, ElapsedS: 10, Countdown: map[string]int{"3": 30, "4": 60}}})
		b.Offer(plugins.Update{Plan: &plugins.PlanState{Plan: "held", Episode: 8, HeldBy: "kim", HoldS: 40, Countdown: map[string]int{"3": 30}}})
		b.Offer(plugins.Update{Plan: &plugins.PlanState{Plan: "idle"}})
		time.Sleep(45 * time.Second)
		s := b.Aged(time.Now())
		if s.Alarms[0].SinceMs != 46500 {
			t.Errorf("the alarm stands for %d ms", s.Alarms[0].SinceMs)
		}
		if p := s.Plans[0]; p.ElapsedS != 55 || p.Countdown["3"] != 0 || p.Countdown["4"] != 15 {
			t.Errorf("%+v", p)
		}
		if p := s.Plans[1]; p.HoldS != 0 || p.Countdown["3"] != 30 {
			t.Errorf("a hold lets countdowns stand still: %+v", p)
		}
		if p := s.Plans[2]; p.ElapsedS != 0 {
			t.Errorf("no episode is open: %+v", p)
		}
		if raw := b.Status(); raw.Plans[0].Countdown["4"] != 60 {
			t.Errorf("what was told is changed: %+v", raw.Plans[0])
		}
	})
}
