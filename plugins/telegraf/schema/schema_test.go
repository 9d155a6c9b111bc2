package schema

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"firebreak/plugins"
	"firebreak/plugins/telegraf/line"
	"firebreak/sensors"
)

func written(t *testing.T, ms []line.Metric) string {
	t.Helper()
	var out []string
	for i := range ms {
		b, err := ms[i].Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(b))
	}
	return strings.Join(out, "\n")
}

// What outputs get is what docs/telegraf.md says. These lines are a promise: a dashboard and its queries
// hold on to them.
func TestSchema(t *testing.T) {
	devices := []sensors.Device{{ID: 0, Name: "bms-1"}}
	points := []sensors.Point{{ID: 0, Name: "bms-1.cell.temperature", Unit: "C", Physics: sensors.Temperature}, {ID: 1, Name: "bms-1.off-gas", Kind: sensors.Binary, Physics: sensors.Gas}}
	s := New("pangyo", "b3", "rack-1", devices, points)
	wall := time.Unix(1700000000, 0)
	act := 90
	for _, c := range []struct {
		u    plugins.Update
		want string
	}{
		{plugins.Update{State: &sensors.Batch{Wall: wall, Readings: []sensors.Reading{
			{Point: 0, Value: 31.5, Quality: sensors.GoodQuality, At: 9e9}, {Point: 1, Value: 0, Quality: sensors.BadQuality(sensors.Comm), At: 8e9}, {Point: 77}}}},
			`firebreak_reading,site=pangyo,zone=b3,agent=rack-1,mark=real,device=bms-1,point=cell.temperature,physics=temperature,unit=C,origin=real value=31.5,quality="good",reason="",usable=true 1700000000000000000
firebreak_reading,site=pangyo,zone=b3,agent=rack-1,mark=real,device=bms-1,point=off-gas,physics=gas,origin=real quality="bad",reason="comm",usable=false 1699999999000000000`},
		{plugins.Update{Wall: wall, Alarm: &plugins.AlarmState{Name: "smoke", Occurrence: 2, State: "unacknowledged", Active: true, Priority: 1, Basis: "measured", Origin: "real", Cause: "smoke is true", FirstOut: true, SinceMs: 5, Vote: &plugins.Vote{K: 2, N: 3, True: 2}}},
			`firebreak_alarm,site=pangyo,zone=b3,agent=rack-1,mark=real,alarm=smoke,origin=real active=true,state="unacknowledged",priority=1i,basis="measured",occurrence=2i,first_out=true,since_ms=5i,cause="smoke is true",vote_true=2i,vote_needed=2i,vote_members=3i,vote_held=0i,vote_bad=0i,vote_bypassed=0i 1700000000000000000`},
		{plugins.Update{Wall: wall, Mark: plugins.MarkDrill, Plan: &plugins.PlanState{Plan: "leave", Mode: "armed", Stage: "2b", Episode: 4, Latched: true, Origin: "injected", PowerLoss: 420, ElapsedS: 12, ActByS: &act, Reversible: true,
			Steps: []plugins.StepState{{Step: "drain", Stage: "2b", State: "working", Attempt: 1, Journaled: true}}}},
			`firebreak_plan,site=pangyo,zone=b3,agent=rack-1,mark=drill,plan=leave,origin=injected stage="2b",level=3i,mode="armed",episode=4i,latched=true,held=false,reversible=true,elapsed_s=12i,power_loss_s=420i,outstanding=0i,act_by_s=90i 1700000000000000000
firebreak_step,site=pangyo,zone=b3,agent=rack-1,mark=drill,plan=leave,stage=2b,step=drain,origin=injected state="working",attempt=1i,evidence=false,journaled=true,detail="" 1700000000000000000`},
		{plugins.Update{Wall: wall, Event: &plugins.Event{Type: "step.started", Plan: "leave", Key: "leave/b3/2b/drain/4/do/0"}},
			`firebreak_event,site=pangyo,zone=b3,agent=rack-1,mark=real,type=step.started,plan=leave key="leave/b3/2b/drain/4/do/0",detail="",count=1i 1700000000000000000`},
	} {
		if got := written(t, s.Metrics(c.u)); got != c.want {
			t.Errorf("got\n%s\nwant\n%s", got, c.want)
		}
	}
	if ms := s.Metrics(plugins.Update{}); ms != nil {
		t.Errorf("of nothing: %v", ms)
	}
}

// The tables of the document are those of the code, in order and with their types.
func TestSchemaIsWrittenDown(t *testing.T) {
	b, err := os.ReadFile("../../../docs/telegraf.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| (tag|float|integer|boolean|string) \\|")
	for _, table := range Tables() {
		_, rest, ok := strings.Cut(string(b), "\n### `"+table.Name+"`\n")
		if !ok {
			t.Errorf("docs/telegraf.md has no table of %s", table.Name)
			continue
		}
		section, _, _ := strings.Cut(rest, "\n#")
		var got, want []string
		for _, m := range row.FindAllStringSubmatch(section, -1) {
			got = append(got, m[1]+" "+m[2])
		}
		for _, c := range table.Columns {
			want = append(want, c.Name+" "+c.Type)
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%s: docs/telegraf.md has\n%s\nthe code\n%s", table.Name, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}
