package uplink

import (
	"cmp"
	"slices"
	"time"

	"firebreak/agent/wire"
)

// backlog is all that waits for one broker, in the order in which it would be told. It is not
// safe for concurrent use.
type backlog struct {
	window, maxCount, maxBytes int
	maxState, maxStateBytes    int
	trees                      [2]tree       // live, drill
	after                      time.Duration // readings that have waited for so long are history
	maxAge                     time.Duration // of readings that wait; 0: any
	snapshot                   []*wire.Message
	older                      queue       // transitions and events of lives before this one: see outbox
	states                     queue       // readings of now
	elder                      queue       // readings of lives before this one: see spill
	history                    queue       // readings that waited for a session: told after those of now
	allow                      func() bool // may one of history be sent now; nil: always
	dropped                    wire.Drops
	gaps                       []wire.GapRange // what was dropped, newest last; see lost
	pendingPlans               int
}

// tree is the alarm lane of the live or of the drill messages.
type tree struct {
	plans  []*slot
	byName map[string]*slot // plans and alarms, by topic
	alarms queue
	events queue
}

// slot keeps the newest message of one topic.
type slot struct {
	m       *wire.Message
	pending bool // plan: to be sent; alarm: waits in the queue or is in flight from it
	acked   bool
}

// source says where a message in flight came from, and so what its acknowledgement moves.
type source uint8

const (
	fromNowhere source = iota // birth, hello
	fromPlans
	fromSnapshot
	fromAlarms
	fromEvents
	fromOlder
	fromStates
	fromElder
	fromHistory
)

func newBacklog(c *Config) *backlog {
	b := &backlog{window: c.Window, maxCount: c.MaxQueued, maxBytes: c.MaxQueuedBytes, maxState: c.MaxState, maxStateBytes: c.MaxStateBytes, maxAge: c.MaxStateAge, after: c.HistoryAfter}
	for i := range b.trees {
		b.trees[i].byName = map[string]*slot{}
	}
	return b
}

func (b *backlog) tree(drill bool) *tree {
	if drill {
		return &b.trees[1]
	}
	return &b.trees[0]
}

func (t *tree) slot(topic string) (s *slot, fresh bool) {
	s, ok := t.byName[topic]
	if !ok {
		s = &slot{}
		t.byName[topic] = s
	}
	return s, !ok
}

func (b *backlog) put(m *wire.Message) {
	t := b.tree(m.Drill)
	switch m.Class {
	case wire.Plan:
		s, fresh := t.slot(m.Topic)
		if fresh {
			t.plans = append(t.plans, s)
		}
		if s.pending {
			b.dropped.Superseded++
		} else {
			b.pendingPlans++
		}
		s.m, s.pending, s.acked = m, true, false
		return
	case wire.Alarm:
		s, fresh := t.slot(m.Topic)
		if !fresh && !s.pending && !s.acked { // it had left the queue, and may not be told any more
			b.lost(s.m)
			b.dropped.Alarm++
		}
		s.m, s.pending, s.acked = m, true, false
		t.alarms.push(m)
	case wire.Event:
		t.events.push(m)
	default:
		b.states.push(m)
		b.limitStates()
		return
	}
	for b.full() && b.makeRoom() {
	}
}

// full is true while all queues together hold more than their bounds together.
func (b *backlog) full() bool {
	n, bytes := b.lane()
	polls, size := b.polls()
	return n+polls > b.maxCount+b.maxState || bytes+size > b.maxBytes+b.maxStateBytes
}

// lane sums up the queues of the alarm lane.
func (b *backlog) lane() (n, bytes int) {
	n, bytes = b.older.n, b.older.bytes
	for i := range b.trees {
		t := &b.trees[i]
		n += t.alarms.n + t.events.n
		bytes += t.alarms.bytes + t.events.bytes
	}
	return n, bytes
}

// makeRoom drops one message, in the order that the package comment states; false when all that is
// left is in flight.
func (b *backlog) makeRoom() bool {
	if b.unsentStates() > 0 {
		b.dropState()
		return true
	}
	if b.dropFrom(&b.trees[1]) {
		return true
	}
	if b.older.unsent() > 0 {
		b.dropOlder()
		return true
	}
	return b.dropFrom(&b.trees[0])
}

func (b *backlog) dropFrom(t *tree) bool {
	switch {
	case t.events.unsent() > 0:
		b.lost(t.events.drop(t.events.sent))
		b.dropped.Event++
	case t.alarms.unsent() > 0:
		b.dropAlarm(t)
	default:
		return false
	}
	return true
}

// dropAlarm drops the oldest transition that a later one supersedes. If there is none, the oldest
// leaves the queue for the snapshot: the present state of an alarm is never lost, and there is one
// for each alarm at most.
func (b *backlog) dropAlarm(t *tree) {
	for i := t.alarms.sent; i < t.alarms.n; i++ {
		if m := *t.alarms.at(i); t.byName[m.Topic].m != m {
			b.lost(t.alarms.drop(i))
			b.dropped.Alarm++
			return
		}
	}
	m := t.alarms.drop(t.alarms.sent)
	t.byName[m.Topic].pending = false
	b.snapshot = append(b.snapshot, m)
}

// reconnected makes all that was in flight unsent, every plan state pending, and a snapshot of the
// alarms: the active ones by priority, and those of which the broker may hold an older state. An
// alarm whose newest state waits in the queue is not in the snapshot, since telling it before the
// transitions that led to it would put them out of order.
func (b *backlog) reconnected() {
	b.past()
	for i := range b.trees {
		b.trees[i].alarms.rewind()
		b.trees[i].events.rewind()
	}
	b.older.rewind()
	b.present(false)
}

// present makes the state of all plans and alarms due to be told: of alarms that are over, and whose end the broker
// has, only when all are asked for.
func (b *backlog) present(all bool) {
	b.snapshot = nil
	b.pendingPlans = 0
	for i := range b.trees {
		t := &b.trees[i]
		for _, s := range t.plans {
			s.pending = true
			b.pendingPlans++
		}
		for _, s := range t.byName {
			if s.m.Class == wire.Alarm && !s.pending && (all || s.m.Active || !s.acked) {
				b.snapshot = append(b.snapshot, s.m)
			}
		}
	}
	slices.SortFunc(b.snapshot, func(x, y *wire.Message) int {
		return cmp.Or(boolCmp(x.Drill, y.Drill), boolCmp(!x.Active, !y.Active), cmp.Compare(x.Priority, y.Priority), cmp.Compare(x.Seq, y.Seq))
	})
}

// again makes the newest word on a topic due to be told once more.
func (b *backlog) again(topic string) {
	s := b.trees[0].byName[topic]
	switch {
	case s == nil || s.pending:
	case s.m.Class == wire.Plan:
		s.pending = true
		b.pendingPlans++
	case !slices.Contains(b.snapshot, s.m):
		b.snapshot = slices.Insert(b.snapshot, 0, s.m)
	}
}

func boolCmp(x, y bool) int {
	switch {
	case x == y:
		return 0
	case y:
		return -1
	}
	return 1
}

// next takes the message that is to be sent next, when so many are in flight; nil when there is
// none that may.
func (b *backlog) next(inFlight int) (*wire.Message, source) {
	if inFlight >= b.window {
		return nil, fromNowhere
	}
	for i := range b.trees {
		t := &b.trees[i]
		if m := b.nextPlan(t); m != nil {
			return m, fromPlans
		}
		if len(b.snapshot) > 0 && b.snapshot[0].Drill == (i == 1) {
			m := b.snapshot[0]
			b.snapshot = b.snapshot[1:]
			return m, fromSnapshot
		}
		if m := t.alarms.next(); m != nil {
			return m, fromAlarms
		}
		if m := t.events.next(); m != nil {
			return m, fromEvents
		}
		if i == 0 {
			if m := b.older.next(); m != nil {
				return m, fromOlder
			}
		}
	}
	// Telemetry leaves a quarter of the window to the alarm lane.
	if inFlight >= b.window-b.window/4 {
		return nil, fromNowhere
	}
	if m := b.states.next(); m != nil {
		return m, fromStates
	}
	return b.nextPast()
}

// superseded: a newer state of the same alarm waits behind this transition, or was told by a later life.
func (b *backlog) superseded(m *wire.Message, from source) bool {
	return from == fromOlder || from == fromAlarms && b.tree(m.Drill).byName[m.Topic].m != m
}

func (b *backlog) nextPlan(t *tree) *wire.Message {
	if b.pendingPlans == 0 {
		return nil
	}
	for _, s := range t.plans {
		if s.pending {
			s.pending = false
			b.pendingPlans--
			return s.m
		}
	}
	return nil
}

// acked takes note that a message in flight has arrived.
func (b *backlog) acked(m *wire.Message, from source) {
	t := b.tree(m.Drill)
	switch from {
	case fromPlans, fromSnapshot:
		if s := t.byName[m.Topic]; s.m == m {
			s.acked = true
		}
	case fromAlarms:
		t.alarms.acked()
		if s := t.byName[m.Topic]; s.m == m {
			s.pending, s.acked = false, true
		}
	case fromEvents:
		t.events.acked()
	case fromOlder:
		b.older.acked()
	case fromStates:
		b.states.acked()
	case fromElder:
		b.elder.acked()
	case fromHistory:
		b.history.acked()
	}
}

// waiting counts the messages that were not acknowledged and are not in flight outside a queue.
func (b *backlog) waiting() int {
	n, _ := b.lane()
	polls, _ := b.polls()
	return n + polls + b.pendingPlans + len(b.snapshot)
}
