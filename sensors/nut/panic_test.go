package nut

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"firebreak/configs"
	"firebreak/sensors"
	"firebreak/sensors/bus"
	"firebreak/sensors/profile"
)

// trap is a log handler that panics while it is set: it stands in the middle of a poll.
type trap struct{ set *atomic.Bool }

func (p trap) Enabled(context.Context, slog.Level) bool { return true }
func (p trap) WithAttrs([]slog.Attr) slog.Handler       { return p }
func (p trap) WithGroup(string) slog.Handler            { return p }
func (p trap) Handle(context.Context, slog.Record) error {
	if p.set.Load() {
		panic("on purpose")
	}
	return nil
}

// TestPanic: a panic in a poll costs the points of that UPS, not those of its neighbour behind the same upsd, and they
// come back (S22).
func TestPanic(t *testing.T) {
	var set, stale atomic.Bool
	set.Store(true)
	stale.Store(true)
	s := serve(t, func(line string) string {
		if line == "LIST VAR a" && stale.Load() {
			return "ERR DATA-STALE\n"
		}
		return good(line)
	})
	c := client(t, Options{Address: s.addr, Log: slog.New(trap{&set})})
	p, err := profile.Load(configs.Profiles(), "nut-ups")
	if err != nil {
		t.Fatal(err)
	}
	var devices []bus.Device
	for i, name := range []string{"a", "b"} {
		dev := sensors.Device{ID: sensors.DeviceID(i), Name: name, Poll: 20 * time.Millisecond}
		points := p.Expand(dev, time.Minute)
		for k := range points {
			points[k].ID = sensors.PointID(100*i + k)
		}
		u, err := New(c, name, p, points)
		if err != nil {
			t.Fatal(err)
		}
		devices = append(devices, bus.Device{Dev: dev, Part: bus.Part{Points: points, Poller: u}})
	}
	b, err := bus.New("ups-host", sensors.NewClock(), devices, bus.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	last, steps := map[sensors.PointID]sensors.Quality{}, 0
	err = b.Run(ctx, func(x sensors.Batch) {
		for _, r := range x.Readings {
			last[r.Point] = r.Quality
		}
		switch {
		case steps == 0 && last[0] == sensors.BadQuality(sensors.Comm) && last[100] == sensors.GoodQuality && b.Stats().Panics > 0:
			steps = 1
			set.Store(false)
		case steps == 1 && last[0] == sensors.BadQuality(sensors.Stale):
			steps = 2
			stale.Store(false)
		case steps == 2 && last[0] == sensors.GoodQuality && last[100] == sensors.GoodQuality:
			steps = 3
			stop()
		}
	})
	if err != nil || steps != 3 {
		t.Errorf("came to step %d: %v, %v", steps, err, last)
	}
	if e := b.Stats().Devices[0].LastError; !strings.Contains(e, "on purpose") {
		t.Errorf("the last error of the UPS is %q", e)
	}
}
