package uplink

import (
	"time"

	"firebreak/agent/wire"
)

// Readings wait in three queues, told in this order: those of now; those of lives before this one; those that
// waited for a session. What goes when there is no room is the oldest.

// polls sums up the queues of readings.
func (b *backlog) polls() (n, bytes int) {
	return b.states.n + b.elder.n + b.history.n, b.states.bytes + b.elder.bytes + b.history.bytes
}

// limitStates drops readings until the rest is within its bounds.
func (b *backlog) limitStates() {
	for b.unsentStates() > 0 {
		if n, bytes := b.polls(); n <= b.maxState && bytes <= b.maxStateBytes && !b.full() {
			return
		}
		b.dropState()
	}
}

func (b *backlog) unsentStates() int {
	return b.states.unsent() + b.elder.unsent() + b.history.unsent()
}

// dropState drops the oldest readings.
func (b *backlog) dropState() {
	q := &b.elder
	if q.unsent() == 0 {
		q = &b.history
	}
	if q.unsent() == 0 {
		q = &b.states
	}
	b.lost(q.drop(q.sent))
	b.dropped.State++
}

// nextPast takes the next of the readings that waited, as fast as these may go.
func (b *backlog) nextPast() (*wire.Message, source) {
	if b.elder.unsent()+b.history.unsent() == 0 || b.allow != nil && !b.allow() {
		return nil, fromNowhere
	}
	if m := b.elder.next(); m != nil {
		return m, fromElder
	}
	return b.history.next(), fromHistory
}

// lacksPoll is the oldest reading that the broker has not acknowledged, and that was not dropped: the epoch of its
// life, and its number; 0: it has all. own is the epoch of this life.
func (b *backlog) lacksPoll(own uint64) (epoch, n uint64) {
	if b.elder.n > 0 {
		m := *b.elder.at(0)
		return m.Epoch, m.Seq
	}
	for _, q := range []*queue{&b.history, &b.states} {
		for i := range q.n {
			if m := *q.at(i); !m.Drill {
				return own, m.Seq
			}
		}
	}
	return own, 0
}

// past makes history of the readings that have waited for a session, and drops what is too old.
func (b *backlog) past() {
	b.elder.rewind()
	b.history.rewind()
	b.states.rewind()
	now := time.Now()
	for b.states.n > 0 && now.Sub((*b.states.at(0)).Made) >= b.after {
		b.history.push(b.states.drop(0))
	}
	for _, q := range []*queue{&b.elder, &b.history} {
		b.tooOld(q, now)
	}
}

// tooOld drops the readings that are older than any may be. How old some of an earlier boot are nobody knows.
func (b *backlog) tooOld(q *queue, now time.Time) {
	for b.maxAge > 0 && q.n > 0 {
		if m := *q.at(0); m.Made.IsZero() || now.Sub(m.Made) <= b.maxAge {
			return
		}
		b.lost(q.drop(0))
		b.dropped.State++
	}
}
