package modbus

import (
	"math/rand/v2"
	"time"
)

const (
	firstBackoff = 250 * time.Millisecond
	lastBackoff  = 10 * time.Second
)

// backoff says when an endpoint may be opened again.
type backoff struct {
	fails int
	next  time.Time
}

// failed books a failure. The first may be free: a peer that closes an idle connection is met at
// once, one that keeps doing so is not.
func (b *backoff) failed(now time.Time, firstFree bool) {
	n := b.fails
	b.fails = min(b.fails+1, 10)
	if firstFree {
		if n == 0 {
			b.next = now
			return
		}
		n--
	}
	d := min(firstBackoff<<n, lastBackoff)
	b.next = now.Add(d/2 + rand.N(d/2+1))
}

func (b *backoff) ok() { *b = backoff{} }
