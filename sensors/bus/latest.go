package bus

import (
	"sync"

	"firebreak/sensors"
)

// Latest is the mailbox between all sources and the one loop that judges. Putting never blocks;
// when a device's batch was not yet taken, the newer one replaces it and that is counted. It holds
// at most one batch per device, and hands them out in the order in which the devices first spoke
// since the last Take, so that no device is starved by a chatty one.
type Latest struct {
	ready chan struct{}

	mu      sync.Mutex
	slots   []sensors.Batch // by device
	full    []bool
	order   []sensors.DeviceID
	dropped uint64
}

// NewLatest makes a mailbox for the devices 0 to n-1.
func NewLatest(n int) *Latest {
	return &Latest{ready: make(chan struct{}, 1), slots: make([]sensors.Batch, n),
		full: make([]bool, n), order: make([]sensors.DeviceID, 0, n)}
}

// Put stores b. It may be called from any goroutine. A batch of a device that the mailbox was not
// made for is thrown away and counted.
func (l *Latest) Put(b sensors.Batch) {
	l.mu.Lock()
	if int64(b.Device) >= int64(len(l.slots)) {
		l.dropped++
		l.mu.Unlock()
		return
	}
	if l.full[b.Device] {
		l.dropped++
	} else {
		l.full[b.Device] = true
		l.order = append(l.order, b.Device)
	}
	l.slots[b.Device] = b
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
	for _, d := range l.order {
		dst = append(dst, l.slots[d])
		l.slots[d], l.full[d] = sensors.Batch{}, false
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
