package uplink

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"firebreak/agent/wire"
)

func small() *backlog {
	c := Config{Window: 8, MaxQueued: 6, MaxQueuedBytes: 1 << 20, MaxState: 4, MaxStateBytes: 1 << 20}
	return newBacklog(&c)
}

func msg(c wire.Class, seq uint64, name string) *wire.Message {
	return &wire.Message{Class: c, Seq: seq, Topic: c.String() + "/" + name, Payload: []byte(name)}
}

// drain sends and acknowledges all, and returns what was sent.
func drain(b *backlog) (out []string) {
	for {
		m, from := b.next(0)
		if m == nil {
			return out
		}
		out = append(out, fmt.Sprintf("%s %d", m.Topic, m.Seq))
		b.acked(m, from)
	}
}

func same(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s:\ngot  %q\nwant %q", what, got, want)
	}
}

func TestFullDropsTelemetryFirstAndPresentAlarmsNever(t *testing.T) {
	b := small()
	seq := uint64(0)
	put := func(c wire.Class, name string, drill bool) {
		seq++
		m := msg(c, seq, name)
		m.Drill = drill
		b.put(m)
	}
	for range 10 {
		put(wire.State, "d", false)
	}
	if b.dropped != (wire.Drops{State: 6}) || b.states.n != 4 {
		t.Fatalf("own bound of telemetry: %+v, %d kept", b.dropped, b.states.n)
	}
	put(wire.Alarm, "once", false) // 11
	put(wire.Event, "e", true)     // 12
	for range 8 {                  // 13 to 20; 10 of the alarm lane take all places, telemetry's too
		put(wire.Alarm, "flaps", false)
	}
	if b.dropped != (wire.Drops{State: 10}) {
		t.Fatalf("telemetry goes first: %+v", b.dropped)
	}
	put(wire.Alarm, "flaps", false) // 21 takes the place of the drill's event
	put(wire.Event, "e", false)     // 22 takes that of the newest event: itself
	if b.dropped != (wire.Drops{State: 10, Event: 2}) {
		t.Fatalf("then events: %+v", b.dropped)
	}
	put(wire.Alarm, "flaps", false) // 23 takes that of 13: 11 is older, but the present state of its alarm
	put(wire.State, "d", false)     // 24: no place
	if b.dropped != (wire.Drops{State: 11, Event: 2, Alarm: 1}) {
		t.Fatalf("then superseded transitions: %+v", b.dropped)
	}
	b.reconnected()
	same(t, "left", drain(b), "alarm/once 11", "alarm/flaps 14", "alarm/flaps 15", "alarm/flaps 16", "alarm/flaps 17",
		"alarm/flaps 18", "alarm/flaps 19", "alarm/flaps 20", "alarm/flaps 21", "alarm/flaps 23")
}

// With more alarms than places, present states leave the queue and are told all the same: at once
// where there is a connection, or after the next one.
func TestPresentAlarmsOutliveTheQueue(t *testing.T) {
	for _, lost := range []bool{false, true} {
		b := small()
		var want []string
		for i := uint64(1); i <= 15; i++ {
			m := msg(wire.Alarm, i, fmt.Sprint("a", i))
			b.put(m)
			want = append(want, fmt.Sprintf("%s %d", m.Topic, i))
		}
		if b.dropped != (wire.Drops{}) || b.trees[0].alarms.n != 10 {
			t.Errorf("%+v, %d in the queue", b.dropped, b.trees[0].alarms.n)
		}
		if lost {
			b.reconnected()
		}
		same(t, fmt.Sprint("lost ", lost), drain(b), want...)
	}
}

func TestOrderAfterReconnect(t *testing.T) {
	b := small()
	alarm := func(seq uint64, name string, prio int, active bool) {
		m := msg(wire.Alarm, seq, name)
		m.Priority, m.Active = prio, active
		b.put(m)
	}
	alarm(1, "low", 3, true)
	alarm(2, "over", 1, true)
	alarm(3, "high", 1, true)
	alarm(4, "over", 1, false)
	b.put(msg(wire.Plan, 1, "p"))
	b.put(msg(wire.Plan, 2, "p"))
	same(t, "first connection", drain(b), "plan/p 2", "alarm/low 1", "alarm/over 2", "alarm/high 3", "alarm/over 4")
	if b.dropped.Superseded != 1 {
		t.Errorf("superseded %d", b.dropped.Superseded)
	}

	b.put(msg(wire.State, 1, "d"))
	b.put(msg(wire.Event, 1, ""))
	alarm(5, "new", 2, true)
	drill := msg(wire.Alarm, 1, "drill")
	drill.Drill = true
	b.put(drill)
	b.put(msg(wire.State, 2, "d"))
	b.reconnected()
	same(t, "second connection", drain(b), "plan/p 2", "alarm/high 3", "alarm/low 1", "alarm/new 5", "event/ 1", "alarm/drill 1", "state/d 1", "state/d 2")
}

// Telemetry leaves room in the window, so that an alarm never waits for its acknowledgements.
func TestWindow(t *testing.T) {
	b := small()
	for i := uint64(1); i < 5; i++ {
		b.put(msg(wire.State, i, "d"))
	}
	if m, _ := b.next(6); m != nil {
		t.Error("telemetry took the last quarter of the window")
	}
	b.put(msg(wire.Alarm, 1, "a"))
	if m, from := b.next(7); m == nil || from != fromAlarms {
		t.Error("no alarm into the last quarter")
	}
	if m, _ := b.next(8); m != nil {
		t.Error("the window has no end")
	}
}

// model watches a backlog from outside: what was offered, what is in flight, what arrived.
type model struct {
	t       *rapid.T
	b       *backlog
	out     []flying
	offered map[wire.Class]uint64
	latest  map[string]uint64     // newest offered, by topic
	known   map[string]uint64     // newest arrived, by topic
	last    map[wire.Class]uint64 // last arrived out of a queue
	arrived map[wire.Class]map[uint64]bool
}

type flying struct {
	m    *wire.Message
	from source
}

func newModel(t *rapid.T) *model {
	m := &model{t: t, b: small(), offered: map[wire.Class]uint64{}, latest: map[string]uint64{}, known: map[string]uint64{},
		last: map[wire.Class]uint64{}, arrived: map[wire.Class]map[uint64]bool{}}
	for c := range wire.Classes {
		m.arrived[c] = map[uint64]bool{}
	}
	return m
}

func (w *model) offer() {
	c := rapid.SampledFrom([]wire.Class{wire.Alarm, wire.Alarm, wire.Plan, wire.Event, wire.State}).Draw(w.t, "class")
	w.offered[c]++
	m := msg(c, w.offered[c], rapid.SampledFrom([]string{"a", "b", "c"}).Draw(w.t, "name"))
	m.Active = rapid.Bool().Draw(w.t, "active")
	w.b.put(m)
	w.latest[m.Topic] = m.Seq
}

func (w *model) send() bool {
	m, from := w.b.next(len(w.out))
	if m != nil {
		w.out = append(w.out, flying{m, from})
	}
	return m != nil
}

func (w *model) ack() {
	if len(w.out) == 0 {
		return
	}
	f := w.out[0]
	w.out = w.out[1:]
	w.b.acked(f.m, f.from)
	w.known[f.m.Topic] = max(w.known[f.m.Topic], f.m.Seq)
	w.arrived[f.m.Class][f.m.Seq] = true
	if f.from == fromAlarms || f.from == fromEvents || f.from == fromStates {
		if f.m.Seq <= w.last[f.m.Class] {
			w.t.Fatalf("%s %d arrived after %d", f.m.Class, f.m.Seq, w.last[f.m.Class])
		}
		w.last[f.m.Class] = f.m.Seq
	}
}

func (w *model) lose() {
	w.out = nil
	w.b.reconnected()
}

func (w *model) bounds() {
	n, _ := w.b.lane()
	if n+w.b.states.n > 10+8 || w.b.states.n > 4+8 { // what is in flight cannot be dropped
		w.t.Fatalf("%d in the alarm lane and %d states are over the bounds", n, w.b.states.n)
	}
}

// Whatever the order of offers, acknowledgements and losses: the bounds hold, each class arrives
// in order, messages go missing only where drops are counted, and at the end the broker knows the
// present state of each alarm and plan.
func TestBacklogProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newModel(t)
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "do") {
			case 0:
				w.lose()
			case 1, 2:
				w.ack()
			case 3, 4:
				w.send()
			default:
				w.offer()
			}
			w.bounds()
		}
		w.lose()
		for w.send() || len(w.out) > 0 {
			w.ack()
		}
		for topic, seq := range w.latest {
			if w.known[topic] != seq && (topic[0] == 'a' || topic[0] == 'p') {
				t.Fatalf("%s: the broker knows %d, the newest is %d", topic, w.known[topic], seq)
			}
		}
		// A plan state that was in flight when it was superseded and lost is in neither count.
		d := w.b.dropped
		for c, dropped := range map[wire.Class]uint64{wire.Alarm: d.Alarm, wire.Event: d.Event, wire.State: d.State} {
			if n := uint64(len(w.arrived[c])); n+dropped < w.offered[c] {
				t.Fatalf("%s: %d offered, %d arrived, %d dropped", c, w.offered[c], n, dropped)
			}
		}
		if w.b.waiting() != 0 {
			t.Fatalf("%d wait after all was sent", w.b.waiting())
		}
	})
}

// Only a transition with a newer state of its alarm behind it is history.
func TestSuperseded(t *testing.T) {
	b := small()
	for i, name := range []string{"a", "b", "a"} {
		b.put(msg(wire.Alarm, uint64(i), name))
	}
	b.put(msg(wire.Plan, 1, "p"))
	b.put(msg(wire.Event, 1, "x"))
	b.put(msg(wire.State, 1, "d"))
	var got []string
	for m, from := b.next(0); m != nil; m, from = b.next(0) {
		if b.superseded(m, from) {
			got = append(got, fmt.Sprint(m.Class, " ", m.Seq))
		}
	}
	same(t, "superseded", got, "alarm 0")
}
