package guard

import (
	"context"
	"os"
	"time"

	"firebreak/plugins"
)

// leave is one that may be given. The guard alone holds the pipe's other end, so that the loop gives it with one
// write, which an empty pipe takes at once, and so that it is never given by a guard that has died.
type leave struct {
	given  chan struct{}
	pipe   *os.File
	cancel func()
}

// give closes the channel first: no end of what the byte starts comes before it.
func (l *leave) give() {
	close(l.given)
	_, _ = l.pipe.Write([]byte{1}) // if nobody is there to read it, the hook finds out
	_ = l.pipe.Close()
}

// drop tells a hook that is ready that nothing comes of it. There may be none.
func (l *leave) drop() {
	if l != nil {
		l.cancel()
		_ = l.pipe.Close()
	}
}

// poise calls a hook that can get ready what does not need the record, while the disk works. It starts nothing
// before its leave.
func (g *Guard) poise(ctx context.Context, p *pendingStart) {
	h, ok := g.c.Hooks[p.hook].(plugins.Poiser)
	if !ok || p.lost || g.c.Mark != plugins.MarkReal {
		return
	}
	pipe, w, err := os.Pipe()
	if err != nil {
		return // it is called when it may start
	}
	ctx, cancel := context.WithTimeout(ctx, time.Until(p.due)+p.call.Timeout+hookMargin)
	p.leave = &leave{given: make(chan struct{}), pipe: w, cancel: cancel}
	ready, may := *p, plugins.Leave{Given: p.leave.given, Pipe: pipe}
	ready.call.Journaled = true
	g.run(ctx, cancel, ready, may.Given, func(seen func(plugins.Evidence)) plugins.Outcome {
		defer pipe.Close() // by the hook's goroutine: one that hangs may still be about to use it
		return h.DoPoised(ctx, ready.call, may, seen)
	})
}

// isGiven waits until a hook may start, by a channel or at once, and gives false when it may not any more.
func isGiven(ctx context.Context, may <-chan struct{}) bool {
	if may == nil {
		return true
	}
	select {
	case <-may:
		return true
	default:
	}
	select {
	case <-may:
		return true
	case <-ctx.Done():
		return false
	}
}
