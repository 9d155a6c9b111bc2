package exec

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"firebreak/plugins"
)

// unit is a unit file of systemd, by section and key.
type unit map[string]string

func readUnit(t *testing.T, name string) unit {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../../../configs/deploy", name))
	if err != nil {
		t.Fatal(err)
	}
	u, section := unit{}, ""
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			section = strings.Trim(line, "[]")
		} else if k, v, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(line, "#") {
			u[section+"."+k] = v
		}
	}
	return u
}

func (u unit) duration(t *testing.T, key string) time.Duration {
	t.Helper()
	s := u[key]
	if strings.Trim(s, "0123456789") == "" {
		s += "s" // systemd's seconds
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	return d
}

// supervisor obeys what the helper's units say: it owns the socket, starts the helper with it, ends
// one that does not feed the watchdog, and starts the next. Its seconds are tenths.
type supervisor struct {
	h        *helper
	ln       *net.UnixListener
	notify   *net.UnixConn
	args     []string
	watchdog time.Duration
	pause    time.Duration
	ctx      context.Context
	done     sync.WaitGroup

	mu     sync.Mutex
	pids   []int
	killed int // by the watchdog
	fed    int // times that it was fed
}

const tenth = 10

func supervise(t *testing.T, h *helper) *supervisor {
	t.Helper()
	svc, sock := readUnit(t, "firebreak-helper.service"), readUnit(t, "firebreak-helper.socket")
	for k, v := range map[string]string{"Service.Restart": "always", "Service.KillMode": "process", "Service.RuntimeDirectoryPreserve": "yes",
		"Service.Type": "notify", "Unit.StartLimitIntervalSec": "0", "Service.RuntimeDirectory": "firebreak-helper"} {
		if svc[k] != v {
			t.Errorf("the helper's unit says %s=%s, want %s", k, svc[k], v)
		}
	}
	if sock["Socket.ListenStream"] != DefaultHelper || sock["Socket.SocketMode"] != "0660" || sock["Socket.TriggerLimitIntervalSec"] != "0" {
		t.Errorf("socket unit: %v", sock)
	}
	s := &supervisor{h: h, pause: svc.duration(t, "Service.RestartSec"), watchdog: svc.duration(t, "Service.WatchdogSec") / tenth}
	f := strings.Fields(svc["Service.ExecStart"])
	for i := range f { // the same command line, with the places of the test
		f[i] = strings.NewReplacer("/etc/firebreak/actions.toml", h.list, "/run/firebreak-helper", h.run).Replace(f[i])
		if i > 0 && (f[i-1] == "-allow" || f[i-1] == "-group") {
			f[i] = fmt.Sprint(os.Geteuid())
		}
	}
	s.args = f[1:]
	if err := os.MkdirAll(h.run, 0o755); err != nil {
		t.Fatal(err)
	}
	var err error
	if s.ln, err = net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(h.run, "helper.sock"), Net: "unix"}); err != nil {
		t.Fatal(err)
	}
	if s.notify, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(h.b.work, "notify"), Net: "unixgram"}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.ctx = ctx
	s.done.Go(s.run)
	t.Cleanup(func() {
		cancel()
		s.notify.Close()
		s.done.Wait()
		s.ln.Close()
	})
	return s
}

// run starts the helper again and again.
func (s *supervisor) run() {
	for s.ctx.Err() == nil {
		s.one()
		select {
		case <-s.ctx.Done():
		case <-time.After(s.pause): // RestartSec
		}
	}
}

func (s *supervisor) one() {
	f, err := s.ln.File()
	if err != nil {
		s.h.b.t.Error(err)
		return
	}
	defer f.Close()
	cmd := osexec.Command("/bin/sh", append([]string{"-c", `LISTEN_PID=$$ exec "$0" "$@"`, s.h.binary}, s.args...)...)
	cmd.ExtraFiles = []*os.File{f}
	cmd.Env = []string{"LISTEN_FDS=1", "NOTIFY_SOCKET=" + s.notify.LocalAddr().String(), fmt.Sprintf("WATCHDOG_USEC=%d", s.watchdog.Microseconds())}
	cmd.Stderr = s.h.said
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		s.h.b.t.Error(err)
		return
	}
	s.mu.Lock()
	s.pids = append(s.pids, cmd.Process.Pid)
	s.mu.Unlock()
	end := make(chan struct{})
	go func() { _ = cmd.Wait(); close(end) }()
	fed := make(chan struct{}, 1)
	var reader sync.WaitGroup
	reader.Go(func() {
		b := make([]byte, 256)
		for {
			_ = s.notify.SetReadDeadline(time.Now().Add(s.watchdog / 4))
			n, err := s.notify.Read(b)
			if err == nil && bytes.Contains(b[:n], []byte("WATCHDOG=1")) {
				select {
				case fed <- struct{}{}:
				default:
				}
			}
			select {
			case <-end:
				return
			default:
			}
		}
	})
	defer reader.Wait()
	for {
		select {
		case <-end:
			return
		case <-fed:
			s.mu.Lock()
			s.fed++
			s.mu.Unlock()
		case <-time.After(s.watchdog): // KillMode=process: the main process alone, with SIGABRT
			s.mu.Lock()
			s.killed++
			s.mu.Unlock()
			_ = cmd.Process.Signal(syscall.SIGABRT)
			_ = cmd.Process.Signal(syscall.SIGCONT)
		case <-s.ctx.Done():
			_ = cmd.Process.Signal(syscall.SIGTERM)
			<-end
			return
		}
	}
}

// current waits until more than n helpers have been started, and gives the newest.
func (s *supervisor) current(n int) int {
	pid := 0
	s.h.until("is started again", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.pids) > n {
			pid = s.pids[len(s.pids)-1]
		}
		return len(s.pids) > n
	})
	return pid
}

// Under a supervisor that obeys the units: killed, hung and stopped helpers neither end nor double a
// command, and no call that waits is lost, because the socket stays.
func TestHelperUnderItsUnits(t *testing.T) {
	b := viaHelper.bench(t, `echo start >>$W/starts; echo up >$W/up; read x <$W/gate; echo out`)
	b.fifo("up")
	b.fifo("gate")
	b.helper.stop(syscall.SIGTERM)
	if err := os.Remove(b.hook.cfg.Helper); err != nil {
		t.Fatal(err)
	}
	s := supervise(t, b.helper)
	out := make(chan plugins.Outcome)
	go func() { out <- b.hook.Do(context.Background(), call("x"), nil) }()
	b.read("up")
	for i, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSTOP, syscall.SIGTERM} {
		if err := syscall.Kill(s.current(i), sig); err != nil {
			t.Fatal(err)
		}
		s.current(i + 1)
	}
	if m := b.marked(call("x")); syscall.Kill(m.Group, 0) != nil {
		t.Fatal("the command ended with a helper")
	}
	count := func() (fed, killed int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.fed, s.killed
	}
	before, _ := count()
	s.h.until("feeds the watchdog", func() bool { fed, _ := count(); return fed >= before+5 })
	if _, killed := count(); killed != 1 {
		t.Errorf("the watchdog has ended %d helpers, want the stopped one", killed)
	}
	b.open("gate")
	o := <-out
	want(t, o, plugins.Done, true, "done")
	if o.Output != "out\n" || b.lines("starts") != 1 {
		t.Errorf("output %q, %d starts", o.Output, b.lines("starts"))
	}
	if err := b.hook.Probe(t.Context()); err != nil {
		t.Error(err)
	}
}
