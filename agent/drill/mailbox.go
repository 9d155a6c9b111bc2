package drill

import (
	"slices"
	"sync"

	"firebreak/sensors"
)

// mailbox keeps the newest batch of each part of a device for the drill's loop: when that is behind, older
// ones are lost, and a drill that loses readings only drills later.
type mailbox struct {
	mu     sync.Mutex
	newest map[part]sensors.Batch
	order  []part
	ready  chan struct{}
}

type part struct {
	device sensors.DeviceID
	number uint8
}

func newMailbox() *mailbox {
	return &mailbox{newest: map[part]sensors.Batch{}, ready: make(chan struct{}, 1)}
}

func (m *mailbox) put(b sensors.Batch) {
	m.mu.Lock()
	p := part{b.Device, b.Part}
	if _, waits := m.newest[p]; waits {
		i := slices.Index(m.order, p)
		m.order = slices.Delete(m.order, i, i+1) // of two batches that tell of one point the newer is last
	}
	m.order = append(m.order, p)
	m.newest[p] = b
	m.mu.Unlock()
	select {
	case m.ready <- struct{}{}:
	default:
	}
}

// Ready has something when Take has.
func (m *mailbox) Ready() <-chan struct{} { return m.ready }

// Take empties the mailbox.
func (m *mailbox) Take(dst []sensors.Batch) []sensors.Batch {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, d := range m.order {
		dst = append(dst, m.newest[d])
	}
	clear(m.newest)
	m.order = m.order[:0]
	return dst
}
