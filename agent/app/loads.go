package app

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"firebreak/agent/core"
	"firebreak/agent/wire"
	"firebreak/sensors"
	"firebreak/sensors/bus"
)

// busLoads looks at how the buses keep up. A bus that misses slots reads its points more rarely than
// the worst case of `check` counts with, so it is an alarm, agent/bus-NAME.
type busLoads struct {
	buses []*bus.Bus // set before anything runs, and not changed after

	mu      sync.Mutex
	stopped map[string]error        // buses whose owner has ended
	links   map[string]func() error // what is wrong with the line itself; set before anything runs
}

// look adds what the line of a bus says of itself.
func (l *busLoads) look(name string, wrong func() error) {
	if l.links == nil {
		l.links = map[string]func() error{}
	}
	l.links[name] = wrong
}

const (
	lookAtBuses  = 2 * time.Second
	overrunAbove = 0.1  // of the slots of a window
	overrunBelow = 0.02 // then it is over
)

// end notes that the owner of a bus has ended with an error.
func (l *busLoads) end(name string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped == nil {
		l.stopped = map[string]error{}
	}
	l.stopped[name] = err
}

// told is the load of each bus, by name.
func (l *busLoads) told() map[string]wire.BusLoad {
	out := make(map[string]wire.BusLoad, len(l.buses))
	for _, b := range l.buses {
		s := b.Stats()
		load := wire.BusLoad{Utilisation: math.Round(1000*s.Utilisation) / 1000, Missed: s.Missed, Failures: s.Failures, Stuck: s.Stuck}
		for _, d := range s.Devices {
			if d.State == bus.Failing {
				load.Silent++
			}
		}
		out[b.Name()] = load
	}
	return out
}

// judge says what is wrong with a bus; was is whether something was before.
func (l *busLoads) judge(s *bus.Stats, was bool) error {
	l.mu.Lock()
	ended := l.stopped[s.Bus]
	l.mu.Unlock()
	if link := l.links[s.Bus]; link != nil && ended == nil {
		if err := link(); err != nil {
			return err
		}
	}
	limit := overrunAbove
	if was {
		limit = overrunBelow
	}
	switch slots := s.Overrun + s.Recent; {
	case ended != nil:
		return fmt.Errorf("bus %s has stopped, and its points are silent from now on: restart the agent: %w", s.Bus, ended)
	case s.Stuck:
		return fmt.Errorf("bus %s is held by one device: look at the adapter, the gateway and the driver", s.Bus)
	case slots > 0 && float64(s.Overrun) > limit*float64(slots):
		return errors.New("bus " + s.Bus + " cannot keep its schedule, so that its points are read later than `firebreak check` says: poll less often, or put devices on another bus")
	}
	return nil
}

// run tells the loop, at once and whenever it changes.
func (l *busLoads) run(clock *sensors.Clock, post func(context.Context, core.Event)) func(context.Context) error {
	return func(ctx context.Context) error {
		wrong := map[string]string{}
		t := time.NewTimer(clock.Next(lookAtBuses))
		defer t.Stop()
		for first := true; ; first = false {
			for _, b := range l.buses {
				s := b.Stats()
				err, text := l.judge(&s, wrong[s.Bus] != ""), ""
				if err != nil {
					text = err.Error()
				}
				if first || text != wrong[s.Bus] {
					wrong[s.Bus] = text
					post(ctx, core.Event{Kind: core.Health, Part: "bus-" + s.Bus, Err: err})
				}
			}
			select {
			case <-t.C:
				t.Reset(clock.Next(lookAtBuses))
			case <-ctx.Done():
				return nil
			}
		}
	}
}
