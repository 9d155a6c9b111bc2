package mapping

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"firebreak/plugins/telegraf/pipe"
	"firebreak/sensors"
)

const second = int64(time.Second)

// What inputs bring becomes readings with their own time and quality: the tags decide whose they are, an
// error of a gather makes bad what this gather did not bring, and silence changes nothing.
func TestMapping(t *testing.T) {
	now := sensors.Mono(1000 * second)
	var got []sensors.Batch
	points := []sensors.Point{{ID: 7, Unit: "C", Physics: sensors.Temperature, Hazard: 1, Min: -20, Max: 90}, {ID: 8, Kind: sensors.Binary}, {ID: 9, Unit: "%"}}
	m := New([]Source{{Device: 2, Input: "upsd", Points: points, From: []Point{
		{Measurement: "upsd", Tags: map[string]string{"ups_name": "a", "site": "x"}, Field: "battery_temperature"},
		{Measurement: "upsd", Tags: map[string]string{"ups_name": "a"}, Field: "status", Values: map[string]float64{"OL": 0, "OB": 1, "TEST": 5}},
		{Measurement: "upsd", Tags: map[string]string{"ups_name": "a"}, Field: "load"},
	}}}, func() sensors.Mono { return now }, func(b sensors.Batch) { got = append(got, b) })
	if names := m.Measurements(); !slices.Equal(names, []string{"upsd"}) {
		t.Errorf("wants %v", names)
	}
	says := func() string {
		if len(got) == 0 {
			return ""
		}
		b := got[len(got)-1]
		got = nil
		out := fmt.Sprint("device ", b.Device, ":")
		for _, r := range b.Readings {
			out += fmt.Sprintf(" %d=%v %s %.1fs;", r.Point, r.Value, r.Quality, now.Sub(r.At).Seconds())
		}
		return out
	}
	take := func(lines ...string) string {
		now = now.Add(time.Millisecond) // the pipe takes a moment of the real clock
		m.Take(pipe.Metrics{Mono: pipe.Now(), Wall: 500 * second, Lines: []byte(strings.Join(lines, "\n"))})
		return says()
	}
	gather := func(input string, ago time.Duration, errs ...string) string {
		now = now.Add(time.Millisecond)
		m.Gathered(pipe.Gathered{Input: input, Begun: pipe.Now() - int64(ago), Errors: errs})
		return says()
	}
	for i, c := range []struct{ got, want string }{
		{take("upsd,ups_name=b,site=x battery_temperature=30 500000000000", "upsd,ups_name=a battery_temperature=30", "other load=1"), ""},
		{take("upsd,ups_name=a,site=x,host=h battery_temperature=31.5,load=40i 498000000000"), "device 2: 7=31.5 good 2.0s; 9=40 good 2.0s;"},
		{take("upsd,ups_name=a,site=x battery_temperature=20 400000000000"), ""},                                                                              // older than what is known
		{take(`upsd,ups_name=a,site=x status="OB",load=41u 900000000000`), "device 2: 7=31.5 good 2.0s; 8=1 good 0.0s; 9=41 good 0.0s;"},                      // of the future: now
		{take(`upsd,ups_name=a,site=x status="OL CHRG"`), "device 2: 7=31.5 good 2.0s; 8=0 bad:implausible 0.0s; 9=41 good 0.0s;"},                            // a word that nobody knows
		{take(`upsd,ups_name=a,site=x status="TEST"`), "device 2: 7=31.5 good 2.0s; 8=0 bad:implausible 0.0s; 9=41 good 0.0s;"},                               // no contact has five states
		{take(`upsd,ups_name=a,site=x battery_temperature=120,status=true`), "device 2: 7=90 uncertain:over-range 0.0s; 8=1 good 0.0s; 9=41 good 0.0s;"},      // S3
		{take(`upsd,ups_name=a,site=x battery_temperature=-60,load="n/a"`), "device 2: 7=-60 bad:implausible 0.0s; 8=1 good 0.0s; 9=0 bad:implausible 0.0s;"}, // away from the hazard
		{gather("upsd", time.Second), ""},
		{gather("snmp", time.Second, "no answer"), ""},
		{gather("upsd", 0, "connection refused"), "device 2: 7=0 bad:comm 0.0s; 8=0 bad:comm 0.0s; 9=0 bad:comm 0.0s;"},
		{take("upsd,ups_name=a load=42"), "device 2: 7=0 bad:comm 0.0s; 8=0 bad:comm 0.0s; 9=42 good 0.0s;"},
		{gather("upsd", time.Second, "one of two is gone"), ""}, // all of this gather
		{take("no line", "upsd,ups_name=a load=43"), "device 2: 7=0 bad:comm 0.0s; 8=0 bad:comm 0.0s; 9=43 good 0.0s;"},
	} {
		if c.got != c.want {
			t.Errorf("%d: got %q, want %q", i, c.got, c.want)
		}
	}
	if m.Unfit() != 1 {
		t.Errorf("%d lines that are none", m.Unfit())
	}
	// What was long under way is as old.
	m.Take(pipe.Metrics{Mono: pipe.Now() - 3*second, Wall: 500 * second, Lines: []byte("upsd,ups_name=a load=44 499000000000\n")})
	if s := says(); s != "" {
		t.Errorf("older than the last one, and taken: %s", s)
	}
	now = now.Add(10 * time.Second)
	m.Take(pipe.Metrics{Mono: pipe.Now() - 3*second, Wall: 500 * second, Lines: []byte("upsd,ups_name=a load=44 499000000000\n")})
	// The batch is dated by its newest reading, as a poll is: whoever tells it dates the others from there.
	if age := time.Since(got[len(got)-1].Wall); age < 4*time.Second || age > 4*time.Second+time.Minute {
		t.Errorf("a batch whose newest reading is 4 s old has the time of %v ago", age)
	}
	if s := says(); !strings.HasSuffix(s, "9=44 good 4.0s;") {
		t.Errorf("3 s under way and 1 s old before: %s", s)
	}
}
