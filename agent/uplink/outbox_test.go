package uplink

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"firebreak/agent/journal"
	"firebreak/agent/journal/faultfs"
	"firebreak/agent/wire/brokertest"
	"firebreak/plugins"
)

// lifeOf is the configuration of the nth life of one agent, with its log on fs.
func lifeOf(n int, fs journal.FS, urls ...string) Config {
	c := config(urls...)
	c.Epoch, c.Instance, c.Boot = uint64(40+n), fmt.Sprint("i", n), "boot"
	c.Store = func() (journal.FS, func() error, error) { return fs, func() error { return nil }, nil }
	return c
}

// written waits until all that was offered is with the kernel and the disk.
func written(t testing.TB, u *Uplink) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		u.outbox.mu.Lock()
		j := u.outbox.j
		u.outbox.mu.Unlock()
		if j != nil && j.Stats().Queued == 0 && j.Stats().Assigned > 0 {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("the log does not follow")
		}
	}
}

// of are the messages of one life, first arrivals only, in order.
func of(got []received, instance, class string) []uint64 {
	return distinct(slices.DeleteFunc(slices.Clone(got), func(r received) bool { return r.head.Instance != instance }), class)
}

func event(i int) plugins.Update {
	return plugins.Update{Event: &plugins.Event{Type: "x", Detail: fmt.Sprint(i)}}
}

// away is a broker that takes no connection.
func away(int, *brokertest.Conn) {}

// An agent that is killed while the broker is away tells, in its next life, every transition and event that
// it had raised, in order, marked, and behind its own alarms; and nothing of it is retained.
func TestKilledInAnOutage(t *testing.T) {
	const n = 1000
	fs := faultfs.New()
	u, stop := start(t, lifeOf(1, fs, brokertest.Start(t, away).URL()))
	for i := range n {
		u.Offer(alarm(fmt.Sprint("a", i%7), uint64(i), 1+i%4, i%2 == 0))
		u.Offer(event(i))
	}
	u.Offer(plugins.Update{Plan: &plugins.PlanState{Plan: "evacuate", Zone: "b3", Stage: "1"}})
	u.Offer(plugins.Update{Plan: &plugins.PlanState{Plan: "evacuate", Zone: "b3", Stage: "2b"}})
	written(t, u)
	left := fs.Kill()
	stop()

	in := newInbox()
	next, stop := start(t, lifeOf(2, left, brokertest.Start(t, acker(in)).URL()))
	next.Offer(alarm("a1", 1, 1, true))
	got := in.await(t, "all of both lives", func(got []received) bool {
		return len(of(got, "i1", "alarm")) == n && len(of(got, "i1", "event")) == n && len(of(got, "i1", "plan")) == 1 && len(of(got, "i2", "alarm")) == 1
	})
	for _, class := range []string{"alarm", "event"} {
		if s := of(got, "i1", class); !slices.Equal(s, upTo(n)) {
			t.Errorf("%s out of order: %v", class, s)
		}
	}
	if s := of(got, "i1", "plan"); !slices.Equal(s, []uint64{2}) {
		t.Errorf("plan states %v: the newest was to come", s)
	}
	for _, r := range got {
		if r.head.Instance == "i1" && (r.retain || !strings.Contains(r.payload, `"replayed":true`)) {
			t.Fatalf("retained %v: %s", r.retain, r.payload)
		}
	}
	stop()

	// The third life has nothing left to tell: the places of the second were written when it ended.
	in = newInbox()
	last, _ := start(t, lifeOf(3, left, brokertest.Start(t, acker(in)).URL()))
	written(t, last)
	last.Offer(event(1))
	got = in.await(t, "the third life", func(got []received) bool { return len(of(got, "i3", "event")) == 1 })
	if len(of(got, "i1", "alarm"))+len(of(got, "i2", "alarm"))+len(of(got, "i1", "event")) > 0 {
		t.Error("what was acknowledged came again after an orderly end")
	}
}

// Each broker has its own place: what one has acknowledged comes to the other alone.
func TestAPlaceForEachBroker(t *testing.T) {
	fs, in := faultfs.New(), newInbox()
	u, stop := start(t, lifeOf(1, fs, brokertest.Start(t, acker(in)).URL(), brokertest.Start(t, away).URL()))
	for i := range 50 {
		u.Offer(event(i))
	}
	in.await(t, "the first broker has all", func(got []received) bool { return len(distinct(got, "event")) == 50 })
	written(t, u)
	stop()

	ins := []*inbox{newInbox(), newInbox(), newInbox()}
	var urls []string
	for _, in := range ins {
		urls = append(urls, brokertest.Start(t, acker(in)).URL())
	}
	u, _ = start(t, lifeOf(2, fs, urls...)) // the third is new: it owes nobody what was before it
	written(t, u)
	ins[1].await(t, "the second broker has all", func(got []received) bool { return slices.Equal(of(got, "i1", "event"), upTo(50)) })
	u.Offer(event(0))
	for i, in := range ins {
		got := in.await(t, "the second life", func(got []received) bool { return len(of(got, "i2", "event")) == 1 })
		if n := len(of(got, "i1", "event")); i != 1 && n > 0 {
			t.Errorf("broker %d got %d again", i, n)
		}
	}
}

// A broker that takes messages and swallows its acknowledgements moves nothing: they come again in the next
// life too.
func TestSwallowedAcksMoveNothing(t *testing.T) {
	fs, in := faultfs.New(), newInbox()
	mute := brokertest.Start(t, func(n int, c *brokertest.Conn) {
		take(n, c, in, 11) // the birth and ten
		for {
			p, err := c.Next()
			if err != nil {
				return
			}
			in.add(n, p.Topic, p.Retained, p.Payload)
		}
	})
	u, stop := start(t, lifeOf(1, fs, mute.URL()))
	for i := range 40 {
		u.Offer(alarm("smoke", uint64(i+1), 1, i%2 == 0))
	}
	in.await(t, "all were sent", func(got []received) bool { return len(distinct(got, "alarm")) == 40 })
	written(t, u)
	left := fs.Kill()
	stop()

	again := newInbox()
	start(t, lifeOf(2, left, brokertest.Start(t, acker(again)).URL()))
	got := again.await(t, "what was not acknowledged", func(got []received) bool {
		s := of(got, "i1", "alarm")
		return len(s) > 0 && s[len(s)-1] == 40
	})
	s := of(got, "i1", "alarm")
	if !slices.Equal(s, upTo(40)[40-len(s):]) || len(s) < 30 {
		t.Errorf("came again: %v", s)
	}
}

// A log that outgrew its bound has lost its oldest part: the broker hears which, of which life, and all the rest.
func TestLogBoundNamesTheGap(t *testing.T) {
	fs := faultfs.New()
	cfg := lifeOf(1, fs, brokertest.Start(t, away).URL())
	cfg.MaxLogBytes = 64 << 10
	u, stop := start(t, cfg)
	const n = 600
	for i := range n {
		u.Offer(event(i))
		if i%60 == 0 {
			written(t, u) // so that segments are begun
		}
	}
	written(t, u)
	left := fs.Kill()
	stop()
	size := 0
	for _, name := range left.Names() {
		size += len(left.Get(name))
	}
	if size > 2*int(cfg.MaxLogBytes) {
		t.Errorf("%d bytes on disk, of %d", size, cfg.MaxLogBytes)
	}

	in := newInbox()
	cfg = lifeOf(2, left, brokertest.Start(t, acker(in)).URL())
	cfg.HelloEvery = 20 * time.Millisecond
	u, _ = start(t, cfg)
	got := in.await(t, "the newest, and a hello", func(got []received) bool {
		s := of(got, "i1", "event")
		return len(s) > 0 && s[len(s)-1] == n && strings.Contains(got[len(got)-1].payload, `"gaps"`)
	})
	s := of(got, "i1", "event")
	if len(s) == n || !slices.Equal(s, upTo(n)[n-len(s):]) {
		t.Errorf("%d came, not the newest in order: %v", len(s), s)
	}
	want := fmt.Sprintf(`"gaps":[{"class":"event","epoch":41,"instance":"i1","from":1,"to":%d}]`, n-len(s))
	if hello := got[len(got)-1].payload; !strings.Contains(hello, want) {
		t.Errorf("want %s in %s", want, hello)
	}
	if d := u.Stats().Brokers[0].Dropped.Event; d != uint64(n-len(s)) {
		t.Errorf("dropped %d, missing %d", d, n-len(s))
	}
}

// A full disk costs durability and nothing else: it is told, all arrives from memory, and what comes after
// there is room again is kept.
func TestFullDisk(t *testing.T) {
	fs, in := faultfs.New(), newInbox()
	cfg := lifeOf(1, fs, brokertest.Start(t, acker(in)).URL())
	told := make(chan error, 8)
	cfg.Unkept = func(err error) { told <- err }
	u, _ := start(t, cfg)
	u.Offer(event(0))
	written(t, u)
	fs.Space(100)
	for i := range 99 {
		u.Offer(event(i))
	}
	in.await(t, "all, from memory", func(got []received) bool { return slices.Equal(distinct(got, "event"), upTo(100)) })
	next := func() error {
		t.Helper()
		select {
		case err := <-told:
			return err
		case <-time.After(patience):
			t.Fatal("nobody is told")
			return nil
		}
	}
	if err := next(); !errors.Is(err, syscall.ENOSPC) || u.Stats().Kept.Error == "" {
		t.Errorf("told %v, status %+v", err, u.Stats().Kept)
	}
	fs.Heal()
	if err := next(); err != nil {
		t.Errorf("after there was room: %v", err)
	}
	if k := u.Stats().Kept; k.Error != "" || k.Unkept > 0 {
		t.Errorf("status %+v", k)
	}
}

// A disk that hangs, at its opening or in a write, holds up neither Offer, nor a broker, nor the end.
func TestHangingDisk(t *testing.T) {
	for _, where := range []string{"open", "write"} {
		t.Run(where, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { hangingDisk(t, where) })
		})
	}
}

func hangingDisk(t *testing.T, where string) {
	const n = 3 * maxEarly
	fs, in := faultfs.New(), newInbox()
	cfg := piped(lifeOf(1, fs, "mqtt://b"), map[string]func() net.Conn{"b": brokertest.Pipes(t, acker(in))})
	cfg.MaxQueued = 4 * n
	release, store := make(chan struct{}), cfg.Store
	unhang := func() { close(release) }
	if where == "open" {
		cfg.Store = func() (journal.FS, func() error, error) { <-release; return store() }
	} else {
		unhang = fs.Hang(faultfs.Write)
	}
	var problem atomic.Value
	cfg.Unkept = func(err error) { problem.Store(err) }
	u, stop := start(t, cfg)
	t.Cleanup(unhang) // after its end
	begin := time.Now()
	for i := range n {
		u.Offer(event(i))
	}
	if d := time.Since(begin); d != 0 {
		t.Errorf("offers have waited %v", d)
	}
	<-time.After(time.Second) // of the fake clock
	in.await(t, "all, from memory", func(got []received) bool { return len(distinct(got, "event")) == n })
	if u.Stats().Kept.Unkept < n/2 {
		t.Errorf("%+v: what is in memory alone is not counted", u.Stats().Kept)
	}
	if where == "open" {
		u.outbox.look(time.Now().Add(outboxSilent + time.Second))
		if err, _ := problem.Load().(error); err == nil || !strings.Contains(err.Error(), "does not answer") {
			t.Errorf("told %v", err)
		}
	}
	stop()
}
