package bus

import (
	"context"
	"fmt"
	"time"

	"firebreak/sensors"
)

// Run polls until ctx ends; then it returns nil, or ErrStuck with the device's name when a poll
// could not be broken. It may be called once. After ctx has ended nothing more is put, so that
// stopping is never mistaken for a loss of communication.
//
// Run itself only watches. The owner polls on a goroutine beside it, so that a poll costs no change of goroutine;
// what the owner has, Run takes over while a poll hangs.
func (b *Bus) Run(ctx context.Context, put func(sensors.Batch)) error {
	if b.started.Swap(true) {
		return fmt.Errorf("bus %q: Run was called twice: make a new Bus", b.name)
	}
	start := b.clock.Now()
	for _, s := range b.slots {
		s.at = start // the first poll of each at once, in order; then each in its own phase
		// Buses lay their slots on the same instants, however long each took to start: one wake serves all that is due.
		s.anchor = start.Add(-start.Sub(b.clock.Begun()) % min(s.period, alike)).Add(time.Duration(s.phase * float64(s.period)))
	}
	defer close(b.ended)
	b.overrun = time.NewTimer(time.Hour)
	b.overrun.Stop()
	over := make(chan struct{})
	go b.own(ctx, put, over)
	for {
		select {
		case <-over:
			return b.close(nil)
		case <-b.overrun.C:
			if b.stoodStill() {
				continue
			}
			a, late := b.take(false)
			if !late {
				continue // no attempt since, or a later one
			}
			if err := b.hung(ctx, a, put); err != nil {
				return err
			}
			b.giveBack()
		case <-ctx.Done():
			if a, busy := b.take(true); busy {
				if err := b.stop(a.s.u); err != nil {
					return err
				}
				b.giveBack()
			}
			<-over // it polls no more
			return b.close(nil)
		}
	}
}

// own is the goroutine that polls, until ctx ends. A driver that ends the goroutine instead of returning costs
// that one: another goes on.
func (b *Bus) own(ctx context.Context, put func(sensors.Batch), over chan struct{}) {
	returned := false
	defer func() {
		if !returned {
			go b.own(ctx, put, over)
			return
		}
		close(over)
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	round := false // something was polled since the last Idle
	for ctx.Err() == nil {
		select {
		case j := <-b.jobs: // a command goes before the next poll
			b.serve(ctx, j)
		default:
		}
		now := b.clock.Now()
		b.applySamples(now)
		s, next := b.pick(now)
		if s == nil && round && b.opt.Idle != nil {
			b.opt.Idle()
		}
		round = s != nil
		if s != nil {
			b.poll(ctx, s, put)
			continue
		}
		// At least 1 ns: a scaled clock may round the wait to nothing just before the slot.
		timer.Reset(max(b.clock.Until(next), 1))
		select {
		case <-timer.C:
		case <-b.wake:
		case j := <-b.jobs:
			b.serve(ctx, j)
		case <-ctx.Done():
		}
	}
	returned = true
}

// poll runs one poll of s to its end. The slice for the readings is new each time: a poll that comes too
// late writes into nobody's batch.
func (b *Bus) poll(ctx context.Context, s *slot, put func(sensors.Batch)) {
	u := s.u
	budget := u.budget()
	s.last = b.clock.Now()
	b.mu.Lock()
	b.stats.Polls++
	u.stats.Polls++
	b.mu.Unlock()
	b.attempt(ctx, attempt{s: s, budget: budget}, func(ctx context.Context) ([]sensors.Reading, error) {
		out, err := s.Poller.Poll(ctx, b.clock.Now, make([]sensors.Reading, 0, len(s.Points)))
		if n, ok := s.Poller.(Numbered); ok && err == nil {
			s.told = n.Serial()
		}
		return out, err
	}, func(r result) {
		if ctx.Err() == nil {
			b.settle(s, r, put)
		}
	})
}

// settle turns a result into a batch and the next slot. A failure is that of the whole device: it
// is silent, so all its points are.
func (b *Bus) settle(s *slot, r result, put func(sensors.Batch)) {
	u := s.u
	now := b.clock.Now()
	out, foreign := u.mine(r.out, s.number)
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

// mine drops, in place, readings of points that are not of the device's part, and second ones of a
// point: no value is attributed to a wrong point, whatever a driver does. It leaves u.seen set for fill.
func (u *unit) mine(in []sensors.Reading, part int) (out []sensors.Reading, dropped uint64) {
	clear(u.seen)
	out = in[:0]
	first := u.index[u.slots[part].Points[0].ID].at
	for i, r := range in {
		k, mine := place{first + i, part}, i < len(u.slots[part].Points)
		if !mine || u.ids[k.at] != r.Point { // a driver answers in the order of its points, as a rule
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

// fill adds bad (comm) for each point that mine did not see.
func (u *unit) fill(out []sensors.Reading, now sensors.Mono) []sensors.Reading {
	for k := range u.ids {
		if !u.seen[k] {
			out = append(out, sensors.Reading{Point: u.ids[k], Quality: sensors.BadQuality(sensors.Comm), At: now})
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
