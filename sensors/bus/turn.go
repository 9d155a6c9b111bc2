package bus

import (
	"context"
	"io"
	"sync"
	"time"
)

// turn is the context of one attempt: Run's, with the deadline of the attempt. Most drivers give the deadline to a
// socket and wait for nothing else, so that the timer and the channel behind Done are made only when asked for: a poll
// each second of each device is to cost none.
type turn struct {
	context.Context // of Run
	bus             *Bus
	until           time.Time

	mu     sync.Mutex
	waited context.Context // what Done has made; nil: nobody has asked
	cancel context.CancelFunc
	over   bool
}

// Deadline is that of the attempt.
func (t *turn) Deadline() (time.Time, bool) { return t.until, true }

// Done makes what ends with the attempt.
func (t *turn) Done() <-chan struct{} { return t.made().Done() }

func (t *turn) made() context.Context {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.waited == nil {
		t.waited, t.cancel = context.WithDeadline(t.Context, t.until)
		if t.over {
			t.cancel()
		}
	}
	return t.waited
}

// Err tells why the attempt is over.
func (t *turn) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.waited != nil: // so that it says what Done does
		return t.waited.Err()
	case t.Context.Err() != nil:
		return t.Context.Err()
	case t.over:
		return context.Canceled
	case !time.Now().Before(t.until):
		return context.DeadlineExceeded
	}
	return nil
}

// Value is that of what Done has made, so that contexts derived from this one hang on it without a goroutine each.
func (t *turn) Value(key any) any {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.waited != nil {
		return t.waited.Value(key)
	}
	return t.Context.Value(key)
}

// Interrupt has c closed when Run's context ends during the attempt; nil: no more. It costs less than
// context.AfterFunc; of the deadline the driver takes care itself.
func (t *turn) Interrupt(c io.Closer) {
	b := t.bus
	b.mu.Lock()
	b.cut = c
	late := b.ending
	b.mu.Unlock()
	if late && c != nil {
		_ = c.Close()
	}
}

// end is called when the driver has returned.
func (t *turn) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over = true; t.cancel != nil {
		t.cancel()
	}
}
