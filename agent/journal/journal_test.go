package journal_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"firebreak/agent/journal"
	"firebreak/agent/journal/faultfs"
)

func TestRoundTripOnDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "journal")
	var h history
	for run := range 3 {
		dir, err := journal.OS(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := journal.OS(path); !errors.Is(err, syscall.EWOULDBLOCK) {
			t.Fatalf("second opener: got %v, want a refusal", err)
		}
		j, rec := open(t, dir, journal.Options{SegmentBytes: 1000})
		if got := h.prefix(t, rec); len(got) != len(h) || rec.Repaired != "" || rec.Damaged {
			t.Fatalf("run %d: got %d of %d records, repaired %q", run, len(got), len(h), rec.Repaired)
		}
		for i := range 100 {
			h.write(t, j, strings.Repeat("x", i)+fmt.Sprint(run))
		}
		if run == 0 && h[0].Seq != 1 {
			t.Fatalf("first sequence %d, want 1", h[0].Seq)
		}
		if err := j.Snapshot([]byte(h.String()), h.last()); err != nil {
			t.Fatal(err)
		}
		h.write(t, j, "")
		closeIt(t, j)
		if j.Append([]byte("late")) != 0 || !errors.Is(j.Snapshot(nil, 1), journal.ErrClosed) {
			t.Fatal("a closed journal takes records")
		}
		dir.Close()
	}
	files, err := os.ReadDir(path)
	if err != nil || len(files) > 2+30 {
		t.Fatalf("%d files left: %v %v", len(files), files, err)
	}
}

func TestAppendNeverWaitsOnHangingSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := faultfs.New()
		j, _ := open(t, fs, journal.Options{})
		synctest.Wait()
		release := fs.Hang(faultfs.Sync)
		var h history
		for i := range 100 {
			h.write(t, j, fmt.Sprint(i)) // a wait here would be a deadlock, which synctest reports
		}
		pass(time.Second)
		s := j.Stats()
		if s.Durable != 0 || s.Queued != 100 || s.Waiting < time.Second || s.Doing != "waiting for fsync of records" {
			t.Fatalf("while hanging: %+v", s)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		start := time.Now()
		err := j.Close(ctx)
		if took := time.Since(start); took < 2*time.Second || took > 3*time.Second {
			t.Fatalf("close took %v", took)
		}
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "hangs (waiting for fsync") {
			t.Fatalf("close: %v", err)
		}
		release()
		synctest.Wait()
	})
}

func TestFullDiskKeepsRecordsAndRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := faultfs.New()
		j, _ := open(t, fs, journal.Options{})
		var h history
		waitSeq(t, j, h.write(t, j, "before"))
		fs.Space(30)
		h.write(t, j, strings.Repeat("full", 20))
		pass(time.Minute)
		s := j.Stats()
		if !errors.Is(s.Err, syscall.ENOSPC) || s.Queued != 1 || s.Durable != h[0].Seq {
			t.Fatalf("full: %+v", s)
		}
		if d := <-j.Durable(); !errors.Is(d.Err, syscall.ENOSPC) || d.Seq != h[0].Seq {
			t.Fatalf("told %+v", d)
		}
		// Back-off ends at 5 s with jitter: a minute holds 12 to 25 attempts, no storm.
		if s.Failures < 12 || s.Failures > 25 {
			t.Fatalf("%d attempts in a minute", s.Failures)
		}
		if n := len(fs.Names()); n > 3 {
			t.Fatalf("failed attempts left %d files: %v", n, fs.Names())
		}
		fs.Heal()
		pass(10 * time.Second)
		if s := j.Stats(); s.Err != nil || s.Durable != h.last() || s.Queued != 0 || s.QueuedBytes != 0 {
			t.Fatalf("healed: %+v", s)
		}
		closeIt(t, j)
		_, rec := reopen(t, fs)
		if got := h.prefix(t, rec); len(got) != 2 || rec.Damaged {
			t.Fatalf("got %v, %q", got, rec.Repaired)
		}
	})
}

// reopen reads what is there and ends at once.
func reopen(t failer, fs *faultfs.FS) (*faultfs.FS, *journal.Recovered) {
	t.Helper()
	c := fs.Clone()
	j, rec := open(t, c, journal.Options{})
	closeIt(t, j)
	return c, rec
}

func TestReadOnlyDiskStillYieldsItsRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs, h := small(t, false)
		fs.ReadOnly()
		j, rec := open(t, fs, journal.Options{})
		if got := h.prefix(t, rec); len(got) != len(h) {
			t.Fatalf("got %d of %d", len(got), len(h))
		}
		if d := <-j.Durable(); !errors.Is(d.Err, syscall.EROFS) {
			t.Fatalf("told %+v, want EROFS before any append", d)
		}
		h.write(t, j, "later")
		fs.Heal()
		waitHealed(t, j, h.last())
		closeIt(t, j)
		if _, rec := reopen(t, fs); len(h.prefix(t, rec)) != len(h) || rec.Damaged {
			t.Fatalf("%+v", rec)
		}
	})
}

func waitHealed(t failer, j *journal.Journal, seq uint64) {
	t.Helper()
	for range 100 {
		if d := <-j.Durable(); d.Err == nil && d.Seq >= seq {
			return
		}
	}
	t.Fatalf("not durable after 100 answers: %+v", j.Stats())
}

func TestQueueBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := faultfs.New()
		fs.Fail(syscall.EIO, faultfs.Sync)
		j, _ := open(t, fs, journal.Options{QueueRecords: 5, QueueBytes: 1000, MaxRecord: 400})
		if j.Append(make([]byte, 401)) != 0 {
			t.Fatal("took a record above MaxRecord")
		}
		for _, n := range []int{400, 400, 100} {
			if j.Append(make([]byte, n)) == 0 {
				t.Fatalf("refused %d bytes: %+v", n, j.Stats())
			}
		}
		if j.Append(make([]byte, 101)) != 0 {
			t.Fatal("took more than QueueBytes")
		}
		a, b := j.Append(nil), j.Append([]byte{1})
		if a != 4 || b != 5 {
			t.Fatalf("sequences %d, %d: a refused record may not use one", a, b)
		}
		if j.Append(nil) != 0 {
			t.Fatal("took more than QueueRecords")
		}
		if s := j.Stats(); s.Refused != 3 || s.Queued != 5 || s.QueuedBytes != 901 {
			t.Fatalf("%+v", s)
		}
		fs.Heal()
		waitHealed(t, j, 5)
		if j.Append(nil) != 6 {
			t.Fatal("the emptied queue refuses")
		}
		closeIt(t, j)
	})
}

// Records that are appended together are taken all or not at all, and one sync makes them durable.
func TestGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := faultfs.New()
		j, _ := open(t, fs, journal.Options{QueueRecords: 5, MaxRecord: 400})
		waitSeq(t, j, j.Append([]byte("first")))
		syncs := j.Stats().Syncs.Count
		waitSeq(t, j, j.Append([]byte("a"), []byte("b"), []byte("c")))
		if s := j.Stats(); s.Assigned != 4 || s.Syncs.Count != syncs+1 {
			t.Fatalf("%d syncs before, now %+v", syncs, s)
		}
		fs.Fail(syscall.EIO, faultfs.Sync)
		j.Append([]byte("d"), []byte("e"), []byte("f"))
		for _, group := range [][][]byte{{nil, nil, nil}, {nil, make([]byte, 401)}, {}} {
			if seq := j.Append(group...); seq != 0 {
				t.Errorf("took %d of them as %d", len(group), seq)
			}
		}
		if s := j.Stats(); s.Assigned != 7 || s.Queued != 3 || s.Refused != 5 {
			t.Errorf("%+v", s)
		}
		fs.Heal()
		waitHealed(t, j, 7)
		closeIt(t, j)
	})
}

func TestSlowReceiverSeesNewest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, _ := open(t, faultfs.New(), journal.Options{})
		for range 50 {
			j.Append(nil)
			synctest.Wait()
		}
		if d := <-j.Durable(); d.Seq != 50 || d.Err != nil {
			t.Fatalf("got %+v, want the newest", d)
		}
		closeIt(t, j)
	})
}

func TestOpenGivesUpOnHangingDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs, _ := small(t, false)
		release := fs.Hang(faultfs.Read)
		defer release()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if _, _, err := journal.Open(ctx, fs, journal.Options{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v", err)
		}
	})
}

func TestOpenErrors(t *testing.T) {
	fs, _ := small(t, false)
	before := fs.Names()
	fs.Fail(syscall.EACCES, faultfs.Open)
	if _, _, err := journal.Open(t.Context(), fs, journal.Options{}); !errors.Is(err, syscall.EACCES) {
		t.Fatalf("unreadable files: got %v", err)
	}
	fs.Heal()
	fs.Fail(syscall.EIO, faultfs.List)
	if _, _, err := journal.Open(t.Context(), fs, journal.Options{}); !errors.Is(err, syscall.EIO) {
		t.Fatalf("unreadable directory: got %v", err)
	}
	if after := fs.Names(); strings.Join(after, " ") != strings.Join(before, " ") {
		t.Fatalf("a failed Open changed the files: %v", after)
	}
	for _, o := range []journal.Options{
		{SegmentBytes: -1}, {SegmentBytes: 1 << 40}, {MaxRecord: 1 << 30}, {KeepBytes: -1},
		{QueueRecords: 1 << 30}, {MaxRecord: 100, QueueBytes: 99}, {RetryMin: 2, RetryMax: 1},
	} {
		if _, _, err := journal.Open(t.Context(), faultfs.New(), o); err == nil {
			t.Fatalf("%+v was taken", o)
		}
	}
}

func TestQueuedBytesFollowTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := faultfs.New()
		step := make(chan struct{})
		fs.Fault(faultfs.Sync, func(string) error { <-step; return nil })
		j, _ := open(t, fs, journal.Options{})
		step <- struct{}{} // the first segment
		j.Append(make([]byte, 100))
		synctest.Wait()
		j.Append(make([]byte, 30))
		step <- struct{}{} // the first record
		synctest.Wait()
		if s := j.Stats(); s.Durable != 1 || s.Queued != 1 || s.QueuedBytes != 30 {
			t.Fatalf("%+v", s)
		}
		step <- struct{}{}
		closeIt(t, j)
		if s := j.Stats(); s.Durable != 2 || s.QueuedBytes != 0 {
			t.Fatalf("%+v", s)
		}
	})
}
