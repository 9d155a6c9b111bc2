package guard

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"firebreak/agent/core"
	"firebreak/plugins"
)

// launchDue starts the hooks whose record is durable, whose bound has passed, or whose record the
// journal has refused (S9: protection beats bookkeeping).
func (g *Guard) launchDue(ctx context.Context) {
	if len(g.pending) == 0 {
		return
	}
	var durable uint64
	if g.c.Journal != nil {
		durable = g.c.Journal.DurableSeq()
	}
	now := time.Now()
	due := g.pending
	g.pending = nil // step below may add to it
	for _, p := range due {
		journaled := g.c.Journal != nil && p.seq > 0 && !g.refused && durable >= p.seq
		if !journaled && g.c.Journal != nil && !g.refused && now.Before(p.due) {
			g.pending = append(g.pending, p)
			continue
		}
		g.launch(ctx, p, journaled)
	}
}

func (g *Guard) launch(ctx context.Context, p pendingStart, journaled bool) {
	p.call.Journaled = journaled
	g.hooks.Add(1)
	go func() {
		defer g.hooks.Done()
		oc := g.call(ctx, p)
		select {
		case g.in <- core.Event{Kind: core.HookDone, Key: p.call.Key, Outcome: oc}:
		case <-g.stopped:
		}
	}()
	g.step(ctx, core.Event{Kind: core.HookStarted, Key: p.call.Key, Journaled: journaled})
}

// call runs one hook on a goroutine of its own and gives it up when it does not return: its key
// stands, so that the next try attaches to whatever it may still be doing.
func (g *Guard) call(ctx context.Context, p pendingStart) plugins.Outcome {
	limit := p.call.Timeout + hookMargin
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	done := make(chan plugins.Outcome, 1)
	start := time.Now()
	go func() {
		defer func() {
			if r := recover(); r != nil {
				g.c.Log.Error("a hook panicked", "key", p.call.Key.String(), "panic", r, "stack", string(debug.Stack()))
				done <- plugins.Outcome{Result: plugins.Unknown, Detail: fmt.Sprintf("the hook panicked: %v", r)}
			}
		}()
		done <- g.c.Hooks[p.hook].Do(ctx, p.call, func(ev plugins.Evidence) { g.seen(ctx, p.call.Key, ev) })
	}()
	select {
	case oc := <-done:
		if oc.Elapsed == 0 {
			oc.Elapsed = time.Since(start)
		}
		return oc
	case <-ctx.Done():
	}
	select { // a hook that obeys its context says more than we know
	case oc := <-done:
		return oc
	case <-time.After(stopMargin / 2):
		return plugins.Outcome{Result: plugins.Unknown, Elapsed: time.Since(start),
			Detail: fmt.Sprintf("the hook did not return within its time-out of %v and %v more: given up, its key stands", p.call.Timeout, hookMargin)}
	}
}

func (g *Guard) seen(ctx context.Context, key plugins.Key, ev plugins.Evidence) {
	ev.Key = key // a hook speaks for its own call only
	select {
	case g.in <- core.Event{Kind: core.Seen, Evidence: ev}:
	case <-g.stopped:
	case <-ctx.Done():
	}
}
