package exec

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	osexec "os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"firebreak/plugins"

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
	m := b.dir(call("x")).readMarker()
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
	m := b.dir(call("x")).readMarker()
	for _, sig := range []unix.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGTERM, unix.SIGQUIT} {
		if err := unix.Kill(m.Session, sig); err != nil {
			t.Fatal(err)
		}
	}
	b.open("gate")
	want(t, <-out, plugins.Done, false, "done")
}

// A recorded group whose number belongs to somebody else now is nobody of ours.
func TestRecycledGroupIsSpared(t *testing.T) {
	cmd := osexec.Command("sh", "-c", "echo up; read x")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	outp, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if _, err := outp.Read(make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	p, err := readProc(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		m    marker
		want int
	}{
		"same":            {marker{Session: p.session, Group: p.group, StartAt: p.start}, 1},
		"another age":     {marker{Session: p.session, Group: p.group, StartAt: p.start - 1}, 0},
		"another session": {marker{Session: p.session + 1, Group: p.group, StartAt: p.start}, 0},
		"no group":        {marker{}, 0},
	} {
		if got, err := survivors(tc.m, "no such cookie"); err != nil || len(got) != tc.want {
			t.Errorf("%s: %v, %v, want %d", name, got, err, tc.want)
		}
	}
	other := p
	other.start--
	other.signal(unix.SIGKILL)
	if _, err := in.Write([]byte("go\n")); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil { // it ended by itself, with 0
		t.Errorf("a process of another age was hit: %v", err)
	}
}

func TestParseStat(t *testing.T) {
	p, err := parseStat(7, []byte("7 (a) S (b) R 5 6 4 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 12345 99 1"))
	if err != nil || p != (proc{pid: 7, ppid: 5, group: 6, session: 4, state: 'R', start: 12345}) {
		t.Errorf("%+v, %v", p, err)
	}
	for _, s := range []string{"", "7 (a", "7 (a) R 1 2", "7 (a) R x 6 4 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 12345 99"} {
		if _, err := parseStat(7, []byte(s)); err == nil {
			t.Errorf("%q was taken", s)
		}
	}
}

func TestDamagedOutcomeIsNeverBelieved(t *testing.T) {
	e := ending{ID: "a/b/1/c/2/do/0", Result: "done", Detail: "done", ElapsedNs: 5, Output: []byte("out\nput")}
	whole, err := e.encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeEnding(whole, e.ID)
	if a, _ := json.Marshal(got); err != nil || !bytes.Equal(got.Output, e.Output) || got.Result != "done" {
		t.Fatalf("%s, %v", a, err)
	}
	if _, err := decodeEnding(whole, "another"); err == nil {
		t.Error("the outcome of another call was taken")
	}
	for i := range whole {
		if _, err := decodeEnding(whole[:i], e.ID); err == nil {
			t.Errorf("cut at %d: taken", i)
		}
		flipped := bytes.Clone(whole)
		flipped[i] ^= 0x10
		if g, err := decodeEnding(flipped, e.ID); err == nil {
			t.Errorf("flipped at %d: taken as %+v", i, g)
		}
	}
	if _, err := decodeEnding(append(bytes.Clone(whole), 0), e.ID); err == nil {
		t.Error("extended: taken")
	}
}

// A process that cannot be killed makes the shim list all processes 400 times: without its collector
// that would be some hundred MiB on a controller with 300 processes.
func TestShimMemoryIsBounded(t *testing.T) {
	env := strings.Join(shimEnv(), " ")
	if strings.Contains(env, "GOGC=off") && !strings.Contains(env, "GOMEMLIMIT=") {
		t.Errorf("no limit in %q", env)
	}
}
