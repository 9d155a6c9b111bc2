package app

import (
	"context"

	"firebreak/agent/core"
	"firebreak/agent/response"
	"firebreak/agent/uplink"
)

// heard are words from the brokers that the loop has not taken yet. When there is no room a word is
// lost: put waits for nobody.
type heard chan core.Event

func (h heard) put(ev core.Event) {
	select {
	case h <- ev:
	default:
	}
}

// peer takes the word of a peer. One that is lost comes again with the next hello, 2 s later.
func (h heard) peer(w uplink.PeerWord) {
	h.put(core.Event{Kind: core.Peer, Peer: response.PeerSaid{Plan: w.Plan, Agent: w.Agent,
		Next: w.Next, Episode: w.Episode, Stage: w.Stage, HeldBy: w.HeldBy}})
}

// twin takes that another agent of this name lives, or not any more (S13). Such words are some minutes
// apart, so its channel must be another than that of the peers, and then there is always room.
func (h heard) twin(err error) { h.put(core.Event{Kind: core.Health, Part: "twin", Err: err}) }

// tamper takes that somebody writes where only this agent may, or not any more; as rare as twin.
func (h heard) tamper(err error) { h.put(core.Event{Kind: core.Health, Part: "tamper", Err: err}) }

// unheard takes that no consumer answers, or one does again.
func (h heard) unheard(err error) { h.put(core.Event{Kind: core.Health, Part: "unheard", Err: err}) }

// unkept takes that what waits for brokers is not on the disk, or is again.
func (h heard) unkept(err error) { h.put(core.Event{Kind: core.Health, Part: "outbox", Err: err}) }

// receipt takes that a consumer answers by itself (S18). One that is lost comes again.
func (h heard) receipt(consumer string) { h.put(core.Event{Kind: core.Receipt, Part: consumer}) }

func (h heard) run(post func(context.Context, core.Event)) func(context.Context) error {
	return func(ctx context.Context) error {
		for {
			select {
			case ev := <-h:
				post(ctx, ev)
			case <-ctx.Done():
				return nil
			}
		}
	}
}
