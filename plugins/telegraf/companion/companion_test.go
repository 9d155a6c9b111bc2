package companion_test

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"firebreak/plugins"
	"firebreak/plugins/telegraf/companion"
	"firebreak/plugins/telegraf/line"
	"firebreak/plugins/telegraf/pipe"
	"firebreak/plugins/telegraf/rig"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	rig.Main()
	os.Exit(m.Run())
}

// A companion that works: its metrics and gathers come, what is offered reaches it, it ends when it is told
// to, and everything of it stands in the log.
func TestGoodCompanion(t *testing.T) {
	r := rig.New(t, rig.Variable+"=good", nil)
	r.UntilHealth("")
	r.Until("a metric", rig.IsMetric("m"))
	r.Until("a gather", func(x rig.Told) bool { return x.Gather != nil && x.Gather.Input == "m" })
	r.Offer(plugins.Update{Event: &plugins.Event{Type: "stage.opened"}})
	r.Until("what was fed", func(x rig.Told) bool { return rig.IsMetric("fed")(x) && x.Metric.Field("what") == "stage.opened" })
	if err := r.End(); err != nil || r.Stats() != (companion.Stats{Lives: 1}) {
		t.Errorf("%v, %+v", err, r.Stats())
	}
}

// Whatever a companion does, the alarm says it, and another one is started, of which the points come.
func TestBadCompanions(t *testing.T) {
	for how, want := range map[string]string{
		"garbage": "no frame of firebreak",
		"version": "speaks version 99",
		"fatal":   "inputs.upsd: no such plugin",
		"silent":  "said nothing",
		"stopped": "said nothing",
		"panic":   "does not run",
		"leak":    "MB of memory, at most 128 MB",
	} {
		t.Run(how, func(t *testing.T) {
			r := rig.New(t, rig.Variable+"="+how, func(c *companion.Config) {
				c.Memory = 128 << 20
				if how != "leak" { // which a busy machine gives no time to be silent
					c.Beat = 500 * time.Millisecond
				}
			})
			r.UntilHealth(want)
			r.Until("the end of another life", func(x rig.Told) bool { return x.Ended && r.Stats().Lives > 1 })
			if err := r.End(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A companion that is killed, and one that is stopped, from outside: the points come again.
func TestKilledAndStopped(t *testing.T) {
	for _, k := range []struct {
		sig  syscall.Signal
		beat time.Duration // short only where silence is to be found: a busy machine makes a good one silent too
	}{{syscall.SIGKILL, 0}, {syscall.SIGSTOP, 2 * time.Second}} {
		t.Run(k.sig.String(), func(t *testing.T) {
			r := rig.New(t, rig.Variable+"=good", func(c *companion.Config) { c.Beat = k.beat })
			r.UntilHealth("")
			r.Until("a metric", rig.IsMetric("m"))
			if err := syscall.Kill(child(t), k.sig); err != nil {
				t.Fatal(err)
			}
			r.UntilHealth("does not run, and its points go bad")
			r.UntilHealth("")
			r.Until("a metric", rig.IsMetric("m"))
			if err := r.End(); err != nil || len(rig.Children(t)) > 0 {
				t.Errorf("%v, left: %v", err, rig.Children(t))
			}
		})
	}
}

// child waits for the companion that lives now: one that a busy machine has made silent is followed by another after a pause.
func child(t *testing.T) int {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for late := time.After(time.Minute); ; {
		if pids := rig.Children(t); len(pids) > 0 {
			return pids[0]
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatal("no companion is started")
		}
	}
}

// One that does not quit is killed within the bound of the end.
func TestStubbornCompanion(t *testing.T) {
	r := rig.New(t, rig.Variable+"=stubborn", nil)
	r.Until("a metric", rig.IsMetric("m"))
	if err := r.End(); err != nil {
		t.Error(err)
	}
	if left := rig.Children(t); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// A companion that hangs, and so sees no end of its pipe, does not outlive an agent that is killed; nor does one that stands
// still then, and that nobody lets go of any more; also where the kernel has forgotten at its start whose child it is, as with a program
// that has capabilities.
func TestAgentKilled(t *testing.T) {
	for _, how := range []string{"agent", "agent-still", "agent-privileged"} {
		t.Run(how, func(t *testing.T) { agentKilled(t, how) })
	}
}

func agentKilled(t *testing.T, how string) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	agent := exec.Command(self)
	agent.Env = append(os.Environ(), rig.Variable+"="+how)
	says, err := agent.StdoutPipe()
	if err == nil {
		err = agent.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = agent.Process.Kill()
		_ = agent.Wait()
	})
	said, _ := bufio.NewReader(says).ReadString('\n')
	pid, err := strconv.Atoi(strings.TrimSpace(said))
	if err != nil {
		t.Fatalf("the agent says %q: %v", said, err)
	}
	fd, err := unix.PidfdOpen(pid, 0) // can be read once it has ended
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	gone := func(within time.Duration) bool {
		for late := time.Now().Add(within); ; {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, max(0, int(time.Until(late).Milliseconds())))
			if !errors.Is(err, unix.EINTR) {
				return n > 0
			}
		}
	}
	if gone(0) {
		t.Fatal("the companion does not hang")
	}
	if how != "agent" {
		untilTasks(t, pid, "T", all)
	}
	if err := agent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if !gone(time.Minute) {
		_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
		t.Error("the companion outlives its agent")
	}
}

// What hangs inside of it is an alarm while it lives.
func TestHungInput(t *testing.T) {
	r := rig.New(t, rig.Variable+"=hung", nil)
	r.UntilHealth("these inputs hang: upsd")
	r.Until("a metric", rig.IsMetric("m"))
	if err := r.End(); err != nil || r.Stats().Lives != 1 {
		t.Errorf("%v, %+v", err, r.Stats())
	}
}

// A flood is taken at the rate that is allowed, and no faster.
func TestFlood(t *testing.T) {
	const rate = 2000
	var first, last time.Time
	n := 0
	done := make(chan struct{})
	r := rig.New(t, rig.Variable+"=flood", func(c *companion.Config) {
		c.Rate = rate
		c.Take = func(m pipe.Metrics) {
			if first.IsZero() {
				first = time.Now()
			}
			if n += bytes.Count(m.Lines, []byte{'\n'}); n >= 2*rate && last.IsZero() {
				last = time.Now()
				close(done)
			}
		}
	})
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("no flood")
	}
	if took := last.Sub(first); took < time.Second {
		t.Errorf("%d metrics were taken in %v, at most %d a second are allowed", n, took, rate)
	}
	if err := r.End(); err != nil {
		t.Error(err)
	}
}

// What is no metric costs this process time too: it is taken at that rate as well.
func TestChatter(t *testing.T) {
	const rate, frames = 500, 50
	var first, last time.Time
	n := 0
	done := make(chan struct{})
	r := rig.New(t, rig.Variable+"=chatter", func(c *companion.Config) {
		c.Rate = rate
		c.Gathered = func(pipe.Gathered) {
			if n++; n == 1 {
				first = time.Now()
			} else if n == frames {
				last = time.Now()
				close(done)
			}
		}
	})
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("no chatter")
	}
	if took := last.Sub(first); took < time.Second {
		t.Errorf("%d frames were taken in %v", n, took)
	}
	if err := r.End(); err != nil {
		t.Error(err)
	}
}

// One that never reads holds up nobody who offers; the oldest is dropped and counted.
func TestOfferNeverWaits(t *testing.T) {
	r := rig.New(t, rig.Variable+"=deaf", nil)
	r.UntilHealth("")
	for range 3 * companion.QueueRoom {
		r.Offer(plugins.Update{Event: &plugins.Event{Type: strings.Repeat("x", 1000)}})
	}
	if s := r.Stats(); s.Dropped < companion.QueueRoom {
		t.Errorf("%+v", s)
	}
	if err := r.End(); err != nil {
		t.Error(err)
	}
}

// The companion runs in the idle classes of processor and disk, in a session that weighs next to nothing beside those of
// hooks, is first to go when memory is short, has a bound for its heap, and knows no way to the service manager.
func TestLimits(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "/run/nobody")
	r := rig.New(t, rig.Variable+"=good", func(c *companion.Config) { c.Memory = 400 << 20 })
	r.UntilHealth("")
	pid := rig.Children(t)[0]
	attr, err := unix.SchedGetAttr(pid, 0)
	if err != nil || attr.Policy != unix.SCHED_IDLE {
		t.Errorf("policy %+v, %v", attr, err)
	}
	dir := "/proc/" + strconv.Itoa(pid)
	score, _ := os.ReadFile(dir + "/oom_score_adj")
	env, _ := os.ReadFile(dir + "/environ")
	if strings.TrimSpace(string(score)) != "1000" || !bytes.Contains(env, []byte("GOMEMLIMIT=314572800\x00")) || !bytes.Contains(env, []byte("GOMAXPROCS="+strconv.Itoa(max(1, runtime.NumCPU()/2))+"\x00")) || bytes.Contains(env, []byte("NOTIFY_SOCKET")) {
		t.Errorf("score %s, environment %q", score, env)
	}
	group, err1 := syscall.Getpgid(pid)
	session, err2 := unix.Getsid(pid)
	if err := errors.Join(err1, err2); err != nil || group != pid || session != pid {
		t.Errorf("process group %d, session %d, %v", group, session, err)
	}
	weight, err := os.ReadFile(dir + "/autogroup")
	weighed := !errors.Is(err, os.ErrNotExist) // a kernel may know no such thing
	if weighed && !bytes.HasSuffix(weight, []byte(" nice 19\n")) {
		t.Errorf("its session weighs %q, %v", weight, err)
	}
	const ofProcess, idle = 1, 3 << 13
	if class, _, no := syscall.Syscall(syscall.SYS_IOPRIO_GET, ofProcess, uintptr(pid), 0); no != 0 || class&^7 != idle {
		t.Errorf("class of the disk %#x, %v", class, no)
	}
	for late := time.Now().Add(time.Minute); weighed && !bytes.HasSuffix(weight, []byte(" nice 0\n")); weight, _ = os.ReadFile(dir + "/autogroup") {
		companion.Hasten(pid) // the kernel may want a moment between two
		if time.Now().After(late) {
			t.Fatalf("one that is to end soon weighs %q", weight)
		}
	}
	if n := companion.Resident(pid); n < 1<<20 || n > 200<<20 {
		t.Errorf("resident %d", n)
	}
	if err := r.End(); err != nil {
		t.Error(err)
	}
}

// A panic in what takes its metrics, or in what makes them of an update, ends that life and nothing else.
func TestPanicHere(t *testing.T) {
	r := rig.New(t, rig.Variable+"=good", func(c *companion.Config) {
		c.Take = func(pipe.Metrics) { panic("a mapping") }
	})
	r.UntilHealth("please report this: a mapping")
	if err := r.End(); err != nil {
		t.Error(err)
	}
	r = rig.New(t, rig.Variable+"=good", func(c *companion.Config) {
		c.Render = func(plugins.Update) []line.Metric { panic("a schema") }
	})
	r.UntilHealth("")
	r.Offer(plugins.Update{})
	r.UntilHealth("please report this: a schema")
	if err := r.End(); err != nil {
		t.Error(err)
	}
}

// A companion that is not there is an alarm, and no end of the agent.
func TestNoCompanion(t *testing.T) {
	r := rig.New(t, rig.Variable+"=good", func(c *companion.Config) { c.Path = "/nowhere/firebreak-telegraf" })
	r.UntilHealth("does not run")
	if err := r.End(); err != nil {
		t.Error(err)
	}
	if _, err := companion.New(companion.Config{}); err == nil {
		t.Error("a companion of nothing")
	}
}
