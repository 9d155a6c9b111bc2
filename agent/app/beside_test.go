package app

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"firebreak/plugins/telegraf/companion"
	"firebreak/plugins/telegraf/rig"

	"golang.org/x/sys/unix"
)

// troubles are the companions beside which hooks are timed, in the order of a round. All but "alone" and
// "alone-again" have one; how far those two are apart is what a growth means on the machine of that run.
var troubles = []struct {
	name string
	fake string         // of package rig; "": no companion
	hit  syscall.Signal // what each life gets as soon as it runs
	ends bool           // of lives: it is gone on until the next one runs
	more int64          // memory that it is allowed
}{
	{name: "alone"},
	{name: "calm", fake: "good"},
	{name: "blocks", fake: "block"},
	{name: "panics", fake: "panic", ends: true},
	{name: "leaks", fake: "leak", ends: true, more: 1 << 30},
	{name: "alone-again"},
	{name: "floods", fake: "flood"},
	{name: "chatters", fake: "chatter"},
	{name: "killed", fake: "good", hit: syscall.SIGKILL, ends: true},
	{name: "stopped", fake: "good", hit: syscall.SIGSTOP, ends: true},
}

// A bout is the decisions beside one companion: for so long at least, and at most, where an end is waited for. The first
// do not count: they find processors asleep that the later ones keep awake.
const (
	boutLeast = time.Second
	boutMost  = 2 * time.Second
	boutFirst = 5
)

// pauses are between decisions: none, and so long that the companion, which stands still for each, has gone on with what it does.
var pauses = []struct {
	name     string
	from, to time.Duration
}{{"", 0, 0}, {"-after-a-pause", 20 * time.Millisecond, 50 * time.Millisecond}}

// timed is what decisions took beside one kind of trouble.
type timed struct{ all, disk, rest []time.Duration }

// BenchmarkHookBesideCompanion is BenchmarkDecisionToStart without a companion and beside each that misbehaves, in turns: what
// the machine does else is done to all. Growth is that of the p99
// over all decisions without a companion, and its bound is 2 ms; rest is all but the fsync of the decision, which the
// disk of a machine in use spreads by more than that.
func BenchmarkHookBesideCompanion(b *testing.B) {
	for _, kind := range []string{"exec", "webhook", "mqtt"} {
		for _, p := range pauses {
			b.Run(kind+p.name, func(b *testing.B) {
				hookBeside(b, kind, func() {
					if p.to > 0 {
						<-time.After(p.from + rand.N(p.to-p.from))
					}
				})
			})
		}
	}
}

func hookBeside(b *testing.B, kind string, pause func()) {
	f := newFiring(b, kind, "s000")
	took := map[string]*timed{}
	for _, t := range troubles {
		took[t.name] = &timed{}
	}
	b.Run("rounds", func(b *testing.B) {
		for b.Loop() {
			for i := range troubles {
				f.bout(i, took[troubles[i].name], pause)
			}
		}
		b.ReportMetric(0, "ns/op")
	})
	alone := took["alone"].and(took["alone-again"])
	for _, t := range troubles {
		b.Run(t.name, func(b *testing.B) {
			m := took[t.name]
			b.ReportMetric(quantile(m.all, 50), "p50-ms")
			b.ReportMetric(quantile(m.all, 99), "p99-ms")
			b.ReportMetric(quantile(m.all, 99)-quantile(alone.all, 99), "growth-ms")
			b.ReportMetric(quantile(m.disk, 99), "fsync-p99-ms")
			b.ReportMetric(quantile(m.rest, 99)-quantile(alone.rest, 99), "rest-growth-ms")
			b.ReportMetric(float64(len(m.all)), "decisions")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func (t *timed) and(u *timed) timed {
	return timed{slices.Concat(t.all, u.all), slices.Concat(t.disk, u.disk), slices.Concat(t.rest, u.rest)}
}

// quantile is in milliseconds; 0 of nothing, as where -bench has left the rounds out.
func quantile(d []time.Duration, q int) float64 {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return d[len(d)*q/100].Seconds() * 1e3
}

// bout times decisions while one kind of trouble goes on.
func (f *firing) bout(i int, m *timed, pause func()) {
	t := troubles[i]
	var ended, again atomic.Bool // a life, and the next one runs
	stop := func() {}
	if t.fake != "" {
		stop = f.beside(t.fake, func(c *companion.Config) {
			c.Memory = max(c.Memory, t.more)
			if t.hit == syscall.SIGSTOP {
				c.Beat = 200 * time.Millisecond
			}
		}, func(s string) {
			switch {
			case strings.Contains(s, "companion runs"):
				if again.Store(ended.Load()); t.hit != 0 {
					signalAll(f.t, t.hit)
				}
			case strings.Contains(s, "has ended"):
				ended.Store(true)
			}
		})
	}
	for range boutFirst {
		f.fire()
	}
	began := time.Now()
	for passed := time.Duration(0); passed < boutLeast || t.ends && !again.Load() && passed < boutMost; passed = time.Since(began) {
		pause()
		one, disk := f.fire()
		m.all, m.disk, m.rest = append(m.all, one[0]), append(m.disk, disk.took), append(m.rest, one[0]-disk.took)
	}
	stop()
}

// said is a log that hands on what is said.
type said struct {
	slog.Handler
	hear func(string)
}

func (s said) Enabled(context.Context, slog.Level) bool { return true }
func (s said) WithAttrs([]slog.Attr) slog.Handler       { return s }

func (s said) Handle(_ context.Context, r slog.Record) error {
	s.hear(r.Message)
	return nil
}

// beside starts a companion that behaves in one way, and returns once it runs; hear is told what its log says; stop
// ends it at once.
func (f *firing) beside(how string, change func(*companion.Config), hear func(string)) (stop func()) {
	f.t.Helper()
	self, err := os.Executable()
	if err != nil {
		f.t.Fatal(err)
	}
	f.config.Telegraf.Companion = self
	runs := make(chan struct{}, 1)
	log := slog.New(said{slog.DiscardHandler, func(s string) {
		hear(s)
		if strings.Contains(s, "companion runs") {
			select {
			case runs <- struct{}{}:
			default:
			}
		}
	}})
	config := companionConfig(&Options{Config: f.config, Clock: f.clock, Self: self, Log: log}, &parts{inbox: f.inbox, guard: f.guard})
	config.Env = []string{rig.Variable + "=" + how} // and not in ours: what hooks start is no companion
	change(&config)
	c, err := companion.New(config)
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	f.tele.Store(c)
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	select {
	case <-runs:
	case <-time.After(time.Minute):
		f.t.Fatal("no companion")
	}
	return func() {
		f.tele.Store(nil)
		cancel()
		signalAll(f.t, syscall.SIGKILL) // how long its end may take is TestCompanionsThatFail's
		<-ended
	}
}

// signalAll signals the companions of this process: its children of the idle class. A fork that is not yet what it is to
// become has our name, and one that is stopped then holds up who forks.
func signalAll(t testing.TB, sig syscall.Signal) {
	for _, pid := range rig.Children(t) {
		if a, err := unix.SchedGetAttr(pid, 0); err == nil && a.Policy == unix.SCHED_IDLE {
			_ = syscall.Kill(pid, sig)
		}
	}
}

// BenchmarkFloodTaken is what this process pays for a companion that says as much as it may, in percent of one
// processor, over a second each.
func BenchmarkFloodTaken(b *testing.B) {
	for _, how := range []string{"good", "flood", "chatter"} {
		b.Run(how, func(b *testing.B) {
			f := newFiring(b, "webhook", "s000")
			stop := f.beside(how, func(*companion.Config) {}, func(string) {})
			defer stop()
			var spent, passed time.Duration
			for b.Loop() {
				from, at := used(), time.Now()
				<-time.After(time.Second)
				spent, passed = spent+used()-from, passed+time.Since(at)
			}
			b.ReportMetric(100*spent.Seconds()/passed.Seconds(), "cpu-%")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// used is the processor time of this process.
func used() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
