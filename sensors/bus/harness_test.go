package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"firebreak/sensors"
)

var errFake = errors.New("no answer")

// fake is a device of one point, whose id is the device's.
type fake struct {
	rig    *rig
	id     sensors.DeviceID
	do     func(ctx context.Context, n int) error // n counts from 0; nil: answers at once
	answer func(out []sensors.Reading, n int, at sensors.Mono) []sensors.Reading

	mu      sync.Mutex
	starts  []sensors.Mono // since the start of the rig
	budgets []time.Duration
}

func (f *fake) Poll(ctx context.Context, now func() sensors.Mono, out []sensors.Reading) ([]sensors.Reading, error) {
	if f.rig.outstanding.Add(1) != 1 {
		f.rig.t.Errorf("device %d polled while another poll is outstanding", f.id)
	}
	defer f.rig.outstanding.Add(-1)
	f.mu.Lock()
	n := len(f.starts)
	f.starts = append(f.starts, now()-f.rig.began)
	deadline, ok := ctx.Deadline()
	if !ok {
		f.rig.t.Errorf("device %d polled without a deadline", f.id)
	}
	f.budgets = append(f.budgets, time.Until(deadline))
	f.mu.Unlock()
	var err error
	if f.do != nil {
		err = f.do(ctx, n)
	}
	if f.answer != nil {
		return f.answer(out, n, now()), err
	}
	if err == nil {
		out = append(out, sensors.Reading{Point: sensors.PointID(f.id), Value: float64(n), Quality: sensors.GoodQuality, At: now()})
	}
	return out, err
}

// gaps are the times between the starts of polls that began at or after from.
func (f *fake) gaps(from time.Duration) (g []time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := 1; i < len(f.starts); i++ {
		if time.Duration(f.starts[i-1]) >= from {
			g = append(g, f.starts[i].Sub(f.starts[i-1]))
		}
	}
	return g
}

func (f *fake) at(i int) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if i >= len(f.starts) {
		f.rig.t.Fatalf("device %d was polled %d times, want more than %d", f.id, len(f.starts), i)
	}
	return time.Duration(f.starts[i])
}

func (f *fake) polls() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.starts)
}

// takes is a poll that answers after d.
func takes(d time.Duration) func(context.Context, int) error {
	return func(ctx context.Context, _ int) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// dead answers nothing and uses up its whole budget.
func dead(ctx context.Context, _ int) error {
	<-ctx.Done()
	return ctx.Err()
}

// rig runs a bus of fakes inside a synctest bubble.
type rig struct {
	t           *testing.T
	clock       *sensors.Clock
	began       sensors.Mono
	bus         *Bus
	outstanding atomic.Int32
	cancel      context.CancelFunc
	ended       chan error

	mu      sync.Mutex
	batches []sensors.Batch
}

func newRig(t *testing.T, clock *sensors.Clock) *rig {
	return &rig{t: t, clock: clock, began: clock.Now(), ended: make(chan error, 1)}
}

// device makes the Device of a fake; period and so on are set by the caller.
func (r *rig) device(f *fake, period time.Duration) Device {
	f.rig = r
	return Device{Dev: sensors.Device{ID: f.id, Name: fmt.Sprintf("dev-%d", f.id)},
		Part: Part{Points: []sensors.Point{{ID: sensors.PointID(f.id), Device: f.id, Name: fmt.Sprintf("dev-%d.x", f.id)}},
			Poller: f, Period: period}}
}

func (r *rig) start(opt Options, devices ...Device) {
	b, err := New("bus-1", r.clock, devices, opt)
	if err != nil {
		r.t.Fatal(err)
	}
	r.bus = b
	ctx, cancel := context.WithCancel(r.t.Context())
	r.cancel = cancel
	go func() {
		r.ended <- b.Run(ctx, func(b sensors.Batch) {
			r.mu.Lock()
			r.batches = append(r.batches, b)
			r.mu.Unlock()
		})
	}()
}

// pass lets d of real (fake) time go by.
func (r *rig) pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// stop ends Run and returns how long that took, and its error.
func (r *rig) stop() (took time.Duration, err error) {
	t0 := time.Now()
	r.cancel()
	err = <-r.ended
	return time.Since(t0), err
}

func (r *rig) stopClean() {
	r.t.Helper()
	if _, err := r.stop(); err != nil {
		r.t.Errorf("Run: %v", err)
	}
}

// of returns the batches of one device so far.
func (r *rig) of(d sensors.DeviceID) (out []sensors.Batch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range r.batches {
		if b.Device == d {
			out = append(out, b)
		}
	}
	return out
}

func inBubble(t *testing.T, fn func(t *testing.T, r *rig)) {
	synctest.Test(t, func(t *testing.T) { fn(t, newRig(t, sensors.NewClock())) })
}

const ms = time.Millisecond
