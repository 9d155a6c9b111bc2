package consumer

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"firebreak/agent/wire"
	"firebreak/plugins"
	"firebreak/sensors"
)

// fake is an agent: a real encoder and a real key, without connections.
type fake struct {
	t      testing.TB
	enc    *wire.Encoder
	signer *wire.Signer
}

var devices = []sensors.Device{{ID: 0, Name: "ups-a"}}
var points = []sensors.Point{{ID: 0, Name: "ups-a.battery.temperature", Unit: sensors.Celsius, Physics: sensors.Temperature}}

// newKey makes a key that is trusted as that of agent site/name.
func newKey(t testing.TB, name string) (*wire.Signer, wire.Key) {
	t.Helper()
	_, s, err := wire.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	k := s.Key()
	k.Name = "site/" + name
	return s, k
}

func newFake(t testing.TB, s *wire.Signer, name, instance string, epoch uint64) *fake {
	id := wire.Identity{Site: "site", Zone: "b3-corridor", Agent: name, Instance: instance, Epoch: epoch}
	return &fake{t, wire.NewEncoder(id, wire.Life{}, devices, points), s}
}

// said is one message as it goes over the wire.
type said struct {
	topic   string
	payload []byte
	seq     uint64
}

func (f *fake) say(u plugins.Update) said {
	f.t.Helper()
	m, err := f.enc.Encode(u)
	if err != nil {
		f.t.Fatal(err)
	}
	return said{m.Topic, f.signer.Sign(m.Topic, m.Payload), m.Seq}
}

func (f *fake) alarm(name string, prio int, active bool) said {
	a := plugins.AlarmState{Name: name, Occurrence: 1, State: "unacknowledged", Active: active, Priority: prio, Origin: "real"}
	if !active {
		a.State = "normal"
	}
	return f.say(plugins.Update{Alarm: &a})
}

func (f *fake) plan(stage string, episode uint64) said {
	return f.say(plugins.Update{Plan: &plugins.PlanState{Plan: "evacuate", Zone: "b3", Stage: stage, Episode: episode, Protects: []string{"b3", "b4"}, Origin: "real"}})
}

func (f *fake) event(typ string) said {
	return f.say(plugins.Update{Event: &plugins.Event{Type: typ}})
}

func (f *fake) state() said {
	return f.say(plugins.Update{State: &sensors.Batch{Readings: []sensors.Reading{{Point: 0, Value: 31.5, Quality: sensors.GoodQuality}}}})
}

func (f *fake) hello() said {
	f.t.Helper()
	m, err := f.enc.Beat(time.Now(), "c").Hello(1, 0, wire.Drops{}, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	return said{m.Topic, f.signer.Sign(m.Topic, m.Payload), m.Seq}
}

// listener is a book with a clock.
type listener struct {
	t    testing.TB
	book *Book
	now  time.Time
	all  []Note
}

func newListener(t testing.TB, keys ...wire.Key) *listener {
	return &listener{t: t, book: NewBook(wire.NewRing(keys...), false), now: time.Unix(1_800_000_000, 0)}
}

func (l *listener) keep(ns []Note) []Note {
	ns = append([]Note(nil), ns...)
	l.all = append(l.all, ns...)
	return ns
}

func (l *listener) hear(broker string, ms ...said) (out []Note) {
	for _, m := range ms {
		out = append(out, l.keep(l.book.Take(l.now, broker, m.topic, m.payload, false))...)
	}
	return out
}

func (l *listener) retained(broker string, ms ...said) (out []Note) {
	for _, m := range ms {
		out = append(out, l.keep(l.book.Take(l.now, broker, m.topic, m.payload, true))...)
	}
	return out
}

// pass lets time go by, with looks as often as a Consumer takes them.
func (l *listener) pass(d time.Duration) (out []Note) {
	for end := l.now.Add(d); l.now.Before(end); {
		l.now = l.now.Add(min(look, end.Sub(l.now)))
		out = append(out, l.keep(l.book.Tick(l.now))...)
	}
	return out
}

// live lets time go by while an agent says hello every 2 s.
func (l *listener) live(f *fake, d time.Duration) (out []Note) {
	for ; d > 0; d -= 2 * time.Second {
		out = append(out, l.pass(min(d, 2*time.Second))...)
		out = append(out, l.hear("a", f.hello())...)
	}
	return out
}

func (l *listener) agent(name string) Agent {
	l.t.Helper()
	for _, a := range l.book.Agents() {
		if a.Name == name && !a.Drill {
			return a
		}
	}
	return Agent{}
}

// line is a note in short, for comparison.
func line(n Note) string {
	s := n.Kind.String()
	switch {
	case n.Alarm != nil:
		s += fmt.Sprintf(" %s %s", n.Alarm.Hazard, n.Alarm.State)
	case n.Plan != nil:
		s += " stage " + n.Plan.Stage
	case n.Event != nil:
		s += " " + n.Event.Type
	case n.Kind == Gap:
		s += fmt.Sprintf(" %s %d..%d", n.Class, n.From, n.To)
		if n.Text != "" {
			s += " " + n.Text
		}
	case n.Kind == VerdictNow:
		s += " " + n.Verdict.String()
	case n.Text != "":
		s += " " + n.Text
	}
	if n.Act() {
		s += " ACT"
	}
	return s
}

func lines(ns []Note) string {
	var out []string
	for _, n := range ns {
		out = append(out, line(n))
	}
	return strings.Join(out, "; ")
}

func expect(t testing.TB, what string, ns []Note, want string) {
	t.Helper()
	if got := lines(ns); got != want {
		t.Errorf("%s:\n got  %s\n want %s", what, got, want)
	}
}
