package guard

import (
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
