package consumer

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"firebreak/agent/wire"
	"firebreak/plugins"
)

// An agent that comes back from an outage tells its plans and alarms before its next hello. What was shown while
// nobody knew that it lives is told once more when that is known, or a failover system would never act on it.
func TestWordsBeforeTheHelloAreToldAgain(t *testing.T) {
	s, k := newKey(t, "rack1")
	f, l := newFake(t, s, "rack1", "i1", 100), newListener(t, k)
	l.hear("a", f.plan("0", 0), f.alarm("heat", 2, true), f.hello())
	expect(t, "its way to the brokers is cut", l.pass(20*time.Second), "verdict silent")
	smoke, plan := f.alarm("smoke", 1, true), f.plan("2b", 7)
	expect(t, "it is back", l.hear("a", plan, smoke), "plan stage 2b; alarm smoke unacknowledged")
	expect(t, "and lives", l.hear("a", f.hello()), "verdict live; plan stage 2b ACT; alarm smoke unacknowledged ACT")
	expect(t, "nothing is told a third time", append(l.hear("b", plan, smoke), l.live(f, 20*time.Second)...), "")

	expect(t, "silent again", l.pass(20*time.Second), "verdict silent-after-alarm ACT")
	old := f.replayed(f.alarm("smoke", 1, false))
	expect(t, "a transition that another follows", l.hear("a", old), "alarm smoke normal")
	expect(t, "is not acted on later either", l.hear("a", f.hello()), "verdict live; alarm smoke normal")
}

// A consumer that stood still (stopped, or on a host that gave it no time) has heard nothing meanwhile, and that
// is no silence of the agents: what it has waited counts, and not what it stood.
func TestOwnPauseIsNoSilence(t *testing.T) {
	s, k := newKey(t, "rack1")
	f, l := newFake(t, s, "rack1", "i1", 100), newListener(t, k)
	l.hear("a", f.hello(), f.plan("2a", 7), f.event("x"))
	f.event("on its way")
	l.hear("a", f.event("y")) // the one before is missed
	l.live(f, 2*time.Second)

	stand := func(d time.Duration) []Note {
		l.now = l.now.Add(d)
		return append(l.keep(l.book.Paused(l.now, d, 0)), l.keep(l.book.Tick(l.now))...)
	}
	expect(t, "it stood for 5 s", stand(5*time.Second), "")
	expect(t, "and listens", l.live(f, 2*time.Second), "")
	expect(t, "it stood for a minute", stand(time.Minute), "verdict unknown")
	expect(t, "a word of the agent, not known to live", l.hear("a", f.plan("2b", 7)), "plan stage 2b")
	expect(t, "which says hello", l.hear("a", f.hello()), "verdict live; plan stage 2b ACT")

	// One that has died meanwhile is silent when it was waited for as long as ever, and its stage is remembered.
	last := l.now
	expect(t, "it stood for an hour", stand(time.Hour), "verdict unknown")
	ns := l.pass(20 * time.Second)
	if len(ns) != 1 || ns[0].Verdict != SilentAfterAlarm || !ns[0].Act() || ns[0].At.Sub(last) > time.Hour+12*time.Second {
		t.Errorf("after an hour: %s", lines(ns))
	}
}

// Plans are held to the hello each for itself: a newer state of another plan does not hide that one is missing.
func TestOnePlanOfTwoNeverCame(t *testing.T) {
	s, k := newKey(t, "rack1")
	f, l := newFake(t, s, "rack1", "i1", 100), newListener(t, k)
	lost, other := f.plan("2b", 7), f.say(plugins.Update{Plan: &plugins.PlanState{Plan: "cool", Zone: "b3", Stage: "0", Origin: "real"}})
	l.retained("a", other)
	l.hear("a", f.hello())
	ns := l.live(f, 8*time.Second)
	expect(t, "a plan is missing", ns[:min(len(ns), 1)], "incomplete what is known is not all that its hello speaks of, alarms or plans: ask it to tell them again (resync)")
	expect(t, "it comes", l.hear("a", lost), "plan stage 2b ACT")
	expect(t, "complete", l.live(f, 2*time.Minute), "")
	if a := l.agent("rack1"); !a.Complete || a.Stage != plugins.SwitchOver {
		t.Errorf("%+v", a)
	}
}

// What was told before a consumer began is not missed, and told all the same when it comes: readings that waited
// follow those of now, and of two brokers one may lack more of a life before than the other.
func TestOlderThanTheFirst(t *testing.T) {
	s, k := newKey(t, "rack1")
	f, l := newFake(t, s, "rack1", "i1", 100), newListener(t, k)
	waited := []said{f.state(), f.state(), f.state()}
	l.hear("a", f.hello())
	expect(t, "of now", l.hear("a", f.state()), "state")
	var ns []Note
	for _, m := range waited {
		m = f.waited(m)
		ns = append(ns, l.hear("a", m)...)
		ns = append(ns, l.hear("b", m)...)
	}
	if len(ns) != 3 || !ns[0].Past {
		t.Errorf("of 3 polls that waited were told: %s", lines(ns))
	}

	old := newFake(t, s, "rack1", "old", 50)
	var kept []said
	for range 4 {
		kept = append(kept, f.replayed(old.event("x")))
	}
	ns = append(l.hear("a", kept[2:]...), l.hear("b", kept...)...)
	expect(t, "two brokers", ns, "event x; event x; event x; event x")
	expect(t, "nothing is missed", l.live(f, 20*time.Second), "")
}

// waited is what an agent makes of a poll that waited for its broker.
func (f *fake) waited(m said) said {
	m.topic = strings.Replace(m.topic, "/state/", "/history/", 1)
	bare, _, _ := bytes.Cut(m.payload, []byte(`,"key_id"`))
	m.payload = f.signer.Sign(m.topic, append(bytes.Clone(bare), '}'))
	return m
}

// Readings that an agent has kept from the life before are told by the next, as history: each is shown once, and
// not again when it had come before. What is of another life and does not say so is none.
func TestReadingsOfALifeBefore(t *testing.T) {
	s, k := newKey(t, "rack1")
	old, f, l := newFake(t, s, "rack1", "old", 100), newFake(t, s, "rack1", "new", 200), newListener(t, k)
	l.hear("a", old.hello())
	first, second, third := old.state(), old.state(), old.state()
	expect(t, "as it was", l.hear("a", first), "state")
	l.hear("a", f.hello())
	expect(t, "late, and not marked so", l.hear("a", second), "")
	var ns []Note
	for _, m := range []said{first, second, third, second} {
		ns = append(ns, l.hear("a", f.waited(m))...)
	}
	expect(t, "kept", ns, "state; state")
	for _, n := range ns {
		if !n.Past || n.Act() {
			t.Errorf("%+v looks like now", n)
		}
	}
	for i := range uint64(100) {
		l.hear("a", f.waited(newFake(t, s, "rack1", "made up", 1+i).state()))
	}
	for _, a := range l.book.agents {
		if len(a.older) > maxLives {
			t.Errorf("readings of %d lives are kept apart", len(a.older))
		}
	}
	expect(t, "and of now", l.hear("a", f.state()), "state")
}

// What the life before has told and nobody has brought is missed, when the agent has had the time to tell what it
// kept; what comes of it is not.
func TestGapOverARestart(t *testing.T) {
	s, k := newKey(t, "rack1")
	old, f, l := newFake(t, s, "rack1", "old", 100), newFake(t, s, "rack1", "new", 200), newListener(t, k)
	l.hear("a", old.hello(), old.event("x"))
	kept, lost := old.event("kept"), old.event("lost")
	l.hear("a", old.hello())
	l.pass(time.Second)
	expect(t, "a restart", l.hear("a", f.hello()), "new-life")
	expect(t, "kept", l.hear("a", f.replayed(kept)), "event kept")
	expect(t, "the other is missing", l.live(f, 2*time.Minute), "gap event 3..3 of epoch 100")
	expect(t, "and comes late", l.hear("a", f.replayed(lost)), "event lost")
	expect(t, "nothing else", l.live(f, time.Minute), "")
}

// Drills are shown after a restart of the agent too.
func TestDrillsAfterARestart(t *testing.T) {
	s, k := newKey(t, "rack1")
	drill := func(f *fake, stage string) said {
		return f.say(plugins.Update{Mark: plugins.MarkDrill, Plan: &plugins.PlanState{Plan: "evacuate", Zone: "b3", Stage: stage, Episode: 9, Origin: "real"}})
	}
	old, f, l := newFake(t, s, "rack1", "old", 100), newFake(t, s, "rack1", "new", 200), newListener(t, k)
	l.hear("a", old.hello())
	expect(t, "a drill", l.hear("a", drill(old, "1")), "plan stage 1")
	l.hear("a", f.hello())
	expect(t, "after a restart", l.hear("a", drill(f, "2a")), "new-life; plan stage 2a")
	expect(t, "the next", l.hear("a", drill(f, "3")), "plan stage 3")
	expect(t, "of before", l.hear("a", drill(old, "4")), "refused of an instance that another has taken over from")
}

// A broker may tell the will of a life when the next one is known to live: that is no forgery.
func TestLateWill(t *testing.T) {
	s, k := newKey(t, "rack1")
	old, f, l := newFake(t, s, "rack1", "old", 100), newFake(t, s, "rack1", "new", 200), newListener(t, k)
	l.hear("a", old.hello(), f.hello())
	will, err := old.enc.Will(1)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "late", l.hear("a", said{topic: will.Topic, payload: s.Sign(will.Topic, will.Payload)}), "")
	if n := l.book.Refusals(); len(n) > 0 {
		t.Errorf("%v", n)
	}
}

// Two agents of one name (a copied disk), the earlier of which says hello all the time: a pause of 6 s of the
// known one, and one hello of the other, mute nobody for ever.
func TestTwinDoesNotTakeOverInAPause(t *testing.T) {
	s, k := newKey(t, "rack1")
	twin, f, l := newFake(t, s, "rack1", "twin", 100), newFake(t, s, "rack1", "i1", 100), newListener(t, k)
	l.hear("a", f.hello(), f.plan("2b", 7))
	for range 10 {
		l.live(f, 2*time.Second)
		l.hear("a", twin.hello())
	}
	l.pass(7 * time.Second)
	expect(t, "one hello of the twin", l.hear("a", twin.hello()), "")
	expect(t, "the known one is back", l.hear("a", f.hello(), f.plan("3", 7)), "plan stage 3 ACT")
	expect(t, "and goes on", l.live(f, 10*time.Second), "")
	l.pass(7 * time.Second)
	expect(t, "the next pause", l.hear("a", twin.hello()), "")
	l.pass(2 * time.Second)
	ns := l.hear("a", twin.hello())
	if len(ns) == 0 || ns[0].Kind != NewLife {
		t.Errorf("two hellos of the other in the silence of the known one: %s", lines(ns))
	}
}

// What a broker has retained counts from the hello on, so the hellos are asked for when all else is there: else a
// state of before an outage, on the broker that was quicker, could be acted on before the present one has come.
func TestHellosAreAskedForLast(t *testing.T) {
	_, k := newKey(t, "rack1")
	c, err := New(Config{Name: "noc", Brokers: []Broker{{Name: "b", URL: "mqtt://127.0.0.1:1"}}, Keys: wire.NewRing(k), Sites: []string{"a", "b"}, Drills: true, Readings: true})
	if err != nil {
		t.Fatal(err)
	}
	fs, hellos := c.filters(), 0
	for _, f := range fs {
		if f.class == wire.Hello {
			hellos++
		} else if hellos > 0 {
			t.Errorf("%s comes behind a hello", f.topics)
		}
	}
	if hellos != 4 || len(fs) != 28 {
		t.Errorf("%d filters, %d of hellos: %v", len(fs), hellos, fs)
	}
}

// What an agent said before this consumer began may come late, or be played by somebody who has recorded it: it is
// shown, and no sign of life.
func TestOldWordsAreNoSignOfLife(t *testing.T) {
	s, k := newKey(t, "rack1")
	f, l := newFake(t, s, "rack1", "i1", 100), newListener(t, k)
	var recorded []said
	for range 20 {
		recorded = append(recorded, f.event("x"), f.alarm("heat", 3, false))
	}
	l.hear("a", f.plan("2a", 7), f.hello())
	var ns []Note
	for _, m := range recorded {
		ns = append(ns, l.pass(time.Second)...)
		l.hear("a", m)
	}
	if len(ns) == 0 || ns[len(ns)-1].Verdict != SilentAfterAlarm {
		t.Errorf("40 s of silence, and of what was recorded: %s", lines(ns))
	}
}
