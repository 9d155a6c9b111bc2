package bus

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"firebreak/sensors"
)

// result of one poll. done, which carries it, has room for it, so a poll never waits for Run.
type result struct {
	out      []sensors.Reading
	err      error
	panicked bool
	took     time.Duration
}

var errNoReturn = errors.New("driver ended its goroutine (runtime.Goexit) instead of returning")

// Run polls until ctx ends; then it returns nil, or ErrStuck with the device's name when a poll
// could not be broken. It may be called once. After ctx has ended nothing more is put, so that
// stopping is never mistaken for a loss of communication.
func (b *Bus) Run(ctx context.Context, put func(sensors.Batch)) error {
	if b.started.Swap(true) {
		return fmt.Errorf("bus %q: Run was called twice: make a new Bus", b.name)
	}
	start := b.clock.Now()
	for _, s := range b.slots {
		s.at = start // the first poll of each at once, in order; then each in its own phase
		s.anchor = start.Add(time.Duration(s.phase * float64(s.period)))
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	defer close(b.ended)
	b.work = make(chan func())
	defer close(b.work)
	go b.worker()
	round := false // something was polled since the last Idle
	for ctx.Err() == nil {
		select {
		case j := <-b.jobs: // a command goes before the next poll
			if err := b.serve(ctx, j, put); err != nil {
				return err
			}
		default:
		}
		now := b.clock.Now()
		b.applySamples(now)
		s, next := b.pick(now)
		if s == nil && round && b.opt.Idle != nil {
			b.opt.Idle()
		}
		round = s != nil
		if s == nil {
			// At least 1 ns: a scaled clock may round the wait to nothing just before the slot.
			timer.Reset(max(b.clock.Until(next), 1))
			select {
			case <-timer.C:
			case <-b.wake:
			case j := <-b.jobs:
				if err := b.serve(ctx, j, put); err != nil {
					return err
				}
			case <-ctx.Done():
			}
			continue
		}
		if err := b.poll(ctx, s, put); err != nil {
			return err
		}
	}
	return b.close(nil)
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

// poll runs one poll of s to its end. An error means that it did not end: Run has to.
func (b *Bus) poll(ctx context.Context, s *slot, put func(sensors.Batch)) error {
	u := s.u
	budget := u.budget()
	s.last = b.clock.Now()
	b.mu.Lock()
	b.stats.Polls++
	u.stats.Polls++
	b.mu.Unlock()
	done := b.begin(ctx, u, budget, func(ctx context.Context) ([]sensors.Reading, error) {
		out, err := s.Poller.Poll(ctx, b.clock.Now, make([]sensors.Reading, 0, len(s.Points)))
		if n, ok := s.Poller.(Numbered); ok && err == nil {
			s.told = n.Serial()
		}
		return out, err
	})
	overrun := time.NewTimer(budget + b.opt.Grace)
	defer overrun.Stop()
	select {
	case r := <-done:
		if ctx.Err() == nil {
			b.settle(s, r, put)
		}
		return nil
	case <-overrun.C:
		return b.hung(ctx, s, done, budget, put)
	case <-ctx.Done():
		return b.stop(u, done)
	}
}

// begin starts a poll or a command on the worker. Whoever calls it waits for the result. The slice
// for the readings is new each time: a poll that comes too late writes into nobody's batch.
func (b *Bus) begin(ctx context.Context, u *unit, budget time.Duration, do func(context.Context) ([]sensors.Reading, error)) <-chan result {
	done := make(chan result, 1)
	ctx, cancel := context.WithTimeout(ctx, budget)
	started := time.Now()
	b.work <- func() {
		r := result{err: errNoReturn}
		defer func() {
			if p := recover(); p != nil { // S22
				r = result{err: fmt.Errorf("driver panicked: %v", p), panicked: true}
				b.opt.Log.Error("driver panicked", "device", u.Dev.Name, "panic", p, "stack", string(debug.Stack()))
			}
			cancel()
			r.took = time.Since(started)
			done <- r
		}()
		out, err := do(ctx)
		r = result{out: out, err: err}
	}
	return done
}

// worker runs the polls and commands of a bus, one after the other: a goroutine for each would grow its
// stack anew each time. Whoever is stuck in one ends with it: no other is started meanwhile.
func (b *Bus) worker() {
	returned := false
	defer func() {
		if !returned { // a driver has ended its goroutine instead of returning
			go b.worker()
		}
	}()
	for do := range b.work {
		do()
	}
	returned = true
}

// settle turns a result into a batch and the next slot. A failure is that of the whole device: it
// is silent, so all its points are.
func (b *Bus) settle(s *slot, r result, put func(sensors.Batch)) {
	u := s.u
	now := b.clock.Now()
	out, foreign := u.own(r.out, s.number)
	usable := false
	for i := range out {
		usable = usable || out[i].Quality.Usable()
	}
	if r.err != nil {
		out = u.fill(out, now)
	}
	was := u.state
	var missed uint64
	if r.err == nil {
		missed = s.succeed(now, r.took)
		s.serial = s.told
	} else {
		u.fail(now, usable)
	}
	b.account(u, r, now, missed, foreign)
	switch {
	case r.err != nil && was != Failing:
		b.opt.Log.Warn("device lost", "device", u.Dev.Name, "err", r.err)
	case r.err == nil && was == Failing:
		b.opt.Log.Info("device answers again", "device", u.Dev.Name)
	}
	b.put(u, s.number, out, put)
}

func (b *Bus) account(u *unit, r result, now sensors.Mono, missed, foreign uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.busy.add(time.Now(), r.took, missed)
	b.stats.Missed += missed
	b.stats.Foreign += foreign
	u.stats.Missed += missed
	u.stats.Took = r.took
	u.stats.State = u.state
	if r.panicked {
		b.stats.Panics++
	}
	if r.err == nil {
		u.stats.Good = now
		return
	}
	b.stats.Failures++
	u.stats.Failures++
	u.stats.LastError = r.err.Error()
	b.stats.LastError = u.Dev.Name + ": " + u.stats.LastError
}

// own drops, in place, readings of points that are not of the device's part, and second ones of a
// point: no value is attributed to a wrong point, whatever a driver does. It leaves u.seen set for fill.
func (u *unit) own(in []sensors.Reading, part int) (out []sensors.Reading, dropped uint64) {
	clear(u.seen)
	out = in[:0]
	first := u.index[u.slots[part].Points[0].ID].at
	for i, r := range in {
		k, mine := place{first + i, part}, i < len(u.slots[part].Points)
		if !mine || u.points[k.at].ID != r.Point { // a driver answers in the order of its points, as a rule
			k, mine = u.index[r.Point]
		}
		if !mine || k.part != part || u.seen[k.at] {
			dropped++
			continue
		}
		u.seen[k.at] = true
		out = append(out, r)
	}
	return out, dropped
}

// fill adds bad (comm) for each point that own did not see.
func (u *unit) fill(out []sensors.Reading, now sensors.Mono) []sensors.Reading {
	for k := range u.points {
		if !u.seen[k] {
			out = append(out, sensors.Reading{Point: u.points[k].ID, Quality: sensors.BadQuality(sensors.Comm), At: now})
		}
	}
	return out
}

// put hands a batch over; an empty one (the device has nothing new) is not handed over.
func (b *Bus) put(u *unit, part int, out []sensors.Reading, put func(sensors.Batch)) {
	if len(out) == 0 {
		return
	}
	if o := b.opt.Origin; o != sensors.Real {
		for i := range out {
			if out[i].Quality.Origin() == sensors.Real {
				out[i].Quality = out[i].Quality.WithOrigin(o)
			}
		}
	}
	u.seq++
	put(sensors.Batch{Device: u.Dev.ID, Part: uint8(part), Serial: u.slots[part].serial, Seq: u.seq, Wall: time.Now(), Readings: out})
}

// hung waits for a poll that ignores its deadline. Nothing else may use the bus meanwhile, so all
// its points are bad (comm), said again every hungRepeat. What the poll brings at last is too late:
// it is thrown away and counts as a failure.
func (b *Bus) hung(ctx context.Context, s *slot, done <-chan result, budget time.Duration, put func(sensors.Batch)) error {
	err := fmt.Errorf("poll ignored its deadline of %v and held the whole bus: look at the adapter, the gateway and the driver", budget)
	u := s.u
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
		case r := <-done:
			again.Stop()
			b.mu.Lock()
			b.stats.Stuck = false
			b.mu.Unlock()
			if ctx.Err() == nil {
				b.settle(s, result{err: err, took: r.took, panicked: r.panicked}, put)
			}
			return nil
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return b.stop(u, done)
		}
	}
}

// stop waits for the poll that outlives ctx: the grace, then Close, then the grace once more.
func (b *Bus) stop(u *unit, done <-chan result) error {
	grace := time.NewTimer(b.opt.Grace)
	defer grace.Stop()
	select {
	case <-done:
		return nil // Run closes
	case <-grace.C:
		if err := b.close(done); err != nil {
			return fmt.Errorf("device %q: %w", u.Dev.Name, err)
		}
		return nil
	}
}
