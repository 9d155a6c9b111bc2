package guard

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"firebreak/agent/response"
	"firebreak/plugins"
	"firebreak/sensors"
)

// Readings that come soon after each other are told together, the last marked; what they lead to is told before, at
// once; so many are told without waiting; and what waits at the end is told.
func TestReadingsAreToldTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := begin(t, rules(response.Step{Name: "drain"}), nil, nil)
		pass(time.Second)
		w.read(heat, 20)
		synctest.Wait()
		pass(tellGather / 2)
		w.read(smoke, 5)
		synctest.Wait()
		if n := w.pub.states(); n != 0 || w.pub.alarm("smoke").Name == "" {
			t.Errorf("%d polls were told before the others could come, and of the alarm %q, want none, and it", n, w.pub.alarm("smoke").Name)
		}
		pass(tellGather/2 - 1)
		if n := w.pub.states(); n != 0 {
			t.Errorf("%d polls were told before %v", n, tellGather)
		}
		pass(1)
		if got := w.pub.goes(); len(got) != 2 || got[0] != plugins.Before || got[1] != plugins.Last {
			t.Errorf("after %v the polls were told as %v, want one before others and the last", tellGather, got)
		}
		pass(time.Second)
		for range tellMost {
			w.in.put(sensors.Batch{Device: 1, Wall: time.Now()})
		}
		synctest.Wait()
		if n := w.pub.states(); n != 2+tellMost {
			t.Errorf("%d polls were told, want %d at once", n, 2+tellMost)
		}
		w.read(heat, 21)
		synctest.Wait()
		w.end()
		if n := w.pub.states(); n != 3+tellMost {
			t.Errorf("%d polls were told at the end, want %d", n, 3+tellMost)
		}
	})
}

// goes is how the readings were told.
func (p *fakePub) goes() (all []plugins.Goes) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, u := range p.got {
		if u.State != nil {
			all = append(all, u.Goes)
		}
	}
	return all
}

// instant is a journal whose records are durable as soon as they are there.
type instant struct{ *fakeJournal }

func (j instant) Append(loads ...[]byte) uint64 {
	seq := j.fakeJournal.Append(loads...)
	j.done(seq)
	return seq
}

// A hook does not wait until the whole round of polls is judged that its decision came with. One time in 61 the runtime
// lets the loop go on first: hence more than one try.
func TestDecisionBeforeTheRestOfTheRound(t *testing.T) {
	for range 6 {
		if restOfTheRound(t) {
			return
		}
	}
	t.Error("each time the hook began when nearly all was judged")
}

func restOfTheRound(t *testing.T) (before bool) {
	synctest.Test(t, func(t *testing.T) {
		const rest = 200
		j, at := newFakeJournal(-1), uint64(0)
		var w *world
		h := &fakeHook{do: func(context.Context, plugins.Call, func(plugins.Evidence)) plugins.Outcome {
			at = w.g.Stats().Steps
			return plugins.Outcome{Result: plugins.Done}
		}}
		w = begin(t, rules(response.Step{Name: "drain"}), nil, func(c *Config) { c.Journal, c.Hooks = instant{j}, []plugins.Hook{h} })
		pass(time.Second)
		begun := w.g.Stats().Steps
		w.in.mu.Lock()
		for i := range rest + 1 {
			p, v := smoke, 5.0
			if i > 0 {
				p, v = heat, 20
			}
			w.in.b = append(w.in.b, sensors.Batch{Device: sensors.DeviceID(p), Wall: time.Now(),
				Readings: []sensors.Reading{{Point: p, Value: v, Quality: sensors.GoodQuality, At: w.c.Clock.Now()}}})
		}
		w.in.mu.Unlock()
		w.in.ready <- struct{}{}
		pass(time.Second)
		w.want("drain", "done")
		w.end()
		before = at-begun <= rest/2
	})
	return before
}
