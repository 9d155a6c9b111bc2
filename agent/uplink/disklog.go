package uplink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"firebreak/agent/journal"
)

// diskLog is a journal in a directory of its own, opened beside everything else: a disk may hang in any call.
// Who uses it copies into the journal's bounded queue and only asks; the journal's own goroutine writes.
type diskLog struct {
	store func() (journal.FS, func() error, error)
	opt   journal.Options
	log   *slog.Logger

	mu    sync.Mutex
	j     *journal.Journal // nil: not open
	shut  func() error
	err   error // why it is not open
	since time.Time
}

// opened is a log and what it held, or why it is not.
type opened struct {
	j    *journal.Journal
	rec  *journal.Recovered
	shut func() error
	err  error
}

// discard closes a log that came too late.
func (a *opened) discard() {
	if a.err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), outboxClose)
		defer cancel()
		_ = errors.Join(a.j.Close(ctx), a.shut())
	}
}

// open opens the log, again and again until that succeeds or the context ends, and hands over what it held.
func (d *diskLog) open(ctx context.Context, resume func(opened)) {
	pause := outboxRetry
	for {
		a := d.try(ctx)
		if a.err == nil {
			if a.rec.Repaired != "" {
				d.log.Warn("the log of what waits for brokers was repaired", "component", "uplink", "what", a.rec.Repaired)
			}
			resume(a)
			return
		}
		d.mu.Lock()
		d.err = a.err
		d.mu.Unlock()
		t := time.NewTimer(pause/2 + rand.N(pause))
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
		pause = min(2*pause, time.Minute)
	}
}

// try asks the disk in a goroutine of its own, which is left behind when the context ends before it answers.
func (d *diskLog) try(ctx context.Context) opened {
	ch := make(chan opened, 1)
	go func() {
		fs, shut, err := d.store()
		if err != nil {
			ch <- opened{err: err}
			return
		}
		j, rec, err := journal.Open(ctx, fs, d.opt)
		if err != nil {
			err = errors.Join(err, shut())
		}
		ch <- opened{j, rec, shut, err}
	}()
	select {
	case a := <-ch:
		return a
	case <-ctx.Done():
		go func() { a := <-ch; a.discard() }()
		return opened{err: ctx.Err()}
	}
}

// use takes an open log. The lock is held.
func (d *diskLog) use(a opened) { d.j, d.shut, d.err = a.j, a.shut, nil }

// problem is why what waits is not on the disk. The lock is held.
func (d *diskLog) problem(now time.Time) error {
	const what = "what waits for brokers is in memory only, and a kill of the agent loses it: "
	switch {
	case d.j == nil && d.err != nil:
		return fmt.Errorf(what+"%w", d.err)
	case d.j == nil && now.Sub(d.since) > outboxSilent:
		return errors.New(what + "the disk does not answer; see that it is mounted and not worn out")
	case d.j == nil:
		return nil
	}
	switch s := d.j.Stats(); {
	case s.Err != nil:
		return fmt.Errorf(what+"%w; make room, or see to the disk", s.Err)
	case s.Waiting > outboxSilent:
		return fmt.Errorf(what+"the disk has not answered for %v (%s)", s.Waiting.Round(time.Second), s.Doing)
	}
	return nil
}

// end closes the log. A disk that hangs is not waited for.
func (d *diskLog) end() {
	d.mu.Lock()
	j, shut := d.j, d.shut
	d.mu.Unlock()
	if j == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), outboxClose)
	defer cancel()
	if err := errors.Join(j.Close(ctx), shut()); err != nil {
		d.log.Warn("the log of what waits for brokers did not end as it should", "component", "uplink", "error", err)
	}
}
