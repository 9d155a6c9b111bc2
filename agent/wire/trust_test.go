package wire

import (
	"encoding/json"
	"testing"
	"time"

	"firebreak/plugins"
)

func TestAged(t *testing.T) {
	e := encoder(false)
	trick := plugins.Event{Type: "x", Detail: `"age_s":7`, Data: json.RawMessage(`{"age_s":7}`)}
	for _, u := range []plugins.Update{{Wall: wall, Alarm: hot()}, {Wall: wall, Plan: evacuating()}, {Wall: wall, Event: &trick}} {
		m, err := e.Encode(u)
		if err != nil {
			t.Fatal(err)
		}
		read := func(held time.Duration, replayed bool) (p AlarmMessage) {
			if err := json.Unmarshal(m.Aged(held, replayed), &p); err != nil {
				t.Fatal(err)
			}
			return p
		}
		was := read(0, false)
		if was.HeldS != 0 || was.Replayed || was.Clock != "synced" || (was.TTLS == 12) != (m.Class != Event) {
			t.Errorf("%s as made: %+v", m.Class, was.Trust)
		}
		if p := read(999*time.Millisecond, false); p.Trust != was.Trust {
			t.Errorf("%s after less than a second: %+v", m.Class, p.Trust)
		}
		want := was.Trust
		want.AgeS, want.HeldS = was.AgeS+95, 95
		if p := read(95*time.Second, false); p.Trust != want || p.Seq != m.Seq {
			t.Errorf("%s after 95 s: %+v, want %+v", m.Class, p.Trust, want)
		}
		want = was.Trust
		want.Replayed = true
		if p := read(-time.Hour, true); p.Trust != want {
			t.Errorf("%s replayed: %+v, want %+v", m.Class, p.Trust, want)
		}
	}
	birth, _ := e.Birth(1, wall, Drops{})
	if string(birth.Aged(time.Hour, false)) != string(birth.Payload) {
		t.Error("a birth was aged")
	}
}

// The decision is the same in each repeat, and another at another stage or in another episode.
func TestDecisionID(t *testing.T) {
	e := encoder(false)
	id := func(stage string, episode uint64) string {
		s := evacuating()
		s.Stage, s.Episode = stage, episode
		m, err := e.Encode(plugins.Update{Plan: s})
		var p PlanMessage
		if err != nil || json.Unmarshal(m.Payload, &p) != nil {
			t.Fatal(err)
		}
		return p.DecisionID
	}
	first := id("2b", 7)
	if first != "pangyo/b3-rack1/41/evacuate/7/2b" || id("2b", 7) != first || id("3", 7) == first || id("2b", 8) == first || id("0", 0) != "" {
		t.Errorf("decisions %q %q %q %q %q", first, id("2b", 7), id("3", 7), id("2b", 8), id("0", 0))
	}
}

func TestJournaledAndActions(t *testing.T) {
	for _, c := range []struct {
		state     string
		journaled bool
		asked, ok bool
	}{{"idle", false, false, true}, {"withheld", false, false, true}, {"starting", false, true, true}, {"running", false, true, false},
		{"running", true, true, true}, {"waiting", false, true, false}, {"waiting", true, true, true}, {"capped", false, true, false}} {
		m, err := encoder(false).Encode(plugins.Update{Plan: &plugins.PlanState{Plan: "p", Episode: 1, Steps: []plugins.StepState{{Step: "s", State: c.state, Journaled: c.journaled}}}})
		var p PlanMessage
		if err != nil || json.Unmarshal(m.Payload, &p) != nil {
			t.Fatal(err)
		}
		if p.Journaled != c.ok || (len(p.Actions.Requested) == 1) != c.asked || len(p.Actions.Done) != 0 {
			t.Errorf("step %s, journaled %v: %+v journaled %v", c.state, c.journaled, p.Actions, p.Journaled)
		}
	}
}
