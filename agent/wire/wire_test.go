package wire

import (
	"encoding/json"
	"flag"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"firebreak/plugins"
	"firebreak/sensors"
)

var update = flag.Bool("update", false, "write the golden files anew")

var (
	wall    = time.UnixMilli(1769000000123)
	devices = []sensors.Device{{ID: 0, Name: "ups-a", Poll: time.Second}, {ID: 2, Name: "smoke-1", Poll: time.Second}}
	points  = []sensors.Point{
		{ID: 0, Device: 0, Name: "ups-a.battery.temperature", Unit: sensors.Celsius, Physics: sensors.Temperature},
		{ID: 1, Device: 0, Name: "ups-a.input.voltage", Unit: sensors.Volt, Physics: sensors.Electrical},
		{ID: 2, Device: 0, Name: "ups-a.input.ok", Kind: sensors.Binary, Physics: sensors.Electrical},
		{ID: 3, Device: 0, Name: "ups-a.status", Kind: sensors.State},
		{ID: 4, Device: 2, Name: "smoke-1.obscuration", Unit: sensors.ObscM, Physics: sensors.Smoke},
		{ID: 5, Device: 2, Name: "smoke-1.ts"},
	}
)

func identity() Identity {
	return Identity{Site: "pangyo", Zone: "b3-battery", Agent: "b3-rack1", Instance: "0f3a", Epoch: 41}
}

func encoder(drill bool) *Encoder {
	id := identity()
	id.Drill = drill
	return NewEncoder(id, Life{Boot: "b00t", Version: "0.1.0", Started: wall, Clock: func() string { return "synced" }}, devices, points)
}

func reading(p sensors.PointID, v float64, q sensors.Quality) sensors.Reading {
	return sensors.Reading{Point: p, Value: v, Quality: q}
}

func TestStateIsTheDesignsExample(t *testing.T) {
	e := encoder(false)
	e.seq[0][State] = 9811
	m, err := e.Encode(plugins.Update{State: &sensors.Batch{Device: 0, Wall: wall, Readings: []sensors.Reading{
		reading(0, 31.4, sensors.GoodQuality), reading(1, 0, sensors.BadQuality(sensors.Comm))}}})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"device":"ups-a","epoch":41,"seq":9812,"ts":1769000000123,"battery.temperature":31.4,"input.voltage":null,"bad":"input.voltage:comm"}`
	if string(m.Payload) != want {
		t.Errorf("got  %s\nwant %s", m.Payload, want)
	}
	if m.Topic != "firebreak/1/state/pangyo/b3-battery/b3-rack1/ups-a" || m.QoS() != 1 || m.Retained() {
		t.Errorf("topic %s qos %d retained %v", m.Topic, m.QoS(), m.Retained())
	}
}

func TestStateTypes(t *testing.T) {
	over := sensors.MakeQuality(sensors.Uncertain, sensors.OverRange, sensors.Simulated)
	for _, c := range []struct {
		name string
		in   []sensors.Reading
		want string
	}{
		{"binary and state", []sensors.Reading{reading(2, 1, sensors.GoodQuality), reading(3, 7, sensors.GoodQuality)}, `"input.ok":true,"status":7}`},
		{"uncertain keeps its value", []sensors.Reading{reading(0, 85, over)}, `"origin":"simulated","battery.temperature":85,"uncertain":"battery.temperature:over-range"}`},
		{"not a number is bad", []sensors.Reading{reading(0, math.NaN(), sensors.GoodQuality)}, `"battery.temperature":null,"bad":"battery.temperature:implausible"}`},
		{"bad without a reason", []sensors.Reading{reading(2, 1, 0)}, `"input.ok":null,"bad":"input.ok:unstated"}`},
		{"unknown point", []sensors.Reading{reading(77, 1, sensors.GoodQuality)}, `"ts":1769000000123}`},
		{"both lists", []sensors.Reading{reading(0, 85, over), reading(1, 0, sensors.BadQuality(sensors.Comm)), reading(2, 0, sensors.BadQuality(sensors.Stuck))},
			`"bad":"input.voltage:comm,input.ok:stuck","uncertain":"battery.temperature:over-range"}`},
	} {
		m, err := encoder(false).Encode(plugins.Update{State: &sensors.Batch{Wall: wall, Readings: c.in}})
		if err != nil || !json.Valid(m.Payload) || !strings.HasSuffix(string(m.Payload), c.want) {
			t.Errorf("%s: %s, %v; want ...%s", c.name, m.Payload, err, c.want)
		}
	}
	m, _ := encoder(false).Encode(plugins.Update{State: &sensors.Batch{Device: 2, Readings: []sensors.Reading{reading(5, 3, sensors.GoodQuality)}}})
	if !strings.HasSuffix(string(m.Payload), `"smoke-1.ts":3}`) {
		t.Errorf("a channel that would hide a key of the message: %s", m.Payload)
	}
	for _, d := range []sensors.DeviceID{1, 3} {
		if _, err := encoder(false).Encode(plugins.Update{State: &sensors.Batch{Device: d}}); err == nil {
			t.Errorf("device %d is not configured, and was told", d)
		}
	}
}

func TestNumbersReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.OneOf(rapid.Float64(), rapid.Map(rapid.Int32(), func(i int32) float64 { return float64(i) * 0.1 }),
			rapid.Map(rapid.Float32(), func(f float32) float64 { return float64(f) }), rapid.Float64Range(-1e-5, 1e-5)).Draw(t, "v")
		if math.IsInf(v, 0) || math.IsNaN(v) {
			return
		}
		text := appendFloat(nil, v)
		var back float64
		if err := json.Unmarshal(text, &back); err != nil {
			t.Fatalf("%v written as %s: %v", v, text, err)
		}
		if math.Abs(back-v) > 4e-15*math.Abs(v) {
			t.Fatalf("%v written as %s reads back as %v", v, text, back)
		}
	})
	for v, want := range map[float64]string{314 * 0.1: "31.4", -0.5: "-0.5", 0.000001: "0.000001", 1e-9: "1e-09", 1e22: "1e+22", 4503599627370495.5: "4503599627370495.5", math.Copysign(0, -1): "0", 230: "230", -7: "-7"} {
		if got := string(appendFloat(nil, v)); got != want {
			t.Errorf("%v written as %s, want %s", v, got, want)
		}
	}
}

func TestDrillsStayApart(t *testing.T) {
	sim := &sensors.Batch{Readings: []sensors.Reading{reading(0, 1, sensors.GoodQuality), reading(1, 1, sensors.GoodQuality.WithOrigin(sensors.Injected))}}
	live := &sensors.Batch{Readings: []sensors.Reading{reading(0, 1, sensors.GoodQuality)}}
	for _, c := range []struct {
		name  string
		u     plugins.Update
		drill bool
	}{
		{"real state", plugins.Update{State: live}, false},
		{"injected reading", plugins.Update{State: sim}, true},
		{"marked drill", plugins.Update{State: live, Mark: plugins.MarkDrill}, true},
		{"marked dry", plugins.Update{Event: &plugins.Event{Type: "x"}, Mark: plugins.MarkDry}, true},
		{"real alarm", plugins.Update{Alarm: &plugins.AlarmState{Name: "a", Origin: "real"}}, false},
		{"simulated alarm", plugins.Update{Alarm: &plugins.AlarmState{Name: "a", Origin: "simulated"}}, true},
		{"replayed plan", plugins.Update{Plan: &plugins.PlanState{Plan: "p", Origin: "replay"}}, true},
		{"real plan", plugins.Update{Plan: &plugins.PlanState{Plan: "p"}}, false},
	} {
		for _, forced := range []bool{false, true} {
			e := encoder(forced)
			m, err := e.Encode(c.u)
			want := c.drill || forced
			if err != nil || m.Drill != want || strings.HasPrefix(m.Topic, "firebreak/1/drill/") != want || (want && m.Retained()) {
				t.Errorf("%s, forced %v: %+v, %v", c.name, forced, m, err)
			}
			if e.seq[0][m.Class] > 0 == want {
				t.Errorf("%s, forced %v: counted in the wrong tree", c.name, forced)
			}
		}
	}
}

func TestTopicNames(t *testing.T) {
	if got := identity().Topic(Alarm, true, "cell-hot"); got != "firebreak/1/drill/alarm/pangyo/b3-battery/b3-rack1/cell-hot" {
		t.Error(got)
	}
	if TopicName("B3_rack-1") != "B3_rack-1" {
		t.Error("a safe name changed")
	}
	seen := map[string]string{}
	for _, s := range []string{"", "a b", "a.b", "a-b", "a/b", "a+b", "#", "*", ">", "배터리", "배터실", "a\x00b", strings.Repeat("x", 300), strings.Repeat("x", 301)} {
		n := TopicName(s)
		if n == "" || len(n) > maxLevel || strings.ContainsAny(n, " ./+#*>\x00$") {
			t.Errorf("%q became %q", s, n)
		}
		if was, dup := seen[n]; dup {
			t.Errorf("%q and %q share %q", was, s, n)
		}
		seen[n] = s
	}
}

// golden compares with testdata/name; -update writes it.
func golden(t *testing.T, name string, m Message, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(m.Payload, &v); err != nil {
		t.Fatal(err)
	}
	got := m.Topic + " qos=" + strconv.Itoa(int(m.QoS())) + " retained=" + strconv.FormatBool(m.Retained()) + "\n" + string(m.Payload) + "\n"
	file := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s:\ngot  %s\nwant %s", name, got, want)
	}
}

func vote() *plugins.Vote {
	return &plugins.Vote{Cond: "runaway", Is: "true", Basis: "measured", K: 2, N: 4, True: 2, Held: 1, Bad: 1}
}

func evidence() []plugins.Member {
	v := 71.5
	return []plugins.Member{{Name: "cell-hot@bms-1", Is: "true", Basis: "measured", Weak: true, Readings: []plugins.MemberReading{
		{Point: "bms-1.module.3.temperature", Value: &v, Unit: "C", Quality: "good", AgeMs: 400},
		{Point: "bms-1.module.4.temperature", Quality: "bad:comm", AgeMs: 1400}}}, {Name: "any-high", Is: "unknown", Basis: "inhibited"}}
}

func hot() *plugins.AlarmState {
	return &plugins.AlarmState{Name: "cell-hot", Occurrence: 3, State: "unacknowledged", Active: true, Priority: 1, Basis: "measured",
		Origin: "real", Cause: "module 3 of bms-1 rises by 5.2 C/min", FirstOut: true, SinceMs: 4200, Children: []string{"bms-1"},
		Vote: vote(), Evidence: evidence()}
}

func evacuating() *plugins.PlanState {
	return &plugins.PlanState{Plan: "evacuate", Zone: "b3-battery", Mode: "armed", Stage: "3", Episode: 41, Latched: true,
		Countdown: map[string]int{"4": 60, "3": 0}, Asking: "hold?", PowerLoss: 420, ElapsedS: 130, Origin: "real",
		OpenedBy: vote(), Evidence: evidence(), Cause: "cell-hot@bms-1", Protects: []string{"b3-battery", "b3-ups"}, ActByS: new(110),
		HoldS: 25, HeldBy: "kim",
		Steps: []plugins.StepState{{Step: "drain-lb", Stage: "2b", State: "done", Attempt: 1, Evidence: true, Journaled: true},
			{Step: "hosts-off", Stage: "3", State: "running", Attempt: 1, Journaled: false}, {Step: "isolate", Stage: "4", State: "idle"}}}
}

func TestGolden(t *testing.T) {
	e := encoder(false)
	m, err := e.Encode(plugins.Update{Wall: wall, Alarm: hot()})
	golden(t, "alarm", m, err)
	m, err = e.Encode(plugins.Update{Wall: wall, Plan: evacuating()})
	golden(t, "plan", m, err)
	late := m
	late.Payload = m.Aged(95*time.Second, true)
	golden(t, "plan-late", late, nil)
	m, err = e.Encode(plugins.Update{Wall: wall, Plan: &plugins.PlanState{Plan: "evacuate", Zone: "b3-battery", Mode: "observe", Stage: "0",
		PowerLoss: 420, Origin: "real", Reversible: true, Protects: []string{"b3-battery"}}})
	golden(t, "plan-idle", m, err)
	m, err = e.Encode(plugins.Update{Wall: wall, Event: &plugins.Event{Type: "stage.opened", Plan: "evacuate", Stage: "2b", Detail: "2 of 4", Data: json.RawMessage(`{"a":1}`)}})
	golden(t, "event", m, err)
	m, err = e.Birth(1, wall, Drops{State: 12})
	golden(t, "birth", m, err)
	m, err = e.Will(1)
	golden(t, "will", m, err)
	m, err = e.Offline(1, wall, "stopped", Drops{})
	golden(t, "stopped", m, err)
	_, _ = e.Encode(plugins.Update{State: &sensors.Batch{}})
	_, _ = e.Encode(plugins.Update{State: &sensors.Batch{}, Mark: plugins.MarkDrill})
	m, err = e.Beat(wall, "c0ffee").Hello(2, 5, Drops{State: 1}, nil)
	golden(t, "hello", m, err)
}

func TestLateWillIsOlderThanTheNextBirth(t *testing.T) {
	e := encoder(false)
	for n := uint64(1); n < 5; n++ {
		birth, _ := e.Birth(n, wall, Drops{})
		will, _ := e.Will(n)
		stop, _ := e.Offline(n, wall, "stopped", Drops{})
		next, _ := e.Birth(n+1, wall, Drops{})
		if !(birth.Seq < will.Seq && will.Seq == stop.Seq && stop.Seq < next.Seq) {
			t.Errorf("session %d: birth %d will %d stop %d next birth %d", n, birth.Seq, will.Seq, stop.Seq, next.Seq)
		}
	}
}

func TestHelloKnowsTheActiveAlarms(t *testing.T) {
	e := encoder(false)
	tell := func(name string, active bool, mark plugins.Mark) ActiveAlarms {
		a := &plugins.AlarmState{Name: name, Occurrence: 1, State: "unacknowledged", Active: active, Origin: "real"}
		if _, err := e.Encode(plugins.Update{Alarm: a, Mark: mark}); err != nil {
			t.Fatal(err)
		}
		return e.Beat(wall, "").active
	}
	none := e.Beat(wall, "").active
	one := tell("a", true, plugins.MarkReal)
	drill := tell("x", true, plugins.MarkDrill)
	two := tell("b", true, plugins.MarkReal)
	back := tell("b", false, plugins.MarkReal)
	if none.Count != 0 || one.Count != 1 || two.Count != 2 || one == two || drill != one || back != one {
		t.Errorf("none %v one %v drill %v two %v back %v", none, one, drill, two, back)
	}
	want := AlarmHash([]plugins.AlarmState{{Name: "a", Occurrence: 1, State: "unacknowledged"}})
	if one.Hash != want {
		t.Errorf("hash %s, want %s", one.Hash, want)
	}
}

// The plans of a hello are the newest of each, in its own tree: that one was told behind another hides nothing.
func TestHelloKnowsThePlans(t *testing.T) {
	e := encoder(false)
	if p := e.Beat(wall, "").plans; p != nil {
		t.Errorf("no plan was told: %v", p)
	}
	tell := func(name string, mark plugins.Mark) ToldPlans {
		if _, err := e.Encode(plugins.Update{Mark: mark, Plan: &plugins.PlanState{Plan: name, Stage: "0", Origin: "real"}}); err != nil {
			t.Fatal(err)
		}
		return *e.Beat(wall, "").plans
	}
	first := tell("b", plugins.MarkReal)
	both := tell("a", plugins.MarkReal)
	drill := tell("a", plugins.MarkDrill)
	newer := tell("b", plugins.MarkReal)
	if first.Count != 1 || both.Count != 2 || newer.Count != 2 || drill != both || newer.Hash == both.Hash {
		t.Errorf("first %v both %v drill %v newer %v", first, both, drill, newer)
	}
	if want := PlanHash(map[string]uint64{"a": 2, "b": 3}); newer.Hash != want || both.Hash == first.Hash {
		t.Errorf("hash %s, want %s", newer.Hash, want)
	}
}

// A message that a broker refuses would be sent again for ever: what is too large is shortened.
func TestTooLargeIsShortened(t *testing.T) {
	e := encoder(false)
	huge := json.RawMessage(`"` + strings.Repeat("x", MaxPayload) + `"`)
	steps := []plugins.StepState{{Step: "s", State: "done", Detail: string(huge)}}
	for _, u := range []plugins.Update{
		{Event: &plugins.Event{Type: "x", Data: huge, Detail: string(huge)}},
		{Event: &plugins.Event{Type: "x", Data: json.RawMessage(`{broken`)}},
		{Alarm: &plugins.AlarmState{Name: "a", Cause: string(huge)}},
		{Plan: &plugins.PlanState{Plan: "p", Cause: string(huge), Evidence: []plugins.Member{{Name: string(huge)}}, Steps: steps}},
		{Alarm: &plugins.AlarmState{Name: "b", Evidence: []plugins.Member{{Name: string(huge)}}}},
	} {
		m, err := e.Encode(u)
		if err != nil || len(m.Payload) > MaxPayload || !json.Valid(m.Payload) {
			t.Errorf("%d bytes, valid %v, %v", len(m.Payload), json.Valid(m.Payload), err)
		}
	}
	if len(steps[0].Detail) != len(huge) {
		t.Error("the update itself was changed")
	}
	many := make([]sensors.Point, 20000)
	for i := range many {
		many[i] = sensors.Point{ID: sensors.PointID(i), Name: "ups-a.some.channel." + strconv.Itoa(i)}
	}
	m, err := NewEncoder(identity(), Life{}, devices, many).Birth(1, wall, Drops{})
	var p StatusMessage
	if err != nil || len(m.Payload) > MaxPayload || json.Unmarshal(m.Payload, &p) != nil || len(p.Points)+p.PointsLeftOut != len(many) || len(p.Points) < 1000 {
		t.Errorf("birth of %d points: %d bytes, %d told, %d left out, %v", len(many), len(m.Payload), len(p.Points), p.PointsLeftOut, err)
	}
}

func BenchmarkState(b *testing.B) {
	const n = 100
	ps := make([]sensors.Point, n)
	rs := make([]sensors.Reading, n)
	for i := range ps {
		ps[i] = sensors.Point{ID: sensors.PointID(i), Name: "ups-a.module." + strconv.Itoa(i) + ".temperature"}
		rs[i] = reading(sensors.PointID(i), 20+float64(i)*0.1, sensors.GoodQuality)
	}
	e := NewEncoder(identity(), Life{}, devices, ps)
	u := plugins.Update{State: &sensors.Batch{Wall: wall, Readings: rs}}
	b.ReportAllocs()
	size := 0
	for b.Loop() {
		m, err := e.Encode(u)
		if err != nil {
			b.Fatal(err)
		}
		size = len(m.Payload)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/reading")
	b.ReportMetric(float64(size)/n, "bytes/reading")
}
