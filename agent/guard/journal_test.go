package guard

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"firebreak/agent/journal"
	"firebreak/agent/journal/faultfs"
	"firebreak/agent/response"
	"firebreak/plugins"
)

// started waits for the hook of the only step and says how long it took and how it was marked.
func started(t *testing.T, w *world, change func()) (time.Duration, bool) {
	t.Helper()
	pass(time.Second)
	if change != nil {
		change()
	}
	start := time.Now()
	w.read(smoke, 5)
	pass(time.Second)
	if n := len(w.hook.seen()); n != 1 {
		t.Fatalf("%d calls, want 1", n)
	}
	w.want("drain", "done")
	if j := w.view()["drain"].Journaled; j != w.hook.seen()[0].Journaled {
		t.Errorf("the hook was told journaled %v, the plan says %v", w.hook.seen()[0].Journaled, j)
	}
	return w.hook.times()[0].Sub(start), w.hook.seen()[0].Journaled
}

// S9: a hook starts when its record is durable, or at the bound.
func TestJournalBound(t *testing.T) {
	drain := rules(response.Step{Name: "drain"})
	for _, c := range []struct {
		name   string
		j      *fakeJournal
		change func(*fakeJournal)
		after  time.Duration
		marked bool
	}{
		{"durable at once", newFakeJournal(0), nil, 0, true},
		{"durable after 99 ms", newFakeJournal(99 * time.Millisecond), nil, 99 * time.Millisecond, true},
		{"durable after 101 ms", newFakeJournal(101 * time.Millisecond), nil, 100 * time.Millisecond, false},
		{"hangs", newFakeJournal(0), func(j *fakeJournal) { j.lag = -1 }, 100 * time.Millisecond, false},
		{"refuses", newFakeJournal(0), func(j *fakeJournal) { j.refuse = true }, 0, false},
		{"refuses from the start", &fakeJournal{refuse: true, ch: make(chan journal.Durable, 1)}, nil, 0, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			c.j.ch = make(chan journal.Durable, 1)
			w := begin(t, drain, nil, func(g *Config) { g.Journal = c.j })
			after, marked := started(t, w, func() {
				if c.change != nil {
					c.j.set(func() { c.change(c.j) })
				}
			})
			if after != c.after || marked != c.marked {
				t.Errorf("%s: started after %v, journaled %v; want %v, %v", c.name, after, marked, c.after, c.marked)
			}
			if a := w.pub.alarm("plan/evacuate/drain/not-journaled"); a.Active == marked {
				t.Errorf("%s: alarm %+v", c.name, a)
			}
			if err := w.stop(); (err != nil) != c.j.refuse {
				t.Errorf("%s: stop: %v", c.name, err)
			}
		})
	}
}

// No journal at all: hooks start at once, and it is told.
func TestNoJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, rules(response.Step{Name: "drain"}), nil, func(c *Config) { c.JournalErr = syscall.ENOSPC })
		if after, marked := started(t, w, nil); after != 0 || marked {
			t.Errorf("started after %v, journaled %v", after, marked)
		}
		if a := w.pub.alarm("agent/journal"); !a.Active || a.Priority != 1 || !strings.Contains(a.Cause, "no space left") {
			t.Errorf("alarm %+v", a)
		}
		w.end()
	})
}

// The journal's alarm comes when it lags and goes when it has caught up; a journal that is merely
// busy raises none.
func TestJournalAlarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newFakeJournal(0)
		w := begin(t, rules(response.Step{Name: "drain"}), nil, func(c *Config) { c.Journal = j })
		pass(time.Second)
		j.set(func() { j.lag = -1 })
		w.read(smoke, 5)
		pass(journalLag - time.Millisecond)
		if a := w.pub.alarm("agent/journal"); a.Active {
			t.Error("alarm before the lag")
		}
		pass(maxIdle + 2*time.Millisecond)
		if a := w.pub.alarm("agent/journal"); !a.Active || a.Priority != 1 {
			t.Errorf("alarm %+v after %v", a, journalLag)
		}
		j.set(func() { j.lag = 0 })
		j.done(j.last())
		pass(time.Second)
		if a := w.pub.alarm("agent/journal"); a.Active {
			t.Errorf("alarm %+v after the journal has caught up", a)
		}
		w.end()
	})
}

// The alarm names what the disk says now, and not what was wrong first: who has made room is not told for hours that there is
// none. What follows from it (late, its queue full) hides it no more than the name of the segment of each new try does.
func TestJournalAlarmNamesTheNewestFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newFakeJournal(0)
		w := begin(t, rules(response.Step{Name: "drain"}), nil, func(c *Config) { c.Journal = j })
		pass(time.Second)
		j.set(func() { j.lag = -1 })
		w.read(smoke, 5)
		pass(journalLag + 2*maxIdle)
		says := func(when, want string) {
			t.Helper()
			if a := w.pub.alarm("agent/journal"); !a.Active || a.Occurrence != 1 || !strings.Contains(a.Cause, want) {
				t.Errorf("%s: %+v, want %q in the cause", when, a, want)
			}
		}
		fails := func(n int, errno syscall.Errno) {
			for i := range n {
				j.ch <- journal.Durable{Seq: j.DurableSeq(), Err: fmt.Errorf("journal: create %d: %w", i, errno)}
				pass(5 * time.Second)
			}
		}
		says("late", "has not answered")
		fails(1, syscall.ENOSPC)
		says("full", "no space left")
		j.set(func() { j.refuse = true })
		w.read(smoke, 20)
		w.read(heat, 80)
		told := w.pub.count("agent/journal")
		fails(20, syscall.ENOSPC)
		says("full for long, its queue too", "no space left")
		if n := w.pub.count("agent/journal"); n != told {
			t.Errorf("of one fault %d more changes were told", n-told)
		}
		fails(1, syscall.EROFS)
		says("remounted", "read-only")
		j.set(func() { j.lag = 0 })
		j.done(j.last())
		pass(maxIdle + 2*time.Millisecond)
		says("it writes again, and records are missing", "has refused records")
		j.set(func() { j.refuse = false })
		pass(2 * healPause)
		if a := w.pub.alarm("agent/journal"); a.Active {
			t.Errorf("alarm %+v after all is written", a)
		}
		w.end()
	})
}

// A hook waits for its own record, not for one before it.
func TestStartsWithItsOwnRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newFakeJournal(0)
		w := begin(t, rules(response.Step{Name: "drain"}), nil, func(c *Config) { c.Journal = j })
		pass(time.Second)
		j.set(func() { j.lag = -1 })
		w.read(smoke, 5)
		synctest.Wait()
		own := uint64(0)
		for i, k := range kinds(t, j.recovered()) {
			if k == "drain starting" {
				own = uint64(i) + 1
			}
		}
		j.done(own - 1)
		pass(10 * time.Millisecond)
		if n := len(w.hook.seen()); n != 0 {
			t.Error("started before its record was durable")
		}
		j.done(own)
		synctest.Wait()
		if c := w.hook.seen(); len(c) != 1 || !c[0].Journaled {
			t.Errorf("calls %+v", c)
		}
		w.end()
	})
}

// All that a step writes goes to the journal at once: its hook waits for one sync.
func TestRecordsOfAStepTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newFakeJournal(-1)
		w := begin(t, rules(response.Step{Name: "drain"}), nil, func(c *Config) { c.Journal = j })
		pass(time.Second)
		groups, recs := 0, uint64(0)
		j.set(func() { groups, recs = j.groups, uint64(len(j.recs)) })
		w.read(smoke, 5)
		synctest.Wait()
		var more int
		j.set(func() { more = j.groups - groups })
		if n := j.last() - recs; more != 1 || n < 2 {
			t.Errorf("%d records of one step were appended in %d turns", n, more)
		}
		w.end()
	})
}

// A record that hangs behind one that came through is noticed too.
func TestJournalAlarmForTheSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newFakeJournal(0)
		w := begin(t, rules(response.Step{Name: "drain"}), nil, func(c *Config) { c.Journal = j })
		pass(time.Second)
		j.set(func() { j.lag = -1 })
		w.read(smoke, 5)
		pass(time.Second)
		j.done(j.last() - 1)
		pass(journalLag + 2*maxIdle)
		if a := w.pub.alarm("agent/journal"); !a.Active {
			t.Error("no alarm for the last record")
		}
		w.end()
	})
}

// A disk that always has something under way is not a disk that hangs.
func TestBusyJournalRaisesNoAlarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newFakeJournal(300 * time.Millisecond)
		w := begin(t, rules(response.Step{Name: "drain"}), nil, func(c *Config) { c.Journal = j })
		for i := range 100 { // a detector that changes at each reading writes at each
			w.read(heat, float64(20+60*(i%2)))
			pass(100 * time.Millisecond)
		}
		if a := w.pub.alarm("agent/journal"); a.Occurrence != 0 {
			t.Errorf("alarm %+v", a)
		}
		w.end()
	})
}

// After a refusal the whole state is written, so that what follows fits; until then no hook counts
// as journaled.
func TestGapIsHealed(t *testing.T) {
	for _, large := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := rules(response.Step{Name: "drain"}, response.Step{Name: "hosts", Stage: plugins.Shed})
			j := newFakeJournal(0)
			w := begin(t, r, nil, func(c *Config) { c.Journal = j })
			pass(time.Second)
			j.set(func() { j.refuse = true })
			w.read(smoke, 5)
			pass(time.Second)
			if w.hook.seen()[0].Journaled {
				t.Error("a hook whose record was refused counts as journaled")
			}
			if a := w.pub.alarm("agent/journal"); !a.Active {
				t.Error("no alarm")
			}
			j.set(func() {
				j.refuse = false
				if large {
					j.max = 1000
				}
			})
			w.read(smoke, 6)
			w.read(heat, 80)
			pass(32 * time.Second)
			if c := w.hook.seen()[1]; c.Key.Step != "hosts" || !c.Journaled {
				t.Errorf("after the refusals: %+v", c)
			}
			if a := w.pub.alarm("agent/journal"); a.Active {
				t.Errorf("alarm %+v", a)
			}
			rec := j.recovered()
			if large {
				rec.Snapshot, rec.SnapshotSeq, rec.Records = j.snap, j.covers, rec.Records[j.covers:]
			}
			got, err := Recover(r, rec, nil, w.c.Clock.Now(), "boot", false, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range got.Core.View(w.c.Clock.Now(), "evacuate").Steps {
				if s.State != "done" {
					t.Errorf("large %v: recovered %+v, want done", large, s)
				}
			}
			w.end()
		})
	}
}

// Timeline 24, through the journal itself: disk read-only at t0, smoke at t+10 s, kill, restart.
func TestTimeline24ReadOnlyDisk(t *testing.T) {
	for _, fault := range []string{"read-only", "full", "fsync hangs"} {
		synctest.Test(t, func(t *testing.T) { timeline24(t, fault) })
	}
}

func timeline24(t *testing.T, fault string) {
	disk := faultfs.New()
	r := rules(response.Step{Name: "drain", Evidence: response.ByHook})
	j, rec := openJournal(t, disk)
	w := begin(t, r, rec, func(c *Config) { c.Journal = j })
	pass(time.Minute)
	release := breakDisk(disk, fault)
	pass(10 * time.Second)
	first := unjournaled(t, fault, w)
	// kill -9: nothing more reaches the disk.
	dead := disk
	disk = dead.Kill()
	_ = w.stop()
	release()
	abandon(j)
	// The restart finds the disk as bad as it was; of one that hangs it is enough that it writes nothing.
	if fault == "fsync hangs" {
		fault = "full"
	}
	breakDisk(disk, fault)
	j, rec = openJournal(t, disk)
	w = begin(t, r, rec, func(c *Config) { c.Journal, c.Clock = j, w.c.Clock })
	if second := unjournaled(t, fault, w); second != first {
		t.Errorf("%s: goes on under %v after the restart, was %v", fault, second, first)
	}
	// The disk is mended: all that was decided is there.
	disk.Heal()
	pass(time.Minute)
	if a := w.pub.alarm("agent/journal"); a.Active {
		t.Errorf("%s: alarm %+v on a disk that was mended", fault, a)
	}
	if s := j.Stats(); s.Queued > 0 {
		t.Errorf("%s: %d records still wait", fault, s.Queued)
	}
	w.end()
	abandon(j)
	j, rec = openJournal(t, disk)
	defer abandon(j)
	got, err := Recover(r, rec, nil, w.c.Clock.Now(), "boot", false, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if v := got.Core.View(w.c.Clock.Now(), "evacuate"); v.Stage != "2b" || v.Steps[0].State != "working" || v.Steps[0].Journaled {
		t.Errorf("%s: recovered %+v", fault, v)
	}
}

func breakDisk(disk *faultfs.FS, fault string) (release func()) {
	switch fault {
	case "read-only":
		disk.ReadOnly()
	case "full":
		disk.Space(0)
	case "fsync hangs":
		return disk.Hang(faultfs.Sync)
	}
	return func() {}
}

// unjournaled lets smoke in and wants one hook within the bound, marked, and the alarm: at once for
// an error, after the lag for silence.
func unjournaled(t *testing.T, fault string, w *world) plugins.Key {
	t.Helper()
	start := time.Now()
	w.read(smoke, 5)
	pass(time.Second)
	if a := w.pub.alarm("agent/journal"); a.Active != (fault != "fsync hangs") {
		t.Errorf("%s: alarm after a second: %+v", fault, a)
	}
	pass(9 * time.Second)
	calls := w.hook.seen()
	if len(calls) != 1 {
		t.Fatalf("%s: %d calls, want 1", fault, len(calls))
	}
	if d := w.hook.times()[0].Sub(start); d > 100*time.Millisecond || calls[0].Journaled {
		t.Errorf("%s: hook after %v, journaled %v; want within 100ms, false", fault, d, calls[0].Journaled)
	}
	if a := w.pub.alarm("agent/journal"); !a.Active || a.Priority != 1 {
		t.Errorf("%s: alarm %+v", fault, a)
	}
	return calls[0].Key
}

func openJournal(t *testing.T, disk *faultfs.FS) (*journal.Journal, *journal.Recovered) {
	t.Helper()
	j, rec, err := journal.Open(context.Background(), disk, journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return j, rec
}

// abandon ends a journal that may not be able to write.
func abandon(j *journal.Journal) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = j.Close(ctx)
}
