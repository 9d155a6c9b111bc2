package exec

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"firebreak/plugins"
	"firebreak/plugins/hooks/exec/shim"

	"golang.org/x/sys/unix"
)

// held is a call that has been got ready and waits.
type held struct {
	give func()
	drop func()
	out  chan plugins.Outcome
}

// hold has a call got ready, and returns when its shim waits for the leave, or does not and has started the command.
func (b *bench) hold(c plugins.Call) *held {
	b.t.Helper()
	leave, give, drop, err := newLeave()
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	h := &held{give: give, out: make(chan plugins.Outcome, 1)}
	h.drop = func() {
		cancel()
		drop()
	}
	b.t.Cleanup(h.drop)
	go func() {
		defer leave.Pipe.Close()
		h.out <- b.hook.DoPoised(ctx, c, leave, nil)
	}()
	b.isReady(c)
	return h
}

func (b *bench) isReady(c plugins.Call) {
	b.t.Helper()
	d := b.dir(c)
	for end := time.Now().Add(30 * time.Second); ; runtime.Gosched() {
		if d.Exists(shim.StartedFile) || d.Exists(shim.OutcomeFile+".new") && polls(shimOfKey(d)) {
			return
		}
		if time.Now().After(end) {
			b.t.Fatal("no shim is ready")
		}
	}
}

// polls tells whether a process waits in ppoll. A shim does so for its leave, and for nothing else before it has started
// the command.
func polls(pid int) bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/syscall", pid))
	return slices.ContainsFunc(threads, func(file string) bool {
		b, _ := os.ReadFile(file)
		return strings.HasPrefix(string(b), fmt.Sprint(unix.SYS_PPOLL, " "))
	})
}

func eachHeld(t *testing.T, test func(*testing.T, *bench)) {
	for name, w := range map[string]way{"direct": direct, "helper": viaHelper} {
		t.Run(name, func(t *testing.T) { test(t, w.bench(t, `echo $FIREBREAK_STEP >>$W/starts`)) })
	}
}

// A command that is ready starts with its leave and not before, and once. That its time-out counts from then is TestLeave's.
func TestStartsWithItsLeave(t *testing.T) {
	eachHeld(t, func(t *testing.T, b *bench) {
		c := call("x")
		h := b.hold(c)
		if b.lines("starts") != 0 || b.dir(c).Exists(shim.StartedFile) {
			t.Error("it was started without leave")
		}
		h.give()
		o := <-h.out
		want(t, o, plugins.Done, false, "done")
		if b.lines("starts") != 1 {
			t.Errorf("%d starts", b.lines("starts"))
		}
		want(t, b.hook.Do(t.Context(), c, nil), plugins.Done, true, "done")
	})
}

// One that is let go has started nothing and leaves its key free, for the same agent and for the next.
func TestLetGo(t *testing.T) {
	eachHeld(t, func(t *testing.T, b *bench) {
		c := call("x")
		h := b.hold(c)
		h.drop()
		want(t, <-h.out, plugins.Unknown, false, "")
		b.settledKey(c)
		if b.lines("starts") != 0 || b.dir(c).Exists(shim.StartedFile) {
			t.Error("it was started without leave")
		}
		want(t, b.hook.Do(t.Context(), c, nil), plugins.Done, false, "done")
	})
}

// settledKey waits until no shim holds the key.
func (b *bench) settledKey(c plugins.Call) {
	b.t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); runtime.Gosched() {
		if f, err := b.dir(c).Lock(); err == nil && f != nil {
			f.Close()
			return
		}
	}
	b.t.Fatal("the key is still held")
}

// An agent that dies with calls ready has given no leave; the next one does the work, once.
func TestAgentDiesWithCallsReady(t *testing.T) {
	eachHeld(t, func(t *testing.T, b *bench) {
		c := call("x")
		agent, _ := b.process(agentTask{Self: b.self, Config: b.hook.cfg, Call: c, Held: true})
		b.isReady(c)
		if err := agent.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = agent.Wait()
		b.settledKey(c)
		if b.lines("starts") != 0 {
			t.Error("it was started without leave")
		}
		want(t, b.do(c), plugins.Done, false, "done")
		if b.lines("starts") != 1 {
			t.Errorf("%d starts", b.lines("starts"))
		}
	})
}

// A shim that dies while it waits has started nothing: the leave leads to another.
func TestShimDiesBeforeTheLeave(t *testing.T) {
	eachHeld(t, func(t *testing.T, b *bench) {
		c := call("x")
		h := b.hold(c)
		killShimOf(t, b.dir(c))
		h.give()
		want(t, <-h.out, plugins.Done, false, "done")
		if b.lines("starts") != 1 {
			t.Errorf("%d starts", b.lines("starts"))
		}
	})
}

func killShimOf(t *testing.T, d shim.Dir) {
	t.Helper()
	pid := shimOfKey(d)
	if pid == 0 {
		t.Fatal("there is no shim of " + string(d))
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// shimOfKey gives the process that has the key's lock where a shim has it, or 0.
func shimOfKey(d shim.Dir) int {
	locks, _ := filepath.Glob("/proc/[0-9]*/fd/3")
	for _, l := range locks {
		if file, err := os.Readlink(l); err == nil && file == d.Path(shim.LockFile) {
			pid, _ := strconv.Atoi(strings.Split(l, "/")[2])
			return pid
		}
	}
	return 0
}

// The helper dies while a command is ready: its shim lives on, and has its leave from the agent itself. The call
// attaches through the next helper.
func TestHelperDiesBeforeTheLeave(t *testing.T) {
	b := viaHelper.bench(t, `echo $FIREBREAK_STEP >>$W/starts`)
	c := call("x")
	h := b.hold(c)
	b.helper.stop(syscall.SIGKILL)
	h.give()
	b.helper.start()
	if o := <-h.out; o.Result != plugins.Done {
		t.Errorf("%+v", o)
	}
	if b.lines("starts") != 1 {
		t.Errorf("%d starts", b.lines("starts"))
	}
}

// What nobody may do is no more done when it is got ready: a refusal is the answer after the leave, and a
// call that starts nothing waits for it too.
func TestRefusedBeforeTheLeave(t *testing.T) {
	b := direct.bench(t, "", func(c *Config) { c.Command = []string{"/no/such/program"} })
	want(t, doWith(t.Context(), b.hook, call("x"), true), plugins.Failed, false, "not started")
	b = direct.bench(t, `echo start >>$W/starts`)
	dry := call("x")
	dry.Mark = plugins.MarkDry
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	leave, give, _, err := newLeave()
	if err != nil {
		t.Fatal(err)
	}
	want(t, b.hook.DoPoised(ctx, dry, leave, nil), plugins.Unknown, false, "leave")
	give()
	want(t, b.hook.DoPoised(t.Context(), dry, leave, nil), plugins.Skipped, false, "would run")
}

// What stood in the way of getting ready may be gone with the leave: it counts what is found then.
func TestRefusalDoesNotOutlastTheLeave(t *testing.T) {
	program := filepath.Join(t.TempDir(), "late")
	b := direct.bench(t, "", func(c *Config) { c.Command = []string{program} })
	leave, give, _, err := newLeave()
	if err != nil {
		t.Fatal(err)
	}
	defer leave.Pipe.Close()
	c, out := call("x"), make(chan plugins.Outcome, 1)
	go func() { out <- b.hook.DoPoised(t.Context(), c, leave, nil) }()
	for end := time.Now().Add(30 * time.Second); !b.dir(c).Exists(shim.LockFile) && time.Now().Before(end); {
		runtime.Gosched()
	}
	b.settledKey(c) // it was refused
	if err := os.Symlink("/bin/true", program); err != nil {
		t.Fatal(err)
	}
	give()
	want(t, <-out, plugins.Done, false, "done")
}

// A shim that could not start its command stores nothing of it before the leave, which may never come: the next call under
// the key finds nothing but a free key.
func TestNothingIsStoredBeforeTheLeave(t *testing.T) {
	b := direct.bench(t, `echo start >>$W/starts`)
	leave, _, drop, err := newLeave()
	if err != nil {
		t.Fatal(err)
	}
	defer drop()
	defer leave.Pipe.Close()
	c := call("x")
	late := Ask{ID: c.ID(), AskedNs: shim.MonoNow() - int64(time.Minute), Timeout: 30 * time.Second, May: leave.Pipe}
	if o, ok := b.hook.run.DoPoised(t.Context(), late, func() (Task, error) { return b.hook.task(c) }); ok {
		t.Errorf("without leave: %+v", o)
	}
	want(t, b.hook.Do(t.Context(), c, nil), plugins.Done, false, "done")
}
