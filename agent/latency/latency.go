// Package latency counts how long things took, in the buckets of a Prometheus histogram.
//
// Concurrency: any number of goroutines may note and read at once; nobody waits for a lock, so that
// what is measured is not held up by who looks. Failure: none.
package latency

import (
	"sync/atomic"
	"time"
)

// Bounds are the upper ends of the buckets, ascending: from the fsync of a good disk to a hook that
// migrates machines. What took longer is in Count alone.
var Bounds = [...]time.Duration{100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second,
	10 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute}

// Histogram counts durations. Its zero value is empty.
type Histogram struct {
	buckets [len(Bounds) + 1]atomic.Uint64 // the last: longer than all bounds
	sum     atomic.Int64
}

// Note adds one duration.
func (h *Histogram) Note(d time.Duration) {
	i := 0
	for i < len(Bounds) && d > Bounds[i] {
		i++
	}
	h.buckets[i].Add(1)
	h.sum.Add(int64(max(d, 0)))
}

// Snapshot is what a histogram held when it was read.
type Snapshot struct {
	Upto  [len(Bounds)]uint64 // noted that took no longer than the bound
	Count uint64
	Sum   time.Duration
}

// Read takes a snapshot. What is noted meanwhile is in it or not.
func (h *Histogram) Read() (s Snapshot) {
	for i := range h.buckets {
		s.Count += h.buckets[i].Load()
		if i < len(Bounds) {
			s.Upto[i] = s.Count
		}
	}
	s.Sum = time.Duration(h.sum.Load())
	return s
}
