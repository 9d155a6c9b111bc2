package rig

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"firebreak/plugins"
	"firebreak/plugins/telegraf/companion"
	"firebreak/plugins/telegraf/line"
	"firebreak/plugins/telegraf/pipe"
)

const enough = time.Minute

// Told is one thing that the companion brought about.
type Told struct {
	Metric *line.Metric
	Age    time.Duration // of Metric, by the wall clock
	Gather *pipe.Gathered
	Health *string
	Ended  bool // a life
}

// lives is a log that hears of the ends of lives.
type lives struct {
	slog.Handler
	put func(Told)
}

func (l lives) Enabled(context.Context, slog.Level) bool { return true }

func (l lives) Handle(_ context.Context, r slog.Record) error {
	if strings.Contains(r.Message, "has ended") {
		l.put(Told{Ended: true})
	}
	return nil
}

// Rig runs companions, one after the other.
type Rig struct {
	*companion.Companion
	t     testing.TB
	told  chan Told
	stop  context.CancelFunc
	ended chan error
}

// New starts this test binary as the companion, with env, until the test ends.
func New(t testing.TB, env string, change func(*companion.Config)) *Rig {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r := &Rig{t: t, told: make(chan Told, 10000), ended: make(chan error, 1)}
	put := func(x Told) {
		select {
		case r.told <- x:
		default: // a flood, or a test that looks at one thing
		}
	}
	c := companion.Config{Path: self, Self: self, Env: []string{env}, Setup: pipe.Setup{Name: "rack-1"}, Pause: 50 * time.Millisecond,
		Take: func(ms pipe.Metrics) {
			_ = ms.Each(func(m line.Metric) { put(Told{Metric: &m, Age: time.Duration(ms.Wall - m.Time)}) })
		},
		Gathered: func(g pipe.Gathered) { put(Told{Gather: &g}) },
		Render: func(u plugins.Update) []line.Metric {
			return []line.Metric{{Name: "fed", Fields: []line.Field{{Key: "what", Value: u.Event.Type}}}}
		},
		Health: func(_ context.Context, err error) {
			text := ""
			if err != nil {
				text = err.Error()
			}
			r.told <- Told{Health: &text}
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

// Until waits for something.
func (r *Rig) Until(what string, is func(Told) bool) {
	r.t.Helper()
	var seen []string
	for late := time.After(enough); ; {
		select {
		case x := <-r.told:
			if is(x) {
				return
			}
			if x.Health != nil {
				seen = append(seen, *x.Health)
			}
		case <-late:
			r.t.Fatalf("not within %v: %s; seen: %q", enough, what, seen)
		}
	}
}

// UntilHealth waits for a health that says part; "" is good health.
func (r *Rig) UntilHealth(part string) {
	r.t.Helper()
	r.Until("health "+strconv.Quote(part), func(x Told) bool {
		return x.Health != nil && (part == "" && *x.Health == "" || part != "" && strings.Contains(*x.Health, part))
	})
}

// End stops the companion, which must be over within the bounds that Run states, and leaves no process.
func (r *Rig) End() error {
	r.t.Helper()
	began := time.Now()
	r.stop()
	select {
	case err := <-r.ended:
		if took := time.Since(began); took > companion.EndLimit {
			r.t.Errorf("the end took %v", took)
		}
		if !errors.Is(err, companion.ErrLeft) {
			return err
		}
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for late := time.After(enough); len(Children(r.t)) > 0; { // on a busy machine its end comes after ours
			select {
			case <-tick.C:
			case <-late:
				r.t.Fatal(err)
			}
		}
	case <-time.After(enough):
		r.t.Fatal("it does not end")
	}
	return nil
}

// IsMetric says whether a metric of that name came.
func IsMetric(name string) func(Told) bool {
	return func(x Told) bool { return x.Metric != nil && x.Metric.Name == name }
}

// Children are the processes of this one.
func Children(t testing.TB) []int {
	t.Helper()
	pids, err := children()
	if err != nil {
		t.Fatal(err)
	}
	return pids
}

func children() (pids []int, err error) {
	lists, err := os.ReadDir("/proc/self/task")
	for _, l := range lists {
		b, _ := os.ReadFile("/proc/self/task/" + l.Name() + "/children")
		for _, f := range bytes.Fields(b) {
			n, _ := strconv.Atoi(string(f))
			pids = append(pids, n)
		}
	}
	return pids, err
}
