package uplink

import (
	"context"
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

// hearForeign subscribes to the agents whose word is taken. A broker that does not allow it leaves the
// others.
func (f *flight) hearForeign() {
	for _, agent := range f.u.cfg.Sources {
		for _, c := range []wire.Class{wire.Hello, wire.Alarm, wire.Plan, wire.State} {
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
				return
			}
		}
	}
}
