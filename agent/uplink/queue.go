package uplink

import "firebreak/agent/wire"

// queue is a ring of messages in order. The first sent of them are in flight; they leave when they
// are acknowledged, from the front, and become unsent again when the connection is lost.
type queue struct {
	ring    []*wire.Message
	head, n int
	sent    int
	bytes   int
}

func (q *queue) at(i int) **wire.Message { return &q.ring[(q.head+i)%len(q.ring)] }

func (q *queue) unsent() int { return q.n - q.sent }

func (q *queue) push(m *wire.Message) {
	if q.n == len(q.ring) {
		grown := make([]*wire.Message, max(16, 2*q.n))
		for i := range q.n {
			grown[i] = *q.at(i)
		}
		q.ring, q.head = grown, 0
	}
	q.n++
	*q.at(q.n - 1) = m
	q.bytes += size(m)
}

// size is what a message takes in memory, about.
func size(m *wire.Message) int { return len(m.Payload) + 160 }

// next takes the oldest unsent message into flight.
func (q *queue) next() *wire.Message {
	if q.sent == q.n {
		return nil
	}
	q.sent++
	return *q.at(q.sent - 1)
}

// acked removes the oldest message in flight.
func (q *queue) acked() {
	q.sent--
	q.remove(0)
}

// rewind makes all that is in flight unsent.
func (q *queue) rewind() { q.sent = 0 }

// drop removes message i, which is not in flight.
func (q *queue) drop(i int) *wire.Message {
	m := *q.at(i)
	q.remove(i)
	return m
}

// remove closes the gap from the front: what is dropped is nearly always just behind the few in
// flight.
func (q *queue) remove(i int) {
	q.bytes -= size(*q.at(i))
	for ; i > 0; i-- {
		*q.at(i) = *q.at(i - 1)
	}
	*q.at(0) = nil
	q.head = (q.head + 1) % len(q.ring)
	q.n--
	if q.n == 0 && len(q.ring) > 1024 { // after an outage
		q.ring, q.head = nil, 0
	}
}
