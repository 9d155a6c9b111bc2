package exec

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"firebreak/plugins"
	"firebreak/plugins/hooks/exec/shim"

	"golang.org/x/sys/unix"
)

// withSpare gives a bench whose hook has a spare that is ready. Its command says whose child it is.
func withSpare(t *testing.T) *bench {
	t.Helper()
	bin, err := shimBinary()
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t, `echo $PPID >>"$W/parents"`)
	b.hook.run.Small = bin
	b.hook.run.TryOut(t.Context())
	b.spareIsReady()
	return b
}

func (b *bench) spare() *spare {
	b.hook.run.spareMu.Lock()
	defer b.hook.run.spareMu.Unlock()
	if s := b.hook.run.spares; len(s) > 0 {
		return s[0]
	}
	return nil
}

// spareIsReady waits until there is one that waits for an order, and gives its pid.
func (b *bench) spareIsReady() int {
	b.t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); runtime.Gosched() {
		s := b.spare()
		if s == nil {
			continue
		}
		fds := []unix.PollFd{{Fd: int32(s.socket), Events: unix.POLLIN}}
		if n, err := unix.Poll(fds, 100); n == 1 && err == nil {
			return s.p.Pid
		}
	}
	b.t.Fatal("no spare is ready")
	return 0
}

func (b *bench) lastParent(n int) int {
	b.t.Helper()
	if got := b.lines("parents"); got != n {
		b.t.Fatalf("%d commands have run, want %d", got, n)
	}
	var pid int
	for i, f := range b.words("parents") {
		if i == n-1 {
			pid, _ = strconv.Atoi(f)
		}
	}
	return pid
}

// A call takes the spare, and the next call the next one.
func TestSpare(t *testing.T) {
	b := withSpare(t)
	for n := 1; n <= 3; n++ {
		pid := b.spareIsReady()
		c := call(fmt.Sprint("x", n))
		want(t, b.do(c), plugins.Done, false, "done")
		if got := b.lastParent(n); got != pid {
			t.Errorf("call %d: the shim is %d, want the spare %d", n, got, pid)
		}
		if m := b.dir(c).ReadMarker(); m.Session != pid || m.Group == 0 {
			t.Errorf("call %d: marker %+v", n, m)
		}
		want(t, b.do(c), plugins.Done, true, "done")
	}
}

// A spare that is dead, or not ready, or has stopped costs no call anything.
func TestUselessSpare(t *testing.T) {
	b := withSpare(t)
	for name, spoil := range map[string]func(*spare){
		"killed":    func(s *spare) { _ = s.p.Kill(); _, _ = s.p.Wait() },
		"not ready": func(s *spare) { s.ready() },
		"closed":    func(s *spare) { _ = unix.Shutdown(s.socket, unix.SHUT_RDWR) },
	} {
		pid := b.spareIsReady()
		spoil(b.spare())
		n := b.lines("parents")
		want(t, b.do(call(name[:3])), plugins.Done, false, "done")
		if got := b.lastParent(n + 1); got == pid {
			t.Errorf("%s: it was used", name)
		}
	}
}

// A spare that dies with the order has started nothing, and another shim starts the command, once.
func TestSpareThatDiesWithTheOrder(t *testing.T) {
	b := withSpare(t)
	pid := b.spareIsReady()
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	out := make(chan plugins.Outcome)
	go func() { out <- b.do(call("x")) }()
	ordered := func() bool {
		s := b.spare()
		return b.dir(call("x")).Exists(shim.SpecFile) && (s == nil || s.p.Pid != pid)
	}
	for !ordered() {
		runtime.Gosched()
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	want(t, <-out, plugins.Done, false, "done")
	if got := b.lastParent(1); got == pid {
		t.Error("a dead process was the parent")
	}
}

// What an order brings finds its places free: nothing of the spare's own runtime is closed by that.
func TestDescriptorsOfASpare(t *testing.T) {
	pid := withSpare(t).spareIsReady()
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range open {
		if fd, _ := strconv.Atoi(f.Name()); fd > 2 && fd < 10 {
			file, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", pid, fd))
			t.Errorf("%d is %s", fd, file)
		}
	}
}

// When no spare is good for anything, one is tried and no more: the others would use up what the call may try.
func TestSparesThatAllDieWithTheOrder(t *testing.T) {
	b := newBench(t, "")
	small := b.path("small")
	script := "#!/bin/sh\nsay() { echo '" + strings.TrimSpace(shim.Answer) + "'; }\ncase $2 in\nprobe) say ;;\n" +
		"spare) say >&3; read order <&3; echo $order >>" + b.path("orders") + " ;;\n*) exit 1 ;;\nesac\n"
	if err := os.WriteFile(small, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	b.hook.run.Small = small
	b.hook.run.TryOut(t.Context())
	for _, s := range b.hook.run.spares {
		if n, err := unix.Poll([]unix.PollFd{{Fd: int32(s.socket), Events: unix.POLLIN}}, 30000); n != 1 {
			t.Fatal("a spare is not ready", err)
		}
	}
	want(t, b.do(call("x")), plugins.Done, false, "done")
	if n := b.lines("orders"); n != 1 {
		t.Errorf("%d spares were tried", n)
	}
}

// Nothing is left when the hook stands down, while a command that runs goes on.
func TestSpareEndsWithTheHook(t *testing.T) {
	b := withSpare(t)
	pid := b.spareIsReady()
	b.hook.StandDown()
	if err := b.hook.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := shim.ReadProc(pid); err == nil {
		t.Error("the spare lives on")
	}
	b.hook.run.warm(true)
	if b.spare() != nil {
		t.Error("there is a new one")
	}
	want(t, b.do(call("late")), plugins.Done, false, "done")
}

// BenchmarkSpare measures from the decision to the command's start, with a spare and without.
func BenchmarkSpare(b *testing.B) {
	for _, with := range []bool{true, false} {
		b.Run(fmt.Sprint(with), func(b *testing.B) {
			bin, err := shimBinary()
			if err != nil {
				b.Fatal(err)
			}
			h := newBench(b, "", func(c *Config) { c.Command = []string{"true"} }, onTmpfs(b))
			h.hook.run.Small = bin
			h.hook.run.over = !with
			h.hook.run.TryOut(b.Context())
			var started []time.Duration
			for i := 0; b.Loop(); i++ {
				if with {
					h.spareIsReady()
				}
				c := call(fmt.Sprint("s", i))
				if o := h.hook.Do(b.Context(), c, nil); o.Result != plugins.Done {
					b.Fatalf("%+v", o)
				}
				started = append(started, h.startedAfter(c))
			}
			quantiles(b, started)
		})
	}
}
