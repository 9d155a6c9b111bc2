//go:build telegraf

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"firebreak/plugins"
	"firebreak/plugins/telegraf/companion"
	"firebreak/plugins/telegraf/line"
	"firebreak/plugins/telegraf/rig"

	"github.com/influxdata/telegraf/plugins/parsers/influx"
)

// hosted is a companion of real Telegraf code under the agent's side of it.
func hosted(t *testing.T, text string, change func(*companion.Config)) *rig.Rig {
	t.Helper()
	return rig.New(t, "FIREBREAK_COMPANION=1", func(c *companion.Config) {
		c.Setup.Text = "[agent]\ninterval = \"100ms\"\nomit_hostname = true\n" + text
		c.Setup.Want = []string{"good", "tracked", "delivered", "counted", "flood"}
		if change != nil {
			change(c)
		}
	})
}

// ended stops it within its bound, and without an error.
func ended(t *testing.T, r *rig.Rig) {
	t.Helper()
	if err := r.End(); err != nil {
		t.Error(err)
	}
}

// A working input, a processor, an aggregator and an output: metrics come with their tags, types and own
// times; what is fed goes the same way to the output; what waits is written at the end.
func TestHost(t *testing.T) {
	dir := t.TempDir()
	out, stopped := filepath.Join(dir, "out"), filepath.Join(dir, "stopped")
	r := hosted(t, `
[[inputs.test_good]]
  name_suffix = ""
  [inputs.test_good.tags]
    room = "b3"
[[inputs.test_old]]
  alias = "late"
[[inputs.test_service]]
  stopped = "`+stopped+`"
[[processors.test_tag]]
[[aggregators.test_count]]
  period = "200ms"
  namepass = ["good"]
[[outputs.test_file]]
  path = "`+out+`"
  flush_interval = "1h"
`, func(c *companion.Config) {
		c.Render = func(u plugins.Update) []line.Metric {
			return []line.Metric{{Name: "firebreak_event", Fields: []line.Field{{Key: "detail", Value: u.Event.Type}}, Time: 1}}
		}
	})
	r.UntilHealth("")
	r.Until("a good metric", func(x rig.Told) bool {
		m := x.Metric
		return rig.IsMetric("good")(x) && m.Tag("dev") == "a b" && m.Tag("room") == "b3" && m.Tag("seen") == "yes" && m.Field("v") == 31.5 && m.Field("n") == int64(3) && m.Field("on") == true && m.Field("text") == "OL" && x.Age < 30*time.Second
	})
	r.Until("an old one", func(x rig.Told) bool { return rig.IsMetric("good")(x) && x.Age >= time.Minute })
	r.Until("the end of a gather", func(x rig.Told) bool {
		return x.Gather != nil && x.Gather.Input == "test_old::late" && x.Gather.Errors == nil
	})
	r.Until("what was aggregated", func(x rig.Told) bool { return rig.IsMetric("counted")(x) && x.Metric.Field("n").(int64) > 0 })
	r.Offer(plugins.Update{Event: &plugins.Event{Type: "stage.opened"}})
	r.Until("a gather after that", func(x rig.Told) bool { return x.Gather != nil })
	ended(t, r)
	b, err := os.ReadFile(out)
	if err != nil || !strings.Contains(string(b), `firebreak_event,seen=yes detail="stage.opened" 1`) || !strings.Contains(string(b), "counted,seen=yes n=") || !strings.Contains(string(b), "good,dev=a\\ b,room=b3,seen=yes ") {
		t.Errorf("the output has %v: %.2000s", err, b)
	}
	if b, err := os.ReadFile(stopped); err != nil || string(b) != "stopped" {
		t.Errorf("the service input was not stopped: %v", err)
	}
}

// An input that tracks its metrics hears that they were delivered.
func TestTracking(t *testing.T) {
	r := hosted(t, "[[inputs.test_service]]\nstopped = \""+filepath.Join(t.TempDir(), "s")+"\"\n", nil)
	r.Until("the tracked metric", rig.IsMetric("tracked"))
	r.Until("its delivery", func(x rig.Told) bool { return rig.IsMetric("delivered")(x) && x.Metric.Field("ok") == true })
	ended(t, r)
}

// Whatever one input does, the others go on as long as the process does, the alarm says it, and a new
// process brings the points again.
func TestFaultyInputs(t *testing.T) {
	for _, c := range []struct {
		input, health string
		ends          bool // of the process
	}{
		{"block", "these inputs hang: test_block", false},
		{"block", "has not returned from a gather", true},
		{"panic_goroutine", "does not run", true},
		{"leak", "MB of memory", true},
		{"flood", "these inputs hang: test_flood", false},
	} {
		t.Run(c.input, func(t *testing.T) {
			r := hosted(t, "[[inputs.test_good]]\n[[inputs.test_"+c.input+"]]\n", func(k *companion.Config) {
				k.Memory, k.Rate = 200<<20, 50000
				if c.ends && c.input == "block" { // what leaks on a busy machine is slow, and no hang
					k.Setup.HangMs = 2000
				}
			})
			r.Until("a good metric", rig.IsMetric("good"))
			r.UntilHealth(c.health)
			if c.ends {
				r.Until("another life", func(x rig.Told) bool { return x.Ended || r.Stats().Lives > 1 })
			}
			r.Until("a good metric after that", rig.IsMetric("good"))
			ended(t, r)
		})
	}
}

// An input that says what went wrong, one that panics where it can be caught, and an output that fails.
func TestTold(t *testing.T) {
	r := hosted(t, "[[inputs.test_failing]]\n[[inputs.test_panic]]\n[[inputs.test_good]]\n[[outputs.test_file]]\nfail = true\nflush_interval = \"50ms\"\n", nil)
	r.Until("errors", func(x rig.Told) bool {
		return x.Gather != nil && x.Gather.Input == "test_failing" && strings.Join(x.Gather.Errors, "|") == "one of two is gone|no answer"
	})
	r.Until("a panic", func(x rig.Told) bool {
		return x.Gather != nil && x.Gather.Input == "test_panic" && strings.Contains(strings.Join(x.Gather.Errors, "|"), "in Gather")
	})
	r.UntilHealth("these outputs cannot write: test_file: no room")
	ended(t, r)
}

// What cannot be built is told with its reason, and where it stands.
func TestWhatCannotBeBuilt(t *testing.T) {
	file := filepath.Join(t.TempDir(), "telegraf.conf")
	if err := os.WriteFile(file, []byte("[[inputs.nothing]]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	disk := filepath.Join(t.TempDir(), "disk.conf")
	if err := os.WriteFile(disk, []byte("[agent]\nbuffer_strategy = \"disk\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ text, file, want string }{
		{"[[inputs.nothing]]\n", "", "nothing"},
		{"\n\n[[inputs.test_good]]\ncolour = 1\n", "", `"colour"`},
		{"", file, file},
		{"", "/nowhere/telegraf.conf", "no such file"},
		{"[[outputs.test_file]]\n", disk, "buffer_strategy"},
		{"[[inputs.test_good]\n", "", "line"},
	} {
		r := hosted(t, c.text, func(k *companion.Config) { k.Setup.File = c.file })
		r.UntilHealth(c.want)
		ended(t, r)
	}
}

// What firebreak writes as line protocol, Telegraf reads as it was meant.
func TestLinesAreInfluxLines(t *testing.T) {
	m := line.Metric{Name: "a b,c=d", Tags: []line.Tag{{Key: "k=1 ,", Value: `v \ x`}, {Key: "t", Value: `\,`}}, Time: 1700000000000000001,
		Fields: []line.Field{{Key: "f f", Value: 1e-300}, {Key: "i", Value: int64(-1 << 63)}, {Key: "u", Value: uint64(1<<64 - 1)}, {Key: "b", Value: false}, {Key: "s", Value: `say "a\b", = `}}}
	b, err := m.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	p := influx.Parser{}
	if err := p.Init(); err != nil {
		t.Fatal(err)
	}
	got, err := p.ParseLine(string(b))
	if err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	back := toLine(got)
	again, err := back.Append(nil)
	if err != nil || back.Name != m.Name || back.Tag("k=1 ,") != `v \ x` || back.Time != m.Time {
		t.Errorf("%s came back as %s: %v", b, again, err)
	}
	for _, f := range m.Fields {
		if back.Field(f.Key) != f.Value {
			t.Errorf("field %s is %v, was %v", f.Key, back.Field(f.Key), f.Value)
		}
	}
}

// What is built in is listed by name.
func TestList(t *testing.T) {
	var b strings.Builder
	list(&b)
	for _, want := range []string{"inputs                  test_", " test_good", "outputs                 test_file\n", "parsers                 csv"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the list lacks %q:\n%s", want, b.String())
		}
	}
}
