package uplink

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"firebreak/agent/journal"
	"firebreak/agent/journal/faultfs"
	"firebreak/agent/wire"
	"firebreak/agent/wire/brokertest"
)

// spillOf is the nth life of an agent whose readings have a log on fs; nothing runs, but the log is open.
func spillOf(t testing.TB, n int, fs journal.FS, urls ...string) *Uplink {
	t.Helper()
	u, err := New(spilling(n, fs, urls...))
	if err != nil {
		t.Fatal(err)
	}
	u.spill.open(context.Background(), u.spill.resume)
	return u
}

func spilling(n int, fs journal.FS, urls ...string) Config {
	c := lifeOf(n, faultfs.New(), urls...)
	c.StoreReadings = func() (journal.FS, func() error, error) { return fs, func() error { return nil }, nil }
	return c
}

// acknowledge has a broker take n readings.
func acknowledge(u *Uplink, broker, n int) (seqs []uint64) {
	l := u.links[broker].readings()
	for range n {
		m, from := l.backlog.next(0)
		l.backlog.acked(m, from)
		seqs = append(seqs, m.Seq)
	}
	return seqs
}

func elders(u *Uplink, broker int) (seqs []uint64) {
	q := &u.links[broker].readings().backlog.elder
	for i := range q.n {
		seqs = append(seqs, (*q.at(i)).Seq)
	}
	return seqs
}

func offer(u *Uplink, n int) {
	for i := range n {
		u.Offer(state(i))
	}
}

// What all brokers have acknowledged never comes to the disk; what one of them lacks is there for the next life, which
// tells it to that one alone, and is let go once that has it.
func TestReadingsOnDisk(t *testing.T) {
	fs, later := faultfs.New(), time.Now().Add(time.Hour)
	u := spillOf(t, 1, fs, "mqtt://127.0.0.1:1", "mqtt://127.0.0.1:2")
	offer(u, 10)
	acknowledge(u, 0, 10)
	acknowledge(u, 1, 10)
	u.spill.keep(later)
	if u.spill.look(later); len(u.spill.marks) > 0 || u.spill.j.Stats().Assigned > 0 {
		t.Fatalf("readings that all have are on the disk: %v", u.spill.marks)
	}
	offer(u, 20)
	acknowledge(u, 0, 20)
	acknowledge(u, 1, 5)
	if waits := u.spill.keep(time.Now().Add(-time.Hour)); !waits || len(u.spill.marks) > 0 {
		t.Fatal("what has not waited is on the disk")
	}
	u.spill.keep(later)
	u.spill.keep(later)
	u.spill.look(later)
	if len(u.spill.marks) != 1 {
		t.Fatalf("%v", u.spill.marks)
	}
	u.spill.end()
	left := fs.Kill()

	u = spillOf(t, 2, left, "mqtt://127.0.0.1:1", "mqtt://127.0.0.1:2", "mqtt://127.0.0.1:3")
	for broker, want := range [][]uint64{nil, upTo(30)[15:], nil} {
		if got := elders(u, broker); !slices.Equal(got, want) {
			t.Errorf("broker %d is to be told %v, want %v", broker, got, want)
		}
	}
	offer(u, 3)
	if m, from := u.links[1].readings().backlog.next(0); from != fromStates || m.Epoch != 0 {
		t.Errorf("not the reading of now comes first: %v", from)
	}
	u.links[1].readings().backlog.reconnected()
	acknowledge(u, 1, 3+10)
	u.spill.keep(later)
	u.spill.look(later)
	u.spill.end()

	u = spillOf(t, 3, left.Kill(), "mqtt://127.0.0.1:1", "mqtt://127.0.0.1:2")
	// Those of the second life that came to broker 1 before older ones come again.
	if got := elders(u, 1); !slices.Equal(got, append(upTo(30)[25:], 1, 2, 3)) {
		t.Errorf("the third life is to tell %v", got)
	}
	if got := elders(u, 0); !slices.Equal(got, upTo(3)) {
		t.Errorf("the third life is to tell %v", got)
	}
	acknowledge(u, 1, 8)
	acknowledge(u, 0, 3)
	u.spill.look(later)
	u.spill.end()
	u = spillOf(t, 4, left.Kill(), "mqtt://127.0.0.1:1", "mqtt://127.0.0.1:2")
	defer u.spill.end()
	if n := len(elders(u, 0)) + len(elders(u, 1)); n > 0 || len(u.spill.marks) > 0 {
		t.Errorf("%d are told that all have", n)
	}
}

// What the next life cannot hold goes from its oldest, and has a name.
func TestReadingsOnDiskAreBounded(t *testing.T) {
	fs, later := faultfs.New(), time.Now().Add(time.Hour)
	u := spillOf(t, 1, fs, "mqtt://127.0.0.1:1")
	offer(u, 40)
	u.spill.keep(later)
	u.spill.look(later)
	u.spill.end()
	cfg := spilling(2, fs.Kill(), "mqtt://127.0.0.1:1")
	cfg.MaxState = 30
	u, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	u.spill.open(context.Background(), u.spill.resume)
	defer u.spill.end()
	offer(u, 5)
	b := u.links[0].readings().backlog
	if got := elders(u, 0); !slices.Equal(got, upTo(40)[15:]) || b.states.n != 5 {
		t.Errorf("%d of now, and %v", b.states.n, got)
	}
	if len(b.gaps) != 1 || b.gaps[0] != (wire.GapRange{Class: "state", Epoch: 41, Instance: "i1", From: 1, To: 15}) || b.dropped.State != 15 {
		t.Errorf("%+v, %d dropped", b.gaps, b.dropped.State)
	}
}

// Readings of an agent that is killed while its broker is away are told by its next life, as history. Nothing is
// asked of a disk that hangs.
func TestReadingsOutliveAKill(t *testing.T) {
	const n = 100
	fs := faultfs.New()
	u, stop := start(t, spilling(1, fs, brokertest.Start(t, away).URL()))
	offer(u, n)
	deadline, tick := time.After(patience), time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for kept := false; !kept; {
		u.spill.mu.Lock()
		kept = u.spill.j != nil && u.spill.j.Stats().Assigned > 0 && u.spill.j.Stats().Queued == 0
		u.spill.mu.Unlock()
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("the readings do not come to the disk")
		}
	}
	left := fs.Kill()
	stop()
	in := newInbox()
	next, _ := start(t, spilling(2, left, brokertest.Start(t, acker(in)).URL()))
	next.Offer(state(1))
	got := in.await(t, "the readings of both lives", func(got []received) bool { return count(got, "state") == n+1 })
	var seqs []uint64
	for _, r := range got {
		if r.head.Epoch == 41 && bytes.Contains([]byte(r.payload), []byte(`"replayed":true`)) {
			seqs = append(seqs, r.head.Seq)
		}
	}
	if !slices.Equal(seqs, upTo(n)) {
		t.Errorf("of the killed life came, as history: %v", seqs)
	}
}

// A disk that hangs costs what a kill would then cost, and nothing else: readings are told, and the end is not held up.
func TestReadingsDiskHangs(t *testing.T) {
	for _, where := range []string{"open", "write"} {
		t.Run(where, func(t *testing.T) {
			fs, in := faultfs.New(), newInbox()
			cfg := spilling(1, fs, brokertest.Start(t, acker(in)).URL(), brokertest.Start(t, away).URL())
			release := make(chan struct{})
			unhang := func() { close(release) }
			if where == "open" {
				store := cfg.StoreReadings
				cfg.StoreReadings = func() (journal.FS, func() error, error) { <-release; return store() }
			} else {
				unhang = fs.Hang(faultfs.Write)
			}
			u, stop := start(t, cfg)
			t.Cleanup(unhang)
			for range 5 {
				offer(u, 200)
				u.links[0].awake()
			}
			in.await(t, "all", func(got []received) bool { return len(distinct(got, "state")) == 1000 })
			stop()
		})
	}
}

// FuzzSpilt: a record reads back as what was written, and anything else is refused or could have been told.
func FuzzSpilt(f *testing.F) {
	g := spiltGroup{Epoch: 41, Instance: "i1", Boot: "boot", Wall: 5, Mono: 6}
	for i := range 3 {
		g.Polls = append(g.Polls, spiltPoll{uint64(i + 1), time.Duration(i), i == 1, "firebreak/1/state/site/zone/agent/dev", fmt.Appendf(nil, `{"seq":%d}`, i)})
		f.Add(g.append(nil))
	}
	f.Add([]byte{recordPolls})
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := readSpilt(b)
		if err != nil {
			return
		}
		back, err := readSpilt(g.append(nil))
		if err != nil || fmt.Sprint(back) != fmt.Sprint(g) {
			t.Fatalf("%+v reads back as %+v: %v", g, back, err)
		}
		for _, m := range g.messages(instant{"boot", 7, time.UnixMilli(8), true, time.Now()}, nil) {
			if topic, payload := m.Past(); topic == m.Topic || !bytes.Contains(payload, []byte(`"replayed":true`)) {
				t.Fatalf("%s %s", topic, payload)
			}
		}
	})
}
