package companion

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"firebreak/plugins"
	"firebreak/plugins/telegraf/line"
	"firebreak/plugins/telegraf/pipe"

	"golang.org/x/sys/unix"
)

const enough = 30 * time.Second

// told is one thing that the companion brought about.
type told struct {
	metric *line.Metric
	gather *pipe.Gathered
	health *string
	ended  bool // a life
}

// lives is a log that hears of the ends of lives.
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

// rig runs a companion that behaves in one way.
type rig struct {
	*Companion
	t     *testing.T
	told  chan told
	stop  context.CancelFunc
	ended chan error
}

func newRig(t *testing.T, how string, change func(*Config)) *rig {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, told: make(chan told, 1000), ended: make(chan error, 1)}
	put := func(x told) {
		select {
		case r.told <- x:
		default: // a test that looks at one thing
		}
	}
	c := Config{Path: self, Self: self, Env: []string{"FIREBREAK_FAKE=" + how}, Setup: pipe.Setup{Name: "rack-1"}, Pause: 50 * time.Millisecond,
		Take: func(m pipe.Metrics) {
			_ = m.Each(func(m line.Metric) { put(told{metric: &m}) })
		},
		Gathered: func(g pipe.Gathered) { put(told{gather: &g}) },
		Render: func(u plugins.Update) []line.Metric {
			return []line.Metric{{Name: "fed", Fields: []line.Field{{Key: "what", Value: u.Event.Type}}}}
		},
		Health: func(_ context.Context, err error) {
			text := ""
			if err != nil {
				text = err.Error()
			}
			r.told <- told{health: &text}
		}}
	c.Log = slog.New(lives{slog.DiscardHandler, put})
	if change != nil {
		change(&c)
	}
	if r.Companion, err = New(c); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	go func() { r.ended <- r.Run(ctx) }()
	t.Cleanup(cancel)
	return r
}

// until waits for something.
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
	r.until("health "+strconv.Quote(part), func(x told) bool {
		return x.health != nil && (part == "" && *x.health == "" || part != "" && strings.Contains(*x.health, part))
	})
}

// end stops the companion, which must be over soon, and leaves no process.
func (r *rig) end() error {
	r.t.Helper()
	began := time.Now()
	r.stop()
	select {
	case err := <-r.ended:
		if took := time.Since(began); took > quitLimit+2*killLimit {
			r.t.Errorf("the end took %v", took)
		}
		if !errors.Is(err, errLeft) {
			return err
		}
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for late := time.After(enough); len(children(r.t)) > 0; { // on a busy machine its end comes after ours
			select {
			case <-tick.C:
			case <-late:
				r.t.Fatal(err)
			}
		}
		return nil
	case <-time.After(enough):
		r.t.Fatal("it does not end")
	}
	return nil
}

func isMetric(name string) func(told) bool {
	return func(x told) bool { return x.metric != nil && x.metric.Name == name }
}

// A companion that works: its metrics and gathers come, what is offered reaches it, it ends when it is told
// to, and everything of it stands in the log.
func TestGoodCompanion(t *testing.T) {
	r := newRig(t, "good", nil)
	r.untilHealth("")
	r.until("a metric", isMetric("m"))
	r.until("a gather", func(x told) bool { return x.gather != nil && x.gather.Input == "m" })
	r.Offer(plugins.Update{Event: &plugins.Event{Type: "stage.opened"}})
	r.until("what was fed", func(x told) bool { return isMetric("fed")(x) && x.metric.Field("what") == "stage.opened" })
	if err := r.end(); err != nil || r.Stats() != (Stats{Lives: 1}) {
		t.Errorf("%v, %+v", err, r.Stats())
	}
}

// Whatever a companion does, the alarm says it, and another one is started, of which the points come.
func TestBadCompanions(t *testing.T) {
	for how, want := range map[string]string{
		"garbage": "no frame of firebreak",
		"version": "speaks version 99",
		"fatal":   "inputs.upsd: no such plugin",
		"silent":  "said nothing",
		"stopped": "said nothing",
		"panic":   "does not run",
		"leak":    "MB of memory, at most 128 MB",
	} {
		t.Run(how, func(t *testing.T) {
			r := newRig(t, how, func(c *Config) {
				c.Memory = 128 << 20
				if how != "leak" { // which a busy machine gives no time to be silent
					c.Beat = 500 * time.Millisecond
				}
			})
			r.untilHealth(want)
			r.until("the end of another life", func(x told) bool { return x.ended && r.Stats().Lives > 1 })
			if err := r.end(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A companion that is killed, and one that is stopped, from outside: the points come again.
func TestKilledAndStopped(t *testing.T) {
	r := newRig(t, "good", func(c *Config) { c.Beat = 500 * time.Millisecond })
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSTOP} {
		r.untilHealth("")
		r.until("a metric", isMetric("m"))
		if err := syscall.Kill(children(t)[0], sig); err != nil {
			t.Fatal(err)
		}
		r.untilHealth("does not run, and its points go bad")
	}
	r.untilHealth("")
	r.until("a metric", isMetric("m"))
	if err := r.end(); err != nil || len(children(t)) > 0 {
		t.Errorf("%v, left: %v", err, children(t))
	}
}

// children are the processes of this one.
func children(t *testing.T) (pids []int) {
	t.Helper()
	lists, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lists {
		b, _ := os.ReadFile("/proc/self/task/" + l.Name() + "/children")
		for _, f := range bytes.Fields(b) {
			n, _ := strconv.Atoi(string(f))
			pids = append(pids, n)
		}
	}
	return pids
}

// One that does not quit is killed within the bound of the end.
func TestStubbornCompanion(t *testing.T) {
	r := newRig(t, "stubborn", nil)
	r.until("a metric", isMetric("m"))
	if err := r.end(); err != nil {
		t.Error(err)
	}
	if left := children(t); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// What hangs inside of it is an alarm while it lives.
func TestHungInput(t *testing.T) {
	r := newRig(t, "hung", nil)
	r.untilHealth("these inputs hang: upsd")
	r.until("a metric", isMetric("m"))
	if err := r.end(); err != nil || r.Stats().Lives != 1 {
		t.Errorf("%v, %+v", err, r.Stats())
	}
}

// A flood is taken at the rate that is allowed, and no faster.
func TestFlood(t *testing.T) {
	const rate = 2000
	var first, last time.Time
	n := 0
	done := make(chan struct{})
	r := newRig(t, "flood", func(c *Config) {
		c.Rate = rate
		c.Take = func(m pipe.Metrics) {
			if first.IsZero() {
				first = time.Now()
			}
			if n += bytes.Count(m.Lines, []byte{'\n'}); n >= 2*rate && last.IsZero() {
				last = time.Now()
				close(done)
			}
		}
	})
	select {
	case <-done:
	case <-time.After(enough):
		t.Fatal("no flood")
	}
	if took := last.Sub(first); took < time.Second {
		t.Errorf("%d metrics were taken in %v, at most %d a second are allowed", n, took, rate)
	}
	if err := r.end(); err != nil {
		t.Error(err)
	}
}

// One that never reads holds up nobody who offers; the oldest is dropped and counted.
func TestOfferNeverWaits(t *testing.T) {
	r := newRig(t, "deaf", nil)
	r.untilHealth("")
	for range 3 * queueRoom {
		r.Offer(plugins.Update{Event: &plugins.Event{Type: strings.Repeat("x", 1000)}})
	}
	if s := r.Stats(); s.Dropped < queueRoom {
		t.Errorf("%+v", s)
	}
	if err := r.end(); err != nil {
		t.Error(err)
	}
}

// The companion runs in the idle class, is first to go when memory is short, has a bound for its heap, and
// knows no way to the service manager.
func TestLimits(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "/run/nobody")
	r := newRig(t, "good", func(c *Config) { c.Memory = 400 << 20 })
	r.untilHealth("")
	pid := children(t)[0]
	attr, err := unix.SchedGetAttr(pid, 0)
	if err != nil || attr.Policy != unix.SCHED_IDLE {
		t.Errorf("policy %+v, %v", attr, err)
	}
	dir := "/proc/" + strconv.Itoa(pid)
	score, _ := os.ReadFile(dir + "/oom_score_adj")
	env, _ := os.ReadFile(dir + "/environ")
	if strings.TrimSpace(string(score)) != "1000" || !bytes.Contains(env, []byte("GOMEMLIMIT=314572800\x00")) || bytes.Contains(env, []byte("NOTIFY_SOCKET")) {
		t.Errorf("score %s, environment %q", score, env)
	}
	if group, err := syscall.Getpgid(pid); err != nil || group != pid {
		t.Errorf("process group %d, %v", group, err)
	}
	if n := resident(pid); n < 1<<20 || n > 200<<20 {
		t.Errorf("resident %d", n)
	}
	if err := r.end(); err != nil {
		t.Error(err)
	}
}

// A panic in what takes its metrics, or in what makes them of an update, ends that life and nothing else.
func TestPanicHere(t *testing.T) {
	r := newRig(t, "good", func(c *Config) {
		c.Take = func(pipe.Metrics) { panic("a mapping") }
	})
	r.untilHealth("please report this: a mapping")
	if err := r.end(); err != nil {
		t.Error(err)
	}
	r = newRig(t, "good", func(c *Config) {
		c.Render = func(plugins.Update) []line.Metric { panic("a schema") }
	})
	r.untilHealth("")
	r.Offer(plugins.Update{})
	r.untilHealth("please report this: a schema")
	if err := r.end(); err != nil {
		t.Error(err)
	}
}

// A companion that is not there is an alarm, and no end of the agent.
func TestNoCompanion(t *testing.T) {
	r := newRig(t, "good", func(c *Config) { c.Path = "/nowhere/firebreak-telegraf" })
	r.untilHealth("does not run")
	if err := r.end(); err != nil {
		t.Error(err)
	}
	if _, err := New(Config{}); err == nil {
		t.Error("a companion of nothing")
	}
}
