package uplink

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"firebreak/agent/wire"
	"firebreak/agent/wire/session"
	"firebreak/plugins"
)

// Peer is another agent whose word on a plan is listened to (S13).
type Peer struct{ Agent, Plan string }

// PeerWord is what a peer says of a plan, at the instant at which it was heard alive.
type PeerWord struct {
	Peer
	Next, Episode uint64
	Stage         plugins.Stage
	HeldBy        string
}

// peers keeps the newest word of each peer, from whichever broker. What stands retained may be old: it
// counts only once the same start of that agent is heard in a live hello (S14). All methods may be
// called from any goroutine.
type peers struct {
	mu    sync.Mutex
	known map[Peer]*wire.PlanMessage
	alive map[string]wire.Head // of the last live hello of each agent
	heard func(PeerWord)
}

func newPeers(of []Peer, heard func(PeerWord)) *peers {
	p := &peers{known: map[Peer]*wire.PlanMessage{}, alive: map[string]wire.Head{}, heard: heard}
	for _, k := range of {
		p.known[k] = nil
	}
	return p
}

// believed tells whether a peer's message is its own. Where no agent's key is trusted at all, nothing can be
// verified and everything is believed, as it was before there were signatures.
func believed(keys *wire.Ring, topic string, payload []byte) bool {
	if !keys.Has(wire.RoleAgent) {
		return true
	}
	var h wire.Head
	k, err := keys.Verify(topic, payload)
	return err == nil && json.Unmarshal(payload, &h) == nil && k.Speaks(&h)
}

// plan takes a plan's message. Replays and what comes late are passed over.
func (p *peers) plan(payload []byte) {
	var m wire.PlanMessage
	if json.Unmarshal(payload, &m) != nil || m.Mark != plugins.MarkReal.String() {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	k := Peer{m.Agent, m.Plan}
	was, wanted := p.known[k]
	if !wanted || was != nil && (m.Epoch < was.Epoch || m.Epoch == was.Epoch && m.Seq <= was.Seq) {
		return
	}
	p.known[k] = &m
}

// hello passes on what the agent said last, now that it is known to live.
func (p *peers) hello(payload []byte, retained bool) {
	var h wire.HelloMessage
	if retained || json.Unmarshal(payload, &h) != nil {
		return
	}
	p.mu.Lock()
	p.alive[h.Agent] = h.Head
	var words []PeerWord
	for k, m := range p.known {
		if k.Agent != h.Agent || !saidBy(m, h.Head) {
			continue
		}
		st, err := plugins.ParseStage(m.Stage)
		if err != nil {
			continue
		}
		words = append(words, PeerWord{Peer: k, Next: m.NextEpisode, Episode: m.Episode, Stage: st, HeldBy: m.HeldBy})
	}
	p.mu.Unlock()
	for _, w := range words {
		p.heard(w)
	}
}

// saidBy tells whether the word is of the start that the hello speaks for.
func saidBy(m *wire.PlanMessage, h wire.Head) bool {
	return m != nil && m.Epoch == h.Epoch && m.Instance == h.Instance
}

// unsaid is the peers that are heard alive and of whose plan nothing was heard since they started.
func (p *peers) unsaid() []Peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []Peer
	for k, m := range p.known {
		if h, ok := p.alive[k.Agent]; ok && !saidBy(m, h) {
			out = append(out, k)
		}
	}
	return out
}

// listen subscribes to the peers on one session, and stays until it is lost. A broker that does not
// allow it leaves the other one; with none the peers are out of contact, which the plans say.
//
// A broker may acknowledge a retained message before it hands it to new subscribers (nats-server
// does: its store answers later), so that who subscribes in between gets neither the live message
// nor the retained one. What a living peer should have said is therefore asked for again: a second
// SUBSCRIBE brings what is retained by then.
func (l *link) listen(s *session.Session) {
	if len(l.u.cfg.Peers) == 0 {
		return
	}
	book := l.u.peers
	refused := map[string]bool{}
	subscribe := func(filter string, qos byte, got func(string, []byte, bool)) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		own := func(topic string, b []byte, retained bool) {
			if believed(l.u.orders.keys(), topic, b) {
				got(topic, b, retained)
				return
			}
			l.u.tampers.sign(fmt.Errorf("broker %s brought a word of a peer, on topic %s, that the peer has not signed: it is not listened to", l.b.Name, topic))
		}
		if err := s.Subscribe(ctx, filter, qos, own); err != nil && !errors.Is(err, session.ErrLost) && !refused[filter] {
			refused[filter] = true
			l.log.Warn("a peer cannot be listened to on this broker", "topic", filter, "error", err)
		}
	}
	plan := func(p Peer) {
		subscribe(wire.Filter(wire.Plan, l.u.cfg.Site, p.Agent)+"/"+wire.TopicName(p.Plan), 1, func(_ string, b []byte, _ bool) { book.plan(b) })
	}
	agents := map[string]bool{}
	for _, p := range l.u.cfg.Peers {
		plan(p)
		if !agents[p.Agent] {
			agents[p.Agent] = true
			subscribe(wire.Filter(wire.Hello, l.u.cfg.Site, p.Agent), 0, func(_ string, b []byte, retained bool) { book.hello(b, retained) })
		}
	}
	for pause := l.u.cfg.BackoffMin; ; {
		t := time.NewTimer(pause/2 + time.Duration(rand.Int64N(int64(pause))))
		select {
		case <-s.Lost():
			t.Stop()
			return
		case <-t.C:
		}
		missing := book.unsaid()
		for _, p := range missing {
			plan(p)
		}
		if pause = min(2*pause, l.u.cfg.BackoffMax); len(missing) == 0 {
			pause = l.u.cfg.BackoffMin
		}
	}
}
