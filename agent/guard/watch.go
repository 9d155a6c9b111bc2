package guard

import (
	"context"
	"errors"
	"fmt"
	"time"

	"firebreak/agent/core"
)

// watchJournal notices a journal that refuses, and one that does not answer at all, as when an
// fsync hangs.
func (g *Guard) watchJournal(ctx context.Context) {
	if g.c.Journal == nil {
		return
	}
	durable := g.c.Journal.DurableSeq()
	if durable >= g.markSeq && durable < g.lastSeq { // it moves: measure the next
		g.markSeq, g.markAt = g.lastSeq, time.Now()
	}
	switch {
	case g.gap:
		g.tellJournal(ctx, errors.New("it has refused records: is its queue full, or a record too large"))
		if durable >= g.lastSeq {
			g.heal()
		}
	case durable < g.markSeq && time.Since(g.markAt) > journalLag:
		g.tellJournal(ctx, fmt.Errorf("the disk has not answered for %v", journalLag))
	case durable >= g.lastSeq && g.jerr != "":
		g.tellJournal(ctx, nil)
	}
}

// heal writes the whole state once the journal takes records again: what it refused is missing,
// and later records may not fit without. As a record among the others it stands before all that
// builds on it; as a snapshot, which has more room, it may come a moment after.
func (g *Guard) heal() {
	now := time.Now()
	if now.Before(g.healAt) {
		return
	}
	g.healAt = now.Add(healPause)
	e := g.whole(g.c.Clock.Now())
	if g.append(e) || g.snapshot(e) == nil {
		g.gap, g.records = false, 0
	}
}

// tellJournal tells what is wrong with the journal when that has changed, by what is at the root of it: each try names another
// segment. What the disk says itself stands until it has written: that it is late, or the queue full, follows from it.
func (g *Guard) tellJournal(ctx context.Context, err error) {
	root := ""
	for e := err; e != nil; e = errors.Unwrap(e) {
		root = e.Error()
	}
	if root == g.jerr || err != nil && g.jdisk {
		return
	}
	g.jerr = root
	g.step(ctx, core.Event{Kind: core.Durable, Err: err})
}

// diskSays takes how the journal's last try has ended. That all is well again, watchJournal sees when it has caught up.
func (g *Guard) diskSays(ctx context.Context, err error) {
	g.jdisk = false
	if err != nil {
		g.tellJournal(ctx, err)
		g.jdisk = true
	}
}
