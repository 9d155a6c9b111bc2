package app

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"firebreak/agent/core"
	"firebreak/sensors"
	"firebreak/sensors/bus"
)

// slowPoller takes its time, as a line that has too much to do.
type slowPoller struct{ takes func() time.Duration }

func (p slowPoller) Poll(ctx context.Context, now func() sensors.Mono, out []sensors.Reading) ([]sensors.Reading, error) {
	<-time.After(p.takes())
	return append(out, sensors.Reading{Quality: sensors.GoodQuality, At: now()}), nil
}

// A bus that cannot keep its schedule is an alarm until it can, and its load is told.
func TestOverrunIsToldAndEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var takes atomic.Int64
		takes.Store(int64(10 * time.Millisecond))
		dev := sensors.Device{Name: "dev"}
		b, err := bus.New("line1", sensors.NewClock(), []bus.Device{{Dev: dev, Part: bus.Part{Period: 100 * time.Millisecond,
			Points: []sensors.Point{{Name: "dev.x"}}, Poller: slowPoller{func() time.Duration { return time.Duration(takes.Load()) }}}}}, bus.Options{})
		if err != nil {
			t.Fatal(err)
		}
		l := &busLoads{buses: []*bus.Bus{b}}
		var heard []core.Event
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 2)
		go func() { done <- b.Run(ctx, func(sensors.Batch) {}) }()
		go func() {
			done <- l.run(sensors.NewClock(), func(_ context.Context, ev core.Event) { heard = append(heard, ev) })(ctx)
		}()
		pass := func(d time.Duration) { <-time.After(d); synctest.Wait() }
		pass(time.Minute)
		takes.Store(int64(150 * time.Millisecond))
		pass(time.Minute)
		if u := l.told()["line1"].Utilisation; u < 0.7 || u > 0.8 {
			t.Errorf("utilisation %v, want three quarters", u)
		}
		takes.Store(int64(10 * time.Millisecond))
		pass(time.Minute)
		l.end("line1", errors.New("on purpose"))
		pass(time.Minute)
		cancel()
		<-done
		<-done
		var got []string
		for _, ev := range heard {
			if ev.Kind != core.Health || ev.Part != "bus-line1" {
				t.Errorf("heard %+v", ev)
			}
			switch {
			case ev.Err == nil:
				got = append(got, "well")
			case strings.Contains(ev.Err.Error(), "schedule"):
				got = append(got, "overrun")
			default:
				got = append(got, "stopped")
			}
		}
		if s := strings.Join(got, " "); s != "well overrun well stopped" {
			t.Errorf("heard: %s", s)
		}
	})
}
