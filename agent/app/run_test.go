package app

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"firebreak/agent/config"
	"firebreak/agent/core"
	"firebreak/agent/journal"
	"firebreak/agent/uplink"
	"firebreak/plugins"
	"firebreak/sensors"
)

// patience bounds every wait for an event: a busy machine may take long.
const patience = time.Minute

// room writes the annotated example with directories of the test, and nothing but closed ports of
// loopback to talk to.
func room(t *testing.T, change ...string) (*config.Config, []byte) {
	t.Helper()
	b, err := os.ReadFile("../../configs/firebreak.toml")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("10.0.3.20:502", "127.0.0.1:1", "10.0.4.20:502", "127.0.0.1:2", "10.0.9.5:502", "127.0.0.1:3",
		"/dev/ttyUSB0", "/nonexistent/tty", "/dev/i2c-1", "/nonexistent/i2c",
		"hub.b1.example:8883", "127.0.0.1:4", "mqtt.noc.example:8883", "127.0.0.1:5", "noc.example", "127.0.0.1:6", "deploy.example", "127.0.0.1:7", "storage.example", "127.0.0.1:8",
		"lb.example/", "127.0.0.1:9/").Replace(string(b))
	if names := regexp.MustCompile(`(?m)^[^#\n]*(://\w[\w.-]*\.example)`).FindStringSubmatch(text); names != nil {
		t.Fatalf("%s of the example would be looked up: give it a closed port of loopback", names[1])
	}
	for i := 0; i+1 < len(change); i += 2 {
		if !strings.Contains(text, change[i]) {
			t.Fatalf("the example has no %q any more", change[i])
		}
		text = strings.ReplaceAll(text, change[i], change[i+1])
	}
	c, faults := config.Parse("test.toml", []byte(text), Kinds())
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	return c, []byte(text)
}

// in gives the changes that put a room's directories below dir.
func in(dir string) []string {
	return []string{"/var/lib/firebreak", filepath.Join(dir, "journal"), "/run/firebreak", filepath.Join(dir, "run")}
}

// life runs an agent until the test has looked.
func life(t *testing.T, c *config.Config, text []byte, look func(Running)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ready, ended := make(chan Running, 1), make(chan error, 1)
	go func() {
		ended <- Run(ctx, Options{Config: c, Source: text, Self: "/nonexistent", Ready: func(r Running) { ready <- r }})
	}()
	select {
	case r := <-ready:
		look(r)
	case err := <-ended:
		t.Fatalf("the agent did not start: %v", err)
	case <-time.After(patience):
		t.Fatal("the agent does not start")
	}
	cancel()
	if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

// until waits for something that goroutines of the agent do.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for limit := time.After(patience); !ok(); {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("never: %s", what)
		}
	}
}

func planOf(r Running, name string) (p plugins.PlanState) {
	for _, s := range r.Board.Status().Plans {
		if s.Plan == name {
			p = s
		}
	}
	return p
}

// openRun adds to a journal that a run of the plan has been opened under a configuration.
func openRun(t *testing.T, dir, hash string) {
	t.Helper()
	d, err := journal.OS(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	j, _, err := journal.Open(t.Context(), d, journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b, _ := json.Marshal(map[string]any{"m": sensors.NewClock().Now(), "w": time.Now().UnixMilli(),
		"r": map[string]any{"plan": map[string]any{"kind": "open", "plan": "evacuate", "at": 1, "episode": 77, "hash": hash}}})
	if j.Append(b) == 0 {
		t.Fatal("the journal refuses")
	}
	b, _ = json.Marshal(map[string]any{"m": sensors.NewClock().Now(), "w": time.Now().UnixMilli(),
		"r": map[string]any{"plan": map[string]any{"kind": "stage", "plan": "evacuate", "at": 1, "episode": 77, "stage": "2a"}}})
	if j.Append(b) == 0 {
		t.Fatal("the journal refuses")
	}
	if err := j.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// S8, timeline 25: a restart with a configuration that has lost the plan goes on under the one that
// started the run, and a kept one that a loss of power has torn is written anew.
func TestRunIsPinned(t *testing.T) {
	dir := t.TempDir()
	c, text := room(t, in(dir)...)
	hash := c.Rules.Hash
	kept := pinnedPath(c.Journal, hash)
	whole := func() bool { b, err := os.ReadFile(kept); return err == nil && string(b) == string(seal(text)) }
	if err := os.MkdirAll(c.Journal, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(kept, text[:100], 0o600); err != nil {
		t.Fatal(err)
	}
	life(t, c, text, func(Running) { until(t, "the torn configuration is written anew", whole) })
	openRun(t, c.Journal, hash)
	for _, change := range []string{`name          = "evacuate"`, `deadline      = "3m"`} {
		to := map[string]string{`name          = "evacuate"`: `name = "flee"`, `deadline      = "3m"`: `deadline = "4m"`}[change]
		other, text2 := room(t, append(in(dir), change, to)...)
		life(t, other, text2, func(r Running) {
			until(t, "after "+to+" the run goes on under its own configuration", func() bool { return planOf(r, "evacuate").Episode == 77 })
		})
	}
	// A kept file of another hash is believed if it is whole: an older version wrote it.
	older := strings.Repeat("0", len(hash))
	if err := os.WriteFile(pinnedPath(c.Journal, older), text, 0o600); err != nil {
		t.Fatal(err)
	}
	openRun(t, c.Journal, older)
	other, text2 := room(t, append(in(dir), `name          = "evacuate"`, `name = "flee"`)...)
	life(t, other, text2, func(r Running) {
		until(t, "a configuration without its seal is not believed", func() bool { return planOf(r, "flee").Plan != "" })
	})
	if err := os.WriteFile(pinnedPath(c.Journal, older), seal(text), 0o600); err != nil {
		t.Fatal(err)
	}
	life(t, other, text2, func(r Running) {
		until(t, "a run goes on after an upgrade", func() bool {
			p := planOf(r, "evacuate")
			return p.Episode == 77 && !strings.Contains(p.Asking, "configuration")
		})
	})
	if err := errors.Join(os.Remove(kept), os.Remove(pinnedPath(c.Journal, older))); err != nil {
		t.Fatal(err)
	}
	other, text2 = room(t, append(in(dir), `name          = "evacuate"`, `name = "flee"`)...)
	life(t, other, text2, func(r Running) {
		until(t, "an alarm says that the configuration of the run is gone", func() bool {
			for _, a := range r.Board.Status().Alarms {
				if a.Name == "plan/evacuate/pinned" && a.Active && a.Priority == 1 {
					return true
				}
			}
			return false
		})
	})
}

// The configuration that a start in the middle of a run has found counts once the run has ended, without a further
// order, and the one that started the run is what is left where the new one cannot be built.
func TestPinnedUntilTheEnd(t *testing.T) {
	dir := t.TempDir()
	c, text := room(t, in(dir)...)
	if err := os.MkdirAll(c.Journal, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(pinnedPath(c.Journal, c.Rules.Hash), seal(text), 0o600); err != nil {
		t.Fatal(err)
	}
	openRun(t, c.Journal, c.Rules.Hash)
	other, text2 := room(t, append(in(dir), `name          = "evacuate"`, `name = "flee"`)...)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ready, ended := make(chan Running, 2), make(chan error, 1)
	clock := sensors.NewScaledClock(sensors.NewClock().Now(), 3600) // for the clear time
	go func() {
		ended <- Run(ctx, Options{Config: other, Source: text2, Clock: clock, Self: "/nonexistent", Ready: func(r Running) { ready <- r }})
	}()
	r := <-ready
	until(t, "the run goes on", func() bool { return planOf(r, "evacuate").Episode == 77 })
	order := func(kind core.OrderKind, name string) error {
		return r.Guard.Order(ctx, core.Order{Kind: kind, Name: name, By: "kim", Channel: core.AtTheBox})
	}
	for i := range c.Rules.Hazard.Points {
		if err := order(core.TakeOutOfServe, c.Rules.Hazard.Points[i].Name); err != nil {
			t.Fatal(err)
		}
	}
	if len(ready) != 0 {
		t.Fatal("the new configuration counts in the middle of the run")
	}
	until(t, "the run is reset", func() bool { return order(core.ResetPlan, "evacuate") == nil })
	select {
	case r = <-ready:
	case err := <-ended:
		t.Fatalf("the agent has ended: %v", err)
	case <-time.After(patience):
		t.Fatal("the run has ended, and the new configuration does not count")
	}
	until(t, "the new plan is told", func() bool { return planOf(r, "flee").Plan != "" })
	cancel()
	if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

// A hook whose certificate is not there does not keep the others from working.
func TestHookWithoutItsFile(t *testing.T) {
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.pem")
	c, text := room(t, append(in(dir), `url    = "https://127.0.0.1:9/drain"`, `url = "https://127.0.0.1:9/drain"
ca_file = "`+ca+`"`)...)
	life(t, c, text, func(Running) {})
	hooks, err := buildHooks(c, &devicesByName{}, "/nonexistent", c.Run, time.Now, discard())
	if err != nil {
		t.Fatal(err)
	}
	for i := range c.Hooks {
		if c.Hooks[i].Name == "drain" {
			call := plugins.Call{Key: plugins.Key{Plan: "p", Zone: "z", Step: "s"}, Timeout: time.Second}
			if o := hooks[i].Do(t.Context(), call, nil); o.Result != plugins.Unknown || !strings.Contains(o.Detail, ca) {
				t.Errorf("%v %q: want unknown, since a process before this one may have sent it, and which file is missing", o.Result, o.Detail)
			}
			if err := hooks[i].Probe(t.Context()); err == nil || !strings.Contains(err.Error(), ca) {
				t.Errorf("probe: %v", err)
			}
		}
	}
}

func readError(path string) error {
	_, err := os.ReadFile(path)
	return err
}

// A disk that hangs while a hook is built, or a session's secrets are read, holds up what needs them no longer
// than its bound.
func TestHookOnADiskThatHangs(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "secret") // nobody writes it: whoever reads it hangs
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	defer letGo(fifo)
	late := newLateHook(func() (plugins.Hook, error) { return nil, readError(fifo) })
	for range 2 {
		if o := late.Do(t.Context(), plugins.Call{Timeout: time.Second}, nil); o.Result != plugins.Unknown || !strings.Contains(o.Detail, "hangs") {
			t.Errorf("%v %q: want unknown, and that the disk hangs", o.Result, o.Detail)
		}
		if err := late.Probe(t.Context()); err == nil || !strings.Contains(err.Error(), "hangs") {
			t.Errorf("probe: %v", err)
		}
	}
	given := make(chan struct{})
	close(given)
	ahead := &latePoiser{late}
	if o := ahead.DoPoised(t.Context(), plugins.Call{Timeout: time.Second}, plugins.Leave{Given: given}, nil); !strings.Contains(o.Detail, "hangs") {
		t.Errorf("got ready: %q", o.Detail)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if o := ahead.DoPoised(over, plugins.Call{Timeout: time.Second}, plugins.Leave{}, nil); !strings.Contains(o.Detail, "leave") {
		t.Errorf("got ready without leave: %q", o.Detail)
	}
	way := sessions(uplink.Broker{Name: "b", URL: "mqtt://127.0.0.1:1", PasswordFile: fifo}, "id", time.Now)
	if _, err := way(t.Context()); err == nil || !strings.Contains(err.Error(), "hangs") {
		t.Errorf("a session: %v", err)
	}
}

// The configuration of an open run is looked for on a disk that may hang: the agent starts all the same (S9).
func TestPinnedOnADiskThatHangs(t *testing.T) {
	dir := t.TempDir()
	c, _ := room(t, in(dir)...)
	fifo := pinnedPath(c.Journal, "abc")
	if err := errors.Join(os.MkdirAll(c.Journal, 0o700), syscall.Mkfifo(fifo, 0o600)); err != nil {
		t.Fatal(err)
	}
	defer letGo(fifo)
	ended := make(chan error, 1)
	go func() {
		_, err := (&Options{Config: c, Log: discard()}).pinned("abc", nil, nil, nil, "", false)
		ended <- err
	}()
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(err.Error(), "hangs") {
			t.Errorf("got %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the start waits for the disk")
	}
}

// letGo lets whoever hangs in reading a FIFO go on.
func letGo(fifo string) {
	if f, err := os.OpenFile(fifo, os.O_WRONLY|syscall.O_NONBLOCK, 0); err == nil {
		_ = f.Close()
	}
}

// Two agents of one configuration would give each hook two keys (S10).
func TestSecondAgentRefuses(t *testing.T) {
	dir := t.TempDir()
	c, text := room(t, in(dir)...)
	life(t, c, text, func(Running) {
		until(t, "the first answers", func() bool { return answers(c.Control) })
		second, text := room(t, in(dir)...)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		err := Run(ctx, Options{Config: second, Source: text, Self: "/nonexistent"})
		if ctx.Err() != nil || err == nil || !strings.Contains(err.Error(), "another agent") {
			t.Fatalf("the second ended with %v", err)
		}
		if !answers(c.Control) {
			t.Error("the first does not answer any more")
		}
	})
}

// One that holds the journal and does not answer protects nothing.
func TestHungAgentDoesNotAnswer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close() // takes connections, says nothing
	if answers(path) {
		t.Error("an agent that says nothing counts as living")
	}
}

// Who asks one that says nothing waits no longer than he wants.
func TestAskUntil(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := AskUntil(ctx, path, Request{Order: "status"}); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > controlWait {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
}

// What stands where the control socket should be is left alone.
func TestControlRemovesSocketsOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err := listenControl(path, &desk{board: NewBoard(sensors.NewClock())}); err == nil {
		c.ln.Close()
		t.Error("served in place of a file")
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

// shortOfFiles is a listener that cannot accept for a while.
type shortOfFiles struct {
	net.Listener
	fails int
	conns chan net.Conn
}

func (s *shortOfFiles) Accept() (net.Conn, error) {
	if s.fails > 0 {
		s.fails--
		return nil, errors.New("too many open files")
	}
	c, ok := <-s.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (s *shortOfFiles) Close() error { close(s.conns); return nil }

func TestControlOutlivesItsListenersTroubles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &shortOfFiles{fails: 2 * controlConns, conns: make(chan net.Conn)}
		c := &control{l, &desk{board: NewBoard(sensors.NewClock()), order: func(context.Context, core.Order) error { return nil }}}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- c.run(ctx) }()
		here, there := net.Pipe()
		go func() { l.conns <- there }()
		if err := json.NewEncoder(here).Encode(Request{Order: "status"}); err != nil {
			t.Fatal(err)
		}
		var a Answer
		if err := json.NewDecoder(here).Decode(&a); err != nil || a.Status == nil {
			t.Errorf("answer %+v, %v", a, err)
		}
		here.Close()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// What is not done in time is told, with the reason, while the person still listens; a reload has the time that reading
// files may take.
func TestControlTellsWhatTookTooLong(t *testing.T) {
	dir := t.TempDir()
	c, text, path := onDisk(t, dir)
	if err := os.WriteFile(path, []byte(strings.Replace(string(text), `above  = "52 C"`, `above  = "50 C"`, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		stuck := func(ctx context.Context, _ core.Order) error { <-ctx.Done(); return ctx.Err() }
		l := &shortOfFiles{conns: make(chan net.Conn)}
		r := &reloader{running: c, log: discard(), change: make(chan *next, 1), idle: func() bool { return true }, standing: func() []string { return nil }, order: stuck}
		ctl := &control{l, &desk{board: NewBoard(sensors.NewClock()), order: stuck, reload: r}}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- ctl.run(ctx) }()
		for order, want := range map[string]time.Duration{"ack": controlWait, "reload": reloadRead} {
			here, there := net.Pipe()
			l.conns <- there
			begin := time.Now()
			a, err := ask(here, Request{Order: order, By: "kim"})
			if took := time.Since(begin); err == nil || !strings.Contains(a.Error, context.DeadlineExceeded.Error()) || took != want {
				t.Errorf("%s: %q, %v after %v, want it told after %v", order, a.Error, err, took, want)
			}
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// Without a place for journal, run directory and control socket the agent still reads, judges and
// tells, and says what it lacks (S9).
func TestNothingToWriteOn(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c, text := room(t, append(in(file), `loss_persist  = "10s"`, `loss_persist = "1s"`)...)
	life(t, c, text, func(r Running) {
		until(t, "an alarm about the journal, and one about silent sensors", func() bool {
			found := 0
			for _, a := range r.Board.Status().Alarms {
				if a.Active && (a.Name == "agent/journal" || strings.HasPrefix(a.Name, "loss/")) {
					found++
				}
			}
			return found >= 2 && planOf(r, "evacuate").Mode == "observe"
		})
	})
}
