package exec

import (
	"context"
	"runtime"
	"syscall"
	"testing"
	"time"

	"firebreak/plugins"
	"firebreak/plugins/hooks/exec/shim"

	"golang.org/x/sys/unix"
)

// An asking whose time-out had passed before anybody looked at it is a failure of its own, and no end of the key: who asks
// later, while there is time, gets the work done.
func TestStaleAskEndsNoKey(t *testing.T) {
	b := newBench(t, `echo start >>$W/starts`)
	c := call("x")
	ask := Ask{ID: c.ID(), AskedNs: shim.MonoNow() - int64(time.Minute), Timeout: time.Second}
	want(t, b.hook.run.Do(t.Context(), ask, func() (Task, error) { return b.hook.task(c) }), plugins.Failed, false, "had passed")
	want(t, b.do(c), plugins.Done, false, "done")
	if n := b.lines("starts"); n != 1 {
		t.Errorf("%d starts", n)
	}
}

// The same where the shim stands still with its order until the time-out has passed.
func TestShimThatThawsLateEndsNoKey(t *testing.T) {
	b := withSpare(t)
	pid := b.spareIsReady()
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	c := call("x")
	c.Timeout = 100 * time.Millisecond
	out, late := make(chan plugins.Outcome), time.After(2*c.Timeout)
	go func() { out <- b.do(c) }()
	for s := b.spare(); s != nil && s.p.Pid == pid; s = b.spare() {
		runtime.Gosched()
	}
	<-late
	if err := unix.Kill(pid, unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	want(t, <-out, plugins.Failed, false, "had passed")
	want(t, b.do(call("x")), plugins.Done, false, "done")
	b.lastParent(1)
}

// A helper that stands still for longer than a call waits, and then goes on, finds requests that nobody waits for any
// more. They start nothing and end no key, whatever comes first.
func TestHelperThatThawsLateEndsNoKey(t *testing.T) {
	b := viaHelper.bench(t, `echo $FIREBREAK_STEP >>$W/starts`)
	const rounds = 20
	for i := range rounds {
		if err := b.helper.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		if err := unix.Waitid(unix.P_PID, b.helper.cmd.Process.Pid, nil, unix.WSTOPPED|unix.WNOWAIT, nil); err != nil {
			t.Fatal(err)
		}
		c := call("s" + string(rune('a'+i)))
		c.Timeout = time.Millisecond
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		want(t, b.hook.Do(ctx, c, nil), plugins.Unknown, false, "")
		cancel()
		out := make(chan plugins.Outcome)
		c.Timeout = 30 * time.Second
		go func() { out <- b.do(c) }()
		if err := b.helper.cmd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		if o := <-out; o.Result != plugins.Done {
			t.Errorf("round %d: %+v", i, o)
		}
	}
	if n := b.lines("starts"); n != rounds {
		t.Errorf("%d starts of %d calls", n, rounds)
	}
}
