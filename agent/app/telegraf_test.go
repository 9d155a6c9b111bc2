package app

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"firebreak/agent/config"
	"firebreak/plugins/telegraf/rig"
)

// TestMain makes this test binary a companion where an agent starts it as one.
func TestMain(m *testing.M) {
	rig.Main()
	os.Exit(m.Run())
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

// foreignRoom is a room with one more device, that a companion brings.
func foreignRoom(t *testing.T, self string) (*config.Config, []byte) {
	t.Helper()
	dir := t.TempDir()
	_, text := room(t, in(dir)...)
	more := "\n[telegraf]\ninterval = \"1s\"\ncompanion = \"" + self + "\"\n[[inputs.exec]]\n[[source.telegraf]]\nname = \"foreign\"\ninput = \"exec\"\nlag = \"0s\"\nstale = \"2s\"\n[[source.telegraf.point]]\nname = \"v\"\nmeasurement = \"m\"\nfield = \"v\"\nunit = \"C\"\n"
	text = append([]byte(strings.Replace(string(text), `loss_persist  = "10s"`, `loss_persist = "1s"`, 1)), more...)
	c, faults := config.Parse(filepath.Join(dir, "test.toml"), text, Kinds())
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	return c, text
}

// Whatever a companion does, its points go bad, the alarm of its health rises, and both come back with the next one
// that is sound; the agent ends within its bound beside one that does not end by itself.
func TestCompanionsThatFail(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(rig.Variable, "good")
	c, text := foreignRoom(t, self)
	var began time.Time
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ready, ended := make(chan Running, 1), make(chan error, 1)
	go func() {
		ended <- Run(ctx, Options{Config: c, Source: text, Self: self, Ready: func(r Running) { ready <- r }})
	}()
	var r Running
	select {
	case r = <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	raised := func(name string) bool {
		for _, a := range r.Board.Status().Alarms {
			if a.Active && a.Name == name {
				return true
			}
		}
		return false
	}
	lost := func() bool { return raised("loss/bus/telegraf") || raised("loss/device/foreign") }
	// On a busy machine one that was silent for too long may be on its way out, and another one on its way in that knows
	// nothing of how: each gets the signal, until none of them brings anything.
	become := func(how string, sig syscall.Signal) {
		t.Setenv(rig.Variable, how)
		late(t, how+": the points go bad", func() bool {
			for _, pid := range rig.Children(t) {
				_ = syscall.Kill(pid, sig)
			}
			return lost()
		})
	}
	sound := func() bool { return len(rig.Children(t)) > 0 && !lost() && !raised("agent/telegraf") }
	until(t, "a sound companion", sound)
	for _, how := range []string{"panic", "fatal"} {
		become(how, syscall.SIGKILL)
		late(t, how+": the alarm rises", func() bool { return raised("agent/telegraf") })
		t.Setenv(rig.Variable, "good")
		late(t, how+": all comes back", sound)
	}
	become("good", syscall.SIGSTOP)
	late(t, "stopped: the alarm rises", func() bool { return raised("agent/telegraf") })
	t.Setenv(rig.Variable, "stubborn")
	late(t, "stopped: all comes back", sound)
	began = time.Now()
	cancel()
	<-ended
	if took := time.Since(began); took > companionLimit+stopLimit+uplinkLimit {
		t.Errorf("the end took %v", took)
	}
	// It has been killed, and ends when it gets a moment: it is of the idle class. No other child is there: hooks that
	// another test has run have stood down.
	late(t, "nothing is left of it", func() bool { return len(rig.Children(t)) == 0 })
}

// late is until, for what waits for the pause between two lives.
func late(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for limit := time.After(2 * time.Minute); !ok(); {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("never: %s", what)
		}
	}
}

// beside starts a companion that behaves in one way, and returns once it runs; stop ends it.
func (f *firing) beside(how string) (stop func()) {
	f.t.Helper()
	self, err := os.Executable()
	if err != nil {
		f.t.Fatal(err)
	}
	if err := os.Setenv(rig.Variable, how); err != nil {
		f.t.Fatal(err)
	}
	f.config.Telegraf.Companion = self
	runs := make(chan struct{}, 1)
	log := slog.New(said{slog.DiscardHandler, func(s string) {
		if strings.Contains(s, "companion runs") {
			select {
			case runs <- struct{}{}:
			default:
			}
		}
	}})
	c, err := buildCompanion(&Options{Config: f.config, Clock: f.clock, Self: self, Log: log}, &parts{inbox: f.inbox, guard: f.guard})
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	select {
	case <-runs:
	case <-time.After(time.Minute):
		f.t.Fatal("no companion")
	}
	_ = os.Unsetenv(rig.Variable) // what hooks start is no companion
	return func() {
		cancel()
		<-ended
	}
}

// besides are the companions beside which hooks are timed; each is followed by what is done to it.
var besides = map[string]func(testing.TB){
	"good": nil, "flood": nil, "chatter": nil, "leak": nil, "silent": nil,
	"killed":  func(t testing.TB) { signalAll(t, syscall.SIGKILL) },
	"stopped": func(t testing.TB) { signalAll(t, syscall.SIGSTOP) },
}

func signalAll(t testing.TB, sig syscall.Signal) {
	self, _ := os.ReadFile("/proc/self/comm")
	for _, pid := range rig.Children(t) {
		if comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); string(comm) == string(self) {
			_ = syscall.Kill(pid, sig)
		}
	}
}

// BenchmarkHookBesideCompanion is BenchmarkDecisionToStart without a companion and beside each that misbehaves, 10
// decisions beside each in each round: what the machine does else is done to all. Growth is that of the p99, of which
// the bound is 2 ms.
func BenchmarkHookBesideCompanion(b *testing.B) {
	for _, kind := range []string{"command", "webhook", "mqtt"} {
		b.Run(kind, func(b *testing.B) {
			f := newFiring(b, kind, "s000")
			took := map[string][]time.Duration{}
			ten := func(how string) {
				for range 10 {
					one, _ := f.fire()
					took[how] = append(took[how], one[0])
				}
			}
			for b.Loop() {
				ten("alone")
				for how, then := range besides {
					fake := how
					if then != nil {
						fake = "good"
					}
					stop := f.beside(fake)
					if then != nil {
						then(b)
					}
					ten(how)
					stop()
				}
			}
			p := func(d []time.Duration, q int) float64 {
				slices.Sort(d)
				return d[len(d)*q/100].Seconds() * 1e3
			}
			alone := p(took["alone"], 99)
			for how, d := range took {
				b.ReportMetric(p(d, 50), how+"-p50-ms")
				b.ReportMetric(p(d, 99), how+"-p99-ms")
				b.ReportMetric(p(d, 99)-alone, how+"-growth-ms")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkFloodTaken is what this process pays for a companion that says as much as it may, in percent of one
// processor, over a second each.
func BenchmarkFloodTaken(b *testing.B) {
	for _, how := range []string{"good", "flood", "chatter"} {
		b.Run(how, func(b *testing.B) {
			f := newFiring(b, "webhook", "s000")
			stop := f.beside(how)
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
