package nut

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"firebreak/plugins"
	"firebreak/plugins/reread"
)

// TestRestart: what stood before a crash stands after it, from whichever directory knows more.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config(t)
		r := newRig(t, cfg).inBubble()
		r.plan(41, "2a", "armed")
		r.stop()
		r = newRig(t, cfg, r.dirs...).inBubble()
		if s := r.pipe("10.0.0.9").status("rack12"); s != "OB" {
			t.Errorf("after a crash at OB: %q", s)
		}
		r.plan(41, "2a", "armed")
		a, b := r.pipe("10.0.0.5").login("rack12"), r.pipe("10.0.0.6").login("rack12")
		ch := r.do(call(key(41, 0), 10*time.Second))
		synctest.Wait()
		a.status("rack12")
		e := <-ch
		if strings.Contains(e.Detail, "would not survive") {
			t.Errorf("not kept: %s", e.Detail)
		}
		_ = b    // has not asked
		r.stop() // killed: its connections end with it, and tell nobody
		writeFile(t, r.stores[1].path, "torn", 0o600)

		n := newRig(t, cfg, r.dirs...).inBubble()
		if n.loadErr == nil || !n.log.has("torn") {
			t.Errorf("a torn file is not told: %v", n.loadErr)
		}
		if s := n.pipe("10.0.0.9").status("rack12"); s != "FSD OL" {
			t.Errorf("after a crash at FSD: %q", s)
		}
		again := n.Do(t.Context(), call(key(41, 0), 10*time.Second), nil)
		if again.Result != plugins.Done || !again.Attached {
			t.Errorf("the call of before: %+v", again)
		}
		b = n.pipe("10.0.0.6").login("rack12")
		b.status("rack12")
		b.want("LOGOUT", "OK Goodbye")
		time.Sleep(returnWait - time.Second)
		if evs := n.evidence(plugins.SeenLoggedOut); len(evs) != 0 {
			t.Errorf("evidence %+v, a host may still come back", evs)
		}
		time.Sleep(2 * time.Second)
		evs := n.evidence(plugins.SeenLoggedOut)
		if len(evs) != 1 || evs[0].Key != key(41, 0) {
			t.Errorf("evidence %+v, want one: the host that had seen FSD has not come back", evs)
		}
		n.plan(41, "3", "armed")
		n.plan(0, "0", "armed")
		synctest.Wait()
		n.stop()
		if s := newRig(t, cfg, r.dirs...).inBubble().pipe("10.0.0.9").status("rack12"); s != "OL" {
			t.Errorf("after the reset and a restart: %q", s)
		}
	})
}

// TestForgottenEpisode: an agent that has lost its journal does not know the episode. That is no reset,
// and is told; the reset of a later one takes it back.
func TestForgottenEpisode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config(t)
		r := newRig(t, cfg).inBubble()
		r.pipe("10.0.0.5").login("rack12")
		<-r.do(call(key(41, 0), time.Second))
		r.stop()
		n := newRig(t, cfg, r.dirs...).inBubble()
		n.plan(0, "0", "armed")
		if s := n.pipe("10.0.0.9").status("rack12"); s != "FSD OL" {
			t.Errorf("a lost journal takes FSD back: %q", s)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		wantErr(t, n.Probe(ctx), "rack12 stands at FSD under evacuate/b3/3/hosts-off/41/do/0, an episode that the agent does not know", n.stores[0].path)
		n.plan(50, "1", "armed")
		if s := n.pipe("10.0.0.9").status("rack12"); s != "FSD OL" {
			t.Errorf("in a later episode: %q", s)
		}
		n.plan(0, "0", "armed")
		if s := n.pipe("10.0.0.9").status("rack12"); s != "OL" {
			t.Errorf("after the reset of a later episode: %q", s)
		}
	})
}

// TestOBWaitsForThePlans: OB of before a restart stands until every plan of the UPS has spoken.
func TestOBWaitsForThePlans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config(t)
		cfg.UPS[0].Plans = []string{"evacuate", "second"}
		r := newRig(t, cfg).inBubble()
		r.plan(41, "2a", "armed")
		synctest.Wait()
		r.stop()
		n := newRig(t, cfg, r.dirs...).inBubble()
		second := &plugins.PlanState{Plan: "second", Stage: "0", Mode: "armed", Origin: "real"}
		n.Offer(plugins.Update{Plan: second})
		if s := n.pipe("10.0.0.9").status("rack12"); s != "OB" {
			t.Errorf("before the plan that opened has spoken: %q", s)
		}
		n.plan(0, "0", "armed")
		if s := n.pipe("10.0.0.9").status("rack12"); s != "OL" {
			t.Errorf("after it: %q", s)
		}
	})
}

// TestStateOnDeadDisk: neither the start nor an order waits for a disk, and it is told.
func TestStateOnDeadDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		writeFile(t, dir+"/file", "", 0o600)
		r := newRig(t, config(t), dir+"/file").inBubble() // no directory can be made there
		r.pipe("10.0.0.5").login("rack12")
		o := r.Do(t.Context(), call(key(41, 0), time.Second), nil)
		wantOutcome(t, o, plugins.Done, "it would not survive a crash of the agent")
		none := newRig(t, config(t))
		none.stores = nil
		none.inBubble().pipe("10.0.0.5").login("rack12")
		wantOutcome(t, none.Do(t.Context(), call(key(41, 0), time.Second), nil), plugins.Done, "no directory for its state was given")
	})
}

// TestDamagedState: whatever a disk makes of the file, it is read whole, or counts as absent and is told.
func TestDamagedState(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	whole := &saved{Seq: 7, UPS: []savedUPS{{Name: "rack12", Latches: []savedLatch{{Key: key(41, 0).String()}}}}}
	b, err := whole.encode()
	if err != nil {
		t.Fatal(err)
	}
	for n := range b {
		writeFile(t, path, string(b[:n]), 0o600)
		if s, err := readState(path); err == nil {
			t.Fatalf("cut at %d of %d it is read as %+v", n, len(b), s)
		}
		flipped := bytes.Clone(b)
		flipped[n] ^= 4
		writeFile(t, path, string(flipped), 0o600)
		if s, err := readState(path); err == nil {
			t.Fatalf("flipped at %d it is read as %+v", n, s)
		}
	}
	writeFile(t, path, strings.Repeat("x", maxStateFile+1), 0o600)
	if _, err := readState(path); err == nil {
		t.Error("a file that is too large is read")
	}
	if s, err := readState(path + "-absent"); s != nil || err != nil {
		t.Errorf("an absent file: %+v, %v", s, err)
	}
	older, _ := (&saved{Seq: 6}).encode()
	writeFile(t, path, string(b), 0o600)
	writeFile(t, path+"-older", string(older), 0o600)
	for _, stores := range [][]*store{{{path: path}, {path: path + "-older"}}, {{path: path + "-older"}, {path: path}}} {
		if s, err := loadStates(t.Context(), stores); err != nil || s.Seq != 7 {
			t.Errorf("of two the older one counts: %+v, %v", s, err)
		}
	}
	if s, err := readState(path); err != nil || s.Seq != 7 || len(s.UPS) != 1 {
		t.Errorf("a whole file: %+v, %v", s, err)
	}
}

// TestDiskHangs: a FIFO that nobody writes stands for a disk that hangs. The port is open all the
// same, with what the other directory knows, and a login goes by the last users.
func TestDiskHangs(t *testing.T) {
	cfg := config(t)
	r := newRig(t, cfg)
	if err := syscall.Mkfifo(r.stores[1].path, 0o600); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	r.run()
	if d := time.Since(begin); d > 3*time.Second || !r.log.has("has not answered") {
		t.Errorf("open after %v; told: %v", d, r.log.has("has not answered"))
	}
	r.dial().login("rack12")
	known, _, _ := r.users.Get()
	first := true
	r.users = reread.New(func() ([]user, error) {
		if first {
			first = false
			return known, nil
		}
		<-t.Context().Done()
		return nil, nil
	})
	r.dial().login("rack12")
	begin = time.Now()
	r.dial().login("rack12")
	if d := time.Since(begin); d > 3*time.Second {
		t.Errorf("a login takes %v", d)
	}
	if f, err := os.OpenFile(r.stores[1].path, os.O_WRONLY|syscall.O_NONBLOCK, 0); err == nil { // lets the reader go
		_ = f.Close()
	}
}
