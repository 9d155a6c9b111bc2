package journal_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"firebreak/agent/journal"
	"firebreak/agent/journal/faultfs"
)

type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

func open(t failer, fs journal.FS, opt journal.Options) (*journal.Journal, *journal.Recovered) {
	t.Helper()
	j, rec, err := journal.Open(context.Background(), fs, opt)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return j, rec
}

func closeIt(t failer, j *journal.Journal) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := j.Close(ctx); err != nil {
		t.Fatalf("close: %v", err)
	}
}

// abandon ends a journal whose disk is dead.
func abandon(j *journal.Journal) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = j.Close(ctx)
}

// waitSeq waits until seq is durable; it fails at the first error.
func waitSeq(t failer, j *journal.Journal, seq uint64) {
	t.Helper()
	for j.DurableSeq() < seq {
		if d := <-j.Durable(); d.Err != nil {
			t.Fatalf("waiting for %d: %v", seq, d.Err)
		}
	}
}

// pass lets fake time go by.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// history is what a reader must have: each record by sequence.
type history []journal.Record

func (h history) String() string {
	var b strings.Builder
	for _, r := range h {
		fmt.Fprintf(&b, "%d=%.8s,", r.Seq, r.Payload)
	}
	return b.String()
}

// upTo is the part that a snapshot of covers stands for; its String is the snapshot in tests.
func (h history) upTo(covers uint64) history {
	n := 0
	for n < len(h) && h[n].Seq <= covers {
		n++
	}
	return h[:n]
}

func (h history) last() uint64 {
	if len(h) == 0 {
		return 0
	}
	return h[len(h)-1].Seq
}

// prefix fails unless rec is a prefix of h; it returns that prefix.
func (h history) prefix(t failer, rec *journal.Recovered) history {
	t.Helper()
	var base history
	if rec.Snapshot != nil {
		base = h.upTo(rec.SnapshotSeq)
		if got, want := string(rec.Snapshot), base.String(); got != want {
			t.Fatalf("snapshot of %d: got %q, want %q", rec.SnapshotSeq, got, want)
		}
	}
	got := append(history{}, base...)
	got = append(got, rec.Records...)
	if len(got) > len(h) {
		t.Fatalf("got %d records, more than %d\ngot  %v\nwant %v", len(got), len(h), got, h)
	}
	for i, r := range got {
		if r.Seq != h[i].Seq || string(r.Payload) != string(h[i].Payload) {
			t.Fatalf("record %d differs\ngot  %v\nwant %v", i, got, h)
		}
	}
	if rec.LastSeq != max(got.last(), rec.SnapshotSeq) {
		t.Fatalf("LastSeq %d, last record %d, snapshot %d", rec.LastSeq, got.last(), rec.SnapshotSeq)
	}
	return h[:len(got):len(got)]
}

// write appends a record and notes it.
func (h *history) write(t failer, j *journal.Journal, payload string) uint64 {
	t.Helper()
	seq := j.Append([]byte(payload))
	if seq == 0 {
		t.Fatalf("append refused: %+v", j.Stats())
	}
	if seq <= h.last() {
		t.Fatalf("sequence %d after %d", seq, h.last())
	}
	*h = append(*h, journal.Record{Seq: seq, Payload: []byte(payload)})
	return seq
}

// small makes a log of several segments, with groups of one and of a few, and two snapshots if
// asked, over two runs.
func small(t *testing.T, snaps bool) (*faultfs.FS, history) {
	t.Helper()
	fs := faultfs.New()
	var h history
	for run := range 2 {
		j, rec := open(t, fs, journal.Options{SegmentBytes: 200})
		h.prefix(t, rec)
		for i := range 8 {
			seq := h.write(t, j, fmt.Sprintf("run %d record %d", run, i))
			if i%3 != 0 {
				waitSeq(t, j, seq)
			}
			if snaps && i == 4 {
				if err := j.Snapshot([]byte(h.upTo(seq-1).String()), seq-1); err != nil {
					t.Fatal(err)
				}
			}
		}
		closeIt(t, j)
	}
	return fs, h
}
