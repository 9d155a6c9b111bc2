package history

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"firebreak/agent/journal"
	"firebreak/agent/journal/faultfs"
)

// recording is a directory with some segments: 40 polls and 10 events in each.
func recording(t *testing.T, segments int) (*faultfs.FS, uint64) {
	t.Helper()
	fs := faultfs.New()
	var polls uint64
	synctest.Test(t, func(t *testing.T) {
		tp := begin(t, fs, nil)
		for s := range segments {
			for i := range 10 {
				for d := range 4 {
					tp.poll(d)
				}
				pass(2 * time.Second)
				tp.event(fmt.Sprintf("event-%d-%d", s, i))
			}
			pass(61 * time.Minute)
		}
		tp.end()
		polls = tp.seq
	})
	return fs, polls
}

// Whatever single thing happens to a file, all records that it did not touch are read, and what is
// gone is named.
func TestDamage(t *testing.T) {
	fs, polls := recording(t, 3)
	base := read(t, fs)
	base.clean(t)
	base.whole(t, 1, polls)
	names := fs.Names()
	if len(names) != 3 || len(base.events) != 30 {
		t.Fatalf("%d segments, %d events", len(names), len(base.events))
	}
	r := rand.New(rand.NewPCG(3, 4))
	for _, name := range names {
		length := len(fs.Get(name))
		for range 300 {
			f := fs.Clone()
			f.Flip(name, r.IntN(length), 1<<r.IntN(8))
			got := read(t, f)
			lost := len(base.seqs) - len(got.seqs) + len(base.events) - len(got.events)
			if lost > 4 || len(got.rep.Damage) == 0 { // a frame of four polls at most
				t.Fatalf("one bit in %s: %d lost, damage %v", name, lost, got.rep.Damage)
			}
			if !slices.IsSorted(got.seqs) {
				t.Fatal("out of order")
			}
			if lost > 0 && len(got.rep.Holes) == 0 && got.seqs[len(got.seqs)-1] == polls && got.seqs[0] == 1 && slices.Contains(got.events, "event-2-9") {
				t.Fatalf("one bit in %s: %d lost, and no hole is told", name, lost)
			}
		}
	}
	f := fs.Clone() // a block of garbage in the middle, with what looks like records
	b := f.Get(names[1])
	copy(b[len(b)/2:], fs.Get(names[0])[len(b)/2:len(b)/2+200])
	f.Put(names[1], b)
	if got := read(t, f); len(got.rep.Damage) == 0 || len(got.seqs) < len(base.seqs)-16 || len(got.rep.Holes) == 0 {
		t.Errorf("a block of another file: %d polls of %d, %+v", len(got.seqs), len(base.seqs), got.rep)
	}
}

// Torn at any byte, a file gives all whole records before; the catalogue of the next one tells what
// is missing.
func TestTorn(t *testing.T) {
	fs, _ := recording(t, 2)
	names := fs.Names()
	whole := fs.Get(names[0])
	base := read(t, fs)
	last := 0
	for n := 0; n < len(whole); n += 7 {
		f := fs.Clone()
		f.Put(names[0], whole[:n])
		got := read(t, f)
		if have := len(got.seqs) + len(got.events); have < last || have > len(base.seqs)+len(base.events) {
			t.Fatalf("torn at %d: %d records, at less %d", n, have, last)
		} else {
			last = have
		}
		if len(got.rep.Missing) != 1 || got.rep.Missing[0].Short != int64(len(whole)-n) {
			t.Fatalf("torn at %d of %d: missing %+v", n, len(whole), got.rep.Missing)
		}
	}
	f := fs.Clone()
	f.Delete(names[0])
	if got := read(t, f); len(got.rep.Missing) != 1 || got.rep.Missing[0].Short != 0 || len(got.rep.Holes) != 0 {
		t.Errorf("a file that is gone: %+v", got.rep)
	}
}

// Files of other names are left alone and named; one that bears the name of another is not believed.
func TestWrongNames(t *testing.T) {
	fs, polls := recording(t, 2)
	names := fs.Names()
	table := scan(0, fs.Get(names[0]), nil).header.table
	if s := scan(5, fs.Get(names[0]), []uint32{table}); len(s.records) != 0 {
		t.Errorf("%d records are believed under another name", len(s.records))
	}
	f := fs.Clone()
	f.Put("notes.txt", []byte("x"))
	f.Put("00000000000000FF.hist", fs.Get(names[0]))
	f.Put(segmentName(77), fs.Get(names[0]))
	f.Put(segmentName(78), nil)
	got := read(t, f)
	got.whole(t, 1, polls)
	if fmt.Sprint(got.rep.Ignored) != "[00000000000000FF.hist notes.txt]" || len(got.rep.Damage) == 0 {
		t.Errorf("ignored %v, damage %v", got.rep.Ignored, got.rep.Damage)
	}
	synctest.Test(t, func(t *testing.T) { // and a writer goes on behind them
		tp := begin(t, f, func(o *Options) { o.Info.Instance = "the next" })
		tp.event("on")
		pass(time.Minute)
		tp.end()
		if got := read(t, f); got.events[len(got.events)-1] != "on" || !slices.Contains(f.Names(), segmentName(79)) {
			t.Errorf("events %v in %v", got.events, f.Names())
		}
	})
}

// A disk that cannot read a file back costs that file.
func TestUnreadable(t *testing.T) {
	fs, _ := recording(t, 3)
	names := fs.Names()
	bad := fs.Clone()
	bad.Fault(faultfs.Read, func(name string) error {
		if name == names[1] {
			return syscall.EIO
		}
		return nil
	})
	got := read(t, bad)
	if len(got.seqs) != 80 || len(got.rep.Damage) != 1 || !strings.Contains(got.rep.Damage[0].What, "input/output") {
		t.Errorf("%d polls, damage %v", len(got.seqs), got.rep.Damage)
	}
	bad.Fail(syscall.EIO, faultfs.List)
	if _, err := Walk(bad, nil); !errors.Is(err, syscall.EIO) {
		t.Errorf("no listing: %v", err)
	}
}

// A killed writer leaves what was synced, at least; the next one goes on in a new file and knows
// what is there without reading it all.
func TestKilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := faultfs.New()
		tp := begin(t, fs, nil)
		for range 5 {
			tp.poll(0)
			tp.plan(7, "2a")
			pass(61 * time.Minute)
		}
		tp.poll(0)
		pass(1100 * time.Millisecond)
		synced := tp.seq
		tp.poll(0)
		r := rand.New(rand.NewPCG(1, 1))
		after := fs.Crash(r.IntN)
		_ = tp.stop()
		got := read(t, after)
		got.whole(t, 1, uint64(len(got.seqs)))
		if uint64(len(got.seqs)) < synced {
			t.Errorf("%d polls, %d were synced", len(got.seqs), synced)
		}
		c, err := catalogue(after)
		if err != nil || len(c.segments) != len(after.Names()) || len(c.episodes) != 1 || !c.episodes[0].Open || c.episodes[0].Number != 7 {
			t.Fatalf("%v %+v", err, c)
		}
		for _, s := range c.segments {
			if int(s.Size) != len(after.Get(segmentName(s.Index))) || s.First.Boot != "boot" || s.Last.Mono < s.First.Mono {
				t.Errorf("%+v, %d bytes", s, len(after.Get(segmentName(s.Index))))
			}
		}
		before := after.Calls(faultfs.Open)
		if _, err := catalogue(after); err != nil || after.Calls(faultfs.Open)-before != 1 {
			t.Errorf("the start read %d files, want the newest alone", after.Calls(faultfs.Open)-before)
		}
		after.Delete(segmentName(c.next - 1)) // without the newest, and with one that nobody tells of
		after.Put(segmentName(c.next+5), []byte("garbage"))
		if c, err := catalogue(after); err != nil || len(c.segments) != len(after.Names()) || len(c.episodes) != 1 {
			t.Errorf("%v %+v of %v", err, c, after.Names())
		}
	})
}

// A reader beside the writer sees a prefix of what is written, or, where the ring turned, what is
// left of it, always in order and never twice.
func TestReadWhileWriting(t *testing.T) {
	dir := t.TempDir()
	d, err := journal.OS(dir)
	if err != nil {
		t.Fatal(err)
	}
	fs := faultfs.New()
	tp := begin(t, fs, func(o *Options) {
		o.Open = func() (journal.FS, func() error, error) { return d, d.Close, nil }
	})
	stop := make(chan struct{})
	go func() {
		defer close(stop)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for range 400 {
			<-tick.C
			for range 40 {
				tp.poll(int(tp.seq % 5))
			}
			tp.event("e") // makes it write within 200 ms
		}
	}()
	var last uint64
	for reads := 0; ; reads++ {
		var prev uint64
		_, err := Walk(journal.ReadOnly(dir), func(r *Record) error {
			if r.Poll == nil {
				return nil
			}
			if r.Poll.Seq <= prev {
				return fmt.Errorf("poll %d after %d", r.Poll.Seq, prev)
			}
			prev = r.Poll.Seq
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if prev < last {
			t.Fatalf("the newest poll is %d, and was %d", prev, last)
		}
		last = prev
		select {
		case <-stop:
		default:
			continue
		}
		break
	}
	tp.end()
	got := read(t, journal.ReadOnly(dir))
	got.whole(t, 1, tp.seq)
}

// Episodes are found with their ends, and what lies around one, over a restart and a clock that is
// set meanwhile.
func TestAround(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := faultfs.New()
		tp := begin(t, fs, nil)
		tp.event("long-before")
		pass(15 * time.Minute)
		tp.event("before")
		pass(5 * time.Minute)
		tp.plan(7, "1")
		pass(time.Minute)
		tp.end()
		tp = begin(t, fs, func(o *Options) { o.Info.Config = "other" })
		tp.plan(7, "2a")
		tp.event("within")
		pass(time.Hour)
		tp.plan(0, "0")
		pass(9 * time.Minute)
		tp.event("after")
		pass(2 * time.Minute)
		tp.event("long-after")
		tp.plan(8, "1")
		pass(time.Minute)
		tp.end()
		eps, _, err := Episodes(fs)
		if err != nil || len(eps) != 2 {
			t.Fatalf("%v %+v", err, eps)
		}
		e := eps[0]
		if e.Number != 7 || e.Open || e.Late || e.Zone != "z" || e.Config != "" || eps[1].Number != 8 || !eps[1].Open {
			t.Errorf("%+v %+v", e, eps[1])
		}
		if d, known := e.Start.To(e.End); !known || d != 61*time.Minute {
			t.Errorf("it lasted %v", d)
		}
		var events []string
		if _, err := Around(fs, e, 10*time.Minute, 10*time.Minute, func(r *Record) error {
			if r.Event != nil {
				events = append(events, r.Event.Type)
			}
			return nil
		}); err != nil || fmt.Sprint(events) != "[before within after]" {
			t.Errorf("%v %v", events, err)
		}
		events = nil
		from := e.End.Time()
		if _, err := Between(fs, from, from.Add(10*time.Minute), func(r *Record) error {
			if r.Event != nil {
				events = append(events, r.Event.Type)
			}
			return nil
		}); err != nil || fmt.Sprint(events) != "[after]" {
			t.Errorf("%v %v", events, err)
		}
		stop := errors.New("enough")
		if _, err := Around(fs, e, 0, 0, func(*Record) error { return stop }); !errors.Is(err, stop) {
			t.Errorf("the visitor's error is lost: %v", err)
		}
	})
}
