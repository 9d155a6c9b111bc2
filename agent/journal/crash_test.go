package journal_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"firebreak/agent/journal"
	"firebreak/agent/journal/faultfs"
)

// lives plays one journal through several lives, each ended by a kill or a power loss at a chosen
// call of the file system.
type lives struct {
	t     *rapid.T
	fs    *faultfs.FS
	h     history       // what the present life has recovered and appended
	gate  chan struct{} // holds a token while the writer may call the file system; else a run could not be repeated
	given uint64        // highest sequence of a life that got a record to the disk
}

// life runs until the armed call or the script's end, and returns what the next life finds.
func (l *lives) life() {
	t := l.t
	power := rapid.Bool().Draw(t, "power")
	seed := rapid.Uint64().Draw(t, "seed")
	rnd := rand.New(rand.NewPCG(seed, 0))
	countdown := rapid.IntRange(1, 60).Draw(t, "dies at call")
	after := rapid.SampledFrom([]time.Duration{0, 0, time.Millisecond}).Draw(t, "synced after")
	flaky := rapid.SampledFrom([]int{0, 0, 3, 10}).Draw(t, "one sync fails of")

	var next *faultfs.FS // written by the writer before it stops, read after it has
	var durable uint64   // told when it died
	var j *journal.Journal
	l.gate = make(chan struct{}, 1)
	die := func() {
		durable = j.DurableSeq()
		if power {
			next = l.fs.Crash(rnd.IntN)
		} else {
			next = l.fs.Kill()
		}
	}
	named := false // the names that this life found are durable: nothing removed can come back
	l.trap(&countdown, die, func(op faultfs.Op) error {
		if flaky > 0 && (op == faultfs.Sync || op == faultfs.SyncDir) && rnd.IntN(flaky) == 0 {
			return syscall.EIO
		}
		named = named || op == faultfs.SyncDir && next == nil
		return nil
	})
	var rec *journal.Recovered
	j, rec = open(t, l.fs, journal.Options{SegmentBytes: 2000, RetryMin: time.Millisecond, RetryMax: 8 * time.Millisecond, SyncAfter: after})
	defer abandon(j)
	defer func() { // a failure in the script leaves the gate shut
		select {
		case l.gate <- struct{}{}:
		default:
		}
	}()
	before := l.h
	l.h = l.h.prefix(t, rec)
	if rec.Damaged {
		t.Fatalf("a crash was taken for damage: %s", rec.Repaired)
	}
	l.script(j, rec.LastSeq)
	l.gate <- struct{}{}
	synctest.Wait()
	if next == nil { // it outlived its script: it ends while idle
		die()
	}
	abandon(j)
	synctest.Wait()
	l.fs = next
	if !named { // then it wrote nothing either
		l.h = before
	}
	l.check(durable, rec)
}

// trap makes each changing call wait at the gate, and the last of countdown deadly.
func (l *lives) trap(countdown *int, die func(), then func(op faultfs.Op) error) {
	for _, op := range []faultfs.Op{faultfs.Create, faultfs.Rename, faultfs.Remove, faultfs.Write, faultfs.Sync, faultfs.SyncDir} {
		l.fs.Fault(op, func(string) error {
			<-l.gate
			defer func() { l.gate <- struct{}{} }()
			if *countdown--; *countdown == 0 {
				die()
			}
			return then(op)
		})
	}
}

func (l *lives) script(j *journal.Journal, found uint64) {
	t := l.t
	var first uint64
	for range rapid.IntRange(0, 25).Draw(t, "actions") {
		switch rapid.IntRange(0, 9).Draw(t, "action") {
		default:
			n := rapid.SampledFrom([]int{0, 1, 20, 20, 600, 1500}).Draw(t, "size")
			seq := l.h.write(t, j, strings.Repeat(fmt.Sprintf("%d ", len(l.h)), n/2+1))
			if first == 0 {
				first = seq
			}
		case 5, 6:
			l.pass(0)
		case 7:
			l.pass(5 * time.Millisecond)
		case 8:
			l.pass(50 * time.Millisecond)
		case 9:
			// Any earlier point may be covered, as long as it does not go back: that is refused.
			if n := len(l.h); n > 0 {
				covers := l.h[rapid.IntRange(0, n-1).Draw(t, "covers")].Seq
				_ = j.Snapshot([]byte(l.h.upTo(covers).String()), covers)
			}
		}
		synctest.Wait()
	}
	if first != 0 && first <= l.given {
		t.Fatalf("sequence %d is given again: %d was given before", first, l.given)
	}
	if j.DurableSeq() > found {
		l.given = max(l.given, l.h.last())
	}
}

// pass lets the writer work for a while.
func (l *lives) pass(d time.Duration) {
	l.gate <- struct{}{}
	pass(d)
	<-l.gate
}

// check reads a copy of what is left: all that was told durable is there.
func (l *lives) check(durable uint64, before *journal.Recovered) {
	t := l.t
	j, rec := open(t, l.fs.Clone(), journal.Options{})
	closeIt(t, j)
	got := l.h.prefix(t, rec)
	if want := l.h.upTo(durable); len(got) < len(want) {
		t.Fatalf("durable up to %d (%d records), but %d came back, last %d: %q\nbefore: %q", durable, len(want), len(got), got.last(), rec.Repaired, before.Repaired)
	}
	if rec.Damaged {
		t.Fatalf("a crash was taken for damage: %s", rec.Repaired)
	}
}

// Whatever of the unsynced survives a power loss or a kill, at any call, over several lives with
// failing fsyncs between: all that was told durable comes back, as a prefix, in order.
func TestCrashLosesNothingDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// Wrapped, because rapid asks a bare *testing.T for its deadline, which a bubble forbids.
		for range 10 { // times 100, unless -rapid.checks says otherwise
			rapid.Check(struct{ *testing.T }{t}, func(rt *rapid.T) {
				l := &lives{t: rt, fs: faultfs.New()}
				for range rapid.IntRange(1, 6).Draw(rt, "lives") {
					l.life()
				}
			})
		}
	})
}

// The kernel forgets pages whose fsync failed. A process that was killed then leaves a file that
// reads well and is not on the disk; the next one must not build on it.
func TestKillAfterFailedSyncThenPowerLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := faultfs.New()
		j, _ := open(t, fs, journal.Options{RetryMin: time.Hour, RetryMax: time.Hour})
		var h history
		waitSeq(t, j, h.write(t, j, "durable"))
		fs.Fail(syscall.EIO, faultfs.Sync)
		h.write(t, j, "in the page cache only")
		synctest.Wait()
		fs2 := fs.Kill()
		abandon(j)

		j, rec := open(t, fs2, journal.Options{})
		if len(h.prefix(t, rec)) != 2 {
			t.Fatalf("the kernel shows both, got %+v", rec)
		}
		waitSeq(t, j, h.write(t, j, "built on it"))
		fs3 := fs2.Crash(nil)
		abandon(j)

		if _, rec := reopen(t, fs3); len(h.prefix(t, rec)) != 3 || rec.Damaged {
			t.Fatalf("got %+v, want all of %v", rec, h)
		}
	})
}
