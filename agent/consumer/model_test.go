package consumer

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"firebreak/agent/wire"
	"firebreak/plugins"
)

// world is an agent, what two brokers have retained of it and have under way to a consumer, and what the agent
// says is so. Deliveries are lost, repeated and put out of order as the test draws it.
type world struct {
	t        *testing.T
	r        *rapid.T
	l        *listener
	f        *fake
	signer   *wire.Signer
	epoch    uint64
	raised   uint64
	alarms   map[string]said // the newest of the present life
	active   map[string]bool
	plans    map[string]said
	stages   map[string]string
	retained [2]map[string]said
	old      [2]map[string]said // what an old backup of the broker holds
	under    [2][]arriving
	last     map[string]uint64 // highest (epoch, seq) that was told of a topic, to find what goes back
}

type arriving struct {
	said
	retained bool
}

func (w *world) begin() {
	w.epoch++
	w.f = newFake(w.t, w.signer, "rack1", fmt.Sprint("i", w.epoch), w.epoch)
	w.alarms, w.active, w.plans, w.stages = map[string]said{}, map[string]bool{}, map[string]said{}, map[string]string{}
	for _, p := range []string{"evacuate", "cool"} {
		w.plan(p, "0")
	}
}

func (w *world) tell(m said) {
	for b := range w.retained {
		w.retained[b][m.topic] = m
		w.under[b] = append(w.under[b], arriving{m, false})
	}
}

func (w *world) alarm(name string, active bool) {
	state := "normal"
	if active {
		w.raised++ // each has an occurrence of its own, and each state in it
		state = "unacknowledged"
	}
	m := w.f.say(plugins.Update{Alarm: &plugins.AlarmState{Name: name, Occurrence: w.raised, State: state, Active: active, Priority: 1, Origin: "real"}})
	w.alarms[name], w.active[name] = m, active
	w.tell(m)
}

func (w *world) plan(name, stage string) {
	m := w.f.say(plugins.Update{Plan: &plugins.PlanState{Plan: name, Zone: "b3", Stage: stage, Episode: 1, Origin: "real"}})
	w.plans[name], w.stages[name] = m, stage
	w.tell(m)
}

// present is what an agent tells a broker that is back, and of all when it is asked to: of alarms the active ones
// alone at a reconnect.
func (w *world) present(b int, all bool) {
	for _, m := range w.plans {
		w.retained[b][m.topic] = m
		w.under[b] = append(w.under[b], arriving{m, false})
	}
	for name, m := range w.alarms {
		if all || w.active[name] {
			w.retained[b][m.topic] = m
			w.under[b] = append(w.under[b], arriving{m, false})
		}
	}
}

// ask is a subscription: what is retained comes once more.
func (w *world) ask(b int) {
	for _, m := range w.retained[b] {
		w.under[b] = append(w.under[b], arriving{m, true})
	}
}

func (w *world) deliver(b, i int) {
	m := w.under[b][i]
	w.note(w.l.book.Take(w.l.now, fmt.Sprint("b", b), m.topic, m.payload, m.retained))
}

// note looks at what is told, and answers as a Consumer does.
func (w *world) note(ns []Note) (incomplete bool) {
	for _, n := range ns {
		incomplete = incomplete || n.Kind == Incomplete
		if n.Kind == Refused && !strings.Contains(n.Text, "taken over") && !strings.Contains(n.Text, "its hello speaks of") {
			w.r.Fatalf("refused: %s", n.Text)
		}
		if !n.Act() || n.Kind == VerdictNow {
			continue
		}
		key, at := n.of.Class+n.Text, n.of.Epoch<<32|n.of.Seq
		if n.Alarm != nil {
			key += n.Alarm.Hazard
		} else {
			key += n.Plan.Plan
		}
		if at <= w.last[key] {
			w.r.Fatalf("%s is told to be acted on after a newer or the same", line(n))
		}
		w.last[key] = at
	}
	return incomplete
}

func (w *world) step() {
	r := w.r
	b := rapid.IntRange(0, 1).Draw(r, "broker")
	switch rapid.IntRange(0, 13).Draw(r, "do") {
	case 0, 1:
		w.alarm(rapid.SampledFrom([]string{"smoke", "heat", "gas"}).Draw(r, "alarm"), rapid.Bool().Draw(r, "active"))
	case 2, 3:
		w.plan(rapid.SampledFrom([]string{"evacuate", "cool"}).Draw(r, "plan"), rapid.SampledFrom([]string{"0", "1", "2b"}).Draw(r, "stage"))
	case 4:
		h := w.f.hello()
		w.under[b] = append(w.under[b], arriving{h, false})
	case 5: // the broker loses what it has retained, or comes back with an old backup
		w.retained[b] = map[string]said{}
		if rapid.Bool().Draw(r, "backup") {
			for topic, m := range w.old[b] {
				w.retained[b][topic] = m
			}
		}
		w.present(b, false)
	case 6:
		w.old[b] = map[string]said{}
		for topic, m := range w.retained[b] {
			w.old[b][topic] = m
		}
	case 7: // all that is under way is lost: with the consumer's session, or because it is too slow
		if rapid.Bool().Draw(r, "session") {
			w.under[b] = nil
			w.ask(b)
		} else {
			w.under = [2][]arriving{}
		}
	case 8:
		if rapid.IntRange(0, 3).Draw(r, "restart") == 0 {
			w.begin()
		}
	case 9:
		w.l.now = w.l.now.Add(time.Duration(rapid.IntRange(0, 8000).Draw(r, "ms")) * time.Millisecond)
		w.note(w.l.book.Tick(w.l.now))
	default:
		if n := len(w.under[b]); n > 0 {
			i := rapid.IntRange(0, n-1).Draw(r, "which")
			if !rapid.Bool().Draw(r, "lost") {
				w.deliver(b, i)
			}
			if !rapid.Bool().Draw(r, "repeated") {
				w.under[b] = slices.Delete(w.under[b], i, i+1)
			}
		}
	}
}

// quiet lets the lines work for a while: hellos come, what is under way arrives in order, and the consumer asks for
// what it lacks, from the brokers and, when it may sign, from the agent.
func (w *world) quiet(d time.Duration, signs bool) {
	for n := range int(d / (2 * time.Second)) {
		w.under[n%2] = append(w.under[n%2], arriving{w.f.hello(), false})
		for b := range w.under {
			for i := range w.under[b] {
				w.deliver(b, i)
			}
			w.under[b] = nil
		}
		for range 8 {
			w.l.now = w.l.now.Add(look)
			if !w.note(w.l.book.Tick(w.l.now)) {
				continue
			}
			for b := range w.under {
				w.ask(b)
				if signs {
					w.present(b, true)
				}
			}
		}
	}
}

func (w *world) check() {
	a := w.l.agent("rack1")
	if a.Verdict != Live || !a.Complete || a.Epoch != w.epoch {
		w.r.Fatalf("epoch %d of %d, %s, complete %v", a.Epoch, w.epoch, a.Verdict, a.Complete)
	}
	got, want := map[string]uint64{}, map[string]uint64{}
	for _, m := range a.Alarms {
		got[m.Hazard] = m.Seq
	}
	for name, m := range w.alarms {
		if w.active[name] {
			want[name] = m.seq
		}
	}
	for _, m := range a.Plans {
		got["plan "+m.Plan] = m.Seq
	}
	for name, m := range w.plans {
		want["plan "+name] = m.seq
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		w.r.Fatalf("known are %v, and the agent says %v", got, want)
	}
}

// However deliveries were lost, repeated and put out of order, whatever brokers have lost or dug up, and however
// often the agent began anew: no word is acted on behind a newer one, and a minute or two after the lines work again
// what is known is what the agent says.
func TestEndsInTheRightState(t *testing.T) {
	s, k := newKey(t, "rack1")
	rapid.Check(t, func(r *rapid.T) {
		w := &world{t: t, r: r, l: newListener(t, k), signer: s, epoch: 40, last: map[string]uint64{},
			retained: [2]map[string]said{{}, {}}, old: [2]map[string]said{{}, {}}}
		w.begin()
		for range rapid.IntRange(1, 80).Draw(r, "steps") {
			w.step()
		}
		w.quiet(3*time.Minute, true)
		w.check()
	})
}
