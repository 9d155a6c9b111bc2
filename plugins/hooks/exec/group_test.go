package exec

import (
	"context"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"firebreak/plugins"
	"firebreak/plugins/hooks/exec/shim"

	"golang.org/x/sys/unix"
)

// stubborn leaves three that ignore SIGTERM: the command, a grandchild in its group, and a daemon
// in a session of its own. Each has said its id before "up" is written.
const stubborn = `trap '' TERM; echo start >>$W/starts; echo $$ >>$W/pids
sh -c 'trap "" TERM; echo $$ >>$W/pids; echo ready >$W/ready1; while :; do sleep 1000; done' &
setsid sh -c 'trap "" TERM; echo $$ >>$W/pids; echo ready >$W/ready2; while :; do sleep 1000; done' &
read x <$W/ready1; read x <$W/ready2
`

func stubbornBench(t *testing.T, w way, rest string) *bench {
	b := w.bench(t, stubborn+rest)
	for _, f := range []string{"ready1", "ready2", "up"} {
		b.fifo(f)
	}
	return b
}

func TestTimeoutEndsEveryDescendant(t *testing.T) { timeoutEndsEveryDescendant(t, direct) }

func timeoutEndsEveryDescendant(t *testing.T, w way) {
	b := stubbornBench(t, w, `while :; do sleep 1000; done`)
	c := call("x")
	c.Timeout = 2 * time.Second
	want(t, b.do(c), plugins.Failed, false, "ended at the time-out of 2s")
	b.mustBeDead("pids", 3)
	want(t, b.do(c), plugins.Failed, true, "ended at the time-out of 2s")
}

func TestFailureEndsWhatItLeft(t *testing.T) { failureEndsWhatItLeft(t, direct) }

func failureEndsWhatItLeft(t *testing.T, w way) {
	b := stubbornBench(t, w, `exit 4`)
	want(t, b.do(call("x")), plugins.Failed, false, "exit code 4")
	b.mustBeDead("pids", 3)
}

func TestWhatSuccessLeavesEndsAtTheTimeout(t *testing.T) {
	whatSuccessLeavesEndsAtTheTimeout(t, direct)
}

func whatSuccessLeavesEndsAtTheTimeout(t *testing.T, w way) {
	b := stubbornBench(t, w, `exit 0`)
	c := call("x")
	c.Timeout = 3 * time.Second
	o := b.do(c)
	want(t, o, plugins.Done, false, "done")
	if o.Elapsed >= c.Timeout {
		t.Errorf("took %v: waited for what was left behind", o.Elapsed)
	}
	s, err := os.ReadFile(b.path("pids"))
	if err != nil {
		t.Fatal(err)
	}
	if alive := strings.Count(string(s), "\n"); alive != 3 {
		t.Fatalf("%d ids", alive)
	}
	b.settled() // the shim has ended
	b.mustBeDead("pids", 3)
	want(t, b.do(c), plugins.Done, true, "done")
}

// The death of the shim is the worst case: the command dies with it, the others are found by
// their group and by their environment.
func TestKilledShim(t *testing.T) { killedShim(t, direct) }

func killedShim(t *testing.T, w way) {
	b := stubbornBench(t, w, `echo up >$W/up; while :; do sleep 1000; done`)
	out := make(chan plugins.Outcome)
	go func() { out <- b.hook.Do(context.Background(), call("x"), nil) }()
	b.read("up")
	m := b.marked(call("x"))
	if m.Session == 0 || m.Group == 0 || m.StartAt == 0 || m.Boot == "" {
		t.Fatalf("marker %+v", m)
	}
	if err := unix.Kill(m.Session, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	o := <-out
	want(t, o, plugins.Failed, true, "the shim died")
	b.mustBeDead("pids", 3)
	if again := b.do(call("x")); again.Detail != o.Detail || again.Result != plugins.Failed {
		t.Errorf("not the same end: %+v", again)
	}
	if n := b.lines("starts"); n != 1 {
		t.Errorf("started %d times", n)
	}
}

func TestShimHeedsNoStopOfTheAgent(t *testing.T) { shimHeedsNoStopOfTheAgent(t, direct) }

func shimHeedsNoStopOfTheAgent(t *testing.T, w way) {
	b := w.bench(t, `echo up >$W/up; read x <$W/gate`)
	b.fifo("up")
	b.fifo("gate")
	out := make(chan plugins.Outcome)
	go func() { out <- b.hook.Do(context.Background(), call("x"), nil) }()
	b.read("up")
	m := b.marked(call("x"))
	for _, sig := range []unix.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGTERM, unix.SIGQUIT} {
		if err := unix.Kill(m.Session, sig); err != nil {
			t.Fatal(err)
		}
	}
	b.open("gate")
	want(t, <-out, plugins.Done, false, "done")
}

// marked waits until the shim has told the command's group: from then on it heeds no signal either.
func (b *bench) marked(c plugins.Call) (m shim.Marker) {
	b.t.Helper()
	for m.Group == 0 {
		if b.t.Context().Err() != nil {
			b.t.Fatal("the shim does not tell the group of its command")
		}
		runtime.Gosched()
		m = b.dir(c).ReadMarker()
	}
	return m
}

// A process that cannot be killed makes the shim list all processes 400 times: without its collector
// that would be some hundred MiB on a controller with 300 processes.
func TestShimMemoryIsBounded(t *testing.T) {
	env := strings.Join(shimEnv(), " ")
	if strings.Contains(env, "GOGC=off") && !strings.Contains(env, "GOMEMLIMIT=") {
		t.Errorf("no limit in %q", env)
	}
}
