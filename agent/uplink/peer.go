package uplink

import (
	"context"
	"encoding/json"
	"errors"
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
	heard func(PeerWord)
}

func newPeers(of []Peer, heard func(PeerWord)) *peers {
	p := &peers{known: map[Peer]*wire.PlanMessage{}, heard: heard}
	for _, k := range of {
		p.known[k] = nil
	}
	return p
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
	var words []PeerWord
	for k, m := range p.known {
		if k.Agent != h.Agent || m == nil || m.Epoch != h.Epoch || m.Instance != h.Instance {
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

// listen subscribes to the peers on one session. A broker that does not allow it leaves the other one;
// with none the peers are out of contact, which the plans say.
func (l *link) listen(s *session.Session) {
	if len(l.u.cfg.Peers) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	book := l.u.peers
	agents := map[string]bool{}
	for _, p := range l.u.cfg.Peers {
		err := s.Subscribe(ctx, wire.Filter(wire.Plan, l.u.cfg.Site, p.Agent)+"/"+wire.TopicName(p.Plan), 1, func(_ string, b []byte, _ bool) { book.plan(b) })
		if err == nil && !agents[p.Agent] {
			agents[p.Agent] = true
			err = s.Subscribe(ctx, wire.Filter(wire.Hello, l.u.cfg.Site, p.Agent), 0, func(_ string, b []byte, retained bool) { book.hello(b, retained) })
		}
		if err != nil && !errors.Is(err, session.ErrLost) {
			l.log.Warn("a peer cannot be listened to on this broker", "peer", p.Agent, "error", err)
		}
	}
}
