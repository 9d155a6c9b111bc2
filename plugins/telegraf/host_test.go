//go:build telegraf

package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"firebreak/plugins"
	"firebreak/plugins/telegraf/companion"
	"firebreak/plugins/telegraf/line"
	"firebreak/plugins/telegraf/pipe"

	"github.com/influxdata/telegraf/plugins/parsers/influx"
)

const enough = 60 * time.Second

type told struct {
	metric *line.Metric
	age    time.Duration
	gather *pipe.Gathered
	health *string
	ended  bool
}

// rig is a companion of real Telegraf code under the agent's side of it.
type rig struct {
	*companion.Companion
	t     *testing.T
	told  chan told
	stop  context.CancelFunc
	ended chan error
}

type lives struct {
	slog.Handler
	put func(told)
}

func (l lives) Enabled(context.Context, slog.Level) bool { return true }

func (l lives) Handle(_ context.Context, r slog.Record) error {
	if strings.Contains(r.Message, "has ended") {
		l.put(told{ended: true})
	}
	return nil
}

func hosted(t *testing.T, text string, change func(*companion.Config)) *rig {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, told: make(chan told, 10000), ended: make(chan error, 1)}
	put := func(x told) {
		select {
		case r.told <- x:
		default: // a flood
		}
	}
	c := companion.Config{Path: self, Self: self, Env: []string{"FIREBREAK_COMPANION=1"}, Pause: 50 * time.Millisecond,
		Setup: pipe.Setup{Name: "rack-1", Text: "[agent]\ninterval = \"100ms\"\nomit_hostname = true\n" + text, Want: []string{"good", "tracked", "delivered", "counted", "flood"}},
		Take: func(ms pipe.Metrics) {
			_ = ms.Each(func(m line.Metric) { put(told{metric: &m, age: time.Duration(ms.Wall - m.Time)}) })
		},
		Gathered: func(g pipe.Gathered) { put(told{gather: &g}) },
		Health: func(_ context.Context, err error) {
			s := ""
			if err != nil {
				s = err.Error()
			}
			put(told{health: &s})
		},
		Log: slog.New(lives{slog.DiscardHandler, put})}
	if change != nil {
		change(&c)
	}
	if r.Companion, err = companion.New(c); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	go func() { r.ended <- r.Run(ctx) }()
	t.Cleanup(cancel)
	return r
}

func (r *rig) until(what string, is func(told) bool) {
	r.t.Helper()
	var seen []string
	for late := time.After(enough); ; {
		select {
		case x := <-r.told:
			if is(x) {
				return
			}
			if x.health != nil {
				seen = append(seen, *x.health)
			}
		case <-late:
			r.t.Fatalf("not within %v: %s; seen: %q", enough, what, seen)
		}
	}
}

func (r *rig) untilHealth(part string) {
	r.t.Helper()
	r.until("health "+part, func(x told) bool {
		return x.health != nil && (part == "" && *x.health == "" || part != "" && strings.Contains(*x.health, part))
	})
}

func (r *rig) end() {
	r.t.Helper()
	began := time.Now()
	r.stop()
	if err := <-r.ended; err != nil && !strings.Contains(err.Error(), "left to the kernel") { // a busy machine
		r.t.Error(err)
	}
	if took := time.Since(began); took > 3*time.Second {
		r.t.Errorf("the end took %v", took)
	}
}

func isMetric(name string) func(told) bool {
	return func(x told) bool { return x.metric != nil && x.metric.Name == name }
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
	r.untilHealth("")
	r.until("a good metric", func(x told) bool {
		m := x.metric
		return isMetric("good")(x) && m.Tag("dev") == "a b" && m.Tag("room") == "b3" && m.Tag("seen") == "yes" && m.Field("v") == 31.5 && m.Field("n") == int64(3) && m.Field("on") == true && m.Field("text") == "OL" && x.age < 30*time.Second
	})
	r.until("an old one", func(x told) bool { return isMetric("good")(x) && x.age >= time.Minute })
	r.until("the end of a gather", func(x told) bool {
		return x.gather != nil && x.gather.Input == "test_old::late" && x.gather.Errors == nil
	})
	r.until("what was aggregated", func(x told) bool { return isMetric("counted")(x) && x.metric.Field("n").(int64) > 0 })
	r.Offer(plugins.Update{Event: &plugins.Event{Type: "stage.opened"}})
	r.until("a gather after that", func(x told) bool { return x.gather != nil })
	r.end()
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
	r.until("the tracked metric", isMetric("tracked"))
	r.until("its delivery", func(x told) bool { return isMetric("delivered")(x) && x.metric.Field("ok") == true })
	r.end()
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
				if c.ends {
					k.Setup.HangMs = 2000
				}
			})
			r.until("a good metric", isMetric("good"))
			r.untilHealth(c.health)
			if c.ends {
				r.until("another life", func(x told) bool { return x.ended || r.Stats().Lives > 1 })
			}
			r.until("a good metric after that", isMetric("good"))
			r.end()
		})
	}
}

// An input that says what went wrong, one that panics where it can be caught, and an output that fails.
func TestTold(t *testing.T) {
	r := hosted(t, "[[inputs.test_failing]]\n[[inputs.test_panic]]\n[[inputs.test_good]]\n[[outputs.test_file]]\nfail = true\nflush_interval = \"50ms\"\n", nil)
	r.until("errors", func(x told) bool {
		return x.gather != nil && x.gather.Input == "test_failing" && strings.Join(x.gather.Errors, "|") == "one of two is gone|no answer"
	})
	r.until("a panic", func(x told) bool {
		return x.gather != nil && x.gather.Input == "test_panic" && strings.Contains(strings.Join(x.gather.Errors, "|"), "in Gather")
	})
	r.untilHealth("these outputs cannot write: test_file: no room")
	r.end()
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
		r.untilHealth(c.want)
		r.end()
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
