package core_test

import (
	"testing"

	"firebreak/agent/core"
	"firebreak/agent/hazard"
	"firebreak/agent/response"
)

// The alarm of a detector, vote, device or step that the rules no longer have is cleared at a start,
// and told; those of what they still have stand.
func TestGhostAlarmsAreCleared(t *testing.T) {
	rules := benchRules()
	c, err := core.New(rules, nil)
	if err != nil {
		t.Fatal(err)
	}
	dev, cond := rules.Hazard.Devices[0], ""
	for i := range rules.Hazard.Conds {
		if rules.Hazard.Conds[i].Priority > 0 {
			cond = rules.Hazard.Conds[i].Name
		}
	}
	if cond == "" {
		rules.Hazard.Conds[0].Priority, cond = 1, rules.Hazard.Conds[0].Name
	}
	active := map[string]bool{"gone": false, "inhibited/gone": false, "loss/device/gone": false, "plan/gone/step/failed": false,
		"loss/device/" + dev.Name: true, cond: true}
	for name := range active {
		a := hazard.Alarm{Name: name, State: hazard.Acknowledged, Active: true, Priority: 1}
		if err := c.Apply(core.Record{Alarm: &a}); err != nil {
			t.Fatal(err)
		}
	}
	fx, _ := c.Step(firstMono, core.Event{Kind: core.Resumed, Resumed: core.ResumeInfo{
		Resumed: response.Resumed{SameBoot: true, AgeKnown: true}, Last: firstMono}}, nil)
	told := map[string]bool{}
	for _, e := range fx {
		if e.Kind == core.Tell && e.Update.Alarm != nil && !e.Update.Alarm.Active {
			told[e.Update.Alarm.Name] = true
		}
	}
	got := map[string]bool{}
	c.Alarms(func(a hazard.Alarm) { got[a.Name] = a.Active })
	for name, want := range active {
		if got[name] != want || told[name] == want {
			t.Errorf("%s: active %v, told as gone %v; want active %v", name, got[name], told[name], want)
		}
	}
}
