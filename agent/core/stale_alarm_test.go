package core_test

import (
	"testing"

	"firebreak/agent/core"
	"firebreak/agent/hazard"
	"firebreak/agent/response"
)

// The alarm of a step that the journal ends on, though what it was about is over (its own last record was torn
// off), is cleared by the start.
func TestStepAlarmWhoseEndWasLost(t *testing.T) {
	rules := benchRules()
	p := &rules.Response.Plans[0]
	name := "plan/" + p.Name + "/" + p.Steps[0].Name + "/failed"
	c, err := core.New(rules, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Apply(core.Record{Alarm: &hazard.Alarm{Name: name, State: hazard.Acknowledged, Active: true, Priority: 2}}); err != nil {
		t.Fatal(err)
	}
	c.Step(firstMono, core.Event{Kind: core.Resumed, Resumed: core.ResumeInfo{
		Resumed: response.Resumed{SameBoot: true, AgeKnown: true}, Last: firstMono}}, nil)
	c.Step(firstMono+1e9, core.Event{Kind: core.Tick}, nil)
	c.Alarms(func(a hazard.Alarm) {
		if a.Name == name && a.Active {
			t.Errorf("%s is active, and its step is idle", name)
		}
	})
}
