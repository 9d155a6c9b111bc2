//go:build peers

package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"text/template"
	"time"

	"firebreak/sensors/sim/slave"
)

// watched is an agent under a supervisor that obeys our unit file, with the room around it.
type watched struct {
	*lab
	sup   *supervisor
	ups   *slave.Bank
	duct  *slave.Bank
	nut   string       // where the agent serves NUT
	gate  *os.File     // what a drilled hook waits for
	calls atomic.Int32 // connections that came to the broker's address
}

func newWatched(t *testing.T) *watched {
	t.Helper()
	bank, addr := ups(t)
	duct := slave.NewBank()
	duct.Set(slave.Discretes, 0, 1, 0, 0, 0)
	srv, err := slave.ListenTCP("127.0.0.1:0", map[byte]*slave.Bank{3: duct})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Close() })
	broker, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = broker.Close() })
	w := &watched{lab: newLab(t, addr, "", broker.Addr().String()), ups: bank, duct: duct, nut: fmt.Sprintf("127.0.0.1:%d", freePort(t))}
	go func() {
		for {
			c, err := broker.Accept()
			if err != nil {
				return
			}
			w.calls.Add(1)
			_ = c.Close()
		}
	}()
	gate := filepath.Join(w.Dir, "gate")
	if err := syscall.Mkfifo(gate, 0o600); err != nil {
		t.Fatal(err)
	}
	if w.gate, err = os.OpenFile(gate, os.O_RDWR|syscall.O_NONBLOCK, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.gate.Close() })
	if err := os.WriteFile(filepath.Join(w.Dir, "nut.users"), []byte("nas other secondary *\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tmpl, err := template.ParseFiles("testdata/supervised.toml.tmpl")
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	err = tmpl.Execute(&text, struct {
		settings
		Duct, NUT, Gate string
	}{w.settings, srv.Addr(), w.nut, gate})
	if err != nil {
		t.Fatal(err)
	}
	w.file = filepath.Join(w.Dir, "firebreak.toml")
	if err := os.WriteFile(w.file, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile("../../configs/deploy/firebreak.service")
	if err != nil {
		t.Fatal(err)
	}
	w.sup = supervise(t, readUnit(t, string(file)), binary, "run", "-c", w.file)
	w.sup.ready(1)
	w.until(t, func() bool { return strings.Contains(w.status(), "plan evacuate: armed, stage 0") })
	return w
}

func (w *watched) hot(on bool) {
	w.ups.Set(slave.Holdings, regTemp, map[bool]uint16{false: 25 * 128, true: 60 * 128}[on])
}

func (w *watched) smoke() { w.duct.Set(slave.Discretes, 2, 1) }

// order gives one at the box.
func (w *watched) order(args ...string) (string, error) {
	out, err := exec.Command(binary, append(args, "-c", w.file, "--by", "kim")...).CombinedOutput()
	return string(out), err
}

// shows is what a NUT client sees of the zone; empty while nobody answers.
func (w *watched) shows() string {
	out, _ := exec.Command("upsc", "rack12@"+w.nut, "ups.status").Output()
	return strings.TrimSpace(string(out))
}

// S22: after three crashes within a minute only what senses, judges and acts is started, and that acts.
// The supervisor, by our unit, never gives up, however often the agent dies, and no hook comes twice.
func TestPeerCrashLoop(t *testing.T) {
	w := newWatched(t)
	w.until(t, func() bool { return w.calls.Load() > 0 })
	for n := 2; n <= 4; n++ {
		w.sup.signal(syscall.SIGKILL)
		w.sup.ready(n)
	}
	w.sup.said.line(t, 0, "crashed three times", "only what senses, judges and acts")
	before := w.calls.Load()
	if s := w.status(); s != "" {
		t.Errorf("orders are served in a crash loop: %s", s)
	}
	w.hot(true)
	w.hooks.line(t, 0, "freeze real")
	for n := 5; n <= 8; n++ {
		w.sup.signal(syscall.SIGKILL)
		w.sup.ready(n)
	}
	w.ran(t, "freeze real", 1)
	if n := w.calls.Load(); n != before {
		t.Errorf("brokers were called in a crash loop, %d times", n-before)
	}
	// It still acts: the next stage opens, and its hook answers on the port.
	w.smoke()
	w.until(t, func() bool { return strings.Contains(w.shows(), "FSD") })
}

// S20 and timeline 26: hosts stand at OB, and the agent panics, is killed, or is stopped for an upgrade and
// started anew. Each time it is back on the port within 5 s, with OB, and upsmon stays up. A reload is
// refused. FSD in a zone without a host is a failed step, and stands.
func TestPeerDeadManRestarts(t *testing.T) {
	w := newWatched(t)
	mon := startUpsmon(t, w.nut)
	w.until(t, func() bool { return strings.Contains(w.clients(), "127.0.0.1") })
	w.hot(true)
	w.until(t, func() bool { return w.shows() == "OB" })
	mon.out.line(t, 0, "on battery")
	file, err := os.ReadFile(w.file)
	if err == nil {
		err = os.WriteFile(w.file, []byte(strings.Replace(string(file), `"50 C"`, `"48 C"`, 1)), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if out, err := w.order("reload"); err == nil || !strings.Contains(out, "--force") {
		t.Errorf("a reload while OB stands: %v, %s", err, out)
	}
	if out, err := w.order("restart"); err == nil || !strings.Contains(out, "--force") {
		t.Errorf("a restart while OB stands: %v, %s", err, out)
	}
	w.ran(t, "freeze real", 1)
	for n, sig := range []syscall.Signal{syscall.SIGQUIT, syscall.SIGKILL, syscall.SIGTERM} { // the first ends a Go program as a panic does
		w.sup.signal(sig)
		begin := time.Now()
		w.sup.log.await(t, "end", func(all []line) bool { return count(all, "ended") == n+1 })
		w.until(t, func() bool { return w.shows() == "OB" })
		t.Logf("%v: back on the port after %v", sig, time.Since(begin))
		if d := time.Since(begin); d > 5*time.Second {
			t.Errorf("%v: back on the port after %v", sig, d)
		}
		w.until(t, func() bool { return strings.Contains(w.clients(), "127.0.0.1") })
	}
	if out, err := w.order("restart", "--force"); err != nil || !strings.Contains(out, "starts it again") {
		t.Errorf("a restart by force: %v, %s", err, out)
	}
	w.sup.ready(5)
	w.until(t, func() bool { return w.shows() == "OB" && strings.Contains(w.clients(), "127.0.0.1") })
	if mon.isDown() {
		t.Fatal("the host was shut down by a restart of the agent")
	}
	mon.stop()
	w.until(t, func() bool { return !strings.Contains(w.clients(), "127.0.0.1") })
	w.smoke()
	w.until(t, func() bool {
		return strings.Contains(w.status(), "hosts-off") && strings.Contains(w.status(), "failed")
	})
	if s := w.shows(); s != "FSD OB" && s != "FSD OL" {
		t.Errorf("hosts that come late would see %q", s)
	}
	if w.status(); !strings.Contains(w.status(), "plan/evacuate/hosts-off/failed") {
		t.Errorf("nobody is told:\n%s", w.status())
	}
}

// Timeline 13: killed in the middle of a drill, the agent comes back without it: the plan is at rest, the
// drilled hook is not called for real, and a real fire gets its own call.
func TestPeerKilledInADrill(t *testing.T) {
	w := newWatched(t)
	drill := start(t, binary, "drill", "evacuate", "--stage", "2a", "--by", "kim", "-c", w.file)
	w.hooks.line(t, 0, "freeze drill")
	w.sup.signal(syscall.SIGKILL)
	<-drill.done
	if drill.err == nil {
		t.Errorf("a drill that was killed was a good one: %s", drill.out.tail(20))
	}
	w.sup.ready(2)
	w.until(t, func() bool { return strings.Contains(w.status(), "plan evacuate: armed, stage 0") })
	if out, err := w.order("end-drill", "evacuate"); err == nil || !strings.Contains(out, "no drill runs") {
		t.Errorf("a drill after the restart: %v, %s", err, out)
	}
	w.hot(true)
	w.hooks.line(t, 1, "freeze real")
	w.hooks.line(t, 1, "page real")
	w.until(t, func() bool { return strings.Count(w.status(), " done ") == 2 })
	w.ran(t, "freeze real", 1)
	w.ran(t, "freeze drill", 1)
	w.ran(t, "page drill", 0)
	if _, err := w.gate.WriteString("\n"); err != nil {
		t.Error(err)
	}
}

// A loop that stands still feeds no watchdog: the supervisor ends it, and the next one goes on where it
// stood, without a second call of the hook.
func TestPeerHungAgentIsRestarted(t *testing.T) {
	w := newWatched(t)
	w.hot(true)
	w.hooks.line(t, 0, "freeze real")
	w.until(t, func() bool { return strings.Count(w.status(), " done ") == 2 })
	w.sup.signal(syscall.SIGSTOP)
	w.sup.log.line(t, 0, "watchdog")
	w.sup.ready(2)
	w.until(t, func() bool { return strings.Contains(w.status(), "stage 2a") })
	w.ran(t, "freeze real", 1)
}

// Timeline 12: real heat in the middle of a stage 3 drill ends it, and runs unmarked. A program without drill
// support was never called before, and no host saw FSD.
func TestPeerRealFireInADrill(t *testing.T) {
	w := newWatched(t)
	drill := start(t, binary, "drill", "evacuate", "--stage", "3", "--by", "kim", "-c", w.file)
	w.hooks.line(t, 0, "freeze drill")
	w.ran(t, "page real", 0)
	if s := w.shows(); s != "OL" {
		t.Errorf("in a drill a host saw %q", s)
	}
	w.hot(true)
	w.hooks.line(t, 0, "freeze real")
	w.hooks.line(t, 0, "page real")
	<-drill.done // else it would wait for the gate; the second of S7 is TestRealStageEndsTheDrill's
	if drill.err == nil {
		t.Error("the drill was a good one")
	}
	drill.out.line(t, 0, "Not good", "a real stage")
	w.until(t, func() bool { return strings.Count(w.status(), " done ") == 2 })
	w.ran(t, "page drill", 0)
	w.ran(t, "page real", 1)
	w.ran(t, "freeze real", 1)
	if _, err := w.gate.WriteString("\n"); err != nil {
		t.Error(err)
	}
}

// ran says how often a hook has run so far.
func (w *watched) ran(t *testing.T, hook string, want int) {
	t.Helper()
	got := w.hooks.await(t, "hooks", func([]line) bool { return true })
	if n := count(got, hook); n != want {
		t.Errorf("%s ran %d times, want %d: %v", hook, n, want, got)
	}
}

// clients is who has logged in.
func (w *watched) clients() string {
	out, _ := exec.Command("upsc", "-c", "rack12@"+w.nut).Output()
	return string(out)
}

// upsmon is a real one whose SHUTDOWNCMD only writes a file.
type upsmon struct {
	*process
	down string
}

const upsmonPath = "/lib/nut/upsmon" // Debian's /sbin/upsmon refuses without a system-wide configuration

func startUpsmon(t *testing.T, at string) *upsmon {
	t.Helper()
	dir := t.TempDir()
	lock, err := os.Open(upsmonPath) // a machine runs one at a time: its PID file has a fixed place
	if err == nil {
		err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lock.Close() })
	down, script := filepath.Join(dir, "down"), filepath.Join(dir, "shutdown.sh")
	conf := fmt.Sprintf("MONITOR rack12@%s 1 nas other slave\nMINSUPPLIES 1\nSHUTDOWNCMD %s\nPOWERDOWNFLAG %s\nRUN_AS_USER root\n"+
		"POLLFREQ 1\nPOLLFREQALERT 1\nDEADTIME 15\nHOSTSYNC 4\nFINALDELAY 0\n", at, script, filepath.Join(dir, "killpower"))
	for path, text := range map[string]string{script: "#!/bin/sh\necho >" + down + "\n", filepath.Join(dir, "upsmon.conf"): conf} {
		if err := os.WriteFile(path, []byte(text), 0o750); err != nil {
			t.Fatal(err)
		}
	}
	// -p makes it one process, -D keeps it in the foreground.
	u := &upsmon{start(t, "/usr/bin/env", "NUT_CONFPATH="+dir, "NUT_STATEPATH="+dir, "NUT_ALTPIDPATH="+dir, "NUT_PIDPATH="+dir, upsmonPath, "-D", "-D", "-p"), down}
	u.out = u.errs // all that it says in the foreground goes there
	return u
}

func (u *upsmon) isDown() bool { _, err := os.Stat(u.down); return err == nil }
