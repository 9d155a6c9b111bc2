package uplink

import (
	"encoding/json"
	"testing"
	"time"

	"firebreak/agent/wire"
	"firebreak/agent/wire/brokertest"
	"firebreak/plugins"
)

// What waited for a broker says for how long; a transition with a newer state behind it says so;
// both brokers and each repeat name the same decision.
func TestLateSaysSo(t *testing.T) {
	in, other := newInbox(), newInbox()
	back := make(chan struct{})
	b := brokertest.Start(t, func(i int, c *brokertest.Conn) {
		<-back
		take(i, c, in, -1)
	})
	well := brokertest.Start(t, acker(other))
	cfg := config(b.URL(), well.URL())
	cfg.Clock = func() string { return "holdover" }
	u, _ := start(t, cfg)
	u.Offer(plugins.Update{Plan: &plugins.PlanState{Plan: "p", Zone: "zone", Stage: "2b", Episode: 7, ElapsedS: 10, PowerLoss: 420}})
	u.Offer(alarm("a", 1, 1, true))
	u.Offer(alarm("a", 1, 1, false))
	l := u.links[0]
	l.mu.Lock()
	for _, s := range l.backlog.trees[0].byName {
		old := *s.m // the other broker has its own
		old.Made = old.Made.Add(-95 * time.Second)
		if s.m.Class == wire.Plan {
			s.m = &old
		}
	}
	l.mu.Unlock()
	close(back)
	all := func(got []received) bool { return count(got, "alarm") == 2 && count(got, "plan") == 1 }
	type tail struct {
		DecisionID string `json:"decision_id"`
		Active     bool   `json:"active"`
		wire.Trust
	}
	read := func(got []received, class string) (out []tail) {
		for _, r := range got {
			var p tail
			if count([]received{r}, class) == 1 && json.Unmarshal([]byte(r.payload), &p) == nil {
				out = append(out, p)
			}
		}
		return out
	}
	late, prompt := in.await(t, "late", all), other.await(t, "prompt", all)
	p, q := read(late, "plan")[0], read(prompt, "plan")[0]
	if p.HeldS < 95 || p.AgeS != 10+p.HeldS || p.Clock != "holdover" || p.TTLS != 12 || p.Replayed {
		t.Errorf("late plan %+v", p)
	}
	if q.AgeS-q.HeldS != 10 || q.DecisionID != "site/agent/41/p/7/2b" || p.DecisionID != q.DecisionID {
		t.Errorf("plan %+v, late %+v", q, p)
	}
	if a := read(late, "alarm"); !a[0].Active || !a[0].Replayed || a[1].Active || a[1].Replayed {
		t.Errorf("late alarms %+v", a)
	}
}
