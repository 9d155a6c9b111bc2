package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"firebreak/agent/app"
	"firebreak/agent/config"
	"firebreak/plugins/hooks/exec/shim"
	"firebreak/sensors"
	"firebreak/sensors/sim/slave"
)

// asMain in the environment makes the test's binary the agent, so that a test can run it as a
// process of its own and kill it.
const asMain = "FIREBREAK_TEST_AS_MAIN"

// patience bounds every wait for an event.
const patience = 30 * time.Second

func TestMain(m *testing.M) {
	if os.Getenv(asMain) != "" || len(os.Args) > 1 && os.Args[1] == shim.Command {
		main()
	}
	os.Exit(m.Run())
}

// firebreak runs a command in this process.
func firebreak(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(args, &out, &errs)
	return code, out.String(), errs.String()
}

func TestUsage(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "no-such.toml")
	for _, c := range []struct {
		args []string
		code int
		says string // on stdout if the code is 0, else on stderr
	}{
		{[]string{"check", "-c", missing}, 2, "no-such.toml"},
		{[]string{"run", "-c", missing}, 2, "no-such.toml"},
		{[]string{"check", "-c", t.TempDir()}, 2, "directory"},
		{[]string{}, 2, "firebreak run"},
		{[]string{"burn"}, 2, `"burn"`},
		{[]string{"check", "--no-such-flag"}, 2, "no-such-flag"},
		{[]string{"reset", "-c", "../configs/firebreak.toml"}, 2, "reset PLAN"},
		{[]string{"demo", "--scenario", "nothing"}, 2, "nothing"},
		{[]string{"demo", "--speed", "1000"}, 2, "1 to 120"},
		{[]string{"help"}, 0, "call\nthe fire service"},
		{[]string{"version"}, 0, ""},
	} {
		code, out, errs := firebreak(c.args...)
		said := errs
		if c.code == 0 {
			said = out
		}
		if code != c.code || !strings.Contains(said, c.says) {
			t.Errorf("%q: exit %d, want %d and %q in:\n%s", c.args, code, c.code, c.says, said)
		}
	}
}

// The demo at half its speed, so that a machine that is busy with other tests has the time for what
// 70 s of slack are made of: the racks are left in time, each of the five kinds of hooks has done its
// part, what ended each step is its evidence and not its cap, and the last line is one JSON object.
func TestDemoJSON(t *testing.T) {
	if testing.Short() {
		t.Skip("half a minute of real time")
	}
	t.Parallel()
	code, out, errs := firebreak("demo", "--headless", "--json", "--speed", "30")
	if code != 0 {
		t.Fatalf("exit %d\n%s%s", code, out, errs)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	last := lines[len(lines)-1]
	var res map[string]json.RawMessage
	if err := json.Unmarshal([]byte(last), &res); err != nil {
		t.Fatalf("the last line is not JSON: %v\n%s", err, last)
	}
	for _, k := range []string{"scenario", "speed", "first_alarm_s", "stages", "power_lost_s", "evacuated_before_power_lost", "hooks_run", "hooks_failed", "mqtt_messages", "sensors_2022", "decision_to_hook_ms", "steps"} {
		if _, ok := res[k]; !ok {
			t.Errorf("the result has no %q: %s", k, last)
		}
	}
	for k, want := range map[string]string{"scenario": `"pangyo-2022"`, "speed": "30", "evacuated_before_power_lost": "true", "hooks_run": "8", "hooks_failed": "0", "power_lost_s": "480"} {
		if string(res[k]) != want {
			t.Errorf("%s is %s, want %s", k, res[k], want)
		}
	}
	demoStages(t, res["stages"])
	demoSteps(t, res["steps"])
	if !strings.Contains(out, "os-stop done: nut logged-out, ") || !strings.Contains(out, " s before its cap") {
		t.Errorf("the timeline does not say what ended the steps:\n%s", out)
	}
}

func demoStages(t *testing.T, text json.RawMessage) {
	t.Helper()
	var stages []struct {
		Stage     string
		Opened    *float64 `json:"opened_s"`
		FirstHook *float64 `json:"first_hook_s"`
		Done      *float64 `json:"done_s"`
	}
	if err := json.Unmarshal(text, &stages); err != nil {
		t.Fatal(err)
	}
	for _, s := range stages {
		if slices.Contains([]string{"2a", "2b", "3"}, s.Stage) && (s.Opened == nil || s.FirstHook == nil || s.Done == nil || *s.Opened > *s.FirstHook || *s.FirstHook > *s.Done || *s.Done > 480) {
			t.Errorf("stage %s: %s", s.Stage, text)
		}
	}
}

// demoSteps holds the steps to the evidence that each is to end by, and to the time that its work
// takes at least; and the next one to going on before that cap.
func demoSteps(t *testing.T, text json.RawMessage) {
	t.Helper()
	var steps []struct {
		Step, Hook, State, Evidence, Detail string

		Started   *float64 `json:"started_s"`
		Ended     *float64 `json:"ended_s"`
		BeforeCap *float64 `json:"before_cap_s"`
	}
	if err := json.Unmarshal(text, &steps); err != nil {
		t.Fatal(err)
	}
	want := []struct {
		step, hook, evidence, detail string
		least                        float64
	}{
		{"page", "webhook", "webhook done", `{"state":"done"}`, 0},
		{"freeze-deploys", "modbus", "modbus verified", "deploys-freeze of load-1", 2},
		{"replicate", "exec", "measured load-1.replication_lag_s", "", 40},
		{"drain", "webhook", "webhook verified", "drained", 60},
		{"migrate", "mqtt", "mqtt done", "orchestrator-1 says done", 120},
		{"vm-stop", "exec", "measured load-1.vms_running", "", 120},
		{"os-stop", "nut", "nut logged-out", "127.0.0.14", 70},
		{"outlets-off", "modbus", "modbus verified", "outlets-off of load-1", 5},
	}
	if len(steps) != len(want) {
		t.Fatalf("%d steps, want %d: %s", len(steps), len(want), text)
	}
	for i, w := range want {
		s := steps[i]
		if s.Step != w.step || s.Hook != w.hook || s.State != "done" || s.Evidence != w.evidence || !strings.Contains(s.Detail, w.detail) {
			t.Errorf("step %+v, want %+v", s, w)
		}
		if s.Started == nil || s.Ended == nil || s.BeforeCap == nil || *s.BeforeCap <= 0 || *s.Ended-*s.Started < w.least-0.2 { // two roundings
			t.Errorf("step %s was not ended by evidence, after %v s at least: %s", w.step, w.least, text)
		}
	}
	for i, name := range []string{"vm-stop", "os-stop", "outlets-off"} { // each after the one before, at once
		before, s := steps[4+i], steps[5+i]
		if s.Started == nil || before.Ended == nil || before.BeforeCap == nil || *s.Started < *before.Ended-0.1 || *s.Started >= *before.Ended+*before.BeforeCap {
			t.Errorf("%s did not start between the evidence of %s and its cap: %s", name, before.Step, text)
		}
	}
}

// box is a detector behind a socket, and the configuration of an agent that reads it.
type box struct {
	bank  *slave.Bank
	srv   *slave.TCP
	polls *polls // of a recordedBox
	file  string
	hooks *bufio.Scanner // one line a hook
	env   []string       // of the agent, beside that of the test
	heard func(string)   // takes each line that the agent says; nil: nobody does
}

func (b *box) smoke(on uint16) { b.bank.Set(slave.Discretes, 2, on) }

func newBox(t *testing.T) *box {
	t.Helper()
	dir := t.TempDir()
	b := &box{bank: slave.NewBank(), file: filepath.Join(dir, "firebreak.toml")}
	b.bank.Set(slave.Discretes, 0, 1, 0, 0, 0)
	srv, err := slave.ListenTCP("127.0.0.1:0", map[byte]*slave.Bank{3: b.bank})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Close() })
	b.srv = srv
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(fifo, os.O_RDWR|syscall.O_NONBLOCK, 0) // both ways: no end of file between two hooks
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	if err := f.SetReadDeadline(time.Now().Add(4 * patience)); err != nil {
		t.Fatal(err)
	}
	b.hooks = bufio.NewScanner(f)
	text, err := os.ReadFile("testdata/box.toml")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(b.file, []byte(strings.NewReplacer("@DIR@", dir, "@DUCT@", srv.Addr(), "@FIFO@", fifo).Replace(string(text))), 0o600); err != nil {
		t.Fatal(err)
	}
	return b
}

// hook waits for the next hook and checks which it is.
func (b *box) hook(t *testing.T, want string) {
	t.Helper()
	if !b.hooks.Scan() || b.hooks.Text() != want {
		t.Fatalf("hook %q ran (%v), want %q", b.hooks.Text(), b.hooks.Err(), want)
	}
}

// until repeats a command until its answer is as wanted.
func until(t *testing.T, code int, says string, args ...string) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(patience); ; {
		got, out, errs := firebreak(args...)
		if got == code && strings.Contains(out+errs, says) {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%q: exit %d, want %d and %q in:\n%s%s", args, got, code, says, out, errs)
		}
	}
}

// outlived waits for the commands that go on when the agent has ended: each has a shim that holds the lock of its key. They may
// still write beside the configuration.
func (b *box) outlived(t *testing.T) {
	locks, _ := filepath.Glob(filepath.Join(filepath.Dir(b.file), "run", "k-*", "lock"))
	for _, l := range locks {
		f, err := os.Open(l)
		if err != nil {
			continue // swept
		}
		done := make(chan error, 1)
		go func() { done <- syscall.Flock(int(f.Fd()), syscall.LOCK_EX) }()
		select {
		case <-done:
			_ = f.Close()
		case <-time.After(patience):
			t.Errorf("a shim still holds %s", l)
		}
	}
}

// agent runs the agent as a process of its own and waits until its loop runs.
func (b *box) agent(t *testing.T) *osexec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := osexec.Command(self, "run", "-c", b.file)
	cmd.Env = append(append(os.Environ(), asMain+"=1"), b.env...)
	errs, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready, read := make(chan bool, 1), make(chan struct{})
	var said bytes.Buffer
	go func() {
		defer close(read)
		sc := bufio.NewScanner(errs)
		for sc.Scan() {
			fmt.Fprintln(&said, sc.Text())
			if b.heard != nil {
				b.heard(sc.Text())
			}
			if strings.Contains(sc.Text(), "firebreak runs") {
				ready <- true
			}
		}
	}()
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
		<-read
		b.outlived(t)
		if t.Failed() {
			t.Logf("the agent said:\n%s", &said)
		}
	})
	select {
	case <-ready:
	case <-read:
		t.Fatal("the agent ended at its start")
	case <-time.After(patience):
		t.Fatal("the agent does not run")
	}
	return cmd
}

// The agent as a process: a detector sees smoke, the plan opens, a person at the box sees it and
// acknowledges; a reset while it burns is refused; SIGKILL and a restart go on where it stood, and
// no hook runs twice (S8, S10).
func TestRunStatusAckKillAndGoOn(t *testing.T) {
	b := newBox(t)
	hup := make(chan bool, 1)
	b.heard = func(line string) {
		if strings.Contains(line, "firebreak reload") {
			hup <- true
		}
	}
	cmd := b.agent(t)
	until(t, 0, "plan evacuate: armed, stage 0", "status", "-c", b.file)
	b.smoke(1)
	b.hook(t, "freeze")
	until(t, 0, "stage 2a, episode ", "status", "-c", b.file)
	until(t, 0, "alarm P1 smoke: unacknowledged", "status", "-c", b.file)
	if code, _, errs := firebreak("ack", "smoke", "-c", b.file, "--by", "anna"); code != 0 {
		t.Errorf("ack: exit %d: %s", code, errs)
	}
	until(t, 0, "alarm P1 smoke: acknowledged", "status", "-c", b.file)
	until(t, 0, "done", "status", "-c", b.file)
	if code, _, errs := firebreak("reset", "evacuate", "-c", b.file, "--by", "anna"); code != 1 || !strings.Contains(errs, "refused") {
		t.Errorf("a reset while it burns: exit %d: %s", code, errs)
	}
	_, before, _ := firebreak("status", "-c", b.file)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code, _, errs := firebreak("status", "-c", b.file); code != 1 || !strings.Contains(errs, "no agent answers") {
		t.Errorf("status of an agent that is gone: exit %d: %s", code, errs)
	}

	cmd = b.agent(t)
	until(t, 0, strings.TrimSpace(strings.Split(before, "\n")[0]), "status", "-c", b.file)
	until(t, 0, "alarm P1 smoke: acknowledged", "status", "-c", b.file)
	if err := cmd.Process.Signal(syscall.SIGHUP); err != nil { // a terminal that closes, or one who thinks that it reloads
		t.Fatal(err)
	}
	select {
	case <-hup:
	case <-time.After(patience):
		t.Fatal("a hang-up is not told, or has ended the agent")
	}
	b.bank.Set(slave.Discretes, 1, 1) // another plan: its hook is the next, so freeze did not come again
	b.hook(t, "tell-service")
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the agent ended with %v on SIGTERM, want 0", err)
	}
}

// In this process, with a clock that runs 120 times as fast: once all has been quiet for the clear
// time, a person resets the plan (S6).
func TestResetAfterClearTime(t *testing.T) {
	b := newBox(t)
	c, faults := config.Load(b.file, app.Kinds())
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- app.Run(ctx, app.Options{Config: c, Clock: sensors.NewScaledClock(0, 120), Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	}()
	until(t, 0, "stage 0", "status", "-c", b.file)
	b.smoke(1)
	b.hook(t, "freeze")
	until(t, 0, "stage 2a", "status", "-c", b.file)
	b.smoke(0)
	until(t, 0, "", "reset", "evacuate", "-c", b.file, "--by", "anna")
	until(t, 0, "plan evacuate: armed, stage 0\n", "status", "-c", b.file)
	cancel()
	if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
