package history

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"firebreak/agent/journal"
	"firebreak/agent/journal/faultfs"
	"firebreak/plugins"
	"firebreak/sensors"
)

// All that is offered is on the disk a second later, what is no poll after 200 ms, in order, and at
// one fsync a group.
func TestAllIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := faultfs.New()
		tp := begin(t, fs, nil)
		pass(time.Millisecond)
		tp.poll(0)
		pass(999 * time.Millisecond)
		if n := fs.Calls(faultfs.Sync); n != 0 {
			t.Errorf("%d fsyncs within the first second", n)
		}
		pass(2 * time.Millisecond)
		if tp.h.Stats().Polls != 1 {
			t.Error("a poll is not on the disk after a second")
		}
		tp.poll(1)
		tp.event("stage.opened")
		tp.plan(7, "2a")
		pass(199 * time.Millisecond)
		if tp.h.Stats().Others != 0 {
			t.Error("an event was written before the journal had its time")
		}
		pass(2 * time.Millisecond)
		if s := tp.h.Stats(); s.Others != 2 || s.Polls != 2 || s.Syncs != 2 {
			t.Errorf("after an event: %+v", s)
		}
		for range 100 {
			for d := range 5 {
				tp.poll(d)
			}
			pass(100 * time.Millisecond)
		}
		if n := fs.Calls(faultfs.Sync); n > 13 {
			t.Errorf("%d fsyncs in 10 s", n)
		}
		tp.end()
		got := read(t, fs.Crash(nil)) // what the disk holds, not what the kernel shows
		got.clean(t)
		got.whole(t, 1, tp.seq)
		if len(got.events) != 1 || len(got.plans) != 1 || got.begins != 1 {
			t.Errorf("events %v, plans %v, %d segments", got.events, got.plans, got.begins)
		}
	})
}

// The ring stays within its bound to the byte, and the oldest polls go first.
func TestBoundInBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := faultfs.New()
		tp := begin(t, fs, small)
		size := func() (n int) {
			for _, name := range fs.Names() {
				n += len(fs.Get(name))
			}
			return n
		}
		for size() < smallBytes*3/4 || tp.h.Stats().Evicted.Segments < 10 {
			for range 200 {
				tp.poll(int(tp.seq % 5))
			}
			pass(1100 * time.Millisecond)
			if n := size(); n > smallBytes {
				t.Fatalf("%d bytes, more than %d", n, smallBytes)
			}
		}
		if s := tp.h.Stats(); s.Size != int64(size()) || s.Segments != len(fs.Names()) || s.Dropped.Polls != 0 {
			t.Errorf("stats %+v; %d bytes in %d files", s, size(), len(fs.Names()))
		}
		tp.end()
		got := read(t, fs)
		got.whole(t, tp.seq-uint64(len(got.seqs))+1, tp.seq)
		if got.rep.Evicted.Segments < 9 || len(got.rep.Damage) > 0 {
			t.Errorf("%+v", got.rep)
		}
	})
}

// What belongs to an episode outlives what comes after it, its opening outlives the rest of it, and
// the bound in bytes wins in the end.
func TestEpisodeIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := faultfs.New()
		tp := begin(t, fs, small)
		fill := func(minutes int) { // of the clock, with enough polls for a segment each five minutes
			for range minutes {
				for range 200 {
					tp.poll(int(tp.seq % 5))
				}
				pass(time.Minute)
			}
		}
		fill(60) // long before
		tp.event("minute-60")
		fill(9)
		tp.event("minute-69")
		fill(5)
		tp.event("before")
		tp.plan(7, "2a")
		fill(5)
		tp.event("opening")
		fill(40)
		tp.event("middle")
		tp.plan(0, "0")
		fill(400)
		has := func(want string) bool {
			for _, e := range read(t, fs).events {
				if e == want {
					return true
				}
			}
			return false
		}
		for event, want := range map[string]bool{"minute-60": false, "minute-69": true, "before": true, "opening": true, "middle": true} {
			if has(event) != want {
				t.Errorf("event %q: there %v, want %v", event, !want, want)
			}
		}
		for n := uint64(8); n < 40 && has("middle"); n++ { // until episodes alone fill the ring
			tp.plan(n, "2a")
			fill(60)
		}
		if has("middle") || !has("opening") {
			t.Errorf("with a full ring: the middle is there %v, the opening %v; want the opening alone", has("middle"), has("opening"))
		}
		tp.end()
		n := 0
		for _, name := range fs.Names() {
			n += len(fs.Get(name))
		}
		if n > smallBytes {
			t.Errorf("%d bytes, more than %d", n, smallBytes)
		}
	})
}

// Age takes what belongs to no episode; a wall clock that nobody has set takes nothing.
func TestBoundInAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := faultfs.New()
		change := func(boot string, synced bool) func(*Options) {
			return func(o *Options) {
				o.MaxAge, o.Info.Boot, o.Synced = 6*time.Hour, boot, func() bool { return synced }
			}
		}
		tp := begin(t, fs, change("one", true))
		tp.event("old")
		pass(2 * time.Hour)
		tp.event("before")
		pass(5 * time.Minute)
		tp.plan(7, "2a")
		pass(10 * time.Second)
		tp.end()
		tp = begin(t, fs, change("two", false)) // another boot, and no clock: the old one's age is not known
		pass(10 * time.Hour)
		tp.event("unsynced")
		pass(10 * time.Second)
		if got := read(t, fs); len(got.events) != 3 {
			t.Errorf("without a clock %v are left, want all", got.events)
		}
		tp.end()
		tp = begin(t, fs, change("three", true))
		tp.plan(7, "2a")
		pass(10 * time.Second)
		if got := read(t, fs); fmt.Sprint(got.events) != "[before unsynced]" {
			t.Errorf("with a clock %v are left; \"old\" is past its age, the others belong to an open episode", got.events)
		}
		tp.plan(0, "0")
		pass(7 * time.Hour)
		tp.event("late")
		pass(10 * time.Second)
		if got := read(t, fs); fmt.Sprint(got.events) != "[unsynced late]" {
			t.Errorf("long after the episode %v are left", got.events) // of "unsynced" no age is known
		}
		tp.end()
	})
}

// Offer never waits, whatever the disk does; what is lost is counted, told, and the oldest polls.
func TestDiskHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := faultfs.New()
		tp := begin(t, fs, nil)
		release := fs.Hang(faultfs.Sync)
		tp.poll(0)
		pass(2 * time.Second) // in hand
		lost := 100
		for range maxReadings/tp.points + lost {
			tp.poll(1) // returns: in this bubble a wait for ever is a deadlock
		}
		tp.event("kept")
		pass(time.Minute)
		s := tp.h.Stats()
		if s.Dropped.Polls < uint64(lost) || s.Dropped.Polls > uint64(lost)+2 || s.Dropped.Others != 0 || s.Doing != "waiting for fsync of readings" {
			t.Errorf("%+v", s)
		}
		if err := tp.stop(); err == nil || !strings.Contains(err.Error(), "hangs (waiting for fsync") {
			t.Errorf("the end: %v", err)
		}
		release()
		synctest.Wait()
		got := read(t, fs)
		if len(got.gaps) != 1 || got.gaps[0].Polls != s.Dropped.Polls || len(got.events) != 1 {
			t.Errorf("gaps %+v, events %v", got.gaps, got.events)
		}
		if len(got.rep.Holes) != 1 || got.rep.Holes[0].Count != s.Dropped.Polls {
			t.Errorf("holes %+v", got.rep.Holes)
		}
	})
}

// Each failure costs no more than its time, is told once, and what waited is written once.
func TestDiskFails(t *testing.T) {
	for name, fail := range map[string]func(*faultfs.FS){
		"full":           func(f *faultfs.FS) { f.Space(10) },
		"read-only":      func(f *faultfs.FS) { f.ReadOnly() },
		"EIO on write":   func(f *faultfs.FS) { f.Fail(syscall.EIO, faultfs.Write) },
		"EIO on fsync":   func(f *faultfs.FS) { f.Fail(syscall.EIO, faultfs.Sync) },
		"EIO on names":   func(f *faultfs.FS) { f.Fail(syscall.EIO, faultfs.SyncDir) },
		"EIO on create":  func(f *faultfs.FS) { f.Fail(syscall.EIO, faultfs.Create) },
		"EIO on listing": func(f *faultfs.FS) { f.Fail(syscall.EIO, faultfs.List) },
	} {
		for _, early := range []bool{true, false} {
			t.Run(fmt.Sprint(name, " early ", early), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					fs := faultfs.New()
					if early {
						fail(fs)
					}
					tp := begin(t, fs, nil)
					tp.poll(0)
					pass(3 * time.Second)
					fail(fs)
					for range 60 {
						tp.poll(0)
						pass(time.Second)
					}
					s := tp.h.Stats()
					affected := early || name != "EIO on create" && name != "EIO on names" && name != "EIO on listing"
					if affected && (s.Err == nil || s.Failures < 2 || s.Failures > 20) {
						t.Errorf("after a minute: %+v", s)
					}
					fs.Heal()
					pass(time.Minute)
					tp.end()
					if n := strings.Count(tp.log.String(), "is not written"); affected && n != 1 || !affected && n != 0 {
						t.Errorf("told %d times:\n%s", n, tp.log)
					}
					got := read(t, fs)
					got.whole(t, 1, tp.seq)
					if n := len(fs.Names()); n > 3 {
						t.Errorf("%d files: failed attempts were left behind", n)
					}
					if len(got.rep.Holes) > 0 || len(got.gaps) > 0 {
						t.Errorf("holes %v, gaps %v", got.rep.Holes, got.gaps)
					}
				})
			})
		}
	}
}

// A directory that cannot be opened is tried again.
func TestDirectoryComesLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs, tries := faultfs.New(), 0
		tp := begin(t, fs, func(o *Options) {
			o.Open = func() (journal.FS, func() error, error) {
				if tries++; tries < 4 {
					return nil, nil, errors.New("in use by another process")
				}
				return fs, func() error { return nil }, nil
			}
		})
		tp.poll(0)
		pass(time.Minute)
		tp.end()
		read(t, fs).whole(t, 1, 1)
	})
}

// What is left of a nearly full disk is the journal's: unneeded readings go, an episode's do not.
func TestReserve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := faultfs.New()
		var free atomic.Int64
		free.Store(1 << 30)
		tp := begin(t, fs, func(o *Options) {
			o.Reserve, o.Free = 1<<20, func() (int64, error) { return free.Load(), nil }
		})
		tp.event("old")
		pass(61 * time.Minute)
		tp.event("needless")
		pass(61 * time.Minute)
		tp.plan(7, "2a")
		pass(61 * time.Minute)
		tp.event("needed")
		pass(time.Second)
		free.Store(1000)
		before := fs.Calls(faultfs.Write)
		tp.poll(0)
		pass(5 * time.Minute)
		if fs.Calls(faultfs.Write) != before {
			t.Error("written into the reserve")
		}
		if s := tp.h.Stats(); !errors.Is(s.Err, errReserve) || s.Evicted.Segments != 2 {
			t.Errorf("%+v", s)
		}
		free.Store(1 << 30)
		pass(time.Minute)
		tp.end()
		if got := read(t, fs); fmt.Sprint(got.events) != "[needed]" || len(got.plans) != 1 || len(got.seqs) != 1 {
			t.Errorf("left: %v %v %v", got.events, got.plans, got.seqs)
		}
	})
}

// A poll that cannot be named and an update without content are passed over; too large an event is counted.
func TestOddUpdates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := faultfs.New()
		tp := begin(t, fs, nil)
		tp.h.Offer(plugins.Update{})
		tp.h.Offer(plugins.Update{State: &sensors.Batch{Device: 77}})
		tp.h.Offer(plugins.Update{Wall: time.Now(), Event: &plugins.Event{Type: "huge", Detail: strings.Repeat("x", hardRecord)}})
		tp.poll(2)
		pass(3 * time.Second)
		tp.poll(2)
		pass(3 * time.Second)
		tp.end()
		got := read(t, fs)
		got.whole(t, 1, 2)
		if len(got.gaps) != 1 || got.gaps[0].Others != 1 || len(got.events) != 0 {
			t.Errorf("gaps %v, events %v", got.gaps, got.events)
		}
	})
}

func TestOptions(t *testing.T) {
	open := func() (journal.FS, func() error, error) { return faultfs.New(), nil, nil }
	for _, o := range []Options{{}, {Open: open, Clock: sensors.NewClock(), MaxBytes: MinBytes - 1, MaxAge: MinAge},
		{Open: open, Clock: sensors.NewClock(), MaxBytes: MinBytes, MaxAge: MinAge - 1}} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v is taken", o)
		}
	}
}
