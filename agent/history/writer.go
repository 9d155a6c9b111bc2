package history

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"syscall"
	"time"

	"firebreak/agent/journal"
	"firebreak/plugins"
)

// errReserve: what is left of the disk is the journal's.
var errReserve = errors.New("the disk is nearly full: what is left is kept for the journal; free some space")

// writer owns the files. All its fields belong to the goroutine of run.
type writer struct {
	h      *History
	fs     journal.FS
	closer func() error
	ring   ring
	next   uint64 // index of the next segment
	table  uint32

	cur   journal.File
	hdr   header
	at    segment // of cur
	begun bool    // cur was synced once
	trash []string

	group []entry // in hand until it is on the disk
	gap   Gap
	buf   []byte
	fails int
	told  bool
}

func newWriter(h *History) *writer {
	return &writer{h: h, ring: ring{max: h.o.MaxBytes, age: h.o.MaxAge}, table: h.names.sum()}
}

func (w *writer) run() {
	defer close(w.h.done)
	defer w.end()
	for {
		closing := w.wait()
		for w.take() {
			err := w.flush()
			if err == nil {
				w.wrote()
				if !closing && !w.due() {
					break // what has come meanwhile has time, and goes with what comes after it
				}
				continue
			}
			w.failed(err)
			if closing {
				return
			}
			closing = w.pause()
		}
		if closing {
			return
		}
	}
}

// wait returns when something is due, or at the end (true).
func (w *writer) wait() (closing bool) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var c <-chan time.Time
		if due, any := w.h.q.due(pollDelay, otherDelay); any {
			d := time.Until(due)
			if d <= 0 {
				return false
			}
			timer.Reset(d)
			c = timer.C
		}
		select {
		case <-w.h.q.wake:
		case <-c:
		case <-w.h.closing:
			return true
		}
	}
}

// due tells whether something that waits has waited long enough.
func (w *writer) due() bool {
	at, any := w.h.q.due(pollDelay, otherDelay)
	return any && !time.Now().Before(at)
}

// take gets the next group in hand, unless one is.
func (w *writer) take() bool {
	if len(w.group) == 0 {
		var g Gap
		w.group, g = w.h.q.take(w.group)
		w.gap = w.gap.plus(g)
	}
	return len(w.group) > 0
}

func (g Gap) plus(o Gap) Gap {
	if o == (Gap{}) {
		return g
	}
	from := o.From
	if g.From != 0 {
		from = min(from, g.From)
	}
	return Gap{g.Polls + o.Polls, g.Readings + o.Readings, g.Others + o.Others, from, max(g.To, o.To), g.Why}
}

// pause waits after a failure, growing and spread by a quarter to either side; it is cut short by
// the end (true).
func (w *writer) pause() (closing bool) {
	d := min(retryMin<<min(w.fails-1, 10), retryMax)
	t := time.NewTimer(d*3/4 + rand.N(d/2))
	defer t.Stop()
	select {
	case <-t.C:
		return false
	case <-w.h.closing:
		return true
	}
}

func (w *writer) failed(err error) {
	w.drop()
	w.fails++
	w.gap.Why = err.Error()
	if errors.Is(err, syscall.ENOSPC) && w.fs != nil { // room for us, or for the journal: of what belongs to no episode
		if ix, ok := w.ring.next(w.now(), false); ok {
			_ = w.evict(ix) // or it stays
		}
	}
	w.h.update(func(s *Stats) { s.Failures++; s.Err, s.Doing = err, ""; w.picture(s) })
	if !w.told {
		w.told = true
		w.h.o.Log.Warn("the history of readings is not written; protection is not touched, the oldest readings that wait will be lost", "err", err)
	}
}

// wrote counts a group that is on the disk, and follows the episodes by it.
func (w *writer) wrote() {
	var polls, readings, others uint64
	for i := range w.group {
		switch u := &w.group[i].u; {
		case u.State != nil:
			polls++
			readings += uint64(len(u.State.Readings))
		case u.Alarm != nil || u.Plan != nil || u.Event != nil:
			others++
			if u.Plan != nil && u.Mark != plugins.MarkDrill {
				w.ring.plan(u.Plan, w.instant(&w.group[i]), w.at.Index)
			}
		}
	}
	clear(w.group)
	w.group, w.fails = w.group[:0], 0
	if w.told {
		w.told = false
		w.h.o.Log.Info("the history of readings is written again", "polls_lost", w.gap.Polls, "others_lost", w.gap.Others)
	}
	w.gap = Gap{}
	size := len(w.buf)
	w.h.update(func(s *Stats) {
		s.Polls, s.Readings, s.Others = s.Polls+polls, s.Readings+readings, s.Others+others
		s.Bytes, s.Syncs, s.Err, s.Doing = s.Bytes+int64(size), s.Syncs+1, nil, ""
		w.picture(s)
	})
}

// picture puts what is on the disk into s.
func (w *writer) picture(s *Stats) {
	s.Segments, s.Size, s.Evicted = len(w.ring.segments), w.ring.total(), w.ring.evicted
	if w.cur != nil {
		s.Segments, s.Size = s.Segments+1, s.Size+w.at.Size
	}
}

func (w *writer) now() Instant {
	return Instant{w.h.o.Info.Boot, w.h.o.Clock.Now(), time.Now().UnixMilli(), w.h.o.Synced()}
}

func (w *writer) instant(e *entry) Instant {
	i := Instant{Boot: w.h.o.Info.Boot, Mono: e.at, Wall: e.u.Wall.UnixMilli()}
	if s := e.u.State; s != nil && len(s.Readings) > 0 {
		i.Mono = s.Readings[0].At
		if !s.Wall.IsZero() {
			i.Wall = s.Wall.UnixMilli()
		}
	}
	return i
}

// flush writes the group and syncs it. Its file is not used again after a failure: what a failed
// fsync leaves is unknown.
func (w *writer) flush() error {
	now := w.now()
	if w.fs == nil {
		if err := w.open(); err != nil {
			return err
		}
	}
	if err := w.reserve(now); err != nil {
		return err
	}
	if w.cur != nil {
		if old, known := w.at.First.To(now); w.at.Size >= w.segmentBytes() || known && old > segmentAge {
			w.drop()
		}
	}
	w.buf = w.buf[:0]
	if w.cur == nil {
		w.begin(now)
	}
	w.encode(now.Synced)
	if err := w.makeRoom(now, int64(len(w.buf))); err != nil {
		return err
	}
	if err := w.create(); err != nil {
		return err
	}
	w.h.doing("writing readings")
	if n, err := w.cur.Write(w.buf); err != nil || n < len(w.buf) {
		return fmt.Errorf("write %s, %d of %d bytes done: %w", segmentName(w.at.Index), n, len(w.buf), orShort(err))
	}
	w.h.doing("waiting for fsync of readings")
	if err := w.cur.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", segmentName(w.at.Index), err)
	}
	if !w.begun {
		if err := w.fs.Sync(); err != nil {
			return fmt.Errorf("sync the directory: %w", err)
		}
		w.begun = true
	}
	w.at.Size += int64(len(w.buf))
	w.at.Last = now
	return nil
}

func orShort(err error) error {
	if err == nil {
		return io.ErrShortWrite
	}
	return err
}

func (w *writer) segmentBytes() int64 { return min(w.ring.max/segmentPart, maxSegment) }

// begin starts a segment in buf: header and meta. Its file comes with create.
func (w *writer) begin(now Instant) {
	w.hdr = header{w.next, w.table}
	w.at = segment{Index: w.next, First: now}
	if len(w.group) > 0 {
		w.at.First = w.instant(&w.group[0])
		w.at.First.Synced = now.Synced
	}
	m := meta{Info: w.h.o.Info, names: w.h.names, Segments: w.ring.segments, Episodes: w.ring.episodes, Evicted: w.ring.evicted}
	js, _ := json.Marshal(m) // strings and numbers: it cannot fail
	w.buf = w.hdr.append(w.buf)
	b, at := beginRecord(w.buf, 0)
	w.buf = w.hdr.endRecord(append(appendPrefix(b, kindMeta, w.at.First), js...), at)
}

// create makes the file of a segment that was begun. The leftovers of failed attempts go first: on a
// full disk theirs is the room that is missing.
func (w *writer) create() error {
	if w.cur != nil {
		return nil
	}
	w.h.doing("creating a segment")
	for len(w.trash) > 0 {
		if err := w.fs.Remove(w.trash[0]); err != nil {
			return fmt.Errorf("remove a failed segment: %w", err)
		}
		w.trash = w.trash[1:]
	}
	f, err := w.fs.Open(segmentName(w.at.Index), true)
	if err != nil {
		return fmt.Errorf("create %s: %w", segmentName(w.at.Index), err)
	}
	w.next++
	w.cur, w.begun = f, false
	return nil
}

// drop ends the segment that is written: full, old, or failed.
func (w *writer) drop() {
	if w.cur == nil {
		return
	}
	_ = w.cur.Close() // what counts was synced
	w.cur = nil
	if w.begun {
		w.ring.segments = append(w.ring.segments, w.at)
	} else {
		w.trash = append(w.trash, segmentName(w.at.Index))
	}
}

// open takes the directory and learns what is there.
func (w *writer) open() error {
	w.h.doing("opening the directory")
	dir, closer, err := w.h.o.Open()
	if err != nil {
		return err
	}
	cat, err := catalogue(dir)
	if err != nil {
		return errors.Join(fmt.Errorf("read the directory: %w", err), closer())
	}
	w.fs, w.closer = dir, closer
	w.ring.segments, w.ring.episodes, w.ring.evicted = cat.segments, cat.episodes, cat.evicted
	w.next = max(w.next, cat.next)
	return nil
}

func (w *writer) end() {
	w.drop()
	for _, name := range w.trash {
		_ = w.fs.Remove(name) // found as a leftover otherwise: it reads back or counts as damage
	}
	if w.closer != nil {
		if err := w.closer(); err != nil {
			w.h.o.Log.Warn("the directory of the history did not close", "err", err)
		}
	}
	w.h.doing("")
}

var _ plugins.Publisher = (*History)(nil)
