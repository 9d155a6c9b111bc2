package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"

	"firebreak/agent/config"
	"firebreak/agent/core"
	"firebreak/plugins"
)

// The audit of the ways out: every hook is exercised at the start and then again and again, so that a
// broken one is an alarm before it is needed.
const (
	probeLimit = 5 * time.Second
	probeEvery = 5 * time.Minute
	probesAtA  = 4 // at once
)

type audit struct {
	names []string
	hooks []plugins.Hook
	post  func(context.Context, core.Event)
	log   *slog.Logger
}

func newAudit(c *config.Config, hooks []plugins.Hook, post func(context.Context, core.Event), log *slog.Logger) *audit {
	a := &audit{hooks: hooks, post: post, log: log}
	for i := range c.Hooks {
		a.names = append(a.names, c.Hooks[i].Name)
	}
	return a
}

// run exercises all hooks, and again after a pause with jitter, until ctx ends.
func (a *audit) run(ctx context.Context) error {
	for {
		a.round(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(probeEvery*3/4 + rand.N(probeEvery/2)):
		}
	}
}

func (a *audit) round(ctx context.Context) {
	room := make(chan struct{}, probesAtA)
	var wg sync.WaitGroup
	for i := range a.hooks {
		room <- struct{}{}
		wg.Go(func() {
			defer func() { <-room }()
			if err := a.probe(ctx, i); ctx.Err() == nil {
				a.post(ctx, core.Event{Kind: core.Probed, Hook: i, Err: err})
			}
		})
	}
	wg.Wait()
}

// probe exercises one hook within its time. One that hangs is left behind, and is told as broken; one
// that panics too.
func (a *audit) probe(ctx context.Context, i int) error {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		defer func() {
			if r := recover(); r != nil {
				done <- fmt.Errorf("its probe panicked: %v", r)
			}
		}()
		done <- a.hooks[i].Probe(ctx)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return err
	case <-time.After(time.Second):
		return errors.New("its probe did not return")
	}
}

// Pauses before a runner is started again.
const (
	runnerPause    = 200 * time.Millisecond
	runnerPauseMax = 30 * time.Second
)

// keepRunning runs the part of a hook that works between its calls, and again when it ends or panics,
// until ctx ends. What it does or fails to do reaches the loop as evidence only.
func keepRunning(name string, r plugins.Runner, post func(context.Context, core.Event), log *slog.Logger) func(context.Context) error {
	return func(ctx context.Context) error {
		pause := runnerPause
		for {
			begin := time.Now()
			err := runOnce(ctx, r, func(ev plugins.Evidence) { post(ctx, core.Event{Kind: core.Seen, Evidence: ev}) })
			if ctx.Err() != nil {
				return nil
			}
			if time.Since(begin) > runnerPauseMax {
				pause = runnerPause
			}
			log.Error("what a hook does between its calls has ended, and is started again", "hook", name, "err", err, "in", pause)
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(pause*3/4 + rand.N(pause/2)):
			}
			pause = min(2*pause, runnerPauseMax)
		}
	}
}

func runOnce(ctx context.Context, r plugins.Runner, seen func(plugins.Evidence)) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("it panicked: %v\n%s", p, debug.Stack())
		}
	}()
	return r.Run(ctx, seen)
}
