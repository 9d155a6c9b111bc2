package consumer

import (
	"strings"
	"testing"
	"time"

	"firebreak/plugins"
)

// All that an agent's hello speaks of is known. Then a second broker, come back with an old backup, hands over an
// alarm of the same life that is long over, or somebody plays it: the hello shows that it is not the present state, and
// nobody cries fire.
func TestOlderThanTheHello(t *testing.T) {
	s, k := newKey(t, "rack1")
	f := newFake(t, s, "rack1", "i1", 100)
	raised, over := f.alarm("smoke", 1, true), f.alarm("smoke", 1, false)
	plan := f.plan("0", 0)
	heat := f.alarm("heat", 2, true)
	for what, take := range map[string]func(*listener, ...said) []Note{
		"retained": func(l *listener, ms ...said) []Note { return l.retained("b", ms...) },
		"played":   func(l *listener, ms ...said) []Note { return l.hear("b", ms...) },
	} {
		l := newListener(t, k)
		l.retained("a", plan, heat) // of an alarm that is over nothing has to stand
		l.hear("a", f.hello())
		ns := take(l, raised)
		if len(ns) != 1 || ns[0].Kind != Refused || !strings.Contains(ns[0].Text, "hello") {
			t.Errorf("%s: %s", what, lines(ns))
		}
		if a := l.agent("rack1"); !a.Complete || len(a.Alarms) != 1 || a.Stage != plugins.Watch {
			t.Errorf("%s: %+v", what, a)
		}
		expect(t, what+": that it is over", take(l, over), "alarm smoke normal ACT")
		expect(t, what+": nothing is missing", l.live(f, 10*time.Second), "")
		expect(t, what+": and what is new counts", l.hear("a", f.alarm("smoke", 1, true)), "alarm smoke unacknowledged ACT")
		f.alarm("smoke", 1, false)
	}
}
