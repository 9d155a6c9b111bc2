package exec

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"firebreak/plugins"
	"firebreak/plugins/hooks/exec/shim"

	"golang.org/x/sys/unix"
)

// The test binary stands in for the agent's program: it is started again as shim and as agent.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case shim.Command:
			os.Exit(shim.Main(os.Args[2:]))
		case "test-agent":
			os.Exit(agentMain(os.Args[2]))
		case "test-listener":
			os.Exit(listenerMain(os.Args[2]))
		}
	}
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "firebreak-helper-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	os.Setenv(binaryDir, dir)
	return m.Run()
}

// agentTask is what a test asks of an agent in a process of its own: Times calls at once.
type agentTask struct {
	Self   string
	Config Config
	Call   plugins.Call
	Times  int
	Poised bool // they are got ready, and get their leave at once
	Held   bool // and get none
}

func agentMain(js string) int {
	var t agentTask
	if err := json.Unmarshal([]byte(js), &t); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	h, err := New("hook", t.Config, t.Self, nil)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if t.Held {
		leave, _, _, err := newLeave()
		if err == nil {
			_ = h.DoPoised(context.Background(), t.Call, leave, nil)
		}
		return 1
	}
	var wg sync.WaitGroup
	outs := make([]plugins.Outcome, t.Times)
	for i := range outs {
		wg.Go(func() { outs[i] = doWith(context.Background(), h, t.Call, t.Poised) })
	}
	wg.Wait()
	_ = json.NewEncoder(os.Stdout).Encode(outs)
	return 0
}

// bench is a hook whose command is a piece of shell, and the files that it works with. In the
// shell, $W is a directory for FIFOs and proofs.
type bench struct {
	t      testing.TB
	hook   *Hook
	self   string
	work   string
	keys   string // the directory that holds the keys
	helper *helper
	poised bool
}

// way is one of those in which a hook comes to its command. All keep the same promises, so the
// same tests are run on each.
type way int

const (
	direct    way = 0
	viaHelper way = 1
	poised    way = 2 // with either: got ready, and the leave follows
)

// TestThroughTheHelper runs the tests of the agent's own shim again, through the helper's binary.
func TestThroughTheHelper(t *testing.T) { eachWay(t, viaHelper) }

// TestPoised and the next run them with calls that are got ready first.
func TestPoised(t *testing.T)                 { eachWay(t, poised) }
func TestPoisedThroughTheHelper(t *testing.T) { eachWay(t, viaHelper|poised) }

func eachWay(t *testing.T, w way) {
	for name, test := range map[string]func(*testing.T, way){
		"DoneIsStored": doneIsStored, "KnownFailures": knownFailures, "Output": outputIsBoundedAndNeverBlocks, "Marks": marks,
		"KilledAgent": killedAgentNeitherEndsNorDoubles, "KilledAroundTheStart": agentKilledAroundTheStart,
		"ManyAtOnce": manyAtOnceFromTwoAgentsStartOnce, "DeadAgent": whatIsFoundOfADeadAgent, "Unreadable": unreadableIsUnknown,
		"StoppingAgent": stoppingAgentLeavesTheCommand, "TwoHundredAtOnce": twoHundredAtOnce,
		"Timeout": timeoutEndsEveryDescendant, "Failure": failureEndsWhatItLeft, "Success": whatSuccessLeavesEndsAtTheTimeout,
		"KilledShim": killedShim, "Signals": shimHeedsNoStopOfTheAgent,
	} {
		t.Run(name, func(t *testing.T) { test(t, w) })
	}
}

func newBench(t testing.TB, script string, change ...func(*Config)) *bench {
	t.Helper()
	return direct.bench(t, script, change...)
}

func (w way) bench(t testing.TB, script string, change ...func(*Config)) *bench {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, self: self, work: t.TempDir(), poised: w&poised != 0}
	if err := os.Chmod(b.work, 0o700); err != nil {
		t.Fatal(err)
	}
	cfg := Config{
		Command: []string{"sh", "-c", script}, Env: map[string]string{"W": b.work},
		RunDir: filepath.Join(b.work, "run"), Grace: 100 * time.Millisecond, Site: "pangyo", Agent: "rack1",
	}
	for _, f := range change {
		f(&cfg)
	}
	b.keys = cfg.RunDir
	if w&viaHelper != 0 {
		b.helper = startHelper(b, &cfg)
		b.keys = filepath.Join(cfg.RunDir, "keys", strconv.Itoa(os.Geteuid()))
	}
	if b.hook, err = New("hook", cfg, self, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.settled)
	return b
}

// settled waits until every shim has ended: each holds the lock of its key as long as it lives.
func (b *bench) settled() {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := b.hook.Close(ctx); err != nil {
		b.t.Error(err)
	}
	locks, _ := filepath.Glob(filepath.Join(b.keys, "k-*", shim.LockFile))
	for _, l := range locks {
		f, err := os.Open(l)
		if err != nil {
			continue // swept
		}
		done := make(chan error, 1)
		go func() { done <- unix.Flock(int(f.Fd()), unix.LOCK_EX) }()
		select {
		case <-done:
		case <-ctx.Done():
			b.t.Errorf("a shim still holds %s", l)
			return // with the goroutine, which the end of the test ends
		}
		f.Close()
	}
}

func (b *bench) run() string { return b.keys }

// onTmpfs puts the run directory where it belongs, for what is measured: on a disk a start takes
// several times as long.
func onTmpfs(t testing.TB) func(*Config) {
	return func(c *Config) {
		dir, err := os.MkdirTemp("/dev/shm", "firebreak-test-")
		if err != nil {
			t.Logf("no tmpfs: %v", err)
			return
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		c.RunDir = dir
	}
}

func call(step string) plugins.Call {
	return plugins.Call{
		Key:     plugins.Key{Plan: "evacuate", Zone: "b3", Stage: plugins.SwitchOver, Step: step, Episode: 41},
		Timeout: 30 * time.Second, Journaled: true, Why: []byte(`{"votes":["any-high"]}`),
	}
}

func (b *bench) do(c plugins.Call) plugins.Outcome { return doWith(b.t.Context(), b.hook, c, b.poised) }

// doWith calls the hook, or has it get the call ready and gives it its leave at the same time.
func doWith(ctx context.Context, h *Hook, c plugins.Call, poised bool) plugins.Outcome {
	if !poised {
		return h.Do(ctx, c, nil)
	}
	leave, give, _, err := newLeave()
	if err != nil {
		return plugins.Outcome{Detail: err.Error()}
	}
	defer leave.Pipe.Close()
	go give()
	return h.DoPoised(ctx, c, leave, nil)
}

func newLeave() (l plugins.Leave, give, drop func(), err error) {
	r, w, err := os.Pipe()
	given := make(chan struct{})
	return plugins.Leave{Given: given, Pipe: r}, func() {
		close(given)
		_, _ = w.Write([]byte{1})
		w.Close()
	}, func() { w.Close() }, err
}

func (b *bench) dir(c plugins.Call) shim.Dir { return dirOf(b.keys, c.ID()) }

func (b *bench) path(name string) string { return filepath.Join(b.work, name) }

func (b *bench) fifo(name string) {
	b.t.Helper()
	if err := unix.Mkfifo(b.path(name), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// read blocks until somebody has written to the FIFO and closed it.
func (b *bench) read(name string) string {
	b.t.Helper()
	s, err := os.ReadFile(b.path(name))
	if err != nil {
		b.t.Fatal(err)
	}
	return strings.TrimSpace(string(s))
}

// open lets a command go on that reads the FIFO.
func (b *bench) open(name string) {
	b.t.Helper()
	if err := os.WriteFile(b.path(name), []byte("go\n"), 0); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) lines(name string) int {
	s, err := os.ReadFile(b.path(name))
	if err != nil {
		return 0
	}
	return strings.Count(string(s), "\n")
}

func (b *bench) words(name string) []string {
	s, _ := os.ReadFile(b.path(name))
	return strings.Fields(string(s))
}

// agent starts a second agent on the same run directory.
func (b *bench) agent(c plugins.Call, times int) (*osexec.Cmd, *strings.Builder) {
	b.t.Helper()
	return b.process(agentTask{b.self, b.hook.cfg, c, times, b.poised, false})
}

func (b *bench) process(task agentTask) (*osexec.Cmd, *strings.Builder) {
	b.t.Helper()
	js, err := json.Marshal(task)
	if err != nil {
		b.t.Fatal(err)
	}
	cmd, out := osexec.Command(b.self, "test-agent", string(js)), new(strings.Builder)
	cmd.Stdout, cmd.Stderr = out, os.Stderr
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	return cmd, out
}

// mustBeDead checks the processes whose ids are in the file, one a line.
func (b *bench) mustBeDead(name string, want int) {
	b.t.Helper()
	s, err := os.ReadFile(b.path(name))
	if err != nil {
		b.t.Fatal(err)
	}
	f := strings.Fields(string(s))
	if len(f) != want {
		b.t.Fatalf("%d processes said their id, want %d: %q", len(f), want, s)
	}
	for _, v := range f {
		pid, err := strconv.Atoi(v)
		if err != nil {
			b.t.Fatal(err)
		}
		if p, err := shim.ReadProc(pid); err == nil && !p.Dead() {
			b.t.Errorf("process %d still lives: %+v", pid, p)
		}
	}
}

func want(t testing.TB, o plugins.Outcome, r plugins.Result, attached bool, detail string) {
	t.Helper()
	if o.Result != r || o.Attached != attached || !strings.Contains(o.Detail, detail) {
		t.Errorf("got %v attached=%v %q, want %v attached=%v with %q", o.Result, o.Attached, o.Detail, r, attached, detail)
	}
}
