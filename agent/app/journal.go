package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"firebreak/agent/guard"
	"firebreak/agent/journal"
	"firebreak/sensors"
)

// recover rebuilds the core from what the life before has left. It may put an older configuration in
// place of the present one: that of an open run (S8).
func (o *Options) recover(jr *opened) (*guard.Recovered, error) {
	if jr.another != nil {
		return nil, jr.another
	}
	bootID, synced := sensors.BootID(), clockSynced()
	o.Config.Rules.Hazard.Origin = o.Origin
	left := readMirror(o.Config.Run)
	rec, err := guard.Recover(o.Config.Rules, jr.rec, left, o.Clock.Now(), bootID, synced, time.Now())
	if err != nil {
		return nil, fmt.Errorf("the configuration cannot be built: %w", err)
	}
	for _, n := range rec.Notes {
		o.Log.Warn("journal", "note", n)
	}
	if h := rec.Core.RunHash(); h != "" && h != o.Config.Rules.Hash {
		if rec, err = o.pinned(h, jr.rec, left, rec, bootID, synced); err != nil {
			o.Log.Error("an open run is pinned to a configuration that is no longer here; it starts no step until it is, or until a reset", "hash", h, "err", err)
		}
	}
	return rec, nil
}

// another tells of an agent that has the journal and answers: two of one configuration would give each hook two keys
// (S10). One that holds the lock and does not answer protects nothing: then this one goes on, without a journal.
func (o *Options) another(err error) error {
	if errors.Is(err, syscall.EWOULDBLOCK) && answers(o.Config.Control) {
		return fmt.Errorf("another agent runs with the journal %s and answers on %s: stop that one first", o.Config.Journal, o.Config.Control)
	}
	return nil
}

// opened is the journal, or why there is none.
type opened struct {
	dir *journal.Dir
	j   *journal.Journal
	rec *journal.Recovered
	err error

	another error // an agent that has it, and answers
}

// guard returns a nil interface when there is no journal.
func (o *opened) guard() guard.Journal {
	if o.j == nil {
		return nil
	}
	return o.j
}

// openJournal waits for the disk at most so long: one that hangs must not keep the agent from
// protecting.
func openJournal(ctx context.Context, o *Options, ends *cleanups) *opened {
	ctx, cancel := context.WithTimeout(ctx, journalOpen)
	defer cancel()
	ch := make(chan *opened, 1)
	go func() { ch <- openDir(ctx, o.Config.Journal) }()
	var out *opened
	select {
	case out = <-ch:
	case <-ctx.Done():
		out = &opened{err: fmt.Errorf("the disk under %s has not answered for %v", o.Config.Journal, journalOpen)}
	}
	if out.err != nil {
		if out.another = o.another(out.err); out.another == nil {
			o.Log.Error("there is no journal: the agent protects without one, and hooks are marked journaled: false", "err", out.err)
		}
		return out
	}
	ends.push("journal directory", stopLimit, func(context.Context) error { return out.dir.Close() })
	ends.push("journal", stopLimit, out.j.Close)
	return out
}

func openDir(ctx context.Context, path string) *opened {
	out := &opened{}
	if out.err = os.MkdirAll(path, 0o700); out.err != nil {
		return out
	}
	if out.dir, out.err = journal.OS(path); out.err != nil {
		return out
	}
	if out.j, out.rec, out.err = journal.Open(ctx, out.dir, journal.Options{}); out.err != nil {
		_ = out.dir.Close()
	}
	return out
}
