package core_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"firebreak/agent/core"
	"firebreak/agent/hazard"
	"firebreak/agent/response"
)

func journalAlarm(c *core.Core) (active bool) {
	c.Alarms(func(a hazard.Alarm) { active = active || a.Name == "agent/journal" && a.Active })
	return active
}

// The alarm of a journal that failed in an earlier life does not stand for ever; that of the present
// one does.
func TestJournalAlarmAcrossARestart(t *testing.T) {
	for name, failsNow := range map[string]bool{"works": false, "fails": true} {
		t.Run(name, func(t *testing.T) {
			c, err := core.New(benchRules(), nil)
			if err != nil {
				t.Fatal(err)
			}
			old := hazard.Alarm{Name: "agent/journal", State: hazard.Unacknowledged, Active: true, Priority: 1}
			if err := c.Apply(core.Record{Alarm: &old}); err != nil {
				t.Fatal(err)
			}
			if failsNow {
				c.Step(firstMono, core.Event{Kind: core.Durable, Err: errors.New("read-only")}, nil)
			}
			c.Step(firstMono, core.Event{Kind: core.Resumed, Resumed: core.ResumeInfo{Resumed: response.Resumed{SameBoot: true, AgeKnown: true}, Last: firstMono}}, nil)
			if got := journalAlarm(c); got != failsNow {
				t.Fatalf("the alarm is active: %v, want %v", got, failsNow)
			}
		})
	}
}

// A start that finds durable records gone tells it, and what it told waits for a person even when the
// next start, which finds a repaired journal, comes at once (S9).
func TestLostRecordsAreTold(t *testing.T) {
	c, err := core.New(benchRules(), nil)
	if err != nil {
		t.Fatal(err)
	}
	told := func(damaged bool) (got hazard.Alarm) {
		resumed := response.Resumed{SameBoot: true, AgeKnown: true}
		c.Step(firstMono, core.Event{Kind: core.Resumed, Resumed: core.ResumeInfo{Resumed: resumed, Last: firstMono, Damaged: damaged}}, nil)
		c.Alarms(func(a hazard.Alarm) {
			if a.Name == "agent/memory" {
				got = a
			}
		})
		return got
	}
	if a := told(false); a.Active {
		t.Errorf("nothing is gone, and told: %+v", a)
	}
	if a := told(true); !a.Active || a.Priority != 2 || !strings.Contains(a.Cause, "outstanding") {
		t.Errorf("told as %+v", a)
	}
	if a := told(false); a.Active || a.State != hazard.RTNUnacknowledged {
		t.Errorf("after the next start it is %+v, want one that nobody has acknowledged", a)
	}
}

// After a snapshot too, a start looks at every alarm of the plans anew: its rules may be others.
func TestPlanAlarmsAreLookedAtAfterASnapshot(t *testing.T) {
	resumed := core.Event{Kind: core.Resumed, Resumed: core.ResumeInfo{Resumed: response.Resumed{SameBoot: true, AgeKnown: true}, Last: firstMono}}
	c, err := core.New(benchRules(), nil)
	if err != nil {
		t.Fatal(err)
	}
	c.Step(firstMono, resumed, nil)
	c.Step(firstMono, core.Event{Kind: core.Tick}, nil)
	rules := benchRules()
	was := rules.Response.Plans[0].ExpectedMode
	rules.Response.Plans[0].ExpectedMode = response.Armed
	if was == response.Armed {
		rules.Response.Plans[0].ExpectedMode = response.Observe
	}
	if c, err = core.New(rules, c.Snapshot(nil)); err != nil {
		t.Fatal(err)
	}
	c.Step(firstMono, resumed, nil)
	told := false
	c.Alarms(func(a hazard.Alarm) { told = told || strings.HasSuffix(a.Name, "/mode") && a.Active })
	if !told {
		t.Error("another expected mode, and no alarm of it")
	}
}

func TestOrdersThatAreRefused(t *testing.T) {
	c, err := core.New(benchRules(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for want, o := range map[string]core.Order{
		"name of the person": {Kind: core.ResetPlan, Name: "p"},
		"no episode is open": {Kind: core.ResetPlan, Name: "p", By: "kim", Channel: core.AtTheBox},
		"unknown order":      {Kind: "power-on", Name: "p", By: "kim", Channel: core.AtTheBox},
		"does not apply":     {Kind: core.AckAlarm, Name: "agent/journal", By: "kim", Channel: core.AtTheBox},

		// What is misspelt is answered with what was meant, or with all there is.
		`no plan "evacuate": use one of p`:                                                                  {Kind: core.ResetPlan, Name: "evacuate", By: "kim", Channel: core.AtTheBox},
		`no plan "q" (did you mean "p"?)`:                                                                   {Kind: core.ArmPlan, Name: "q", By: "kim", Channel: core.AtTheBox},
		`no alarm "d0-hihg" (did you mean "d0-high"?)`:                                                      {Kind: core.AckAlarm, Name: "d0-hihg", By: "kim", Channel: core.AtTheBox},
		`alarm "d0-high" has never come: unshelve does not apply`:                                           {Kind: core.UnshelveAlarm, Name: "d0-high", By: "kim", Channel: core.AtTheBox},
		`no point "smoke": use one of d0.x, d1.x, d2.x; as an alarm: no alarm "smoke": use one of `:         {Kind: core.TakeOutOfServe, Name: "smoke", By: "kim", Channel: core.AtTheBox},
		`no point "d1.y" (did you mean "d1.x"?)`:                                                            {Kind: core.ProvePoint, Name: "d1.y", By: "kim", Channel: core.AtTheBox},
		`no point or device that a detector watches is called "rack-12": use one of d0, d0.x, d1, d1.x, d2`: {Kind: core.BypassInput, Name: "rack-12", For: time.Hour, By: "kim", Channel: core.AtTheBox},
		`no consumer "noc": the configuration names none`:                                                   {Kind: core.ConsumerAnswers, Name: "noc", By: "kim", Channel: core.AtTheBox},
	} {
		if want == "does not apply" {
			c.Step(firstMono, core.Event{Kind: core.Durable, Err: errors.New("read-only")}, nil)
			c.Step(firstMono, core.Event{Kind: core.OrderGiven, Order: o}, nil)
		}
		o.ID = 7
		fx, _ := c.Step(firstMono, core.Event{Kind: core.OrderGiven, Order: o}, nil)
		found := false
		for _, e := range fx {
			found = found || e.Kind == core.Reply && e.OrderID == 7 && e.Err != nil && strings.Contains(e.Err.Error(), want)
		}
		if !found {
			t.Errorf("%+v: want an answer with %q, got %+v", o, want, fx)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	if _, err := core.New(benchRules(), []byte(`{"v":2}`)); err == nil || !strings.Contains(err.Error(), "version") {
		t.Errorf("a snapshot of another version: %v", err)
	}
	if _, err := core.New(benchRules(), []byte(`{`)); err == nil {
		t.Error("a torn snapshot is taken")
	}
	r := benchRules()
	r.Response.Plans[0].Stages[0].When = 99
	if _, err := core.New(r, nil); err == nil {
		t.Error("a stage without a condition is taken")
	}
	if err := func() error { c, _ := core.New(benchRules(), nil); return c.Apply(core.Record{}) }(); err == nil {
		t.Error("an empty record is taken")
	}
}
