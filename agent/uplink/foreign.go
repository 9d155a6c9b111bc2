package uplink

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"firebreak/agent/consumer"
	"firebreak/agent/wire"
)

// Foreign is what another agent of the site was heard to say, verified: what has come, and how the agent
// stands after it.
type Foreign struct {
	Agent consumer.Agent
	Notes []consumer.Note
	Hello bool // a live hello has come: what stands is so now
}

// foreigners hears other agents over all brokers. Its methods may be called from any goroutine.
type foreigners struct {
	mu   sync.Mutex
	book *consumer.Book
	tell func(Foreign) // must not wait
}

// take takes one message of another agent.
func (f *foreigners) take(keys *wire.Ring, broker, topic string, payload []byte, retained bool) {
	p, ok := wire.ParseTopic(topic)
	if !ok || len(payload) > wire.MaxPayload {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.book.Trust(keys)
	now := time.Now()
	heard := Foreign{Notes: f.book.Take(now, broker, topic, payload, retained)}
	for _, a := range f.book.Agents() {
		if wire.TopicName(a.Name) == p.Agent && !a.Drill {
			heard.Agent = a
		}
	}
	heard.Hello = p.Class == wire.Hello && !retained && heard.Agent.Verdict == consumer.Live && heard.Agent.Heard.Equal(now)
	if heard.Hello || len(heard.Notes) > 0 {
		f.tell(heard)
	}
	f.book.Tick(now)
}

// incomplete names the agents that live and of whose alarms not all are known.
func (f *foreigners) incomplete() (names []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.book.Agents() {
		if a.Verdict == consumer.Live && !a.Complete {
			names = append(names, a.Name)
		}
	}
	return names
}

// hearForeign subscribes to the agents whose word is taken, and stays until the session is lost: what is
// retained may not have come (see listen), and is then asked for again. A broker that does not allow it
// leaves the others.
func (f *flight) hearForeign() {
	ask := func(agent string, classes ...wire.Class) bool {
		for _, c := range classes {
			filter := wire.Filter(c, f.u.cfg.Site, agent)
			if c != wire.Hello {
				filter += "/+"
			}
			ctx, cancel := context.WithTimeout(context.Background(), grantWait)
			ok := f.hear(ctx, filter, func(topic string, payload []byte, retained bool) {
				f.u.foreigners.take(f.u.orders.keys(), f.b.Name, topic, payload, retained)
			})
			cancel()
			if !ok {
				return false
			}
		}
		return true
	}
	for _, agent := range f.u.cfg.Sources {
		if !ask(agent, wire.Hello, wire.Alarm, wire.Plan, wire.State) {
			return
		}
	}
	for pause := f.u.cfg.BackoffMin; ; {
		t := time.NewTimer(pause/2 + time.Duration(rand.Int64N(int64(pause))))
		select {
		case <-f.s.Lost():
			t.Stop()
			return
		case <-t.C:
		}
		missing := f.u.foreigners.incomplete()
		for _, agent := range missing {
			if !ask(agent, wire.Alarm, wire.Plan) {
				return
			}
		}
		if pause = min(2*pause, f.u.cfg.BackoffMax); len(missing) == 0 {
			pause = f.u.cfg.BackoffMin
		}
	}
}
