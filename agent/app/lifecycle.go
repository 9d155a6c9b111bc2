package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// cleanups is a stack of named ends: each is pushed the moment its resource exists, and they run
// in reverse. Each is bounded, so that one that hangs keeps no other from running.
type cleanups struct {
	mu    sync.Mutex
	stack []cleanup
	log   *slog.Logger
}

type cleanup struct {
	name  string
	limit time.Duration
	do    func(context.Context) error
}

func (c *cleanups) push(name string, limit time.Duration, do func(context.Context) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stack = append(c.stack, cleanup{name, limit, do})
}

// run ends everything, last first, and returns what went wrong.
func (c *cleanups) run() error {
	c.mu.Lock()
	stack := c.stack
	c.stack = nil
	c.mu.Unlock()
	var errs []error
	for i := len(stack) - 1; i >= 0; i-- {
		s := stack[i]
		ctx, cancel := context.WithTimeout(context.Background(), s.limit)
		done := make(chan error, 1)
		go func() { done <- s.do(ctx) }()
		select {
		case err := <-done:
			if err != nil && !errors.Is(err, context.Canceled) {
				errs = append(errs, fmt.Errorf("%s: %w", s.name, err))
			}
		case <-time.After(s.limit + 500*time.Millisecond):
			errs = append(errs, fmt.Errorf("%s: did not end within %v; it is left behind", s.name, s.limit))
		}
		cancel()
		c.log.Debug("ended", "part", s.name)
	}
	return errors.Join(errs...)
}

// task starts run on a goroutine and pushes its end: cancel, then wait.
func (c *cleanups) task(name string, limit time.Duration, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	c.push(name, limit, func(end context.Context) error {
		cancel()
		select {
		case err := <-done:
			return err
		case <-end.Done():
			return end.Err()
		}
	})
}
