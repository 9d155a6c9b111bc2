package drill

import (
	"sync"

	"firebreak/sensors"
)

// mailbox keeps the newest batch of each device for the drill's loop: when that is behind, older
// ones are lost, and a drill that loses readings only drills later.
type mailbox struct {
	mu     sync.Mutex
	newest map[sensors.DeviceID]sensors.Batch
	order  []sensors.DeviceID
	ready  chan struct{}
}

func newMailbox() *mailbox {
	return &mailbox{newest: map[sensors.DeviceID]sensors.Batch{}, ready: make(chan struct{}, 1)}
}

func (m *mailbox) put(b sensors.Batch) {
	m.mu.Lock()
	if _, waits := m.newest[b.Device]; !waits {
		m.order = append(m.order, b.Device)
	}
	m.newest[b.Device] = b
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
