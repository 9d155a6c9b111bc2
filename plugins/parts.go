package plugins

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
)

// Parts are the goroutines of something that runs until a context ends. Whoever makes it waits for them.
// A part that panics ends the others, and is told by Wait: the whole is started again, and the process
// goes on (S22).
type Parts struct {
	wg  sync.WaitGroup
	end context.CancelFunc

	mu  sync.Mutex
	err error
}

// NewParts also gives the context of the parts.
func NewParts(ctx context.Context) (*Parts, context.Context) {
	ctx, end := context.WithCancel(ctx)
	return &Parts{end: end}, ctx
}

// Go starts a part; a part may start others.
func (p *Parts) Go(part func()) {
	p.wg.Go(func() {
		defer func() {
			if r := recover(); r != nil {
				p.mu.Lock()
				p.err = fmt.Errorf("a part of it panicked: %v\n%s", r, debug.Stack())
				p.mu.Unlock()
				p.end()
			}
		}()
		part()
	})
}

// Wait waits until all parts have ended, and returns the panic of one.
func (p *Parts) Wait() error {
	p.wg.Wait()
	p.end()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}
