package guard

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime/debug"
	"time"

	"firebreak/agent/core"
	"firebreak/plugins"
)

// ready says whether a hook starts now: its record is durable, or will not be (there is no journal,
// or it has refused), or the bound has passed (S9: protection beats bookkeeping).
func (g *Guard) ready(p *pendingStart) (start, journaled bool) {
	if g.c.Mark != plugins.MarkReal {
		return true, true // a drill leaves no record to wait for
	}
	if p.lost {
		return true, false
	}
	if p.seq > 0 && g.c.Journal.DurableSeq() >= p.seq {
		return true, true
	}
	return !time.Now().Before(p.due), false
}

// starting says that hooks are to start now. What it asks is a favour: none of its faults is one of the start.
func (g *Guard) starting() {
	if g.c.Starting == nil || g.c.Mark != plugins.MarkReal {
		return
	}
	defer func() {
		if r := recover(); r != nil {
			g.c.Log.Error("what makes room for hooks that start panicked", "panic", r, "stack", string(debug.Stack()))
		}
	}()
	g.c.Starting()
}

// launchDue starts the hooks that are ready, all of them before the core hears of the first: what
// one costs the core must not delay the next.
func (g *Guard) launchDue(ctx context.Context) {
	if len(g.pending) == 0 {
		return
	}
	var begun []core.Event
	wait := g.pending[:0]
	for i := range g.pending {
		p := g.pending[i]
		start, journaled := g.ready(&p)
		if !start {
			wait = append(wait, p)
			continue
		}
		if p.call.Journaled = journaled; len(begun) == 0 {
			g.starting()
		}
		g.launch(ctx, p)
		begun = append(begun, core.Event{Kind: core.HookStarted, Key: p.call.Key, Journaled: journaled})
	}
	g.pending = wait
	// Only now, when nothing walks over pending any more: a step may add to it. What it adds is
	// looked at in the next turn, which untilNext makes come at once.
	for _, ev := range begun {
		g.step(ctx, ev)
	}
}

// launch lets a hook that is ready start, or calls it. One that got ready for a start with a record knows
// nothing of one without, and is let go: under the same key it can do no harm.
func (g *Guard) launch(ctx context.Context, p pendingStart) {
	if p.leave != nil && p.call.Journaled {
		p.leave.give()
		return
	}
	p.leave.drop()
	ctx, cancel := context.WithTimeout(ctx, p.call.Timeout+hookMargin)
	g.run(ctx, cancel, p, nil, func(seen func(plugins.Evidence)) plugins.Outcome { return g.c.Hooks[p.hook].Do(ctx, p.call, seen) })
}

// run calls a hook on a goroutine of its own. That of the one who waits for it is made by it: the hook
// needs no second turn of the scheduler. What it says before it may have started anything counts from then
// on; if that never comes, nobody is told.
func (g *Guard) run(ctx context.Context, end func(), p pendingStart, may <-chan struct{}, do func(func(plugins.Evidence)) plugins.Outcome) {
	g.hooks.Add(1)
	go func() {
		done := make(chan plugins.Outcome, 1)
		go func() {
			defer g.hooks.Done()
			defer end()
			if oc := g.await(ctx, p, done); isGiven(ctx, may) {
				g.ended(p, oc)
			}
		}()
		done <- g.call(ctx, p, do)
	}()
}

// ended tells how a hook has ended.
func (g *Guard) ended(p pendingStart, oc plugins.Outcome) {
	if g.c.Ended != nil {
		g.c.Ended(p.hook, oc)
	}
	select {
	case <-g.stopped:
		return
	default:
		g.tellEnded(p.call, oc)
	}
	select {
	case g.in <- core.Event{Kind: core.HookDone, Key: p.call.Key, Outcome: oc}:
	case <-g.stopped:
	}
}

// tellEnded tells what a hook said at its end, which the core does not keep. It runs on the hook's
// goroutine: what a target says may be long, and the loop has better to do than to encode it.
func (g *Guard) tellEnded(c plugins.Call, oc plugins.Outcome) {
	data, err := json.Marshal(plugins.NewHookEnded(c, oc))
	if err != nil {
		g.c.Log.Error("the end of a hook cannot be told", "key", c.Key.String(), "err", err)
		return
	}
	g.tell(plugins.Update{Wall: time.Now(), Event: &plugins.Event{Type: plugins.EventHookEnded,
		Plan: c.Key.Plan, Stage: c.Key.Stage.String(), Step: c.Key.Step, Key: c.Key.String(), Detail: oc.Detail, Data: data}})
}

// call runs one hook, and gives what it says, or that it panicked.
func (g *Guard) call(ctx context.Context, p pendingStart, do func(func(plugins.Evidence)) plugins.Outcome) (oc plugins.Outcome) {
	defer func() {
		if r := recover(); r != nil {
			g.c.Log.Error("a hook panicked", "key", p.call.Key.String(), "panic", r, "stack", string(debug.Stack()))
			oc = plugins.Outcome{Result: plugins.Unknown, Detail: fmt.Sprintf("the hook panicked: %v", r)}
		}
	}()
	return do(func(ev plugins.Evidence) { g.seen(ctx, p.call.Key, ev) })
}

// await gives what the hook says, and gives it up when it does not return: its key stands, so that the next try
// attaches to whatever it may still be doing.
func (g *Guard) await(ctx context.Context, p pendingStart, done <-chan plugins.Outcome) plugins.Outcome {
	start := time.Now()
	said := func(oc plugins.Outcome) plugins.Outcome {
		if oc.Elapsed == 0 {
			oc.Elapsed = time.Since(start)
		}
		return oc
	}
	select {
	case oc := <-done:
		return said(oc)
	case <-ctx.Done():
	}
	select { // a hook that obeys its context says more than we know
	case oc := <-done:
		return said(oc)
	case <-time.After(stopMargin / 2):
		return plugins.Outcome{Result: plugins.Unknown, Elapsed: time.Since(start),
			Detail: fmt.Sprintf("the hook did not return within its time-out of %v and %v more: given up, its key stands", p.call.Timeout, hookMargin)}
	}
}

func (g *Guard) seen(ctx context.Context, key plugins.Key, ev plugins.Evidence) {
	ev.Key, ev.Mark = key, g.c.Mark // a hook speaks for its own call only
	select {
	case g.in <- core.Event{Kind: core.Seen, Evidence: ev}:
	case <-g.stopped:
	case <-ctx.Done():
	}
}
