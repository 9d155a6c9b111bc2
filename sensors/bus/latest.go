package bus

import (
	"slices"
	"sync"

	"firebreak/sensors"
)

// Latest is the mailbox between all sources and the one loop that judges. Putting never blocks;
// when a batch of the same device and part was not yet taken, the newer one replaces it and that is
// counted. It holds at most one batch of each, and hands them out in the order in which they came, so
// that of two batches that tell of one point the newer is last.
type Latest struct {
	ready chan struct{}

	mu      sync.Mutex
	slots   [][]sensors.Batch // by device and part
	full    []uint64          // by device, a bit for each part
	order   []waiting
	dropped uint64
}

type waiting struct {
	device sensors.DeviceID
	part   uint8
}

// NewLatest makes a mailbox for the devices 0 to n-1.
func NewLatest(n int) *Latest {
	return &Latest{ready: make(chan struct{}, 1), slots: make([][]sensors.Batch, n), full: make([]uint64, n), order: make([]waiting, 0, n)}
}

// Put stores b. It may be called from any goroutine. A batch of a device or part that the mailbox was
// not made for is thrown away and counted.
func (l *Latest) Put(b sensors.Batch) {
	l.mu.Lock()
	if int64(b.Device) >= int64(len(l.slots)) || b.Part >= MaxParts {
		l.dropped++
		l.mu.Unlock()
		return
	}
	for len(l.slots[b.Device]) <= int(b.Part) {
		l.slots[b.Device] = append(l.slots[b.Device], sensors.Batch{})
	}
	w := waiting{b.Device, b.Part}
	if l.full[b.Device]>>b.Part&1 == 1 {
		l.dropped++
		i := slices.Index(l.order, w)
		l.order = slices.Delete(l.order, i, i+1)
	}
	l.full[b.Device] |= 1 << b.Part
	l.order = append(l.order, w)
	l.slots[b.Device][b.Part] = b
	l.mu.Unlock()
	select {
	case l.ready <- struct{}{}:
	default: // already signalled
	}
}

// Ready delivers a signal when something was put since the last one. A Take may then still find
// nothing, when an earlier one took it.
func (l *Latest) Ready() <-chan struct{} { return l.ready }

// Take appends all waiting batches to dst and empties the mailbox.
func (l *Latest) Take(dst []sensors.Batch) []sensors.Batch {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.order {
		dst = append(dst, l.slots[w.device][w.part])
		l.slots[w.device][w.part], l.full[w.device] = sensors.Batch{}, 0
	}
	l.order = l.order[:0]
	return dst
}

// Dropped counts the batches that were replaced before they were taken.
func (l *Latest) Dropped() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dropped
}
