package main

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"firebreak/agent/app"
	"firebreak/agent/config"
)

// consoleOf runs a console in this process for the agent of a file.
func consoleOf(t *testing.T, file string) (url string, end func()) {
	t.Helper()
	c, faults := config.Load(file, app.Kinds())
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	ctx, stop := context.WithCancel(t.Context())
	at, ended := make(chan net.Addr, 1), make(chan error, 1)
	go func() { ended <- runConsole(ctx, c, file, "127.0.0.1:0", io.Discard, func(a net.Addr) { at <- a }) }()
	end = func() {
		stop()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Error("the console does not end")
		}
		ended <- nil
	}
	t.Cleanup(end)
	select {
	case a := <-at:
		return "http://" + a.String() + "/", end
	case err := <-ended:
		t.Fatal(err)
		return "", nil
	}
}

// shows waits until the console's state is as wanted.
func shows(t *testing.T, url, what string, is func(s consoleState) bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(patience); ; {
		var text []byte
		if r, err := http.Get(url + "state"); err == nil { // it may be turned away beside many others
			text, _ = io.ReadAll(r.Body)
			r.Body.Close()
			var s consoleState
			if err := json.Unmarshal(text, &s); err != nil {
				t.Fatalf("%v: %s", err, text)
			}
			if is(s) {
				return
			}
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%s is never shown:\n%s", what, text)
		}
	}
}

type consoleState struct {
	OK     bool
	Fault  string
	Answer *struct {
		Plans  []struct{ Plan, Stage string }
		Alarms []struct{ Name, State string }
		Buses  map[string]struct{ Polls int }
		Points []struct {
			Name, Quality string
			Votes         bool
		}
	}
}

// The console shows what a running agent says, and a console and browsers that hang, at the same time as others who hold the
// control socket, keep no order from being carried out.
func TestConsoleOfARunningAgent(t *testing.T) {
	b := newBox(t)
	url, end := consoleOf(t, b.file)
	shows(t, url, "no agent", func(s consoleState) bool { return !s.OK && strings.Contains(s.Fault, "no agent answers") })
	cmd := b.agent(t)
	shows(t, url, "a point that votes", func(s consoleState) bool {
		return s.OK && len(s.Answer.Plans) == 2 && len(s.Answer.Points) == 4 && s.Answer.Points[2].Votes && s.Answer.Points[2].Quality == "good"
	})
	b.smoke(1)
	b.hook(t, "freeze")
	shows(t, url, "an alarm and a plan", func(s consoleState) bool {
		return len(s.Answer.Alarms) > 0 && s.Answer.Alarms[0].Name == "smoke" && s.Answer.Plans[0].Stage == "2a"
	})
	for range 64 { // browsers that ask and do not read, and some that do not even ask
		conn, err := net.Dial("tcp", strings.Trim(strings.TrimPrefix(url, "http:"), "/"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, _ = conn.Write([]byte("GET /state HTTP/1.1\r\nHost: localhost\r\n\r\nGET /trend"))
	}
	// Six more hold places of the control socket: with the console's one there is one left of eight.
	c, _ := config.Load(b.file, app.Kinds())
	for range 6 {
		conn, err := net.Dial("unix", c.Control)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	if code, _, errs := firebreak("ack", "smoke", "-c", b.file, "--by", "anna"); code != 0 {
		t.Errorf("ack beside a console: exit %d: %s", code, errs)
	}
	until(t, 0, "alarm P1 smoke: acknowledged", "status", "-c", b.file)
	_ = cmd.Process.Signal(syscall.SIGSTOP)
	shows(t, url, "an agent that hangs", func(s consoleState) bool { return !s.OK && strings.Contains(s.Fault, "deadline exceeded") })
	_ = cmd.Process.Signal(syscall.SIGCONT)
	shows(t, url, "one that goes on", func(s consoleState) bool { return s.OK })
	end()
}

// answering has something that is no agent answer on a control socket, one at a time, until stop.
func answering(t *testing.T, control string, answer func(app.Request, io.Writer)) (stop func()) {
	t.Helper()
	ln, err := net.Listen("unix", control)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			_ = conn.SetDeadline(time.Now().Add(patience))
			var r app.Request
			_ = json.NewDecoder(conn).Decode(&r)
			answer(r, conn)
			conn.Close()
		}
	}()
	stop = func() { ln.Close(); <-done }
	t.Cleanup(stop)
	return stop
}

// Whatever answers on the socket, the console goes on, and takes what is no answer for none: it asks two things and nothing else, one
// after the other.
func TestConsoleOfALiar(t *testing.T) {
	b := newBox(t)
	c, _ := config.Load(b.file, app.Kinds())
	var says atomic.Pointer[string] // until it is another
	var mu sync.Mutex
	asked := map[string]bool{}
	says.Store(new("{}"))
	stop := answering(t, c.Control, func(r app.Request, w io.Writer) {
		mu.Lock()
		asked[r.Order] = true
		mu.Unlock()
		_, _ = io.WriteString(w, *says.Load())
	})
	url, end := consoleOf(t, b.file)
	for _, lie := range []struct{ says, want string }{
		{"{}", "is no agent"},
		{strings.Repeat("\xff", 5<<20), "invalid character"},
		{`{"text":"` + strings.Repeat("a", 4<<20), "unexpected EOF"}, // without an end
		{`{"status":{"plans":7}}`, "cannot unmarshal"},
		{"", "EOF"},
	} {
		says.Store(&lie.says)
		shows(t, url, lie.want, func(s consoleState) bool { return !s.OK && s.Answer == nil && strings.Contains(s.Fault, lie.want) })
	}
	end()
	stop()
	delete(asked, "status")
	delete(asked, "points")
	if len(asked) > 0 {
		t.Errorf("it gave orders: %v", asked)
	}
}

func TestConsoleUsage(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"--listen", "0.0.0.0:8642"}, 2, "ssh -L 8642:127.0.0.1:8642"},
		{[]string{"--listen", "b3-rack1:8642"}, 2, "reverse proxy with a login"},
		{[]string{"-c", filepath.Join(t.TempDir(), "none.toml")}, 2, "-c FILE says which"},
		{[]string{"more"}, 2, ""},
	} {
		if code, _, errs := firebreak(append([]string{"console"}, c.args...)...); code != c.code || !strings.Contains(errs, c.says) {
			t.Errorf("%q: exit %d, %s", c.args, code, errs)
		}
	}
}

// TestConsoleUnit: the console has none of the agent's weight, and none of its directories to write to; that its end would take the
// run directory away, it must not own it.
func TestConsoleUnit(t *testing.T) {
	unit := "\n" + readFile(t, "configs/deploy/firebreak-console.service")
	for _, want := range []string{"User=firebreak", "NoNewPrivileges=yes", "CapabilityBoundingSet=", "ProtectSystem=strict", "InaccessiblePaths=-/var/lib/firebreak",
		"IPAddressDeny=any", "IPAddressAllow=localhost", "MemoryMax=128M", "OOMScoreAdjust=500", "Type=notify"} {
		if !strings.Contains(unit, "\n"+want+"\n") {
			t.Errorf("the unit lacks the line %s", want)
		}
	}
	for _, bad := range []string{"RuntimeDirectory", "StateDirectory", "Requires=", "BindsTo=", "PartOf=", "ReadWritePaths="} {
		if strings.Contains(unit, "\n"+bad) {
			t.Errorf("the unit has %s", bad)
		}
	}
}
