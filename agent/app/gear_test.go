package app

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"firebreak/agent/core"
	"firebreak/plugins"
	"firebreak/sensors"
)

// One processor does only after a time of calm and idleness, and not a moment longer than until something is told or
// asked for; at the end it is all of them.
func TestGear(t *testing.T) {
	t.Setenv("GOMAXPROCS", "")
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var shifts []bool // to all
		calm, share, begun := true, 0.1, time.Now()
		g := newGear(sensors.NewClock(), func() bool { mu.Lock(); defer mu.Unlock(); return calm })
		g.set = func(all bool) { mu.Lock(); defer mu.Unlock(); shifts = append(shifts, all) }
		g.used = func() time.Duration {
			mu.Lock()
			defer mu.Unlock()
			return time.Duration(share * float64(time.Since(begun)))
		}
		with := func(f func()) { mu.Lock(); defer mu.Unlock(); f() }
		want := func(when string, d time.Duration, all ...bool) {
			t.Helper()
			<-time.After(d)
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(shifts, all) {
				t.Errorf("%s: shifted to all processors %v, want %v", when, shifts, all)
			}
			shifts = nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- g.run(ctx) }()
		want("before it has been calm for long", calmFor-1)
		want("calm for long", 2*gearLook, false)
		want("still calm", time.Minute)
		g.Offer(plugins.Update{Alarm: &plugins.AlarmState{}})
		want("an alarm", 0, true)
		want("soon after it", calmFor-gearLook)
		want("long after it", 2*gearLook, false)
		with(func() { calm = false })
		want("a plan is open", 2*gearLook, true)
		want("for long", time.Hour)
		with(func() { calm = true })
		want("it is over", 2*calmFor, false)
		with(func() { share = 1 })
		want("there is much to do", 2*gearLook, true)
		want("for long", time.Hour)
		with(func() { share = 0.1 })
		want("it is done", time.Hour, false)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		want("at the end", 0, true)
		(*gear)(nil).raise() // an agent without one
	})
}

// Who looks, as a console does each second, keeps no processor up; who orders something does.
func TestLooksDoNotShift(t *testing.T) {
	d := &desk{board: NewBoard(sensors.NewClock()), newest: newNewest(nil, nil, sensors.NewClock()), gear: newGear(sensors.NewClock(), nil), order: func(context.Context, core.Order) error { return nil }}
	for order, want := range map[string]int{"status": 0, "points": 0, "ack": 1} {
		d.answer(t.Context(), Request{Order: order, Name: "smoke", By: "kim"})
		if n := len(d.gear.up); n != want {
			t.Errorf("%s: asked for all processors %d times, want %d", order, n, want)
		}
		select {
		case <-d.gear.up:
		default:
		}
	}
}
