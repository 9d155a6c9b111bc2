package guard

import (
	"context"
	"runtime"
	"time"

	"firebreak/agent/core"
	"firebreak/plugins"
	"firebreak/sensors"
)

// Readings are told together, once they are judged: to wake each publisher for each poll costs more than the poll.
// They wait so long for more of them, and no more with so many. What the core decides is told at once.
const (
	tellGather = 2 * time.Millisecond
	tellMost   = 32
)

// read takes what the buses have put, judges it, and only then has it told.
func (g *Guard) read(ctx context.Context) {
	g.batches = g.c.Inbox.Take(g.batches[:0])
	for i := range g.batches {
		g.handOn(ctx)
		g.step(ctx, core.Event{Kind: core.Readings, Readings: g.batches[i].Readings, Device: g.batches[i].Device, Serial: g.batches[i].Serial})
	}
	if g.c.Mark != plugins.MarkReal {
		return // its readings are copies of what was told already
	}
	if len(g.untold) == 0 {
		g.untold, g.tellAt = make([]sensors.Batch, 0, max(tellMost, len(g.batches))), time.Now().Add(tellGather)
	}
	if g.untold = append(g.untold, g.batches...); len(g.untold) >= tellMost {
		g.tellReadings()
	}
}

// handOn lets those who carry a decision out have the processor before the rest of the round is judged: the journal, and the
// hooks that may start by now.
func (g *Guard) handOn(ctx context.Context) {
	n := len(g.pending)
	if n == 0 {
		return
	}
	runtime.Gosched()
	if g.launchDue(ctx); len(g.pending) < n {
		runtime.Gosched()
	}
}

// tellReadings tells the readings that wait for it.
func (g *Guard) tellReadings() {
	told := g.untold
	g.untold = nil
	for i := range told {
		goes := plugins.Before
		if i == len(told)-1 {
			goes = plugins.Last
		}
		g.tell(plugins.Update{Wall: told[i].Wall, State: &told[i], Goes: goes})
	}
}

func (g *Guard) tell(u plugins.Update) {
	u.Mark = g.c.Mark
	for _, f := range g.fans {
		f.offer(u)
	}
}
