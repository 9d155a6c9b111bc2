package consumer

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"firebreak/plugins"
)

// replayed is what an agent makes of a message that it kept from the life before.
func (f *fake) replayed(m said) said {
	f.t.Helper()
	m.payload = bytes.Replace(m.payload, []byte(`"age_s":0`), []byte(`"age_s":60,"held_s":60,"replayed":true`), 1)
	m.payload = f.signer.Sign(m.topic, append(m.payload[:bytes.Index(m.payload, []byte(`,"key_id"`))], '}'))
	return m
}

// An agent that was killed while its broker was away tells, after its restart, what it had kept: each is shown
// once, of whichever broker, before or after the new life is heard, and nothing of it is acted on or changes
// what stands. What is not marked so, or stands retained, is a recording, and refused.
func TestWordsOfALifeBefore(t *testing.T) {
	s, k := newKey(t, "rack1")
	old, f, l := newFake(t, s, "rack1", "old", 50), newFake(t, s, "rack1", "new", 100), newListener(t, k)
	never := newFake(t, s, "rack1", "between", 70)
	l.hear("a", old.hello(), old.alarm("smoke", 1, true))
	lost := []said{old.alarm("smoke", 1, false), old.alarm("heat", 1, true), old.plan("2b", 7), old.event("step.done"), never.alarm("gas", 1, true)}
	bare := old.alarm("smoke", 1, true)
	l.hear("a", f.hello(), f.alarm("smoke", 2, true), f.plan("0", 0))
	var ns []Note
	for _, m := range lost {
		ns = append(ns, l.hear("a", f.replayed(m))...)
		ns = append(ns, l.hear("b", f.replayed(m))...)
	}
	expect(t, "the life before", ns, "alarm smoke normal; alarm heat unacknowledged; plan stage 2b; event step.done; alarm gas unacknowledged")
	for _, n := range ns {
		if n.Act() || !n.Past {
			t.Errorf("%+v may be acted on, or looks like now", n)
		}
	}
	if a := l.agent("rack1"); a.Instance != "new" || a.Stage != plugins.Watch || len(a.Alarms) != 1 || a.Alarms[0].Hazard != "smoke" || !a.Alarms[0].Active {
		t.Errorf("%+v", a)
	}
	expect(t, "a recording without the mark", l.hear("a", bare), "refused of an instance that another has taken over from")
	expect(t, "the same retained", l.retained("a", f.replayed(old.alarm("cold", 1, true))), "")
	l.live(f, time.Minute)
}

// However many lives somebody makes up, what is kept of them is bounded.
func TestLivesBeforeAreBounded(t *testing.T) {
	s, k := newKey(t, "rack1")
	f, l := newFake(t, s, "rack1", "new", 1000), newListener(t, k)
	l.hear("a", f.hello())
	for i := range uint64(3 * maxPast) {
		o := newFake(t, s, "rack1", fmt.Sprint("old", i), 1+i)
		l.hear("a", f.replayed(o.alarm("smoke", 1, true)))
	}
	for _, a := range l.book.agents {
		if len(a.past) > maxPast || len(a.lives) > maxLives {
			t.Errorf("%d lives past, %d kept", len(a.past), len(a.lives))
		}
	}
}

// What comes before any hello of the new life is shown all the same, to who heard a life before that and to who
// has just begun; and the new life is not mistaken for one that is over, because its own first words are late.
func TestLateWordsBeforeTheFirstHello(t *testing.T) {
	s, k := newKey(t, "rack1")
	for _, heard := range []bool{true, false} {
		old, between, f, l := newFake(t, s, "rack1", "old", 50), newFake(t, s, "rack1", "between", 70), newFake(t, s, "rack1", "new", 100), newListener(t, k)
		if heard {
			l.hear("a", old.hello())
		}
		first, kept, own := between.event("step.done"), between.alarm("gas", 1, true), f.alarm("smoke", 1, true)
		ns := l.hear("a", f.replayed(first), f.replayed(kept), f.replayed(own))
		ns = append(ns, l.hear("b", f.replayed(kept), f.replayed(first))...)
		expect(t, "before the hello", ns, "event step.done; alarm gas unacknowledged; alarm smoke unacknowledged")
		l.hear("a", f.hello())
		expect(t, "on the other broker, after it", l.hear("b", f.replayed(kept), f.replayed(first)), "")
		expect(t, "the new life's next word", l.hear("a", f.alarm("smoke", 1, false)), "alarm smoke normal ACT")
	}
}
