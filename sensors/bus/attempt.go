package bus

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"firebreak/sensors"
)

// result of one poll.
type result struct {
	out      []sensors.Reading
	err      error
	panicked bool
	took     time.Duration
}

var errNoReturn = errors.New("driver ended its goroutine (runtime.Goexit) instead of returning")

// attempt is a poll or a command that is under way in a driver.
type attempt struct {
	s      *slot
	budget time.Duration
	late   time.Time // from then on it counts as hung
	cut    func()    // called when it does; nil: nobody waits for it but the bus
}

// attempt gives a driver its turn, and hands what it brought to settle; but where Run has taken over
// meanwhile, to Run, and waits until that has given the bus back. Neither a panic (S22) nor the end of the
// goroutine in the driver passes it by.
func (b *Bus) attempt(ctx context.Context, a attempt, do func(context.Context) ([]sensors.Reading, error), settle func(result)) {
	started := time.Now()
	a.late = started.Add(a.budget + b.opt.Grace)
	b.mu.Lock()
	if b.ending {
		b.mu.Unlock()
		return
	}
	b.now, b.inDriver = a, true
	b.mu.Unlock()
	// Behind the lock, so that it comes after stoodStill's of the attempt before.
	b.overrun.Reset(a.budget + b.opt.Grace) // each attempt moves it on; nothing stops it: to take it out and in again costs more
	in := &turn{Context: ctx, bus: b, until: started.Add(a.budget)}
	r := result{err: errNoReturn}
	defer func() {
		if p := recover(); p != nil {
			r = result{err: fmt.Errorf("driver panicked: %v", p), panicked: true}
			b.opt.Log.Error("driver panicked", "device", a.s.u.Dev.Name, "panic", p, "stack", string(debug.Stack()))
		}
		in.end()
		r.took = time.Since(started)
		b.mu.Lock()
		b.inDriver, b.cut = false, nil
		taken := b.taken
		b.mu.Unlock()
		if !taken {
			settle(r)
			return
		}
		b.results <- r // has room: one attempt at a time is taken
		select {
		case <-b.returned:
		case <-b.ended: // Run has left this goroutine behind
		}
	}()
	out, err := do(in)
	r = result{out: out, err: err}
}

// take makes Run the owner of what the bus knows while a driver is in its turn: of one that is late, or,
// at the end, of any; then no other begins. It tells which.
func (b *Bus) take(end bool) (a attempt, taken bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ending = b.ending || end
	b.taken = b.inDriver && (end || !time.Now().Before(b.now.late))
	return b.now, b.taken
}

// stoodStill tells, when the timer of late attempts is heard, that this process did not run when it was due (it was
// stopped, or its machine was). The driver could not return either: it gets the grace again.
func (b *Bus) stoodStill() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if !b.inDriver || now.Sub(b.now.late) < b.opt.Grace/2 {
		return false
	}
	b.now.late = now.Add(b.opt.Grace)
	b.overrun.Reset(b.opt.Grace)
	return true
}

// giveBack makes the polling goroutine the owner again. Run has had the result.
func (b *Bus) giveBack() {
	b.mu.Lock()
	b.taken = false
	b.mu.Unlock()
	b.returned <- struct{}{}
}

// hung waits for a poll that ignores its deadline. Nothing else may use the bus meanwhile, so all
// its points are bad (comm), said again every hungRepeat. What the poll brings at last is too late:
// it is thrown away and counts as a failure.
func (b *Bus) hung(ctx context.Context, a attempt, put func(sensors.Batch)) error {
	err := fmt.Errorf("poll ignored its deadline of %v and held the whole bus: look at the adapter, the gateway and the driver", a.budget)
	u := a.s.u
	if a.cut != nil {
		a.cut()
	}
	b.opt.Log.Error("poll hung", "device", u.Dev.Name, "err", err)
	b.mu.Lock()
	b.stats.Hung++
	b.stats.Stuck = true
	b.stats.LastError = u.Dev.Name + ": " + err.Error()
	u.stats.LastError = err.Error()
	b.mu.Unlock()
	for {
		now := b.clock.Now()
		for _, v := range b.units {
			clear(v.seen)
			b.put(v, 0, v.fill(make([]sensors.Reading, 0, len(v.points)), now), put)
		}
		again := time.NewTimer(max(b.clock.Real(hungRepeat), time.Millisecond))
		select {
		case r := <-b.results:
			again.Stop()
			b.mu.Lock()
			b.stats.Stuck = false
			b.mu.Unlock()
			if ctx.Err() == nil {
				b.settle(a.s, result{err: err, took: r.took, panicked: r.panicked}, put)
				b.dueAgain(b.clock.Now())
			}
			return nil
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return b.stop(u)
		}
	}
}

// stop waits for the poll that outlives ctx: the grace, then Close, then the grace once more.
func (b *Bus) stop(u *unit) error {
	b.mu.Lock()
	cut := b.cut
	b.ending = true
	b.mu.Unlock()
	if cut != nil {
		_ = cut.Close()
	}
	grace := time.NewTimer(b.opt.Grace)
	defer grace.Stop()
	select {
	case <-b.results:
		return nil // Run closes
	case <-grace.C:
		if err := b.close(b.results); err != nil {
			return fmt.Errorf("device %q: %w", u.Dev.Name, err)
		}
		return nil
	}
}

// close calls Options.Close, once, and waits for it and for the poll that it is to break, no longer
// than the grace.
func (b *Bus) close(poll <-chan result) error {
	if b.closed {
		return nil
	}
	b.closed = true
	closing := make(chan struct{})
	go func() {
		defer close(closing)
		defer func() {
			if p := recover(); p != nil {
				b.opt.Log.Error("closing the link panicked", "panic", p)
			}
		}()
		if b.opt.Close != nil {
			b.opt.Close()
		}
	}()
	grace := time.NewTimer(b.opt.Grace)
	defer grace.Stop()
	for wait := (<-chan struct{})(closing); wait != nil || poll != nil; {
		select {
		case <-wait:
			wait = nil
		case <-poll:
			poll = nil
		case <-grace.C:
			if poll != nil {
				return fmt.Errorf("bus %q: %w after its deadline and Close: its goroutine is left behind", b.name, ErrStuck)
			}
			return fmt.Errorf("bus %q: closing the link takes over %v: it is left behind", b.name, b.opt.Grace)
		}
	}
	return nil
}
