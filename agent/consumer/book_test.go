package consumer

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"firebreak/agent/wire"
	"firebreak/plugins"
)

// Timeline 10. The rack and its agent die 20 s after stage 1: silent-after-alarm at most 12 s after the
// last word, which counts as stage 2. The same death at stage 0 is a ticket. Nothing is ever well by
// default.
func TestSilence(t *testing.T) {
	for _, tc := range []struct {
		stage string
		died  time.Duration // after the stage
		want  string
		at    plugins.Stage
	}{
		{"1", 20 * time.Second, "verdict silent-after-alarm ACT", plugins.SwitchOver},
		{"3", 20 * time.Second, "verdict silent-after-alarm ACT", plugins.Shed},
		{"0", 20 * time.Second, "verdict silent", plugins.Watch},
	} {
		s, k := newKey(t, "rack1")
		f, l := newFake(t, s, "rack1", "i1", 100), newListener(t, k)
		if v := l.agent("rack1").Verdict; v != Unknown {
			t.Errorf("nothing was heard, and it is %s", v)
		}
		l.hear("a", f.hello(), f.plan(tc.stage, 7), f.alarm("smoke", 1, tc.stage != "0"))
		l.live(f, tc.died)
		last := l.now
		expect(t, "11 s of silence after stage "+tc.stage, l.pass(11*time.Second), "")
		ns := l.pass(30 * time.Minute)
		expect(t, "silence after stage "+tc.stage, ns, tc.want)
		if len(ns) > 0 && ns[0].At.Sub(last) > 12*time.Second {
			t.Errorf("told %v after the last word", ns[0].At.Sub(last))
		}
		if a := l.agent("rack1"); a.Stage != tc.at {
			t.Errorf("after stage %s silence counts as stage %s", tc.stage, a.Stage)
		}
		expect(t, "it is back", l.hear("a", f.hello()), "verdict live")
	}
}

// The memory of a stage lasts 30 min; what stands retained of an agent that nobody has heard may be of
// any time, and the worst is taken.
func TestSilenceAfterTheAlarmWasOver(t *testing.T) {
	s, k := newKey(t, "rack1")
	f, l := newFake(t, s, "rack1", "i1", 100), newListener(t, k)
	l.hear("a", f.hello(), f.plan("1", 7), f.plan("0", 0))
	l.live(f, 29*time.Minute)
	expect(t, "29 min", l.pass(time.Minute), "verdict silent-after-alarm ACT")
	l.hear("a", f.hello())
	l.live(f, 2*time.Minute)
	expect(t, "31 min", l.pass(time.Minute), "verdict silent")

	l = newListener(t, k)
	expect(t, "retained", l.retained("a", f.plan("2b", 8)), "")
	expect(t, "and nobody there", l.pass(time.Minute), "verdict silent-after-alarm ACT")
	l = newListener(t, k)
	l.retained("a", f.plan("0", 0))
	expect(t, "and nobody there", l.pass(time.Minute), "verdict silent")
}

// Timeline 7. The journal is lost and the box written anew: the new instance counts as soon as it is
// heard alive, also under an earlier epoch; what the old one left retained is ignored from then on.
// Timeline 6 is the same with a clock of 1970: no time in a message decides anything.
func TestNewInstance(t *testing.T) {
	for _, epoch := range []uint64{200, 1} {
		s, k := newKey(t, "rack1")
		old, l := newFake(t, s, "rack1", "old", 100), newListener(t, k)
		was := []said{old.plan("2b", 7), old.alarm("smoke", 1, true)}
		l.hear("a", append([]said{old.hello()}, was...)...)
		f := newFake(t, s, "rack1", "new", epoch)
		l.pass(8 * time.Second) // it boots
		expect(t, "its first words", l.hear("a", f.plan("0", 0), f.alarm("expected-mode/evacuate", 1, true)), "")
		if epoch > 100 {
			expect(t, "later epoch", l.hear("a", f.hello()), "new-life; plan stage 0 ACT; alarm expected-mode/evacuate unacknowledged ACT")
		} else {
			expect(t, "earlier epoch", l.hear("a", f.hello()), "")
			expect(t, "earlier epoch, heard twice", l.hear("a", f.hello()),
				"new-life with an earlier epoch: its journal or its clock was lost; plan stage 0 ACT; alarm expected-mode/evacuate unacknowledged ACT")
		}
		for _, n := range append(l.retained("b", was...), l.hear("b", append(was, old.hello())...)...) {
			if n.Kind != Refused {
				t.Errorf("of the old one: %s", line(n))
			}
		}
		if a := l.agent("rack1"); a.Instance != "new" || len(a.Alarms) != 1 || a.Stage != plugins.Watch {
			t.Errorf("%+v", a)
		}
		// Clocks jump as they like (timeline 6): ts is no part of any decision.
		expect(t, "goes on", l.hear("a", f.alarm("smoke", 1, true)), "alarm smoke unacknowledged ACT")
	}
}

// A recorded life of before, played while the agent lives, mutes nobody; a hello played again is no
// sign of life. Timeline 9, at a consumer: of two that live under one name, the later epoch counts.
func TestPlayedAgain(t *testing.T) {
	s, k := newKey(t, "rack1")
	old, f, l := newFake(t, s, "rack1", "old", 50), newFake(t, s, "rack1", "i1", 100), newListener(t, k)
	recorded := []said{old.hello(), old.hello(), old.hello(), old.plan("0", 0)}
	l.hear("a", f.hello(), f.plan("2b", 7))
	last := f.hello()
	l.hear("a", last)
	for range 4 {
		l.live(f, 2*time.Second)
		expect(t, "played", l.hear("b", recorded...), "")
	}
	if a := l.agent("rack1"); a.Instance != "i1" || a.Stage != plugins.SwitchOver {
		t.Errorf("%+v", a)
	}
	ns := []Note{}
	for range 10 {
		ns = append(ns, l.pass(2*time.Second)...)
		ns = append(ns, l.hear("b", last)...)
		ns = append(ns, l.retained("b", f.hello())...)
	}
	expect(t, "dead, and its hello played again and retained", ns, "verdict silent-after-alarm ACT")
}

// Timeline 27. A broker was away for half an hour and the hazard is over: 500 events and the transitions
// of before are told, the present state first, and nobody acts.
func TestReplayActsOnNothing(t *testing.T) {
	s, k := newKey(t, "rack1")
	f, l := newFake(t, s, "rack1", "i1", 100), newListener(t, k)
	l.hear("noc", f.hello())
	raised, over := f.alarm("smoke", 1, true), f.alarm("smoke", 1, false)
	raised.payload = bytes.Replace(raised.payload, []byte(`"age_s":0`), []byte(`"age_s":1800,"held_s":1800,"replayed":true`), 1)
	raised.payload = s.Sign(raised.topic, append(raised.payload[:bytes.Index(raised.payload, []byte(`,"key_id"`))], '}'))
	plan := f.plan("0", 0)
	l.live(f, time.Minute)
	ns := l.hear("site", plan, raised, over)
	for range 500 {
		ns = append(ns, l.hear("site", f.event("step.done"))...)
	}
	acted := 0
	for _, n := range ns {
		if n.Act() && (n.Alarm != nil && n.Alarm.Active || n.Plan != nil && n.Plan.Stage != "0" || n.Event != nil) {
			acted++
		}
	}
	if acted > 0 || len(ns) != 503 || !strings.HasPrefix(lines(ns), "plan stage 0 ACT; alarm smoke unacknowledged; alarm smoke normal ACT; event") {
		t.Errorf("%d acted on of %d: %.200s", acted, len(ns), lines(ns))
	}
}

// Two brokers bring everything twice, in any order: each thing is told once. What only one has is no
// gap; what neither has is one, with its range, and what comes late of it is told.
func TestTwoBrokers(t *testing.T) {
	s, k := newKey(t, "rack1")
	f, l := newFake(t, s, "rack1", "i1", 100), newListener(t, k)
	l.hear("a", f.hello())
	var ms []said
	for range 10 {
		ms = append(ms, f.event("x"), f.alarm("smoke", 1, true))
	}
	ns := append(l.hear("a", ms[:10]...), l.hear("b", ms[4:]...)...)
	ns = append(ns, l.hear("a", ms...)...)
	if len(ns) != 20 {
		t.Errorf("%d notes of 20 messages: %s", len(ns), lines(ns))
	}
	expect(t, "nothing is missing", l.live(f, 20*time.Second), "")

	lost := []said{f.event("lost"), f.event("lost"), f.event("lost")}
	l.hear("a", f.event("after"))
	expect(t, "three are missing", l.live(f, 20*time.Second), "gap event 11..13")
	expect(t, "one comes late", l.hear("b", lost[1], lost[1]), "event lost")
	f.event("the last")
	expect(t, "the last is missing, as the hello says", l.live(f, 20*time.Second), "gap event 15..15")
	f.plan("1", 1)
	l.hear("a", f.plan("2a", 1))
	expect(t, "a plan that a newer one replaced", l.live(f, 20*time.Second), "")
}

// An alarm that never came is seen by the hash in the hello, and one that was wiped is kept (timeline 28).
func TestIncompleteAndWiped(t *testing.T) {
	s, k := newKey(t, "rack1")
	f, l := newFake(t, s, "rack1", "i1", 100), newListener(t, k)
	lost, a := f.alarm("off-gas", 1, true), f.alarm("smoke", 1, true)
	l.hear("a", f.hello(), a)
	ns := l.live(f, 6*time.Minute) // after 6 s, 12, 24, 48, and then once a minute
	if n := strings.Count(lines(ns), "incomplete"); n < 8 || n > 9 || len(ns) != n || l.agent("rack1").Complete {
		t.Errorf("an alarm is missing: %s", lines(ns))
	}
	l.hear("a", lost)
	expect(t, "complete", l.live(f, 2*time.Minute), "")
	if !l.agent("rack1").Complete {
		t.Error("it is not complete")
	}
	expect(t, "wiped", l.hear("a", said{topic: a.topic}), "wiped alarm smoke: kept as it was")
	expect(t, "wiped, of an agent that nobody knows", l.hear("a", said{topic: "firebreak/1/alarm/site/z/x/y"}), "wiped alarm y: an empty message, of which nothing is known")
	if n := len(l.agent("rack1").Alarms); n != 2 {
		t.Errorf("%d alarms are left of 2", n)
	}
}

// What is not signed, or by somebody else, or stands on another's topic, or is no message, changes
// nothing and is counted.
func TestRefused(t *testing.T) {
	s, k := newKey(t, "rack1")
	s2, k2 := newKey(t, "rack2")
	f, l := newFake(t, s, "rack1", "i1", 100), newListener(t, k, k2)
	thief := newFake(t, s2, "rack1", "i9", 900) // its own key, another's name
	nobody, _ := newKey(t, "rack1")
	stranger := newFake(t, nobody, "rack1", "i8", 800)
	l.hear("a", f.hello(), f.plan("2b", 7), f.alarm("smoke", 1, true))
	clear := f.alarm("smoke", 1, false)
	bare := said{topic: clear.topic, payload: bytes.Replace(clear.payload, []byte(`,"sig":"`), []byte(`,"sag":"`), 1)}
	moved := said{topic: strings.Replace(clear.topic, "smoke", "off-gas", 1), payload: clear.payload}
	resigned := said{topic: moved.topic, payload: s.Sign(moved.topic, bytes.Split(clear.payload, []byte(`,"key_id"`))[0])}
	resigned.payload = s.Sign(moved.topic, append(bytes.Split(clear.payload, []byte(`,"key_id"`))[0], '}'))
	before := l.agent("rack1")
	for what, m := range map[string]said{
		"unsigned": bare, "moved": moved, "on another's topic": resigned,
		"signed by another agent": thief.plan("0", 0), "by a stranger": stranger.plan("0", 0), "hello of a thief": thief.hello(),
		"garbage": {topic: clear.topic, payload: []byte("{")}, "signed garbage": {topic: clear.topic, payload: s.Sign(clear.topic, []byte("{}"))},
		"huge": {topic: clear.topic, payload: make([]byte, wire.MaxPayload+2000)}, "no topic": {topic: "firebreak/1/alarm", payload: clear.payload},
		"order": {topic: "firebreak/1/cmd/site/z/rack1", payload: []byte("{}")},
	} {
		ns := l.hear("a", m)
		if len(ns) > 1 || len(ns) == 1 && ns[0].Kind != Refused {
			t.Errorf("%s: %s", what, lines(ns))
		}
	}
	var n uint64
	for _, c := range l.book.Refusals() {
		n += c
	}
	if after := l.agent("rack1"); n != 11 || after.Stage != before.Stage || len(after.Alarms) != 1 || after.Instance != "i1" {
		t.Errorf("%d refused: %+v", n, after)
	}
	for i := range 1000 {
		l.hear("a", bare)
		_, k, _ := wire.NewKey()
		if i < 50 {
			l.hear("a", said{topic: clear.topic, payload: k.Sign(clear.topic, []byte("{}"))}) // of a new key each
		}
	}
	if n := len(l.book.Refusals()); n > 12 {
		t.Errorf("%d reasons are counted", n)
	}
	if ns := l.hear("a", bare); len(ns) > 0 {
		t.Error("a storm of forgeries is a storm of notes")
	}
}

// A plan that stood retained and never came is seen by its number in the hello: a consumer that knows no
// stage would take the silence of the agent for a fault, and not for a fire.
func TestPlanThatNeverCame(t *testing.T) {
	s, k := newKey(t, "rack1")
	f, l := newFake(t, s, "rack1", "i1", 100), newListener(t, k)
	f.plan("1", 7)
	lost := f.plan("2a", 7)
	l.hear("a", f.hello())
	if ns := l.live(f, 8*time.Second); len(ns) != 1 || ns[0].Kind != Incomplete || l.agent("rack1").Complete {
		t.Errorf("a plan is missing: %s", lines(ns))
	}
	expect(t, "it comes", l.hear("a", lost), "plan stage 2a ACT")
	expect(t, "complete", l.live(f, 2*time.Minute), "")
	if a := l.agent("rack1"); !a.Complete || a.Stage != plugins.Prepare {
		t.Errorf("%+v", a)
	}
}

// Compartments put together what burns together.
func TestCompartments(t *testing.T) {
	s1, k1 := newKey(t, "rack1")
	s2, k2 := newKey(t, "rack2")
	f1, f2, l := newFake(t, s1, "rack1", "i1", 100), newFake(t, s2, "rack2", "i2", 100), newListener(t, k1, k2)
	l.hear("a", f1.hello(), f2.hello(), f1.plan("2a", 7), f1.alarm("smoke", 1, true), f2.plan("0", 0), f2.alarm("loss", 3, true))
	l.live(f1, 14*time.Second) // rack2 is silent
	cs := l.book.Compartments()
	if len(cs) != 2 || cs[0].Zone != "b3" || cs[0].Stage != plugins.Prepare || cs[0].Verdict != Silent || !cs[0].Leave || len(cs[0].Agents) != 2 || cs[0].Alarms[0].Hazard != "smoke" ||
		cs[1].Zone != "b4" || len(cs[1].Agents) != 1 || !cs[1].Leave {
		t.Errorf("%+v", cs)
	}
}

// Drills are another world: they are shown, and never acted on, and no silence comes of them.
func TestDrills(t *testing.T) {
	s, k := newKey(t, "rack1")
	f, l := newFake(t, s, "rack1", "i1", 100), newListener(t, k)
	l.hear("a", f.hello())
	drill := f.say(plugins.Update{Mark: plugins.MarkDrill, Plan: &plugins.PlanState{Plan: "evacuate", Zone: "b3", Stage: "3", Episode: 9, Origin: "real"}})
	injected := f.say(plugins.Update{Alarm: &plugins.AlarmState{Name: "smoke", Occurrence: 1, State: "unacknowledged", Active: true, Priority: 1, Origin: "injected"}})
	expect(t, "a drill", l.hear("a", drill, injected), "plan stage 3; alarm smoke unacknowledged")
	expect(t, "goes on", l.live(f, time.Minute), "")
	expect(t, "dies", l.pass(time.Minute), "verdict silent")
	if a := l.agent("rack1"); a.Stage != plugins.Watch {
		t.Errorf("%+v", a)
	}
	// Signed for the topics of drills, played on the live ones.
	l.hear("a", f.hello())
	drill.topic = strings.Replace(drill.topic, "/drill/", "/", 1)
	ns := l.hear("a", drill)
	if len(ns) != 1 || ns[0].Kind != Refused {
		t.Errorf("a drill on a live topic: %s", lines(ns))
	}
}

func TestReadings(t *testing.T) {
	s, k := newKey(t, "rack1")
	f, l := newFake(t, s, "rack1", "i1", 100), newListener(t, k)
	early := f.state()
	expect(t, "before it lives", l.hear("a", early), "")
	l.hear("a", f.hello())
	m := f.state()
	ns := append(l.hear("a", m), l.hear("b", m)...)
	if len(ns) != 1 || ns[0].State == nil || *ns[0].State.Values["battery.temperature"] != 31.5 {
		t.Errorf("%s", lines(ns))
	}
	f.state()
	l.hear("a", f.state())
	expect(t, "one is missing", l.live(f, 10*time.Second), "gap state 3..3")
}

// FuzzTake: whatever comes, nothing panics, nothing unsigned changes anything, and memory is bounded.
func FuzzTake(f *testing.F) {
	s, k := newKey(f, "rack1")
	a := newFake(f, s, "rack1", "i1", 100)
	for _, m := range []said{a.hello(), a.plan("1", 1), a.alarm("smoke", 1, true), a.event("x"), a.state()} {
		f.Add(m.topic, m.payload, false)
		f.Add(m.topic, m.payload, true)
	}
	f.Add("firebreak/1/drill/alarm/s/z/a/x", []byte(``), true)
	f.Fuzz(func(t *testing.T, topic string, payload []byte, retained bool) {
		now := time.Unix(1_800_000_000, 0)
		for _, b := range []*Book{NewBook(wire.NewRing(k), false), NewBook(nil, true)} {
			for range 3 {
				for _, n := range b.Take(now, "a", topic, payload, retained) {
					_ = line(n)
				}
			}
			b.Tick(now.Add(time.Minute))
			b.Agents()
			b.Compartments()
		}
	})
}
