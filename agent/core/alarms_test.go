package core_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"firebreak/agent/core"
	"firebreak/agent/hazard"
	"firebreak/agent/response"
	"firebreak/plugins"
	"firebreak/sensors"
)

// The alarm of a part, or of a hook, tells the newest cause while it is active: who is called at night looks where that points.
// Nothing else of it moves, so that who has acknowledged it is not called again.
func TestAlarmOfAPartTellsTheNewestCause(t *testing.T) {
	rules := benchRules()
	hook := "hook/" + rules.Response.Hooks[0]
	health := func(err error) core.Event { return core.Event{Kind: core.Health, Part: "telegraf", Err: err} }
	probed := func(err error) core.Event { return core.Event{Kind: core.Probed, Err: err} }
	for name, k := range map[string]struct {
		of   func(error) core.Event
		errs [2]error
		says [2]string
	}{
		"agent/telegraf": {health, [2]error{errors.New("these inputs hang: upsd"), errors.New("it does not run")}, [2]string{"upsd", "does not run"}},
		hook:             {probed, [2]error{&plugins.StandbyError{Lost: "one of two brokers is away"}, errors.New("no answer")}, [2]string{"would work now", "would not work now"}},
	} {
		c, err := core.New(rules, nil)
		if err != nil {
			t.Fatal(err)
		}
		var told []*plugins.AlarmState
		step := func(ev core.Event) {
			told = nil
			fx, _ := c.Step(firstMono, ev, nil)
			for _, e := range fx {
				if e.Kind == core.Tell && e.Update.Alarm != nil && e.Update.Alarm.Name == name {
					told = append(told, e.Update.Alarm)
				}
			}
		}
		step(core.Event{Kind: core.Resumed, Resumed: core.ResumeInfo{Resumed: response.Resumed{AgeKnown: true, EpisodeBase: 1}, Last: firstMono}})
		step(k.of(k.errs[0]))
		if len(told) != 1 || !strings.Contains(told[0].Cause, k.says[0]) {
			t.Errorf("%s: %+v", name, told)
		}
		step(core.Event{Kind: core.OrderGiven, Order: core.Order{Kind: core.AckAlarm, Name: name, By: "kim"}})
		step(k.of(k.errs[1]))
		if len(told) != 1 || !strings.Contains(told[0].Cause, k.says[1]) || told[0].State != hazard.Acknowledged.String() || told[0].Occurrence != 1 {
			t.Errorf("%s, another cause: %+v", name, told)
		}
		step(k.of(k.errs[1]))
		if len(told) > 0 {
			t.Errorf("%s, the same again: %+v", name, told[0])
		}
		step(k.of(nil))
		if len(told) != 1 || told[0].Active || !strings.Contains(told[0].Cause, k.says[1]) {
			t.Errorf("%s, it is over: %+v", name, told)
		}
	}
}

// The alarm of a vote tells how its members stand, that of a detector what it read; both while the
// alarm is active, and the counts after it too.
func TestAlarmsTellWhatTheyRestOn(t *testing.T) {
	rules := benchRules()
	vote := &rules.Hazard.Conds[3]
	vote.Priority = 1
	c, err := core.New(rules, nil)
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]*plugins.AlarmState{}
	step := func(ev core.Event) {
		fx, _ := c.Step(firstMono, ev, nil)
		for _, e := range fx {
			if e.Kind == core.Tell && e.Update.Alarm != nil {
				told[e.Update.Alarm.Name] = e.Update.Alarm
			}
		}
	}
	read := func(p sensors.PointID, v float64) {
		step(core.Event{Kind: core.Readings, Readings: []sensors.Reading{{Point: p, Value: v, Quality: sensors.GoodQuality, At: firstMono}}})
	}
	step(core.Event{Kind: core.Resumed, Resumed: core.ResumeInfo{Resumed: response.Resumed{AgeKnown: true, EpisodeBase: 1}, Last: firstMono}})
	read(0, 70)
	read(1, 71)
	name := rules.Hazard.Conds[0].Name
	if a := told[name]; a == nil || a.Vote != nil || len(a.Evidence) != 1 || *a.Evidence[0].Readings[0].Value != 70 || a.Evidence[0].Is != "true" {
		t.Errorf("detector: %+v", a)
	}
	a := told[vote.Name]
	want := plugins.Vote{Cond: vote.Name, Is: "true", Basis: "measured", K: 2, N: 3, True: 2, Bad: 1}
	if a == nil || !a.Active || a.Vote == nil || *a.Vote != want || len(a.Evidence) != 3 || a.Evidence[2].Is != "unknown" || a.Evidence[2].Readings[0].Value != nil {
		t.Fatalf("vote: %+v, want %+v", a, want)
	}
	read(2, 20)
	read(1, 20)
	a = told[vote.Name]
	want = plugins.Vote{Cond: vote.Name, Is: "false", Basis: "measured", K: 2, N: 3, True: 1}
	if a.Active || *a.Vote != want || a.Evidence != nil {
		t.Errorf("cleared: %+v %+v, want %+v", a, a.Vote, want)
	}
}

// The alarm of a vote that cannot trip tells how many of its members are left.
func TestInhibitedAlarmTellsTheVote(t *testing.T) {
	rules := benchRules()
	for i, d := range rules.Hazard.Devices { // each has a point that can be read: none is lost
		rules.Hazard.Points = append(rules.Hazard.Points, sensors.Point{ID: sensors.PointID(3 + i), Device: d.ID, Name: d.Name + ".y", Stale: time.Minute})
	}
	c, err := core.New(rules, nil)
	if err != nil {
		t.Fatal(err)
	}
	now := firstMono
	var told *plugins.AlarmState
	step := func(ev core.Event) {
		fx, _ := c.Step(now, ev, nil)
		for _, e := range fx {
			if e.Kind == core.Tell && e.Update.Alarm != nil && e.Update.Alarm.Name == "inhibited/"+rules.Hazard.Conds[3].Name {
				told = e.Update.Alarm
			}
		}
	}
	step(core.Event{Kind: core.Resumed, Resumed: core.ResumeInfo{Resumed: response.Resumed{AgeKnown: true, EpisodeBase: 1}, Last: now}})
	for range 2 {
		var in []sensors.Reading
		for p, q := range []sensors.Quality{sensors.GoodQuality, sensors.BadQuality(sensors.Stuck), sensors.BadQuality(sensors.Stuck),
			sensors.GoodQuality, sensors.GoodQuality, sensors.GoodQuality} {
			in = append(in, sensors.Reading{Point: sensors.PointID(p), Value: 20, Quality: q, At: now})
		}
		step(core.Event{Kind: core.Readings, Readings: in})
		now = now.Add(15 * time.Second)
	}
	step(core.Event{Kind: core.Tick})
	if told == nil || !told.Active || told.Vote == nil || told.Vote.Bad != 2 || told.Vote.N != 3 || told.Vote.Cond != rules.Hazard.Conds[3].Name {
		t.Errorf("told %+v", told)
	}
}

// The record of each move of an alarm holds the readings, detector states and vote behind it, and a
// replay of the journal gives them back.
func TestAlarmRecordsItsReasons(t *testing.T) {
	rules := benchRules()
	vote := &rules.Hazard.Conds[3]
	vote.Priority = 1
	c, err := core.New(rules, nil)
	if err != nil {
		t.Fatal(err)
	}
	var records []core.Record
	step := func(ev core.Event) {
		fx, _ := c.Step(firstMono, ev, nil)
		for _, e := range fx {
			if e.Kind == core.Write && e.Record.Alarm != nil && e.Record.Alarm.Name == vote.Name {
				records = append(records, e.Record)
			}
		}
	}
	step(core.Event{Kind: core.Resumed, Resumed: core.ResumeInfo{Resumed: response.Resumed{AgeKnown: true, EpisodeBase: 1}, Last: firstMono}})
	for p, v := range []float64{70, 71} {
		step(core.Event{Kind: core.Readings, Readings: []sensors.Reading{{Point: sensors.PointID(p), Value: v, Quality: sensors.GoodQuality, At: firstMono}}})
	}
	step(core.Event{Kind: core.OrderGiven, Order: core.Order{Kind: core.AckAlarm, Name: vote.Name, By: "kim", Channel: core.AtTheBox}})
	if len(records) != 2 {
		t.Fatalf("%d records of a raise and an acknowledgement", len(records))
	}
	for _, r := range records {
		w := r.Alarm.Why
		if w == nil || w.K != 2 || w.True != 2 || w.Bad != 1 || len(w.Members) != 3 || w.Members[0].Readings[0].Value != 70 || w.Members[0].Readings[0].State != "true" {
			t.Fatalf("the record says %+v", w)
		}
	}
	if records[1].Alarm.By != "kim" {
		t.Errorf("nobody has acknowledged: %+v", records[1].Alarm)
	}
	again, err := core.New(rules, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		if err := again.Apply(r); err != nil {
			t.Fatal(err)
		}
	}
	again.Alarms(func(a hazard.Alarm) {
		if a.Name == vote.Name && (a.Why == nil || a.Why.True != 2 || a.State != hazard.Acknowledged) {
			t.Errorf("replayed as %+v", a)
		}
	})
}

// The words of OPC UA Part 9 follow the state.
func TestPart9(t *testing.T) {
	rules := benchRules()
	rules.Hazard.Conds[0].OnDelay, rules.Hazard.Conds[0].ReAlarm, rules.Hazard.Conds[0].Priority = 0, time.Hour, 1
	name := rules.Hazard.Conds[0].Name
	c, err := core.New(rules, nil)
	if err != nil {
		t.Fatal(err)
	}
	var told *plugins.Part9
	step := func(ev core.Event) {
		fx, _ := c.Step(firstMono, ev, nil)
		for _, e := range fx {
			if e.Kind == core.Tell && e.Update.Alarm != nil && e.Update.Alarm.Name == name {
				told = e.Update.Alarm.Part9
			}
		}
	}
	order := func(k core.OrderKind, once bool) {
		t.Helper()
		step(core.Event{Kind: core.OrderGiven, Order: core.Order{Kind: k, Name: name, By: "kim", Channel: core.AtTheBox, For: time.Hour, Once: once}})
	}
	step(core.Event{Kind: core.Resumed, Resumed: core.ResumeInfo{Resumed: response.Resumed{AgeKnown: true, EpisodeBase: 1}, Last: firstMono}})
	step(core.Event{Kind: core.Readings, Readings: []sensors.Reading{{Point: 0, Value: 70, Quality: sensors.GoodQuality, At: firstMono}}})
	is := func(what string, want plugins.Part9) {
		t.Helper()
		want.ActiveState, want.Retain, want.Severity, want.ReAlarmTime, want.MaxTimeShelved = true, true, 900, 3600e3, 8*3600e3
		want.FirstInGroup, want.FirstInGroupFlag, want.OffDelay = told.FirstInGroup, true, told.OffDelay
		if want.ShelvingState == "" {
			want.ShelvingState = "Unshelved"
		}
		if *told != want || told.FirstInGroup == "" {
			t.Errorf("%s: %+v, want %+v", what, *told, want)
		}
	}
	is("raised", plugins.Part9{})
	order(core.AckAlarm, false)
	is("acknowledged", plugins.Part9{AckedState: true})
	order(core.ShelveAlarm, false)
	is("shelved", plugins.Part9{AckedState: true, ShelvingState: "TimedShelved", UnshelveTime: 3600e3, SuppressedOrShelved: true})
	order(core.UnshelveAlarm, false)
	order(core.ShelveAlarm, true)
	is("shelved once", plugins.Part9{AckedState: true, ShelvingState: "OneShotShelved", UnshelveTime: 3600e3, SuppressedOrShelved: true})
	order(core.UnshelveAlarm, false)
	is("back", plugins.Part9{})
	order(core.TakeOutOfServe, false)
	is("out of service", plugins.Part9{AckedState: true, OutOfServiceState: true, SuppressedOrShelved: true})
}
