package metrics

import (
	"math"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"firebreak/agent/latency"
	"firebreak/plugins"
	"firebreak/sensors"
)

// TestDoc: docs/metrics.md lists every metric with its type and labels, and no other, in this order.
func TestDoc(t *testing.T) {
	b, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)` \\| (\\w+) \\| ([^|]*) \\| ([^|]+) \\|$").FindAllStringSubmatch(string(b), -1)
	for i := 0; i < max(len(rows), len(Families)); i++ {
		var f Family
		row := []string{"", "none", "", "", ""}
		if i < len(Families) {
			f = Families[i]
		}
		if i < len(rows) {
			row = rows[i]
		}
		labels := ""
		for n, l := range f.Labels {
			labels += strings.Repeat(", ", min(n, 1)) + "`" + l + "`"
		}
		if row[1] != f.Name || row[2] != f.Type || row[3] != labels || row[4] != f.Help {
			t.Fatalf("row %d of docs/metrics.md is\n%s\nand must be\n| `%s` | %s | %s | %s |", i+1, row[0], f.Name, f.Type, labels, f.Help)
		}
	}
}

// TestNames: what Prometheus' own conventions ask for.
func TestNames(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range Families {
		if seen[f.Name] {
			t.Errorf("%s is there twice", f.Name)
		}
		seen[f.Name] = true
		if !regexp.MustCompile(`^(firebreak|process|go)_[a-z0-9_]+$`).MatchString(f.Name) {
			t.Errorf("%s is no name of ours", f.Name)
		}
		if (f.Type == "counter") != strings.HasSuffix(f.Name, "_total") {
			t.Errorf("%s is a %s: counters end in _total, and nothing else does", f.Name, f.Type)
		}
		if f.Type == "histogram" && !strings.HasSuffix(f.Name, "_seconds") {
			t.Errorf("%s is no time in seconds", f.Name)
		}
		if strings.ContainsAny(f.Help, "\\\n|`") || f.Help == "" {
			t.Errorf("%s: help %q cannot stand in one line of both", f.Name, f.Help)
		}
	}
}

func TestText(t *testing.T) {
	var p Page
	var h latency.Histogram
	h.Note(3 * time.Millisecond)
	p.Took("firebreak_journal_sync_seconds", h.Read())
	p.Set("firebreak_broker_queue", math.Inf(1), "a \"b\"\\c\nd")
	p.Is("firebreak_broker_connected", true, "b")
	p.Count("firebreak_epoch", 1784000000)
	p.Set("no_such", 1)
	p.Set("firebreak_epoch", 1, "label")
	got := string(p.Text())
	for _, want := range []string{
		"# HELP firebreak_epoch Epoch of all messages; grows with each start.\n# TYPE firebreak_epoch gauge\nfirebreak_epoch 1.784e+09\n",
		"\nfirebreak_broker_queue{broker=\"a \\\"b\\\"\\\\c\\nd\"} +Inf\n",
		"\nfirebreak_broker_connected{broker=\"b\"} 1\n",
		"\nfirebreak_journal_sync_seconds_bucket{le=\"0.0025\"} 0\nfirebreak_journal_sync_seconds_bucket{le=\"0.005\"} 1\n",
		"\nfirebreak_journal_sync_seconds_bucket{le=\"+Inf\"} 1\nfirebreak_journal_sync_seconds_sum 0.003\nfirebreak_journal_sync_seconds_count 1\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("lacks\n%s\n--- in\n%s", want, got)
		}
	}
	if len(p.Faults()) != 2 || strings.Contains(got, "no_such") {
		t.Errorf("faults %q", p.Faults())
	}
	if line := regexp.MustCompile(`^(# (HELP|TYPE) [a-z0-9_]+ .+|[a-z0-9_]+(\{[a-z_]+="([^"\\]|\\.)*"(,[a-z_]+="([^"\\]|\\.)*")*\})? \S+)$`); true {
		for _, l := range strings.Split(strings.TrimSuffix(got, "\n"), "\n") {
			if !line.MatchString(l) {
				t.Errorf("%q is no line of the text format", l)
			}
		}
	}
}

func page(t *testing.T, y *Tally, now sensors.Mono, wall time.Time) string {
	t.Helper()
	var p Page
	y.Put(&p, now, wall)
	if len(p.Faults()) > 0 {
		t.Error(p.Faults())
	}
	return string(p.Text())
}

// The age of a device is that of its newest usable reading: what is bad, drilled or of the past makes nothing
// younger.
func TestReadings(t *testing.T) {
	good, bad := sensors.MakeQuality(sensors.Good, sensors.NoReason, sensors.Real), sensors.MakeQuality(sensors.Bad, sensors.Comm, sensors.Real)
	second := sensors.Mono(time.Second)
	y := NewTally(10*second, []sensors.Device{{Name: "a"}, {ID: 1, Name: "b"}}, 3, nil, nil)
	offer := func(m plugins.Mark, at sensors.Mono, q ...sensors.Quality) {
		var b sensors.Batch
		for i, q := range q {
			b.Readings = append(b.Readings, sensors.Reading{Point: sensors.PointID(i), Quality: q, At: at})
		}
		y.Offer(plugins.Update{Mark: m, State: &b})
	}
	offer(plugins.MarkReal, 20*second, good, bad)
	offer(plugins.MarkReal, 18*second, good, bad)
	offer(plugins.MarkReal, 25*second, bad, bad)
	offer(plugins.MarkDrill, 29*second, good, good)
	y.Offer(plugins.Update{State: &sensors.Batch{Device: 9, Readings: []sensors.Reading{{Point: 99}}}})
	got := page(t, y, 30*second, time.Now())
	for _, want := range []string{`readings_total{device="a",quality="good"} 2`, `readings_total{device="a",quality="bad"} 4`,
		`sample_age_seconds{device="a"} 10`, `sample_age_seconds{device="b"} 20`, `points{quality="bad"} 2`, `points{quality="good"} 0`, `points{quality="unheard"} 1`} {
		if !strings.Contains(got, "firebreak_"+want+"\n") {
			t.Errorf("lacks %s in\n%s", want, got)
		}
	}
}

// An alarm is raised once for each occurrence, however often it is told; those of before the start were
// raised before it. The window of ten minutes is kept, and what is remembered is bounded.
func TestRaised(t *testing.T) {
	wall := time.Unix(1_800_000_000, 0)
	y := NewTally(0, nil, 0, []string{"off"}, map[string]uint64{"old": 7})
	tell := func(name string, occurrence uint64, at time.Duration) {
		y.Offer(plugins.Update{Wall: wall.Add(at), Alarm: &plugins.AlarmState{Name: name, Occurrence: occurrence, Priority: 2, Active: true}})
	}
	tell("old", 7, 0)
	tell("new", 1, 0)
	tell("new", 1, time.Second)
	tell("old", 8, 5*time.Minute)
	tell("alarms/flood", 1, 5*time.Minute)
	got := page(t, y, 0, wall.Add(6*time.Minute))
	for _, want := range []string{`alarms_raised_total{priority="2"} 3`, `alarms_raised_10m 2`, `alarm_flood 1`} {
		if !strings.Contains(got, "firebreak_"+want+"\n") {
			t.Errorf("lacks %s in\n%s", want, got)
		}
	}
	if got := page(t, y, 0, wall.Add(11*time.Minute)); !strings.Contains(got, "firebreak_alarms_raised_10m 1\n") {
		t.Errorf("after 11 minutes:\n%s", got)
	}
	for i := range uint64(2 * maxRaised) {
		tell("flapping", i+1, 12*time.Minute)
	}
	if n := len(y.lately); n > maxRaised {
		t.Errorf("%d are remembered", n)
	}
	y.Called(0, plugins.Outcome{Result: plugins.Failed, Elapsed: 3 * time.Second})
	y.Called(7, plugins.Outcome{})
	got = page(t, y, 0, wall)
	for _, want := range []string{`hook_calls_total{hook="off",result="failed"} 1`, `hook_calls_total{hook="off",result="done"} 0`,
		`hook_seconds_bucket{hook="off",le="2.5"} 0`, `hook_seconds_bucket{hook="off",le="5"} 1`} {
		if !strings.Contains(got, "firebreak_"+want+"\n") {
			t.Errorf("lacks %s in\n%s", want, got)
		}
	}
}
