package nut

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"firebreak/plugins"
	"firebreak/sensors"
)

// TestFSD: the way of an order: latched, seen by each host, done; then the hosts go, and the last one
// is the evidence, in the call or long after it.
func TestFSD(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, config(t)).inBubble()
		a, b := r.pipe("10.0.0.5").login("rack12"), r.pipe("10.0.0.6").login("rack12")
		other := r.pipe("10.0.0.7").login("rack13")
		if s := a.status("rack12"); s != "OL" {
			t.Errorf("status %q before", s)
		}
		ch := r.do(call(key(41, 0), time.Minute))
		synctest.Wait()
		if s := a.status("rack12"); s != "FSD OL" {
			t.Errorf("status %q after FSD", s)
		}
		synctest.Wait()
		select {
		case e := <-ch:
			t.Fatalf("ended before each host has seen it: %+v", e)
		default:
		}
		b.status("rack12")
		e := <-ch
		wantOutcome(t, e.Outcome, plugins.Done, "told and still there 10.0.0.5, 10.0.0.6")
		if !slices.Equal(e.seen, []string{plugins.SeenReceipt}) || e.Attached {
			t.Errorf("evidence in the call: %v, attached %v", e.seen, e.Attached)
		}
		if s := other.status("rack13"); s != "OL" {
			t.Errorf("the other zone says %q", s)
		}
		a.want("LOGOUT", "OK Goodbye")
		synctest.Wait()
		if n := len(r.evidence(plugins.SeenLoggedOut)); n != 0 {
			t.Errorf("%d times told that all are gone, one is there", n)
		}
		_ = b.nc.Close() // a host that ends its programs
		synctest.Wait()
		evs := r.evidence(plugins.SeenLoggedOut)
		if len(evs) != 1 || evs[0].Key != key(41, 0) || !evs[0].OK || !strings.Contains(evs[0].Detail, "gone 10.0.0.5, 10.0.0.6") {
			t.Errorf("evidence %+v", evs)
		}
		// The same key is the same call; a later key finds the same state.
		again := r.Do(t.Context(), call(key(41, 0), time.Minute), nil)
		if wantOutcome(t, again, plugins.Done, "told and still there"); !again.Attached {
			t.Error("an ended call is not attached to")
		}
		next := <-r.do(call(key(41, 1), time.Minute))
		wantOutcome(t, next.Outcome, plugins.Done, "gone 10.0.0.5, 10.0.0.6")
		if !slices.Equal(next.seen, []string{plugins.SeenLoggedOut, plugins.SeenReceipt}) {
			t.Errorf("evidence of the second key: %v", next.seen)
		}
		late := r.pipe("10.0.0.8").login("rack12")
		if s := late.status("rack12"); s != "FSD OL" {
			t.Errorf("a late host sees %q", s)
		}
		late.want("LOGOUT", "OK Goodbye")
		synctest.Wait()
		if n := len(r.evidence(plugins.SeenLoggedOut)); n != 3 {
			t.Errorf("told %d times that all are gone, want once more for each of two keys", n)
		}
	})
}

// TestNoClient: a zone without a host is a failed step, and FSD stays for those that come late
// (timeline 26).
func TestNoClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, config(t)).inBubble()
		time.Sleep(youngWait)
		begin := time.Now()
		monitor := r.pipe("10.0.0.9")
		monitor.status("rack12")
		monitor.status("rack12")
		e := <-r.do(call(key(41, 0), time.Minute))
		wantOutcome(t, e.Outcome, plugins.Failed, "no host is logged in to UPS rack12")
		if d := time.Since(begin); d != noneWait || len(e.seen) > 0 {
			t.Errorf("failed after %v with %v", d, e.seen)
		}
		if again := r.Do(t.Context(), call(key(41, 0), time.Minute), nil); again.Result != plugins.Failed || !again.Attached {
			t.Errorf("the stored outcome is %+v", again)
		}
		late := r.pipe("10.0.0.5").login("rack12")
		if s := late.status("rack12"); s != "FSD OL" {
			t.Errorf("a late host sees %q", s)
		}
		e = <-r.do(call(key(41, 1), time.Minute))
		wantOutcome(t, e.Outcome, plugins.Done, "told and still there 10.0.0.5")
		_ = late.nc.Close()
		synctest.Wait()
		if evs := r.evidence(plugins.SeenLoggedOut); len(evs) != 2 {
			t.Errorf("evidence %+v, want one for each key", evs)
		}
	})
}

// TestYoungPort: after a start the hosts are given the time of their POLLFREQ to come back.
func TestYoungPort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, config(t)).inBubble()
		begin := time.Now()
		ch := r.do(call(key(41, 0), time.Minute))
		time.Sleep(7 * time.Second)
		r.pipe("10.0.0.5").login("rack12").status("rack12")
		e := <-ch
		wantOutcome(t, e.Outcome, plugins.Done, "told and still there 10.0.0.5")
		if d := time.Since(begin); d != 7*time.Second {
			t.Errorf("done after %v", d)
		}
		r.plan(41, "3", "armed")
		r.plan(0, "0", "armed")
		r.mu0(func() { r.since = time.Now() })
		empty := call(key(42, 0), time.Minute)
		empty.Target = "RACK13"
		if o := r.Do(t.Context(), empty, nil); o.Result != plugins.Failed {
			t.Errorf("an unknown name is taken: %+v", o)
		}
		empty.Target, begin = "rack13", time.Now()
		wantOutcome(t, r.Do(t.Context(), empty, nil), plugins.Failed, "no host")
		if d := time.Since(begin); d != youngWait {
			t.Errorf("failed after %v, want %v", d, youngWait)
		}
	})
}

// TestNotAsked: hosts that do not ask in time are told of, and the call is done: the order stands.
func TestNotAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, config(t)).inBubble()
		r.pipe("10.0.0.5").login("rack12")
		begin := time.Now()
		e := <-r.do(call(key(41, 0), 10*time.Second))
		wantOutcome(t, e.Outcome, plugins.Done, "not every host has asked yet")
		if d := time.Since(begin); d > 10*time.Second || len(e.seen) > 0 {
			t.Errorf("after %v, %v", d, e.seen)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		wantOutcome(t, r.Do(ctx, call(key(41, 1), 10*time.Second), nil), plugins.Unknown, "the same key")
	})
}

// TestExpected: with listed hosts the evidence waits for all of them, and for no other.
func TestExpected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config(t)
		cfg.UPS[0].Clients = []string{"10.0.0.5", "10.0.0.6"}
		r := newRig(t, cfg).inBubble()
		a := r.pipe("10.0.0.5").login("rack12")
		other := r.pipe("10.0.0.9").login("rack12")
		ch := r.do(call(key(41, 0), time.Minute))
		synctest.Wait()
		a.status("rack12")
		other.status("rack12")
		e := <-ch
		wantOutcome(t, e.Outcome, plugins.Done, "never there 10.0.0.6")
		if len(e.seen) > 0 {
			t.Errorf("evidence %v although a host is missing", e.seen)
		}
		_ = a.nc.Close()
		once := r.pipe("10.0.0.6") // a program that only looks
		once.status("rack12")
		_ = once.nc.Close()
		synctest.Wait()
		if evs := r.evidence(plugins.SeenLoggedOut); len(evs) != 0 {
			t.Errorf("evidence %+v of a program that only looks", evs)
		}
		// WinNUT: it asks again and again, and never logs in. Its listed address makes it a host.
		silent := r.pipe("10.0.0.6")
		silent.status("rack12")
		synctest.Wait()
		if evs := r.evidence(plugins.SeenLoggedOut); len(evs) != 0 {
			t.Errorf("evidence %+v", evs)
		}
		silent.status("rack12")
		_ = silent.nc.Close()
		synctest.Wait()
		if evs := r.evidence(plugins.SeenLoggedOut); len(evs) != 1 {
			t.Errorf("evidence %+v, want one: both listed hosts are gone", evs)
		}
	})
}

// TestMinClients: one host gone is not enough where two are expected, and one that is cut off or has
// not seen FSD is not gone.
func TestMinClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config(t)
		cfg.UPS[0].MinClients = 2
		r := newRig(t, cfg).inBubble()
		a, b := r.pipe("10.0.0.5").login("rack12"), r.pipe("10.0.0.6").login("rack12")
		ch := r.do(call(key(41, 0), 10*time.Second))
		synctest.Wait()
		_ = b.nc.Close() // a blink of the network: it has not seen FSD
		synctest.Wait()
		a.status("rack12")
		e := <-ch
		wantOutcome(t, e.Outcome, plugins.Done, "told and still there 10.0.0.5, cut off 10.0.0.6")
		_ = a.nc.Close()
		b = r.pipe("10.0.0.6").login("rack12")
		b.status("rack12")
		time.Sleep(idleBound + time.Second) // it hangs: we close
		if got := b.ask("VER"); got != "closed" {
			t.Errorf("after the idle time: %q", got)
		}
		synctest.Wait()
		if evs := r.evidence(plugins.SeenLoggedOut); len(evs) != 0 {
			t.Errorf("evidence %+v, one host is only cut off", evs)
		}
		b = r.pipe("10.0.0.6").login("rack12")
		b.status("rack12")
		b.want("LOGOUT", "OK Goodbye")
		synctest.Wait()
		if evs := r.evidence(plugins.SeenLoggedOut); len(evs) != 1 {
			t.Errorf("evidence %+v, want one", evs)
		}
	})
}

// TestSetsNothing: dry runs, drills, undo and calls that cannot begin leave the status alone.
func TestSetsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config(t)
		r := newRig(t, cfg).inBubble()
		r.pipe("10.0.0.5").login("rack12")
		cfg.Drill = "dry-run"
		rd := newRig(t, cfg).inBubble()
		for name, c := range map[string]struct {
			r      *rig
			change func(*plugins.Call)
			want   plugins.Result
			detail string
		}{
			"dry":          {r, func(c *plugins.Call) { c.Mark = plugins.MarkDry }, plugins.Skipped, "would set FSD on UPS rack12, and its hosts would shut down: 1 hosts are there"},
			"drill":        {r, func(c *plugins.Call) { c.Mark = plugins.MarkDrill }, plugins.Skipped, "no drill support"},
			"drill dry":    {rd, func(c *plugins.Call) { c.Mark = plugins.MarkDrill }, plugins.Skipped, "would set FSD"},
			"unknown mark": {r, func(c *plugins.Call) { c.Mark = 9 }, plugins.Skipped, "not known"},
			"undo":         {r, func(c *plugins.Call) { c.Key.Undo = true }, plugins.Failed, "cannot be undone"},
			"target":       {r, func(c *plugins.Call) { c.Target = "rack99" }, plugins.Failed, "use one of rack12, rack13"},
			"no target":    {r, func(c *plugins.Call) { c.Target = "" }, plugins.Failed, "a target is needed"},
			"time-out":     {r, func(c *plugins.Call) { c.Timeout = 0 }, plugins.Failed, "time-out"},
		} {
			k := call(key(41, 0), time.Second)
			c.change(&k)
			o := c.r.Do(t.Context(), k, nil)
			if o.Result != c.want || !strings.Contains(o.Detail, c.detail) {
				t.Errorf("%s: %v %q, want %v with %q", name, o.Result, o.Detail, c.want, c.detail)
			}
		}
		for _, s := range []string{r.pipe("10.0.0.9").status("rack12"), rd.pipe("10.0.0.9").status("rack12")} {
			if s != "OL" {
				t.Errorf("status %q", s)
			}
		}
	})
}

// TestReset: only the end of the episode, seen open and then no more, takes FSD back, and never from
// a connection that saw it.
func TestReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, config(t)).inBubble()
		saw := r.pipe("10.0.0.5").login("rack12")
		ch := r.do(call(key(41, 0), time.Minute))
		synctest.Wait()
		saw.status("rack12")
		wantOutcome(t, (<-ch).Outcome, plugins.Done, "")
		r.plan(0, "0", "armed") // offered before the episode began, and late
		still := func(when string) {
			t.Helper()
			if s := r.pipe("10.0.0.9").status("rack12"); s != "FSD OL" {
				t.Errorf("%s: a new connection sees %q", when, s)
			}
		}
		still("after an old update")
		r.plan(41, "3", "armed")
		r.Offer(plugins.Update{Mark: plugins.MarkDrill, Plan: &plugins.PlanState{Plan: "evacuate", Stage: "0", Origin: "real"}})
		r.Offer(plugins.Update{Plan: &plugins.PlanState{Plan: "evacuate", Stage: "0", Origin: "simulated"}})
		r.Offer(plugins.Update{Plan: &plugins.PlanState{Plan: "evacuate", Stage: "9", Origin: "real"}})
		r.Offer(plugins.Update{Plan: &plugins.PlanState{Plan: "other", Stage: "0", Origin: "real"}})
		r.Offer(plugins.Update{Event: &plugins.Event{Type: "x"}})
		still("after updates that say nothing of it")
		r.plan(0, "0", "armed")
		if s := r.pipe("10.0.0.9").status("rack12"); s != "OL" {
			t.Errorf("after the reset a new connection sees %q", s)
		}
		if s := saw.status("rack12"); s != "FSD OL" {
			t.Errorf("after the reset the connection that saw FSD sees %q", s)
		}
		if s := saw.ask("LIST VAR rack12"); !strings.Contains(s, `ups.status "FSD OL"`) {
			t.Errorf("and in its list: %s", s)
		}
		wantOutcome(t, r.Do(t.Context(), call(key(41, 3), time.Minute), nil), plugins.Failed, "was reset")
		ch = r.do(call(key(42, 0), time.Minute))
		synctest.Wait()
		r.plan(42, "3", "armed")
		r.plan(43, "1", "armed") // a higher one: the reset between was dropped
		if s := r.pipe("10.0.0.9").status("rack12"); s != "OL" {
			t.Errorf("a higher episode leaves %q", s)
		}
		<-ch
	})
}

// TestDeadMan: OB at stage 2a of an armed plan, opt-in, back to OL with the reset (timeline 26).
func TestDeadMan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, config(t)).inBubble()
		c := r.pipe("10.0.0.5").login("rack12")
		step := func(episode uint64, stage, mode, want string, dead ...string) {
			t.Helper()
			r.plan(episode, stage, mode)
			if s := c.status("rack12"); s != want {
				t.Errorf("stage %s, %s: %q, want %q", stage, mode, s, want)
			}
			if s := c.status("rack13"); s != "OL" {
				t.Errorf("a UPS that has not opted in says %q", s)
			}
			if d := r.DeadMan(); !slices.Equal(d, dead) {
				t.Errorf("stage %s, %s: DeadMan %v, want %v", stage, mode, d, dead)
			}
		}
		step(0, "0", "armed", "OL")
		step(41, "1", "armed", "OL")
		step(41, "2a", "observe", "OL")
		step(41, "2a", "armed", "OB", "rack12")
		step(41, "2b", "armed", "OB", "rack12")
		step(0, "0", "armed", "OL")
		step(42, "3", "armed", "OB", "rack12")
		ch := r.do(call(key(42, 0), time.Minute))
		synctest.Wait()
		step(42, "3", "armed", "FSD OL") // its hosts go in any case
		<-ch
	})
}

// TestProbe tells all that would keep hosts from obeying.
func TestProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config(t)
		cfg.UPS[0].Clients = []string{"10.0.0.5", "10.0.0.6"}
		cfg.UPS[1].MinClients = 2
		r := newRig(t, cfg)
		probe := func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			return r.Probe(ctx)
		}
		wantErr(t, probe(), "the server does not run", "no client is logged in to UPS rack12", "no client is logged in to UPS rack13")
		r.inBubble()
		r.pipe("10.0.0.5").login("rack12")
		r.pipe("10.0.0.5").login("rack13")
		wantErr(t, probe(), `hook "power"`, "UPS rack12: not logged in: 10.0.0.6", "1 clients are logged in to UPS rack13, 2 are expected")
		ch := make(chan error, 1)
		go func() { ch <- probe() }()
		time.Sleep(time.Second)
		r.pipe("10.0.0.6").login("rack12")
		r.pipe("10.0.0.6").login("rack13")
		begin := time.Now()
		if err := <-ch; err != nil || time.Since(begin) != 0 {
			t.Errorf("with every host there: %v after %v", err, time.Since(begin))
		}
		writeFile(t, cfg.UsersFile, "x y tertiary z\n", 0o600)
		wantErr(t, probe(), "users_file", "line 1: the role")
	})
}

// TestManyAtOnce: hosts, readings, plans and calls of one key at once; run with -race.
func TestManyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, config(t)).inBubble()
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				c := r.pipe(fmt.Sprintf("10.0.0.%d", 10+i)).login("rack12")
				for c.status("rack12") != "FSD OL" {
					c.ask("LIST VAR rack12")
					time.Sleep(time.Second)
				}
				c.want("LOGOUT", "OK Goodbye")
			})
			wg.Go(func() {
				for n := range 10 {
					r.read(sensors.Reading{Point: 1, Value: float64(n), Quality: sensors.GoodQuality})
					r.plan(41, "2a", "armed")
					_, _ = r.DeadMan(), r.Clients()
				}
			})
		}
		attached := 0
		for range 10 {
			ch := r.do(call(key(41, 0), time.Minute))
			wg.Go(func() {
				e := <-ch
				wantOutcome(t, e.Outcome, plugins.Done, "FSD stands")
				if e.Attached {
					r.mu.Lock()
					defer r.mu.Unlock()
					attached++
				}
			})
		}
		wg.Wait()
		if attached != 9 {
			t.Errorf("%d of 10 calls attached, want 9", attached)
		}
	})
}
