package app

import (
	"context"

	"firebreak/agent/core"
	"firebreak/agent/response"
	"firebreak/agent/uplink"
)

// peerWords are what peers said and the loop has not taken yet. When there is no room the word is lost:
// the next comes with the next hello, 2 s later.
type peerWords chan uplink.PeerWord

func (p peerWords) put(w uplink.PeerWord) {
	select {
	case p <- w:
	default:
	}
}

func (p peerWords) run(post func(context.Context, core.Event)) func(context.Context) error {
	return func(ctx context.Context) error {
		for {
			select {
			case w := <-p:
				post(ctx, core.Event{Kind: core.Peer, Peer: response.PeerSaid{Plan: w.Plan, Agent: w.Agent,
					Next: w.Next, Episode: w.Episode, Stage: w.Stage, HeldBy: w.HeldBy}})
			case <-ctx.Done():
				return nil
			}
		}
	}
}
