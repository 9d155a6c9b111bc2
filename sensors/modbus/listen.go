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

// bursts is what has come so far.
type bursts struct {
	list []Burst
	last time.Duration
	size int
}

// add takes what came that long after the listening began.
func (b *bursts) add(at time.Duration, bytes []byte) {
	if b.list == nil || at-b.last > burstGap {
		b.list = append(b.list, Burst{After: at})
	}
	k := &b.list[len(b.list)-1]
	k.Bytes = append(k.Bytes, bytes...)
	b.last, b.size = at, b.size+len(bytes)
}

// Listen takes in what others say on the line for d, and sends nothing. On a line with one master nobody
// speaks then.
func (l *SerialLink) Listen(ctx context.Context, d time.Duration) ([]Burst, error) {
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
	var out bursts
	began := time.Now()
	end := began.Add(d)
	for out.size < burstSize {
		switch err := l.waitFor(ctx, l.port, unix.POLLIN, end); {
		case err == ErrTimeout:
			return out.list, nil
		case err != nil:
			return out.list, err
		}
		n, err := l.port.read(l.buf[:])
		if err != nil {
			l.hangUp()
			return out.list, fmt.Errorf("%s: %w: %w", l.opt.name(), ErrLinkDown, err)
		}
		l.lastByte = time.Now()
		out.add(l.lastByte.Sub(began), l.buf[:n])
	}
	return out.list, nil
}
