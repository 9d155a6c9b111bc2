package core

import (
	"errors"
	"testing"

	"firebreak/plugins"
)

// TestRights is S17 row by row: who may do what, over which channel, at rest and with a stage open.
// "1": one person suffices, "2": two, "-": not on this channel at all.
func TestRights(t *testing.T) {
	rows := []struct {
		kind                          OrderKind
		stage                         plugins.Stage // of a trip
		box, boxOpen, remote, farOpen string
	}{
		{AckAlarm, 0, "1", "1", "1", "1"},
		{ShelveAlarm, 0, "1", "1", "1", "1"},
		{UnshelveAlarm, 0, "1", "1", "1", "1"},
		{HoldPlan, 0, "1", "1", "1", "1"},
		{ReleasePlan, 0, "1", "1", "1", "1"},
		{DrillPlan, 0, "1", "1", "1", "1"},
		{EndDrill, 0, "1", "1", "1", "1"},
		{TripPlan, plugins.Prepare, "1", "1", "1", "1"},
		{TripPlan, plugins.SwitchOver, "1", "1", "1", "1"},
		{TripPlan, plugins.Shed, "1", "1", "2", "2"},
		{TripPlan, plugins.Isolate, "1", "1", "2", "2"},
		{ArmPlan, 0, "1", "1", "2", "2"},
		{DisarmPlan, 0, "1", "1", "2", "-"},
		{BypassInput, 0, "1", "1", "2", "-"},
		{EndBypass, 0, "1", "1", "2", "2"},
		{LearnBaseline, 0, "1", "1", "2", "-"},
		{TakeOutOfServe, 0, "1", "1", "2", "2"},
		{ReturnToService, 0, "1", "1", "2", "2"},
		{ResetPlan, 0, "1", "1", "2", "2"},
		{ResetAlarm, 0, "1", "1", "2", "2"},
		{UndoPlan, 0, "1", "1", "2", "2"},
		{SettleEntry, 0, "1", "1", "2", "2"},
		{ProvePoint, 0, "1", "1", "2", "2"},
		{ConsumerAnswers, 0, "1", "1", "2", "2"},
		{ReloadConfig, 0, "1", "1", "2", "-"},
		{RestartAgent, 0, "1", "1", "2", "-"},
		{EnergiseHook, 0, "1", "1", "-", "-"},
	}
	seen := map[OrderKind]bool{}
	for _, r := range rows {
		seen[r.kind] = true
		for _, c := range []struct {
			channel Channel
			open    plugins.Stage
			want    string
		}{{AtTheBox, plugins.Watch, r.box}, {AtTheBox, plugins.Notify, r.boxOpen}, {AtTheBox, plugins.Isolate, r.boxOpen},
			{Remote, plugins.Watch, r.remote}, {Remote, plugins.Notify, r.farOpen}, {Remote, plugins.Isolate, r.farOpen}} {
			one := allow(Order{Kind: r.kind, By: "kim", Channel: c.channel, Stage: r.stage}, c.open)
			same := allow(Order{Kind: r.kind, By: "kim", Second: "kim", Channel: c.channel, Stage: r.stage}, c.open)
			two := allow(Order{Kind: r.kind, By: "kim", Second: "lee", Channel: c.channel, Stage: r.stage}, c.open)
			got := "-"
			switch {
			case one == nil && two == nil:
				got = "1"
			case two == nil:
				got = "2"
			}
			if got != c.want || (one == nil) != (same == nil) {
				t.Errorf("%s (%v) %v with stage %v open: %s, want %s; one person twice: %v", r.kind, r.stage, c.channel, c.open, got, c.want, same)
			}
			var denied *Denied
			if one != nil && !errors.As(one, &denied) {
				t.Errorf("%s: %v is not told as a denial", r.kind, one)
			}
		}
		if allow(Order{Kind: r.kind, Stage: r.stage}, plugins.Watch) == nil {
			t.Errorf("%s is carried out for nobody", r.kind)
		}
	}
	for kind := range rights {
		if !seen[kind] {
			t.Errorf("%s has no row in this test", kind)
		}
	}
	if allow(Order{Kind: "format-disk", By: "kim"}, plugins.Watch) == nil {
		t.Error("an order without a row is allowed")
	}
}
