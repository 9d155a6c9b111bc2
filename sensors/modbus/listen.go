package modbus

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Burst is what came over a line without a longer silence in it.
type Burst struct {
	After time.Duration // since the listening began
	Bytes []byte
}

const (
	burstGap  = 20 * time.Millisecond // ends a burst: longer than t3.5 of any speed, and than what a scheduler adds
	burstSize = 4096                  // of all that is kept; a line that babbles says so with less
)

// Listen takes in what others say on the line for d, and sends nothing. On a line with one master nobody
// speaks then.
func (l *SerialLink) Listen(ctx context.Context, d time.Duration) (out []Burst, err error) {
	select {
	case <-l.turn:
		defer func() { l.turn <- struct{}{} }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if l.isClosed() {
		return nil, fmt.Errorf("%s: %w", l.opt.name(), ErrClosed)
	}
	stop := context.AfterFunc(ctx, l.wake.wake)
	defer stop()
	if err := l.open(ctx, true); err != nil {
		return nil, err
	}
	began, kept := time.Now(), 0
	end, last := began.Add(d), time.Time{}
	for kept < burstSize {
		switch err := l.waitFor(ctx, l.port, unix.POLLIN, end); {
		case err == ErrTimeout:
			return out, nil
		case err != nil:
			return out, err
		}
		n, err := l.port.read(l.buf[:])
		if err != nil {
			l.hangUp()
			return out, fmt.Errorf("%s: %w: %w", l.opt.name(), ErrLinkDown, err)
		}
		now := time.Now()
		if out == nil || now.Sub(last) > burstGap {
			out = append(out, Burst{After: now.Sub(began)})
		}
		b := &out[len(out)-1]
		b.Bytes = append(b.Bytes, l.buf[:n]...)
		last, l.lastByte = now, now
		kept += n
	}
	return out, nil
}
