//go:build peers

package nut

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"firebreak/plugins"
	"firebreak/sensors"
)

// Debian's /sbin/upsmon is a wrapper that refuses without a system-wide configuration.
const (
	upsmonPath = "/lib/nut/upsmon"
	pidFile    = "/run/nut/upsmon.pid"
)

// upsc runs the client that lists.
func upsc(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "upsc", args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("upsc %v: %v: %s", args, err, errs.String())
	}
	return out.String()
}

// TestPeerUpsc: the lists as NUT's own client reads them.
func TestPeerUpsc(t *testing.T) {
	r := newRig(t, config(t)).run()
	at := r.Bound(r.cfg.Listen[0])
	r.read(sensors.Reading{Point: 1, Value: 300.15, Quality: sensors.GoodQuality}, sensors.Reading{Point: 3, Value: 1, Quality: sensors.GoodQuality})
	if got := upsc(t, "-l", at); got != "rack12\nrack13\n" {
		t.Errorf("upsc -l: %q", got)
	}
	if got := upsc(t, "-L", at); !strings.Contains(got, `rack12: Rack "12"`) {
		t.Errorf("upsc -L: %q", got)
	}
	got := upsc(t, "rack12@"+at)
	for _, want := range []string{"battery.temperature: 27\n", "ups.status: OL\n", "ambient.1.contacts.2.status: active\n", "ups.alarm: no usable reading of ups-a.battery.charge ups-a.runtime\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("upsc does not list %q: %s", want, got)
		}
	}
	if got := upsc(t, "rack12@"+at, "battery.temperature"); got != "27\n" {
		t.Errorf("one variable: %q", got)
	}
	r.dial().login("rack12")
	if got := upsc(t, "-c", "rack12@"+at); got != "127.0.0.1\n" {
		t.Errorf("upsc -c: %q", got)
	}
}

// upsmon is a real one that cannot power off anything: its SHUTDOWNCMD writes a file. A machine runs
// one at a time: its PID file has a fixed place.
type upsmon struct {
	t    *testing.T
	down string // written by SHUTDOWNCMD
	out  *lines
	cmd  *exec.Cmd
	done chan struct{}
}

func startUpsmon(t *testing.T, at, extra string) *upsmon {
	t.Helper()
	dir := t.TempDir()
	lock, err := os.Open(upsmonPath) // those of other packages wait for it too
	if err == nil {
		err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lock.Close() })
	u := &upsmon{t: t, down: filepath.Join(dir, "down"), out: &lines{}, done: make(chan struct{})}
	script := filepath.Join(dir, "shutdown.sh")
	writeFile(t, script, "#!/bin/sh\ndate +%s.%N >"+u.down+"\n", 0o755)
	conf := fmt.Sprintf("MONITOR rack12@%s 1 nas other slave\nMINSUPPLIES 1\nSHUTDOWNCMD %s\nPOWERDOWNFLAG %s\nRUN_AS_USER root\n"+
		"POLLFREQ 1\nPOLLFREQALERT 1\nDEADTIME 4\nHOSTSYNC 4\nFINALDELAY 0\n%s", at, script, filepath.Join(dir, "killpower"), extra)
	writeFile(t, filepath.Join(dir, "upsmon.conf"), conf, 0o640)
	// -D keeps it in the foreground. -p makes it one process, which runs the script itself.
	u.cmd = exec.Command(upsmonPath, "-D", "-D", "-p")
	u.cmd.Env = append(os.Environ(), "NUT_CONFPATH="+dir, "NUT_STATEPATH="+dir, "NUT_ALTPIDPATH="+dir, "NUT_PIDPATH="+dir)
	u.cmd.Dir = dir
	u.cmd.Stdout, u.cmd.Stderr = u.out, u.out
	u.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := u.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { defer close(u.done); _ = u.cmd.Wait() }()
	t.Cleanup(func() {
		_ = syscall.Kill(-u.cmd.Process.Pid, syscall.SIGTERM) // so that it takes its PID file with it
		select {
		case <-u.done:
		case <-time.After(5 * time.Second):
			_ = syscall.Kill(-u.cmd.Process.Pid, syscall.SIGKILL)
			<-u.done
		}
		// One that has run its SHUTDOWNCMD leaves its PID file, and the next would believe that it runs.
		if b, err := os.ReadFile(pidFile); err == nil && strings.TrimSpace(string(b)) == fmt.Sprint(u.cmd.Process.Pid) {
			_ = os.Remove(pidFile)
		}
		if t.Failed() {
			u.out.mu.Lock()
			defer u.out.mu.Unlock()
			t.Log("upsmon said:\n" + u.out.text.String())
		}
	})
	return u
}

func (u *upsmon) isDown() bool { _, err := os.Stat(u.down); return err == nil }

// asked waits for so many more requests for the status of rack12.
func (r *rig) asked(n int) {
	r.t.Helper()
	polls := func() (all int) {
		r.mu0(func() {
			for c := range r.conns {
				all += c.polls[r.zone("rack12")]
			}
		})
		return all
	}
	want := polls() + n
	r.until("upsmon goes on asking", func() bool { return polls() >= want })
}

func (r *rig) loggedIn() int { return len(r.logins(r.zone("rack12"))) }

// TestPeerUpsmonObeys: a real upsmon logs in, sees FSD, runs its SHUTDOWNCMD and goes; that is the
// evidence. OB before it, and taken back, makes it do nothing.
func TestPeerUpsmonObeys(t *testing.T) {
	r := newRig(t, config(t)).run()
	u := startUpsmon(t, r.Bound(r.cfg.Listen[0]), "")
	r.until("upsmon logs in", func() bool { return r.loggedIn() == 1 })
	r.plan(41, "2a", "armed")
	r.until("upsmon sees OB", func() bool { return u.out.has("UPS rack12@" + r.Bound(r.cfg.Listen[0]) + " on battery") })
	r.plan(0, "0", "armed")
	r.until("upsmon sees OL again", func() bool { return u.out.has("on line power") })
	r.asked(12) // once a second: longer than its DEADTIME and HOSTSYNC together
	if u.isDown() {
		t.Fatal("upsmon shuts down although OB was taken back")
	}
	begin := time.Now()
	o := r.Do(t.Context(), call(key(42, 0), 20*time.Second), nil)
	wantOutcome(t, o, plugins.Done, "127.0.0.1")
	told := time.Since(begin)
	r.until("SHUTDOWNCMD runs", u.isDown)
	down := time.Since(begin)
	r.until("the log-out is told", func() bool { return len(r.evidence(plugins.SeenLoggedOut)) == 1 })
	if ev := r.evidence(plugins.SeenLoggedOut)[0]; ev.Key != key(42, 0) || !ev.OK {
		t.Errorf("evidence %+v", ev)
	}
	t.Logf("told after %v, SHUTDOWNCMD after %v, log-out after %v", told, down, time.Since(begin))
	if down > 10*time.Second {
		t.Errorf("upsmon took %v", down)
	}
}

// TestPeerUpsmonDeadMan: at OB the loss of the agent shuts the host down; the agent's restart within
// DEADTIME does not.
func TestPeerUpsmonDeadMan(t *testing.T) {
	cfg := config(t)
	r := newRig(t, cfg).run()
	at := r.Bound(cfg.Listen[0])
	u := startUpsmon(t, at, "")
	r.until("upsmon logs in", func() bool { return r.loggedIn() == 1 })
	r.plan(41, "2a", "armed")
	r.until("upsmon sees OB", func() bool { return u.out.has("on battery") })
	r.stop()
	cfg.Listen[0] = at
	begin := time.Now()
	n := newRig(t, cfg, r.dirs...).run()
	back := time.Since(begin)
	n.until("upsmon is back", func() bool { return n.loggedIn() == 1 })
	if got := n.DeadMan(); len(got) != 1 || u.isDown() {
		t.Errorf("after a restart: at OB %v, host down %v", got, u.isDown())
	}
	if back > 5*time.Second {
		t.Errorf("back on the port after %v", back)
	}
	n.stop()
	lost := time.Now()
	n.until("SHUTDOWNCMD runs", u.isDown)
	t.Logf("back on the port after %v; host down %v after the loss of the agent at OB", back, time.Since(lost))
}

// TestPeerUpsmonTLS: the client encrypts by itself when it may.
func TestPeerUpsmonTLS(t *testing.T) {
	cfg := config(t)
	cfg.CertFile, cfg.KeyFile, _ = cert(t, t.TempDir())
	r := newRig(t, cfg).run()
	u := startUpsmon(t, r.Bound(cfg.Listen[0]), "FORCESSL 1\nCERTVERIFY 0\n")
	r.until("upsmon logs in", func() bool { return r.loggedIn() == 1 })
	if got := r.Clients(); len(got) != 1 || !got[0].TLS {
		t.Errorf("clients %+v, want one with TLS", got)
	}
	wantOutcome(t, r.Do(t.Context(), call(key(41, 0), 20*time.Second), nil), plugins.Done, "127.0.0.1")
	r.until("SHUTDOWNCMD runs", u.isDown)
}

// TestPeerUpsmonTwoFeeds: a host on two zones with MINSUPPLIES 1 stays up until both are at FSD.
func TestPeerUpsmonTwoFeeds(t *testing.T) {
	r := newRig(t, config(t)).run()
	at := r.Bound(r.cfg.Listen[0])
	u := startUpsmon(t, at, "MONITOR rack13@"+at+" 1 nas other slave\n")
	r.until("upsmon logs in", func() bool { return r.loggedIn() == 1 && len(r.logins(r.zone("rack13"))) == 1 })
	wantOutcome(t, r.Do(t.Context(), call(key(41, 0), 20*time.Second), nil), plugins.Done, "127.0.0.1")
	r.until("upsmon has heard", func() bool { return u.out.has("forced shutdown in progress") })
	r.asked(4)
	if u.isDown() {
		t.Error("down although one feed is left")
	}
	c := call(key(41, 0), 20*time.Second)
	c.Target, c.Key.Step = "rack13", "second-feed"
	wantOutcome(t, r.Do(t.Context(), c, nil), plugins.Done, "127.0.0.1")
	r.until("SHUTDOWNCMD runs", u.isDown)
	r.until("the log-outs are told", func() bool { return len(r.evidence(plugins.SeenLoggedOut)) == 2 })
}
