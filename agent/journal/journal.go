package journal

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"firebreak/agent/latency"
)

// Options bound a journal. Zero values take the defaults.
type Options struct {
	SegmentBytes int64 // a segment is closed at about this size; default 4 MiB, at most 64 MiB
	KeepBytes    int64 // above it the oldest segments go even uncovered by a snapshot; default 0: never
	MaxRecord    int   // default 1 MiB, at most 16 MiB
	QueueRecords int   // not yet durable; default 4096
	QueueBytes   int   // not yet durable; default 8 MiB, at least MaxRecord

	// SyncAfter lets records be written at once and synced so much later, many in one fsync: a kill of
	// the process costs none of them, a loss of power those of that time. Default 0: synced at once.
	SyncAfter time.Duration

	RetryMin, RetryMax time.Duration // back-off after a failed write; default 50 ms to 5 s
}

// Durable tells how far the disk has followed.
type Durable struct {
	Seq uint64 // every accepted record up to here is durable
	Err error  // of the last attempt to get further; nil when it succeeded
}

// Stats is a picture of the journal for health points.
type Stats struct {
	Durable     uint64
	Assigned    uint64
	Queued      int
	QueuedBytes int
	Waiting     time.Duration    // age of the oldest record that is not durable; 0: none waits
	Refused     uint64           // records not taken: queue full, too large, or closed
	Failures    uint64           // failed attempts to write
	Err         error            // of the last attempt; nil when it succeeded
	SnapshotSeq uint64           // of the newest durable snapshot
	SnapshotErr error            // of the last attempt at a snapshot
	CleanupErr  error            // old or damaged files that could not be removed or renamed
	Doing       string           // what the writer is at; empty: it waits
	Syncs       latency.Snapshot // of writes to segments, fsync included
}

// What Snapshot and Close may answer, wrapped.
var (
	ErrClosed   = errors.New("journal: closed")
	ErrTooLarge = errors.New("journal: snapshot too large")
	ErrCovers   = errors.New("journal: snapshot covers a sequence never given, or less than the one before")
)

// Journal is an open log.
type Journal struct {
	opt     Options
	wake    chan struct{}
	durable chan Durable
	stop    chan struct{} // closed when Close has run out of patience
	done    chan struct{} // closed by the writer
	synced  atomic.Uint64
	doing   atomic.Uint32
	syncs   latency.Histogram

	mu       sync.Mutex
	queue    []item
	bytes    int
	next     uint64 // to give
	given    uint64 // last given, at first the last recovered
	snap     *snapshot
	closing  bool
	stopped  bool
	refused  uint64
	failures uint64
	err      error
	snapSeq  uint64
	snapErr  error
	cleanErr error
}

type item struct {
	seq  uint64
	load []byte
	at   time.Time
}

type snapshot struct {
	covers uint64
	load   []byte
}

// Append takes copies of the payloads, each a record, and returns the sequence of the last, or 0 if they are
// refused, all of them or none: the queue has no room for all, one is larger than MaxRecord, the journal is
// closed, or there are none. It never waits. What is appended together is written together, and waits for one
// sync, as long as it is no more than groupBytes: the writer is not woken before the last is there.
//
// Sequences rise by one within a process and leave a wide gap at each Open, so that none that an
// earlier process gave comes again, durable or not. The exception is a process that could not
// write at all: it left no trace, so its numbers mean nothing outside it.
func (j *Journal) Append(payloads ...[]byte) (last uint64) {
	all, tooLarge := 0, false
	for _, p := range payloads {
		all += len(p)
		tooLarge = tooLarge || len(p) > j.opt.MaxRecord
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closing || tooLarge || len(payloads) == 0 ||
		len(j.queue)+len(payloads) > j.opt.QueueRecords || j.bytes+all > j.opt.QueueBytes {
		j.refused += uint64(len(payloads))
		return 0
	}
	now := time.Now()
	for _, p := range payloads {
		j.given = j.next
		j.next++
		j.queue = append(j.queue, item{j.given, append([]byte(nil), p...), now})
	}
	j.bytes += all
	j.kick()
	return j.given
}

// Snapshot takes a copy of payload, the state after all records up to covers. It is written once
// those are durable; a newer one replaces one that still waits. The last two are kept, and the
// segments that the older one covers are removed. It never waits for the disk; records wait for
// the writing of a snapshot, so keep it small where that matters.
func (j *Journal) Snapshot(payload []byte, covers uint64) error {
	if len(payload) > hardSnapshot-snapshotHeader {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(payload), hardSnapshot-snapshotHeader)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closing {
		return ErrClosed
	}
	before := j.snapSeq
	if j.snap != nil {
		before = max(before, j.snap.covers)
	}
	if covers > j.given || covers < before {
		return fmt.Errorf("%w: covers %d, want %d to %d", ErrCovers, covers, before, j.given)
	}
	j.snap = &snapshot{covers, append([]byte{}, payload...)}
	j.kick()
	return nil
}

// kick wakes the writer; a spare wake-up does no harm.
func (j *Journal) kick() {
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// Durable holds the newest answer only: one that was not taken is replaced. It is never closed.
// The first answer comes without any Append: it tells whether the directory can be written.
func (j *Journal) Durable() <-chan Durable { return j.durable }

// DurableSeq is the sequence up to which every accepted record is durable.
func (j *Journal) DurableSeq() uint64 { return j.synced.Load() }

// Stats may be called from any goroutine and never waits for the disk.
func (j *Journal) Stats() Stats {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := Stats{
		Durable: j.synced.Load(), Assigned: j.given, Queued: len(j.queue), QueuedBytes: j.bytes,
		Refused: j.refused, Failures: j.failures, Err: j.err,
		SnapshotSeq: j.snapSeq, SnapshotErr: j.snapErr, CleanupErr: j.cleanErr,
		Doing: doingText(j.doing.Load()), Syncs: j.syncs.Read(),
	}
	if len(j.queue) > 0 {
		s.Waiting = time.Since(j.queue[0].at)
	}
	return s
}

// closeGrace is what a writer that is not stuck in the disk needs to notice the end.
const closeGrace = 100 * time.Millisecond

// Close takes nothing more, writes what is queued, and waits for the writer until ctx ends. After
// that it gives up: the error says what is not durable and what the writer hangs in. A writer
// that hangs in the kernel ends when the kernel lets it.
func (j *Journal) Close(ctx context.Context) error {
	j.mu.Lock()
	j.closing = true
	j.mu.Unlock()
	j.kick()
	select {
	case <-j.done:
		return j.left()
	case <-ctx.Done():
	}
	j.mu.Lock()
	if !j.stopped {
		j.stopped = true
		close(j.stop)
	}
	j.mu.Unlock()
	grace := time.NewTimer(closeGrace)
	defer grace.Stop()
	select {
	case <-j.done:
		return j.left()
	case <-grace.C:
	}
	s := j.Stats()
	return fmt.Errorf("journal: close gave up, the writer still hangs (%s); %d records up to %d are not durable, check the disk: %w",
		s.Doing, s.Queued, s.Assigned, ctx.Err())
}

// left says what the writer, now ended, did not bring to the disk.
func (j *Journal) left() error {
	s := j.Stats()
	var errs []error
	if s.Queued > 0 {
		errs = append(errs, fmt.Errorf("journal: closed with %d records after %d not durable: %w", s.Queued, s.Durable, orUnknown(s.Err)))
	}
	j.mu.Lock()
	snap := j.snap
	j.mu.Unlock()
	if snap != nil {
		errs = append(errs, fmt.Errorf("journal: closed with the snapshot of %d not written: %w", snap.covers, orUnknown(s.SnapshotErr)))
	}
	return errors.Join(errs...)
}

func orUnknown(err error) error {
	if err == nil {
		return errors.New("no time was left to write")
	}
	return err
}
