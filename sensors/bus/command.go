package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"firebreak/sensors"
)

// Controller is a poller that can also bring its device into a state that a command of its profile
// names. Send writes at most once; Inspect writes nothing. done says that the state was read and is
// there.
type Controller interface {
	Settle(name string) (time.Duration, error)
	Send(ctx context.Context, now func() sensors.Mono, name string) (out []sensors.Reading, done bool, err error)
	Inspect(ctx context.Context, now func() sensors.Mono, name string) (out []sensors.Reading, done bool, err error)
}

// Limits of commands.
const (
	maxCommands   = 16              // that wait for the owner of the bus; one more is refused at once
	commandBudget = 3 * time.Second // of one turn on the bus: identity, state and write
	inspectMin    = 50 * time.Millisecond
	inspectMax    = time.Second
	inspectParts  = 20
)

// job is one turn that a command takes on the bus. reply has room for its result.
type job struct {
	ctx   context.Context
	u     *unit
	do    func(ctx context.Context) ([]sensors.Reading, bool, error)
	reply chan jobResult
}

type jobResult struct {
	out  []sensors.Reading
	done bool
	err  error
}

var _ sensors.Commander = (*Bus)(nil)

// Command brings a device into the state of a command of its profile, and reads back that it is there
// (S25). It takes turns on the bus between polls, never in the middle of one: the owner alone touches
// the line. It may be called from any goroutine, returns by the end of ctx, and never writes twice:
// when an answer was lost, it looks at the state until the device has had its time.
func (b *Bus) Command(ctx context.Context, d sensors.DeviceID, name string) ([]sensors.Reading, error) {
	u, c, err := b.controller(d)
	if err != nil {
		return nil, err
	}
	settle, err := c.Settle(name)
	if err != nil {
		return nil, err
	}
	out, done, err := b.turn(ctx, u, true, func(ctx context.Context) ([]sensors.Reading, bool, error) { return c.Send(ctx, b.clock.Now, name) })
	switch {
	case done:
		return out, nil
	case err != nil && !errors.Is(err, sensors.ErrUnconfirmed):
		return out, err
	case settle == 0: // the profile has nothing to read back
		return nil, err
	}
	return b.settled(ctx, u, c, name, settle, err)
}

// settled looks at the state until it is there or the device has had its time.
func (b *Bus) settled(ctx context.Context, u *unit, c Controller, name string, settle time.Duration, lost error) ([]sensors.Reading, error) {
	// What the device does takes its time on the clock of its room, as polls do; a turn on the bus does not.
	pause := b.clock.Real(min(max(settle/inspectParts, inspectMin), inspectMax))
	late := time.NewTimer(b.clock.Real(settle))
	defer late.Stop()
	var last []sensors.Reading
	for over := false; !over; {
		select {
		case <-time.After(pause):
		case <-late.C:
			over = true // one last look
		case <-ctx.Done():
			return last, fmt.Errorf("%w: %s of device %s: %w", sensors.ErrUnconfirmed, name, u.Dev.Name, ctx.Err())
		}
		out, done, err := b.Inspect(ctx, u.Dev.ID, name)
		if done {
			return out, nil
		}
		if err != nil {
			lost = err
		} else {
			last = out
		}
	}
	if lost == nil {
		lost = fmt.Errorf("it does not show the state within %v", settle)
	}
	return last, fmt.Errorf("%w: %s of device %s: %w", sensors.ErrUnconfirmed, name, u.Dev.Name, lost)
}

// Inspect reads what a command of a device changes, and tells whether it is there. It writes nothing.
func (b *Bus) Inspect(ctx context.Context, d sensors.DeviceID, name string) ([]sensors.Reading, bool, error) {
	u, c, err := b.controller(d)
	if err != nil {
		return nil, false, err
	}
	return b.turn(ctx, u, false, func(ctx context.Context) ([]sensors.Reading, bool, error) { return c.Inspect(ctx, b.clock.Now, name) })
}

func (b *Bus) controller(d sensors.DeviceID) (*unit, Controller, error) {
	u := b.byID[d]
	if u == nil {
		return nil, nil, fmt.Errorf("%w: device %d is not on bus %q", sensors.ErrNotSent, d, b.name)
	}
	c, ok := u.Poller.(Controller)
	if !ok {
		return nil, nil, fmt.Errorf("%w: device %s takes no commands", sensors.ErrNotSent, u.Dev.Name)
	}
	return u, c, nil
}

// turn waits for the owner to have done what is asked. Of a write that was not begun it is known that
// it was not sent.
func (b *Bus) turn(ctx context.Context, u *unit, writes bool, do func(context.Context) ([]sensors.Reading, bool, error)) ([]sensors.Reading, bool, error) {
	j := &job{ctx: ctx, u: u, do: do, reply: make(chan jobResult, 1)}
	select {
	case b.jobs <- j:
	default:
		return nil, false, fmt.Errorf("%w: %d commands wait for bus %q already", sensors.ErrNotSent, maxCommands, b.name)
	}
	select {
	case r := <-j.reply:
		return r.out, r.done, r.err
	case <-b.ended:
	case <-ctx.Done():
	}
	select { // it may have ended at the same instant
	case r := <-j.reply:
		return r.out, r.done, r.err
	default:
	}
	what := sensors.ErrNotSent
	if writes {
		what = sensors.ErrUnconfirmed // it may be under way
	}
	return nil, false, fmt.Errorf("%w: bus %q did not come to it in time", what, b.name)
}

// serve gives a command its turn.
func (b *Bus) serve(ctx context.Context, j *job) {
	if j.ctx.Err() != nil {
		j.reply <- jobResult{err: fmt.Errorf("%w: its time was over before bus %q came to it", sensors.ErrNotSent, b.name)}
		return
	}
	var done bool
	var jobErr error
	cut := func() {
		j.reply <- jobResult{err: fmt.Errorf("%w: device %s held the bus", sensors.ErrUnconfirmed, j.u.Dev.Name)}
	}
	b.attempt(ctx, attempt{s: j.u.slots[0], budget: commandBudget, cut: cut}, func(ctx context.Context) ([]sensors.Reading, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stop := context.AfterFunc(j.ctx, cancel)
		defer stop()
		out, is, err := j.do(ctx)
		done, jobErr = is, err
		return out, err
	}, func(r result) {
		err := r.err
		if r.panicked || jobErr == nil && err != nil {
			err = fmt.Errorf("%w: %w", sensors.ErrUnconfirmed, r.err)
		}
		j.reply <- jobResult{r.out, done && err == nil, err}
	})
}
