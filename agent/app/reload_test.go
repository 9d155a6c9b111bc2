package app

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"firebreak/agent/config"
	"firebreak/agent/core"
	"firebreak/agent/hazard"
	"firebreak/agent/response"
	"firebreak/plugins"
	"firebreak/sensors"
)

// onDisk is a room whose configuration lies in a file, so that it can be taken anew.
func onDisk(t *testing.T, dir string, change ...string) (*config.Config, []byte, string) {
	t.Helper()
	_, text := room(t, append(in(dir), change...)...)
	path := filepath.Join(dir, "firebreak.toml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	c, faults := config.Parse(path, text, Kinds())
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	return c, text, path
}

// S24, timeline 25: a file with a fault changes nothing, a weaker one needs a reason, and what is taken
// runs without a new process.
func TestReload(t *testing.T) {
	dir := t.TempDir()
	c, text, path := onDisk(t, dir)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ready, ended := make(chan Running, 4), make(chan error, 1)
	go func() {
		ended <- Run(ctx, Options{Config: c, Source: text, Self: "/nonexistent", Ready: func(r Running) { ready <- r }})
	}()
	first := <-ready
	until(t, "the control socket answers", func() bool { return answers(c.Control) })
	write := func(old, new string) {
		t.Helper()
		changed := strings.Replace(string(text), old, new, 1)
		if changed == string(text) {
			t.Fatalf("the example has no %q any more", old)
		}
		if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	reload := Request{Order: "reload", By: "kim"}

	if a, err := Ask(c.Control, reload); err != nil || !strings.Contains(a.Text, "nothing to do") {
		t.Errorf("the same file: %q, %v", a.Text, err)
	}
	write("need = 1\n", "need = 99\n")
	if _, err := Ask(c.Control, reload); err == nil || !strings.Contains(err.Error(), path+":") {
		t.Errorf("a file with a fault: %v", err)
	}
	write(`above  = "52 C"`, `above  = "58 C"`)
	if _, err := Ask(c.Control, reload); err == nil || !strings.Contains(err.Error(), "threshold 58") {
		t.Errorf("a weaker file without a reason: %v", err)
	}
	for _, k := range []string{"site", "agent", "journal", "run", "control"} {
		line := regexp.MustCompile(`(?m)^` + k + ` +=.*$`).FindString(string(text))
		write(line, k+` = "`+strings.TrimPrefix(filepath.Join(dir, "elsewhere"), map[bool]string{true: dir + "/"}[k == "site" || k == "agent"])+`"`)
		if _, err := Ask(c.Control, reload); err == nil || !strings.Contains(err.Error(), k+" cannot change while the agent runs") {
			t.Errorf("another %s: %v", k, err)
		}
	}
	write(`above  = "52 C"`, `above  = "58 C"`)
	if g := first.Guard; g.Stats().Steps == 0 || len(ready) > 0 {
		t.Error("a refused reload has restarted the agent")
	}
	reload.Reason = "the maker says 58"
	if a, err := Ask(c.Control, reload); err != nil || !strings.Contains(a.Text, "taken") {
		t.Fatalf("a weaker file with a reason: %q, %v", a.Text, err)
	}
	select {
	case <-ready:
	case err := <-ended:
		t.Fatalf("the agent has ended: %v", err)
	case <-time.After(patience):
		t.Fatal("the new configuration does not run")
	}
	until(t, "the plan is there again", func() bool { return answers(c.Control) })
	cancel()
	if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A reload waits for the end of an open run, and is refused where hosts would take it for a fire (S20).
func TestReloadWaits(t *testing.T) {
	dir := t.TempDir()
	c, text, path := onDisk(t, dir)
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		idle, standing := false, []string{"rack12"}
		set := func(i bool, s []string) { mu.Lock(); defer mu.Unlock(); idle, standing = i, s }
		r := &reloader{running: c, log: discard(), change: make(chan *next, 1), waiting: make(chan struct{}, 1),
			idle:     func() bool { mu.Lock(); defer mu.Unlock(); return idle },
			standing: func() []string { mu.Lock(); defer mu.Unlock(); return standing },
			order:    func(context.Context, core.Order) error { return nil }}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.run(ctx) }()
		<-time.After(5 * reloadLook) // nothing waits, and it no longer looks
		stronger := strings.Replace(string(text), `above  = "52 C"`, `above  = "50 C"`, 1)
		if err := os.WriteFile(path, []byte(stronger), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := r.ask(ctx, Request{Order: "reload", By: "kim"}); err == nil || !strings.Contains(err.Error(), "dead-man") {
			t.Errorf("with hosts in dead-man mode: %v", err)
		}
		set(false, nil)
		if text, err := r.ask(ctx, Request{Order: "reload", By: "kim"}); err != nil || !strings.Contains(text, "when it has ended") {
			t.Errorf("while a run is open: %q, %v", text, err)
		}
		<-time.After(10 * reloadLook)
		if len(r.change) != 0 {
			t.Fatal("the new configuration took over in the middle of a run")
		}
		for _, put := range []struct{ file, says string }{{string(text), "is dropped"}, {string(text), "nothing to do"}, {stronger, "when it has ended"}} {
			if err := os.WriteFile(path, []byte(put.file), 0o600); err != nil {
				t.Fatal(err)
			}
			if text, err := r.ask(ctx, Request{Order: "reload", By: "kim"}); err != nil || !strings.Contains(text, put.says) {
				t.Errorf("%q, %v; want %q", text, err, put.says)
			}
			if dropped := strings.Contains(put.says, "dropped"); dropped {
				set(true, nil)
				<-time.After(2 * reloadLook)
				if len(r.change) != 0 {
					t.Fatal("a configuration that was taken back counts at the end of the run")
				}
				set(false, nil)
			}
		}
		set(true, nil)
		<-time.After(2 * reloadLook)
		if len(r.change) != 1 {
			t.Error("the run has ended, and the new configuration does not count")
		}
		cancel()
		<-done
	})
}

// S9: the journal is gone at the second start of one boot; mode, episode and keys are known from memory.
func TestStartWithoutTheJournal(t *testing.T) {
	dir := t.TempDir()
	c, text := room(t, append(in(dir), `mode          = "observe"`, "mode = \"armed\"\nungated = \"a test\"")...)
	var next uint64
	life(t, c, text, func(r Running) {
		until(t, "the plan is told", func() bool { return planOf(r, "evacuate").NextEpisode != 0 })
		next = planOf(r, "evacuate").NextEpisode
		until(t, "the state is mirrored", func() bool { return len(readMirror(c.Run)) > 0 })
	})
	if err := os.RemoveAll(c.Journal); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.Journal, nil, 0o600); err != nil { // no directory can be made there
		t.Fatal(err)
	}
	c, text = room(t, in(dir)...) // the file says observe now: what was in force counts
	life(t, c, text, func(r Running) {
		until(t, "the plan is told", func() bool { return planOf(r, "evacuate").NextEpisode != 0 })
		if p := planOf(r, "evacuate"); p.NextEpisode != next || p.Mode != "armed" {
			t.Errorf("next episode %d, want %d; mode %s", p.NextEpisode, next, p.Mode)
		}
	})
}

// S22: the fourth start within a minute after three crashes starts no control socket; starts that ended in
// order do not count.
func TestThreeCrashesStartTheLoopAlone(t *testing.T) {
	c := crashes{filepath.Join(t.TempDir(), "run", crashName)}
	at := func(s int) sensors.Mono { return sensors.Mono(time.Hour) + sensors.Mono(time.Duration(s)*time.Second) }
	for i := range 5 {
		if c.begin(at(i), "boot") {
			t.Fatal("careful after starts that ended in order")
		}
		c.end(at(i), "boot")
	}
	for i, want := range []bool{false, false, false, true} {
		if got := c.begin(at(10+i), "boot"); got != want {
			t.Errorf("start %d: careful %v, want %v", i+1, got, want)
		}
	}
	if c.begin(at(90), "boot") {
		t.Error("careful a minute later")
	}
	if c.begin(at(91), "another boot") {
		t.Error("careful for what happened before the reboot")
	}
	if err := os.WriteFile(c.path, []byte("{torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c.begin(at(92), "boot") {
		t.Error("careful because of a torn file")
	}
}

// runner panics, then ends, then works.
type runner struct{ times int }

func (r *runner) Run(ctx context.Context, seen func(plugins.Evidence)) error {
	switch r.times++; r.times {
	case 1:
		panic("on purpose")
	case 2:
		return errors.New("no port")
	}
	seen(plugins.Evidence{Name: plugins.SeenDone})
	<-ctx.Done()
	return nil
}

func TestRunnerPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		got := make(chan core.Event, 1)
		done := make(chan error, 1)
		go func() {
			done <- keepRunning("nut", &runner{}, func(_ context.Context, ev core.Event) { got <- ev }, discard())(ctx)
		}()
		select {
		case ev := <-got:
			if ev.Kind != core.Seen || ev.Evidence.Name != plugins.SeenDone {
				t.Errorf("got %+v", ev)
			}
		case <-time.After(time.Minute):
			t.Error("it was not started again")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// A drill by order: it calls no hook without drill support, is reported, and the plan stays at rest.
func TestDrillByOrder(t *testing.T) {
	dir := t.TempDir()
	c, text := room(t, in(dir)...)
	life(t, c, text, func(r Running) {
		until(t, "the control socket answers", func() bool { return answers(c.Control) })
		if _, err := Ask(c.Control, Request{Order: "drill", Name: "evacuate", By: "kim"}); err == nil {
			t.Error("a drill of nothing is taken")
		}
		if _, err := Ask(c.Control, Request{Order: "drill", Name: "evacuate", By: "kim", Stage: "2b"}); err != nil {
			t.Fatal(err)
		}
		until(t, "the drill ends", func() bool {
			a, err := Ask(c.Control, Request{Order: "drill-report"})
			return err == nil && !a.Drill.Running
		})
		a, err := Ask(c.Control, Request{Order: "drill-report"})
		if err != nil || !a.Drill.Good {
			t.Fatalf("%v\n%s", err, a.Drill.Markdown())
		}
		for _, s := range a.Drill.Steps {
			if s.StartedS != nil && s.State != "skipped" {
				t.Errorf("step %s is %s: a hook without drill support was called", s.Step, s.State)
			}
		}
		if p := planOf(r, "evacuate"); p.Stage != "0" || p.Episode != 0 {
			t.Errorf("the real plan stands at stage %s", p.Stage)
		}
		until(t, "the report is kept", func() bool {
			files, _ := filepath.Glob(filepath.Join(c.Journal, "drills", "evacuate-*"))
			return len(files) == 2
		})
	})
}

// A scheduled drill begins when it is due, at rest, with a clock; not again at once when it went wrong.
func TestDrillSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		clock, busy, asked, last := false, "", 0, int64(0)
		d := &drills{config: &config.Config{Rules: &core.Rules{Hazard: &hazard.Rules{}, Response: &response.Rules{}},
			Drills: []config.DrillSchedule{{Plan: "evacuate", Every: 24 * time.Hour, Stage: "2b"}}}, log: discard(),
			synced: func() bool { mu.Lock(); defer mu.Unlock(); return clock },
			real:   func() string { mu.Lock(); defer mu.Unlock(); return busy }}
		d.log = slog.New(slog.NewTextHandler(writer(func() { mu.Lock(); asked++; mu.Unlock() }), nil)) // there is no such plan: each try is a log line
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- d.schedule(ctx, func(string) (int64, bool) { mu.Lock(); defer mu.Unlock(); return last, true })
		}()
		tries := func(after time.Duration) int {
			<-time.After(after)
			mu.Lock()
			defer mu.Unlock()
			n := asked
			asked = 0
			return n
		}
		if n := tries(time.Hour); n != 0 {
			t.Errorf("%d tries without a clock", n)
		}
		mu.Lock()
		clock = true
		mu.Unlock()
		if n := tries(30 * time.Minute); n != 1 {
			t.Errorf("%d tries of a drill that is due, want 1", n)
		}
		if n := tries(2 * time.Hour); n != 2 {
			t.Errorf("%d tries in two hours after one that went wrong, want 2", n)
		}
		mu.Lock()
		last = time.Now().Unix()
		mu.Unlock()
		if n := tries(23 * time.Hour); n != 0 {
			t.Errorf("%d tries within a day of a good drill", n)
		}
		if n := tries(90 * time.Minute); n != 1 {
			t.Errorf("%d tries when it is due again, want 1", n)
		}
		cancel()
		<-done
	})
}

type writer func()

func (w writer) Write(b []byte) (int, error) { w(); return len(b), nil }

// Files on a disk that hangs hold up neither the person who asks nor the next one, and are read when it answers.
func TestReloadOnADiskThatHangs(t *testing.T) {
	dir := t.TempDir()
	c, text, path := onDisk(t, dir)
	if err := errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600)); err != nil { // to open it waits for a writer
		t.Fatal(err)
	}
	r := &reloader{running: c, log: discard()}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	req := Request{Order: "reload", By: "kim"}
	if _, err := r.ask(ctx, req); err == nil || !strings.Contains(err.Error(), "not read in time") {
		t.Errorf("who asks first: %v", err)
	}
	if _, err := r.ask(t.Context(), req); err == nil || !strings.Contains(err.Error(), "still reads") {
		t.Errorf("who asks then: %v", err)
	}
	w, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	reads := r.reads
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	<-reads
	if err := errors.Join(os.Remove(path), os.WriteFile(path, text, 0o600)); err != nil {
		t.Fatal(err)
	}
	if said, err := r.ask(t.Context(), req); err != nil || !strings.Contains(said, "nothing to do") {
		t.Errorf("when the disk answers again: %q, %v", said, err)
	}
}
