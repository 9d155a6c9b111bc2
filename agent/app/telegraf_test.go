package app

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"firebreak/agent/config"
	"firebreak/agent/guard"
	"firebreak/plugins/telegraf/companion"
	"firebreak/plugins/telegraf/rig"
)

// TestMain makes this test binary a companion where an agent starts it as one.
func TestMain(m *testing.M) {
	rig.Main()
	os.Exit(m.Run())
}

// foreignRoom is a room with one more device, that a companion brings.
func foreignRoom(t *testing.T, self string) (*config.Config, []byte) {
	t.Helper()
	dir := t.TempDir()
	_, text := room(t, in(dir)...)
	more := "\n[telegraf]\ninterval = \"1s\"\nmemory = \"128 MiB\"\ncompanion = \"" + self + "\"\n[[inputs.exec]]\n[[source.telegraf]]\nname = \"foreign\"\ninput = \"exec\"\nlag = \"0s\"\nstale = \"2s\"\n[[source.telegraf.point]]\nname = \"v\"\nmeasurement = \"m\"\nfield = \"v\"\nunit = \"C\"\n"
	text = append([]byte(strings.Replace(string(text), `loss_persist  = "10s"`, `loss_persist = "1s"`, 1)), more...)
	c, faults := config.Parse(filepath.Join(dir, "test.toml"), text, Kinds())
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	return c, text
}

// Whatever a companion does, the alarm of its health rises, its points go bad, and both come back with the next one that is
// sound; and the agent ends within its bound beside one that does it.
func TestCompanionsThatFail(t *testing.T) {
	for how, c := range map[string]struct {
		fake string         // what follows the sound one
		hit  syscall.Signal // in place of that, what the sound one and those after it get
		goes bool           // its points go bad; those of a flood come as they say
		says string         // why, in the alarm
	}{
		"blocks":     {"block", 0, true, "these inputs hang: m"},
		"panics":     {"panic", 0, true, "does not run"},
		"leaks":      {"leak", 0, true, "MB of memory, at most 128 MB"},
		"floods":     {"flood", 0, false, "these inputs hang: m"},
		"gives up":   {"fatal", 0, true, "does not run"},
		"is killed":  {"good", syscall.SIGKILL, true, "does not run"},
		"is stopped": {"good", syscall.SIGSTOP, true, "has said nothing for"},
	} {
		t.Run(how, func(t *testing.T) {
			first := c.fake // from the start: another one's end would be the cause that is told first
			if c.hit != 0 {
				first = "good"
			}
			a := besideOf(t, first)
			struck := time.Now()
			trouble := func() {
				if c.hit == 0 {
					a.become(c.fake)
				} else {
					a.signal(c.hit)
				}
				struck = time.Now()
			}
			again := func() {
				// One that is killed is back before the points are stale. And on a busy machine a sound one that was silent
				// for too long may have been on its way out, and another one on its way in that knows nothing of how.
				if c.hit == syscall.SIGKILL || time.Since(struck) > 20*time.Second && a.sound() {
					trouble()
				}
			}
			if c.hit != 0 {
				until(t, "a sound companion", a.sound)
				trouble()
			}
			if c.goes {
				late(t, "the points go bad", func() bool { again(); return a.lost() })
			}
			late(t, "the alarm rises and says why", func() bool { again(); return strings.Contains(a.cause("agent/telegraf"), c.says) })
			a.become("good")
			late(t, "all comes back", a.sound)
			trouble()
			late(t, "the same again", func() bool { again(); return a.cause("agent/telegraf") != "" })
			a.end()
		})
	}
	t.Run("does not end", func(t *testing.T) {
		a := besideOf(t, "stubborn")
		until(t, "a sound companion", a.sound)
		a.end()
	})
}

// beside is an agent with a companion.
type beside struct {
	Running
	t      *testing.T
	runs   atomic.Bool // it has said so since the last was hit
	cancel context.CancelFunc
	ended  chan error
}

func besideOf(t *testing.T, fake string) *beside {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(rig.Variable, fake)
	c, text := foreignRoom(t, self)
	ctx, cancel := context.WithCancel(context.Background())
	ready := make(chan Running, 1)
	a := &beside{t: t, cancel: cancel, ended: make(chan error, 1)}
	go func() {
		a.ended <- Run(ctx, Options{Config: c, Source: text, Self: self, Log: slog.New(said{slog.DiscardHandler, a.hear}), Ready: func(r Running) { ready <- r }})
	}()
	t.Cleanup(func() {
		cancel()
		<-a.ended
	})
	select {
	case a.Running = <-ready:
	case err := <-a.ended:
		a.ended <- err
		t.Fatal(err)
	}
	return a
}

// cause of an alarm that is active; "" of one that is not.
func (a *beside) cause(alarm string) string {
	for _, r := range a.Board.Status().Alarms {
		if r.Active && r.Name == alarm {
			return r.Cause
		}
	}
	return ""
}

func (a *beside) lost() bool {
	return a.cause("loss/bus/telegraf") != "" || a.cause("loss/device/foreign") != ""
}

func (a *beside) sound() bool {
	return a.runs.Load() && !a.lost() && a.cause("agent/telegraf") == ""
}

// become ends the companion; the next is what is named.
func (a *beside) become(fake string) {
	a.t.Helper()
	a.t.Setenv(rig.Variable, fake)
	a.signal(syscall.SIGKILL)
}

func (a *beside) signal(sig syscall.Signal) {
	signalAll(a.t, sig)
	a.runs.Store(false)
}

func (a *beside) hear(text string) {
	if strings.Contains(text, "companion runs") {
		a.runs.Store(true)
	}
}

// end ends the agent, within its bound.
func (a *beside) end() {
	a.t.Helper()
	began := time.Now()
	a.cancel()
	err := <-a.ended
	a.ended <- err // for the cleanup
	if took := time.Since(began); took > companionLimit+stopLimit+uplinkLimit || err != nil {
		a.t.Errorf("the end took %v: %v", took, err)
	}
	// It has been killed, and ends when it gets a moment: it is of the idle class. No other child is there: hooks that
	// another test has run have stood down.
	late(a.t, "nothing is left of it", func() bool { return len(rig.Children(a.t)) == 0 })
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

// In the agent as it is built, a decision lets the companion stand still.
func TestStartsLetTheCompanionStandStill(t *testing.T) {
	f := newFiring(t, "webhook", "s000") // of which this takes the configuration, and the target
	t.Setenv(rig.Variable, "good")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	f.config.Telegraf.Companion, f.config.Journal, f.config.Run = self, filepath.Join(dir, "journal"), filepath.Join(dir, "run")
	runs := make(chan struct{}, 100)
	o := Options{Config: f.config, Clock: f.clock, Self: self, Log: slog.New(said{slog.DiscardHandler, func(s string) {
		if strings.Contains(s, "companion runs") {
			runs <- struct{}{}
		}
	}})}
	o.defaults()
	rec, err := guard.Recover(f.config.Rules, nil, nil, f.clock.Now(), "boot", false, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	p, err := o.build(&opened{err: errors.New("a test does without")}, rec)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var parts sync.WaitGroup
	parts.Go(func() { _ = p.guard.Run(ctx) })
	parts.Go(func() { _ = p.tele.Run(ctx) })
	defer parts.Wait()
	defer cancel()
	<-runs
	f.inbox = p.inbox // of this agent
	f.say(true)
	<-f.arrived
	if n := p.tele.Stats().Holds; n == 0 {
		t.Error("a hook was started beside a companion that was not asked to stand still")
	}
}

// What the companion may stand still is half of what its points have to spare, and never more than two seconds of ten.
func TestNoPointGetsStaleByStandingStill(t *testing.T) {
	c, _ := foreignRoom(t, "/nowhere")
	d := &c.Devices[c.Telegraf.Sources[0].Device]
	for _, x := range []struct{ poll, stale, want time.Duration }{
		{time.Second, 2 * time.Second, 500 * time.Millisecond}, {10 * time.Second, 30 * time.Second, companion.DefaultStill}, {100 * time.Millisecond, 200 * time.Millisecond, 50 * time.Millisecond},
	} {
		if d.Poll, d.Stale = x.poll, x.stale; mayStandStill(c) != x.want {
			t.Errorf("gathered every %v and stale after %v, it may stand still for %v, want %v", x.poll, x.stale, mayStandStill(c), x.want)
		}
	}
}
