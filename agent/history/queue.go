package history

import (
	"sync"
	"time"

	"firebreak/plugins"
	"firebreak/sensors"
)

// Bounds of what waits for the disk: about 5 MiB of polls, two minutes of 1000 readings a second,
// and 8 MiB of the rest.
const (
	maxReadings = 128 << 10
	maxPolls    = 16 << 10
	maxOthers   = 4096
	maxData     = 8 << 20
)

// What the writer takes at once. It bounds how far a segment grows beyond its size.
const (
	takeReadings = 8 << 10
	takeOthers   = 64
	takeData     = 256 << 10
)

// entry is one update that waits. Batches are not copied: they belong to nobody who changes them.
type entry struct {
	n    uint64
	at   sensors.Mono
	wait time.Time
	u    plugins.Update
	size int // readings of a poll; bytes of an event's data
}

// fifo is a queue in a ring that grows up to its bound.
type fifo struct {
	e    []entry
	head int
	n    int
	size int // sum over what waits
}

func (f *fifo) len() int      { return f.n }
func (f *fifo) first() *entry { return &f.e[f.head] }

func (f *fifo) push(e entry) {
	if f.n == len(f.e) {
		grown := make([]entry, max(64, 2*len(f.e)))
		copy(grown[copy(grown, f.e[f.head:]):], f.e[:f.head])
		f.e, f.head = grown, 0
	}
	f.e[(f.head+f.n)%len(f.e)] = e
	f.n++
	f.size += e.size
}

func (f *fifo) pop() entry {
	e := f.e[f.head]
	f.e[f.head] = entry{} // what it points to is free
	f.head = (f.head + 1) % len(f.e)
	f.n--
	f.size -= e.size
	return e
}

// queue is what stands between the loop and the disk. Its lock is held for copies of pointers only.
type queue struct {
	mu     sync.Mutex
	n      uint64 // last number given
	polls  fifo
	others fifo
	gap    Gap // not yet written
	wake   chan struct{}

	dropped Gap // since the start
}

// offer takes an update; when its kind has no room, the oldest of that kind goes.
func (q *queue) offer(u plugins.Update, at sensors.Mono) {
	e := entry{at: at, wait: time.Now(), u: u}
	f, most, bytes := &q.others, maxOthers, maxData
	switch {
	case u.State != nil:
		e.size, f, most, bytes = len(u.State.Readings), &q.polls, maxPolls, maxReadings
	case u.Event != nil:
		e.size = len(u.Event.Data) + len(u.Event.Detail)
	case u.Alarm == nil && u.Plan == nil:
		return
	}
	q.mu.Lock()
	q.n++
	e.n = q.n
	for f.len() > 0 && (f.len() >= most || f.size+e.size > bytes) {
		q.lose(f.pop())
	}
	kick := f.len() == 0
	f.push(e)
	kick = kick || q.crowded()
	q.mu.Unlock()
	if kick {
		select {
		case q.wake <- struct{}{}:
		default:
		}
	}
}

// crowded: so much waits that the writer shall not wait any more.
func (q *queue) crowded() bool {
	return q.polls.len() > maxPolls/4 || q.polls.size > maxReadings/4 || q.others.len() > maxOthers/4 || q.others.size > maxData/4
}

// lose counts an entry that will not be written. The lock is held.
func (q *queue) lose(e entry) {
	wall := e.u.Wall.UnixMilli()
	for _, g := range []*Gap{&q.gap, &q.dropped} {
		if e.u.State != nil {
			g.Polls++
			g.Readings += uint64(e.size)
		} else {
			g.Others++
		}
		if g.From == 0 || wall < g.From {
			g.From = wall
		}
		g.To = max(g.To, wall)
	}
}

// drop counts an entry that the writer cannot write.
func (q *queue) drop(e entry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.lose(e)
}

// due is when the writer shall write what waits.
func (q *queue) due(poll, other time.Duration) (at time.Time, any bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.crowded() {
		return time.Time{}, true
	}
	if q.polls.len() > 0 {
		at, any = q.polls.first().wait.Add(poll), true
	}
	if q.others.len() > 0 {
		if o := q.others.first().wait.Add(other); !any || o.Before(at) {
			at, any = o, true
		}
	}
	return at, any
}

// take moves the oldest entries to dst, in the order of their offers, and returns what was dropped
// before them.
func (q *queue) take(dst []entry) ([]entry, Gap) {
	q.mu.Lock()
	defer q.mu.Unlock()
	readings, others, data := 0, 0, 0
	for q.polls.len() > 0 || q.others.len() > 0 {
		f := &q.polls
		if f.len() == 0 || q.others.len() > 0 && q.others.first().n < f.first().n {
			f = &q.others
		}
		size := f.first().size
		if f == &q.polls {
			readings += size + 1
		} else {
			others++
			data += size
		}
		if len(dst) > 0 && (readings > takeReadings || others > takeOthers || data > takeData) {
			break
		}
		dst = append(dst, f.pop())
	}
	g := q.gap
	q.gap = Gap{}
	return dst, g
}

func (q *queue) waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.polls.len() + q.others.len()
}
