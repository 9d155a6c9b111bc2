package journal

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// groupBytes is the payload of one write and one fsync, unless one record is larger.
const groupBytes = 256 << 10

// writer owns every file. Its fields belong to the goroutine of run; what others see is in
// Journal, under its lock.
type writer struct {
	j     *Journal
	fs    FS
	opt   Options
	found *found // until the first segment is durable, then nil

	index   uint64 // of the next segment
	cur     File
	at      segment // of cur
	atIx    uint64
	rotated bool // old segments may go
	begun   bool // cur was synced once: it is part of the chain
	count   int  // records in cur
	segs    []segment
	trash   []string // segments that were never synced: all in them is still queued
	snaps   []uint64 // durable ones by covers, ascending
	buf     []byte

	fails     int // in a row
	snapFails int
	snapAfter time.Time // no attempt at a snapshot before
}

func (w *writer) run() {
	defer close(w.j.done)
	defer w.drop()
	for {
		select {
		case <-w.j.stop:
			return
		default:
		}
		group, snap, closing := w.take()
		switch {
		case closing && len(group) == 0 && (w.fails > 0 || snap == nil && w.found == nil):
			return
		case w.found != nil || len(group) > 0:
			group, err := w.write(group)
			if err != nil {
				w.drop()
				w.fails++
				w.failed(err)
				if !w.sleep(w.pause(w.fails), false) {
					return
				}
				continue
			}
			w.fails = 0
			w.succeeded(group)
		case snap != nil && (closing || !time.Now().Before(w.snapAfter)):
			w.trySnapshot(snap)
			if closing {
				return
			}
		case snap != nil:
			if !w.sleep(time.Until(w.snapAfter), true) {
				return
			}
		default:
			select {
			case <-w.j.wake:
			case <-w.j.stop:
			}
		}
	}
}

// take returns what to write: the oldest records, and the snapshot once all that it covers is
// durable. The records stay queued until they are durable too.
func (w *writer) take() (group []item, snap *snapshot, closing bool) {
	j := w.j
	j.mu.Lock()
	defer j.mu.Unlock()
	n, size := 0, 0
	for n < len(j.queue) {
		size += len(j.queue[n].load)
		if n > 0 && size > groupBytes {
			break
		}
		n++
	}
	if j.snap != nil && (len(j.queue) == 0 || j.queue[0].seq > j.snap.covers) {
		snap = j.snap
	}
	return j.queue[:n:n], snap, j.closing
}

// write makes group durable, in a new segment if there is none or it is full, and what has come
// meanwhile with it. It returns all that is durable now.
func (w *writer) write(group []item) ([]item, error) {
	if w.cur != nil && (w.at.size >= w.opt.SegmentBytes || w.count+len(group) > segmentRecords) {
		w.drop()
		w.rotated = true
	}
	w.buf = w.buf[:0]
	if w.cur == nil {
		if err := w.begin(group); err != nil {
			return nil, err
		}
	}
	defer w.doing(doWait)
	size := w.at.size
	if err := w.put(group, &size); err != nil {
		return nil, err
	}
	if w.opt.SyncAfter > 0 && len(group) > 0 {
		var err error
		if group, err = w.gather(group, &size); err != nil {
			return nil, err
		}
	}
	began := time.Now()
	w.doing(doSync)
	if err := w.cur.Sync(); err != nil {
		return nil, fmt.Errorf("journal: sync %s: %w", w.at.name, err)
	}
	if !w.begun {
		w.doing(doSyncDir)
		if err := w.fs.Sync(); err != nil {
			return nil, fmt.Errorf("journal: sync the directory: %w", err)
		}
		w.begun = true
	}
	w.j.syncs.Note(time.Since(began))
	w.at.size = size
	w.count += len(group)
	if len(group) > 0 {
		w.at.last = group[len(group)-1].seq
	}
	if cap(w.buf) > 4*groupBytes {
		w.buf = nil
	}
	return group, nil
}

// put writes records behind what stands in buf.
func (w *writer) put(group []item, size *int64) error {
	durable := w.j.synced.Load()
	for _, it := range group {
		w.buf = appendRecord(w.buf, w.atIx, it.seq, durable, it.load)
	}
	w.doing(doWrite)
	if n, err := w.cur.Write(w.buf); err != nil || n < len(w.buf) {
		return fmt.Errorf("journal: write %s, %d of %d bytes done: %w", w.at.name, n, len(w.buf), orUnknown(err))
	}
	*size += int64(len(w.buf))
	w.buf = w.buf[:0]
	return nil
}

// gather writes, until SyncAfter is over, what comes behind group.
func (w *writer) gather(group []item, size *int64) ([]item, error) {
	w.doing(doWait)
	t := time.NewTimer(w.opt.SyncAfter)
	defer t.Stop()
	for {
		w.j.mu.Lock()
		all, closing := w.j.queue[:len(w.j.queue):len(w.j.queue)], w.j.closing
		w.j.mu.Unlock()
		if more := all[len(group):]; len(more) > 0 {
			if err := w.put(more, size); err != nil {
				return nil, err
			}
			w.doing(doWait)
			group = all
		}
		if closing || *size >= w.opt.SegmentBytes+groupBytes {
			return group, nil
		}
		select {
		case <-w.j.wake:
		case <-t.C:
			return group, nil
		case <-w.j.stop:
			return group, nil
		}
	}
}

// begin makes a new segment and puts into buf what its first write starts with.
func (w *writer) begin(group []item) error {
	w.doing(doCreate)
	defer w.doing(doWait)
	h := segHeader{index: w.index, prev: w.j.synced.Load()}
	var rewrite []Record
	if w.found != nil {
		h.prev, h.base, rewrite = w.found.prev, w.found.next, w.found.rewrite
		// What Open saw must not vanish from under what is now built on it.
		if err := w.fs.Sync(); err != nil {
			return fmt.Errorf("journal: sync the directory: %w", err)
		}
	} else {
		h.base = group[0].seq
	}
	// First the failed attempts go: on a full disk theirs is the space that is missing.
	for len(w.trash) > 0 {
		if err := w.fs.Remove(w.trash[0]); err != nil {
			return fmt.Errorf("journal: remove a failed segment: %w", err)
		}
		w.trash = w.trash[1:]
	}
	name := segmentName(w.index)
	f, err := w.fs.Open(name, true)
	if err != nil {
		return fmt.Errorf("journal: create %s: %w", name, err)
	}
	w.cur, w.at, w.atIx, w.begun, w.count = f, segment{name: name}, w.index, false, len(rewrite)
	w.index++
	w.buf = appendSegHeader(w.buf, h)
	for _, r := range rewrite {
		w.buf = appendRecord(w.buf, h.index, r.Seq, h.prev, r.Payload)
		w.at.last = r.Seq
	}
	return nil
}

// drop closes the current segment for good: full, or failed. After a failed fsync nothing more
// may go into the same file: the kernel may have forgotten that its pages are not on the disk.
func (w *writer) drop() {
	if w.cur == nil {
		return
	}
	w.cur.Close()
	w.cur = nil
	if w.begun {
		w.segs = append(w.segs, w.at)
	} else {
		w.trash = append(w.trash, w.at.name)
	}
}

func (w *writer) succeeded(group []item) {
	seq := w.j.synced.Load()
	f := w.found
	if f != nil {
		w.found = nil
		seq = f.rec.LastSeq
	}
	j := w.j
	j.mu.Lock()
	for _, it := range group {
		seq = it.seq
		j.bytes -= len(it.load)
	}
	j.queue = slices.Delete(j.queue, 0, len(group))
	j.err = nil
	j.synced.Store(seq)
	j.mu.Unlock()
	w.tell(Durable{Seq: seq})
	if f != nil {
		w.tidy(f)
	}
	if w.rotated {
		w.rotated = false
		w.prune()
	}
}

func (w *writer) failed(err error) {
	j := w.j
	j.mu.Lock()
	j.failures++
	j.err = err
	j.mu.Unlock()
	w.tell(Durable{Seq: j.synced.Load(), Err: err})
}

// tell replaces an answer that nobody took. Only the writer sends, so the second send has room.
func (w *writer) tell(d Durable) {
	select {
	case <-w.j.durable:
	default:
	}
	w.j.durable <- d
}

// pause doubles with each failure and is spread by a quarter to either side.
func (w *writer) pause(fails int) time.Duration {
	d := w.opt.RetryMin
	for range min(fails-1, 30) {
		d = min(2*d, w.opt.RetryMax)
	}
	return d*3/4 + rand.N(d/2+1)
}

// sleep is cut short by stop (false), and by new work if asked.
func (w *writer) sleep(d time.Duration, wakes bool) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	wake := w.j.wake
	if !wakes {
		wake = nil
	}
	select {
	case <-t.C:
	case <-wake:
	case <-w.j.stop:
		return false
	}
	return true
}
