//go:build peers

package e2e

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// unit is what the supervisor heeds of a unit file of systemd.
type unit struct {
	restart    string        // Restart=
	pause      time.Duration // RestartSec=
	limitSpan  time.Duration // StartLimitIntervalSec=; 0: it never gives up
	limitBurst int
	watchdog   time.Duration // WatchdogSec=; 0: none
}

// readUnit takes the lines of a unit file. What is not there is as systemd has it.
func readUnit(t testing.TB, text string) unit {
	t.Helper()
	u := unit{restart: "no", pause: 100 * time.Millisecond, limitSpan: 10 * time.Second, limitBurst: 5}
	span := func(v string) time.Duration {
		if !strings.ContainsAny(v, "hms") {
			v += "s"
		}
		d, err := time.ParseDuration(v)
		if err != nil {
			t.Fatalf("unit file: %v", err)
		}
		return d
	}
	for sc := bufio.NewScanner(strings.NewReader(text)); sc.Scan(); {
		key, v, _ := strings.Cut(sc.Text(), "=")
		switch key {
		case "Restart":
			u.restart = v
		case "RestartSec":
			u.pause = span(v)
		case "StartLimitIntervalSec":
			u.limitSpan = span(v)
		case "WatchdogSec":
			u.watchdog = span(v)
		}
	}
	return u
}

// supervisor keeps a program running as the service manager would, by the lines of its unit: it restarts
// it, ends it when nobody feeds its watchdog, and leaves its children alone (KillMode=process).
type supervisor struct {
	t    testing.TB
	unit unit
	name string
	args []string
	log  *feed // "started PID", "ready", "ended STATE", "watchdog", "gave up"
	said *feed // stderr of the program
	sock string
	fed  chan string // what the program says to its manager

	mu   sync.Mutex
	cmd  *exec.Cmd
	stop chan struct{}
	done chan struct{}
}

// supervise starts the supervisor of a program. The test ends both.
func supervise(t testing.TB, u unit, name string, args ...string) *supervisor {
	t.Helper()
	s := &supervisor{t: t, unit: u, name: name, args: args, log: newFeed(), said: newFeed(), fed: make(chan string, 64), stop: make(chan struct{}), done: make(chan struct{}),
		sock: filepath.Join(t.TempDir(), "notify")}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: s.sock, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for b := make([]byte, 4096); ; {
			n, err := conn.Read(b)
			if err != nil {
				return
			}
			select {
			case s.fed <- string(b[:n]):
			case <-s.stop:
				return
			}
		}
	})
	go func() { defer close(s.done); s.keep() }()
	t.Cleanup(func() {
		close(s.stop)
		<-s.done
		_ = conn.Close()
		wg.Wait()
		if t.Failed() {
			t.Logf("the supervisor: %s\nthe program said:\n%s", s.log.tail(20), s.said.tail(20))
		}
	})
	return s
}

// keep starts the program again and again, until the test stops it or the unit says to give up.
func (s *supervisor) keep() {
	var starts []time.Time
	for {
		now := time.Now()
		if n := s.unit.limitBurst; s.unit.limitSpan > 0 && len(starts) >= n && now.Sub(starts[len(starts)-n]) < s.unit.limitSpan {
			s.log.add("gave up")
			return
		}
		starts = append(starts, now)
		failed, stopped := s.once()
		if stopped || s.unit.restart == "no" || s.unit.restart == "on-failure" && !failed {
			return
		}
		select {
		case <-time.After(s.unit.pause):
		case <-s.stop:
			return
		}
	}
}

// once is one life of the program.
func (s *supervisor) once() (failed, stopped bool) {
	cmd := exec.Command(s.name, s.args...)
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+s.sock)
	if s.unit.watchdog > 0 {
		cmd.Env = append(cmd.Env, fmt.Sprint("WATCHDOG_USEC=", s.unit.watchdog.Microseconds()))
	}
	errs, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		s.t.Error(err)
		return true, true
	}
	s.mu.Lock()
	s.cmd = cmd
	s.mu.Unlock()
	s.log.add(fmt.Sprint("started ", cmd.Process.Pid))
	ended := make(chan error, 1)
	go func() {
		s.said.read(errs)
		ended <- cmd.Wait()
	}()
	watch := time.NewTimer(time.Hour)
	defer watch.Stop()
	for {
		select {
		case err := <-ended:
			s.log.add("ended " + cmd.ProcessState.String())
			return err != nil, stopped
		case text := <-s.fed:
			if strings.Contains(text, "READY=1") {
				s.log.add("ready")
			}
			if s.unit.watchdog > 0 {
				watch.Reset(s.unit.watchdog)
			}
		case <-watch.C:
			s.log.add("watchdog")
			_ = cmd.Process.Signal(syscall.SIGABRT)
			_ = cmd.Process.Kill() // systemd waits TimeoutAbortSec for a program that is stopped
		case <-s.stop:
			if !stopped {
				stopped = true
				_ = cmd.Process.Signal(syscall.SIGTERM)
				watch.Reset(patience)
			}
		}
		if stopped {
			select {
			case <-ended:
			case <-time.After(patience):
				_ = cmd.Process.Kill()
				<-ended
			}
			s.log.add("ended " + cmd.ProcessState.String())
			return false, true
		}
	}
}

// ready waits for the n-th time that the program says it is.
func (s *supervisor) ready(n int) {
	s.t.Helper()
	s.log.await(s.t, fmt.Sprintf("start no. %d", n), func(all []line) bool { return count(all, "ready") >= n })
}

func count(all []line, word string) (n int) {
	for _, l := range all {
		if strings.HasPrefix(l.text, word) {
			n++
		}
	}
	return n
}

// signal tells the program that runs.
func (s *supervisor) signal(sig syscall.Signal) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// The supervisor of these tests obeys: without the line of our unit it gives up at the fifth start within
// 10 s, as systemd does, and it heeds Restart= and WatchdogSec=.
func TestPeerSupervisorObeys(t *testing.T) {
	for name, tc := range map[string]struct {
		unit    string
		program string
		starts  int
		last    string
	}{
		"no line of a limit": {"Restart=always\nRestartSec=10ms\n", "exit 1", 5, "gave up"},
		"on failure, well":   {"Restart=on-failure\nStartLimitIntervalSec=0\n", "exit 0", 1, "ended exit status 0"},
		"no restart":         {"StartLimitIntervalSec=0\n", "exit 1", 1, "ended exit status 1"},
	} {
		t.Run(name, func(t *testing.T) {
			s := supervise(t, readUnit(t, tc.unit), "/bin/sh", "-c", tc.program)
			<-s.done
			if got := s.log.await(t, "end", func([]line) bool { return true }); count(got, "started") != tc.starts || got[len(got)-1].text != tc.last {
				t.Errorf("%v", got)
			}
		})
	}
}
