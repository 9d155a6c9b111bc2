package response

import (
	"fmt"
	"time"

	"firebreak/plugins"
	"firebreak/sensors"
)

// peerSilent is after how long without a word a peer counts as out of contact (S13).
const peerSilent = 10 * time.Second

// maxAhead bounds how far a peer can move the number of the next episode at once: numbers begin with
// the seconds since 1970, and this is ten years of them. A word that is forged or damaged cannot use
// the numbers up.
const maxAhead = 10 * 365 * 24 * 3600

// PeerSaid is what the peer of a plan told last (S13).
type PeerSaid struct {
	Plan    string
	Agent   string
	At      sensors.Mono // heard, on this agent's clock
	Next    uint64       // of its next episode
	Episode uint64       // open there; 0: none
	Stage   plugins.Stage
	HeldBy  string // a hold that it has confirmed; empty: it does not hold
}

// Peer takes what the peer of a plan says. While this plan is idle its next episode takes the number
// of the peer's, so that both derive the same keys; a number never goes back, so that no key comes
// twice. Without contact each goes on under its own.
func (m *Machine) Peer(now sensors.Mono, said PeerSaid, o *Out) {
	rule := m.rule(said.Plan)
	if rule == nil || rule.Peer == "" || rule.Peer != said.Agent {
		return
	}
	said.At = now
	was := m.peers[said.Plan]
	m.peers[said.Plan] = said
	if was.Episode != said.Episode || was.Stage != said.Stage || was.HeldBy != said.HeldBy {
		m.changed(o, said.Plan)
	}
	want := said.Next
	if said.Episode != 0 {
		want = said.Episode
	}
	if p := m.state[said.Plan]; p.Run == nil && want > p.Next && want-p.Next < maxAhead {
		m.put(o, Record{Kind: "next", Plan: said.Plan, At: now, Episode: want, Reason: "agreed with " + said.Agent})
	}
}

// peerStands is why nothing may be undone for the peer's sake: its episode is open, or nobody knows.
func (m *Machine) peerStands(now sensors.Mono, rule *Plan) string {
	if rule.Peer == "" {
		return ""
	}
	said, ok := m.peers[rule.Name]
	switch {
	case !ok || now.Sub(said.At) > peerSilent:
		return fmt.Sprintf("peer %s cannot be heard: an undo needs its reset too; look there, and take it back by hand", rule.Peer)
	case said.Episode != 0:
		return fmt.Sprintf("peer %s has its episode %d open: an undo needs the reset of both", rule.Peer, said.Episode)
	}
	return ""
}

// tellPeer is what a person sees of the peer.
func (m *Machine) tellPeer(now sensors.Mono, rule *Plan) *plugins.PeerState {
	if rule.Peer == "" {
		return nil
	}
	said, ok := m.peers[rule.Name]
	v := &plugins.PeerState{Agent: rule.Peer, Contact: ok && now.Sub(said.At) <= peerSilent}
	if ok {
		v.Episode, v.Stage, v.HeldBy = said.Episode, said.Stage.String(), said.HeldBy
	}
	return v
}
