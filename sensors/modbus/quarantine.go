package modbus

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// distrust begins the quarantine: replies may come until it is over.
func (l *SerialLink) distrust(r Request) {
	l.lastByte = time.Now()
	l.turnaround = max(r.Turnaround, l.opt.Gap)
	l.quarantine = l.lastByte.Add(l.turnaround)
}

// timerSlack is how much later than asked for the kernel ends a wait (prctl(2), PR_SET_TIMERSLACK).
const timerSlack = 50 * time.Microsecond

// silence waits until r may be sent: out of quarantine and a gap after the last frame.
func (l *SerialLink) silence(ctx context.Context, r Request) error {
	gap := max(l.opt.Gap, r.FrameGap)
	if !l.quarantine.IsZero() {
		if err := l.drain(ctx, gap); err != nil {
			return err
		}
		l.quarantine = time.Time{}
	}
	until := l.lastByte.Add(gap)
	if time.Now().Before(until.Add(-timerSlack)) {
		if err := l.waitFor(ctx, nil, 0, until.Add(-timerSlack)); err != nil && (l.isClosed() || ctx.Err() != nil) {
			return err
		}
	}
	for time.Now().Before(until) { // the rest of it is shorter than the kernel can wait
	}
	return l.port.flushInput()
}

// drain throws input away until the quarantine is over and the line has been silent for a gap.
// A line that never falls silent is given up after as long again: somebody else babbles.
func (l *SerialLink) drain(ctx context.Context, gap time.Duration) error {
	end, limit := l.quarantine, l.quarantine.Add(l.turnaround+gap)
	for {
		err := l.waitFor(ctx, l.port, unix.POLLIN, end)
		switch {
		case err == ErrTimeout:
			return nil
		case err != nil:
			return err
		}
		if _, err := l.port.read(l.buf[:]); err != nil {
			return err
		}
		l.lastByte = time.Now()
		if quiet := l.lastByte.Add(gap); quiet.After(end) {
			end = quiet
		}
		if end.After(limit) {
			l.quarantine = l.lastByte.Add(l.turnaround)
			return fmt.Errorf("%w: the line never falls silent", ErrGarbled)
		}
	}
}
