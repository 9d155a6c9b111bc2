package journal_test

import (
	"bytes"
	"errors"
	"fmt"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"firebreak/agent/journal"
	"firebreak/agent/journal/faultfs"
)

func TestSnapshotDropsCoveredSegments(t *testing.T) {
	fs := faultfs.New()
	j, _ := open(t, fs, journal.Options{SegmentBytes: 300})
	var h history
	for i := range 100 {
		waitSeq(t, j, h.write(t, j, fmt.Sprintf("record %d", i)))
		if i%10 == 9 {
			if err := j.Snapshot([]byte(h.String()), h.last()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := j.Snapshot(nil, h.last()+1); !errors.Is(err, journal.ErrCovers) {
		t.Fatalf("a snapshot of the future: %v", err)
	}
	if err := j.Snapshot(nil, 3); !errors.Is(err, journal.ErrCovers) {
		t.Fatalf("a snapshot of the past: %v", err)
	}
	closeIt(t, j)
	if n := len(fs.Names()); n > 2+5 {
		t.Fatalf("%d files stay: %v", n, fs.Names())
	}
	if s := j.Stats(); s.SnapshotSeq != h.last() || s.SnapshotErr != nil || s.CleanupErr != nil {
		t.Fatalf("%+v", s)
	}
	if _, rec := reopen(t, fs); len(h.prefix(t, rec)) != len(h) || len(rec.Records) != 0 {
		t.Fatalf("%+v", rec)
	}
}

func TestFailingSnapshotDoesNotHoldUpRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := faultfs.New()
		j, _ := open(t, fs, journal.Options{})
		var h history
		h.write(t, j, "one")
		fs.Fault(faultfs.Rename, func(string) error { return syscall.EIO })
		if err := j.Snapshot([]byte(h.String()), h.last()); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		h.write(t, j, "two")
		synctest.Wait()
		if s := j.Stats(); s.Durable != h.last() || !errors.Is(s.SnapshotErr, syscall.EIO) || s.Err != nil {
			t.Fatalf("%+v", s)
		}
		if n := fs.Calls(faultfs.Rename); n < 10 || n > 25 {
			t.Fatalf("%d attempts in a minute", n)
		}
		fs.Heal()
		pass(10 * time.Second)
		if s := j.Stats(); s.SnapshotSeq != h[0].Seq || s.SnapshotErr != nil {
			t.Fatalf("healed: %+v", s)
		}
		fs.Fault(faultfs.Rename, func(string) error { return syscall.EIO })
		if err := j.Snapshot([]byte(h.String()), h.last()); err != nil {
			t.Fatal(err)
		}
		if err := j.Close(t.Context()); !errors.Is(err, syscall.EIO) {
			t.Fatalf("close with a failing snapshot: %v", err)
		}
	})
}

func TestKeepBytesBoundsTheLog(t *testing.T) {
	fs := faultfs.New()
	opt := journal.Options{SegmentBytes: 1000, KeepBytes: 5000}
	var last uint64
	for range 3 {
		j, rec := open(t, fs, opt)
		if rec.LastSeq != last || rec.Damaged || rec.Repaired != "" {
			t.Fatalf("%+v, want %d", rec, last)
		}
		for range 200 {
			last = j.Append(make([]byte, 80))
			waitSeq(t, j, last)
		}
		closeIt(t, j)
		total := 0
		for _, n := range fs.Names() {
			total += len(fs.Get(n))
		}
		if total < 4000 || total > 6200 {
			t.Fatalf("%d bytes kept", total)
		}
	}
}

func TestEmptyPayloads(t *testing.T) {
	fs := faultfs.New()
	j, rec := open(t, fs, journal.Options{})
	if rec.Snapshot != nil || rec.LastSeq != 0 {
		t.Fatalf("%+v", rec)
	}
	j.Append(nil)
	if err := j.Snapshot(nil, 1); err != nil {
		t.Fatal(err)
	}
	j.Append([]byte{})
	closeIt(t, j)
	_, rec = reopen(t, fs)
	if rec.Snapshot == nil || len(rec.Snapshot) != 0 || rec.SnapshotSeq != 1 || len(rec.Records) != 1 {
		t.Fatalf("%+v", rec)
	}
	if !bytes.Equal(rec.Records[0].Payload, nil) {
		t.Fatalf("%+v", rec.Records)
	}
}
