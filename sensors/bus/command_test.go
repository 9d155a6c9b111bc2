package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"firebreak/sensors"
)

// switchable is a fake device that also takes commands: state is what it shows, sends what it was sent.
type switchable struct {
	*fake
	mu    sync.Mutex
	shows bool
	sends int
	takes time.Duration // from the write to the state
	lost  bool          // the answer to the write does not come
	stuck bool          // the write does nothing
	panic bool
	hangs time.Duration
}

func (s *switchable) Settle(name string) (time.Duration, error) {
	if name != "off" {
		return 0, fmt.Errorf("%w: no command %q", sensors.ErrNotSent, name)
	}
	return 5 * time.Second, nil
}

func (s *switchable) alone() func() {
	if s.rig.outstanding.Add(1) != 1 {
		s.rig.t.Error("a command while a poll is outstanding")
	}
	return func() { s.rig.outstanding.Add(-1) }
}

func (s *switchable) Send(ctx context.Context, now func() sensors.Mono, _ string) ([]sensors.Reading, bool, error) {
	defer s.alone()()
	if s.panic {
		panic("on purpose")
	}
	<-time.After(s.hangs)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sends++
	if !s.stuck {
		time.AfterFunc(s.takes, func() { s.mu.Lock(); s.shows = true; s.mu.Unlock() })
	}
	if s.lost {
		return nil, false, fmt.Errorf("%w: no answer", sensors.ErrUnconfirmed)
	}
	return nil, false, nil
}

func (s *switchable) Inspect(ctx context.Context, now func() sensors.Mono, _ string) ([]sensors.Reading, bool, error) {
	defer s.alone()()
	s.mu.Lock()
	defer s.mu.Unlock()
	return []sensors.Reading{{Point: sensors.PointID(s.id), At: now()}}, s.shows, nil
}

// commanded runs a bus of a switchable device and a neighbour while f looks.
func commanded(t *testing.T, change func(*switchable), f func(t *testing.T, b *Bus, s *switchable, neighbour *fake)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t}
		s := &switchable{fake: &fake{rig: r, id: 1}}
		change(s)
		other := &fake{rig: r, id: 2}
		clock := sensors.NewClock()
		r.began = clock.Now()
		device := func(id sensors.DeviceID, p Poller) Device {
			return Device{Dev: sensors.Device{ID: id, Name: fmt.Sprint("dev-", id)}, Poller: p, Period: 100 * time.Millisecond,
				Points: []sensors.Point{{ID: sensors.PointID(id), Device: id, Name: fmt.Sprint("dev-", id, ".x")}}}
		}
		b, err := New("line", clock, []Device{device(1, s), device(2, other)}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- b.Run(ctx, func(sensors.Batch) {}) }()
		<-time.After(time.Second)
		f(t, b, s, other)
		cancel()
		<-done
	})
}

func TestCommandIsReadBack(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*switchable)
		want   error
	}{
		{"at once", func(*switchable) {}, nil},
		{"after a while", func(s *switchable) { s.takes = 3 * time.Second }, nil},
		{"its answer is lost, and it is done", func(s *switchable) { s.lost, s.takes = true, time.Second }, nil},
		{"acknowledged and not done", func(s *switchable) { s.stuck = true }, sensors.ErrUnconfirmed},
		{"panics", func(s *switchable) { s.panic = true }, sensors.ErrUnconfirmed},
	} {
		commanded(t, c.change, func(t *testing.T, b *Bus, s *switchable, _ *fake) {
			at, err := b.Command(t.Context(), 1, "off")
			if !errors.Is(err, c.want) || c.want == nil && (err != nil || len(at) != 1) {
				t.Errorf("%s: %v, %v", c.name, at, err)
			}
			if s.sends > 1 {
				t.Errorf("%s: written %d times", c.name, s.sends)
			}
		})
	}
}

// A device has its time on the clock of its room: at 50 times its speed, 5 s are 100 ms.
func TestSettleIsOfTheRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &switchable{fake: &fake{rig: &rig{t: t}, id: 1}, takes: 60 * time.Millisecond}
		b, err := New("line", sensors.NewScaledClock(0, 50), []Device{{Dev: sensors.Device{ID: 1, Name: "dev-1"}, Poller: s, Period: time.Second,
			Points: []sensors.Point{{ID: 1, Device: 1, Name: "dev-1.x"}}}}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- b.Run(ctx, func(sensors.Batch) {}) }()
		for _, c := range []struct {
			stuck bool
			want  error
			least time.Duration
			most  time.Duration
		}{{false, nil, 60 * time.Millisecond, 66 * time.Millisecond}, {true, sensors.ErrUnconfirmed, 100 * time.Millisecond, 101 * time.Millisecond}} {
			s.mu.Lock()
			s.shows, s.stuck = false, c.stuck
			s.mu.Unlock()
			begin := time.Now()
			_, err := b.Command(t.Context(), 1, "off")
			if took := time.Since(begin); !errors.Is(err, c.want) || took < c.least || took > c.most {
				t.Errorf("stuck %v: %v after %v, want %v after %v to %v", c.stuck, err, took, c.want, c.least, c.most)
			}
		}
		cancel()
		<-done
	})
}

// Commands take turns with the polls; the neighbour loses one turn a command and no more.
func TestCommandsTakeTurns(t *testing.T) {
	commanded(t, func(s *switchable) { s.hangs = time.Second }, func(t *testing.T, b *Bus, s *switchable, other *fake) {
		from := other.polls()
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() { _, _ = b.Command(t.Context(), 1, "off") })
		}
		wg.Wait()
		if n := other.polls() - from; n < 5 {
			t.Errorf("the neighbour was polled %d times in the time of 5 slow commands", n)
		}
		if s.sends != 5 {
			t.Errorf("%d of 5 commands were sent", s.sends)
		}
	})
}

// What has no place, no time or no device is not sent, and says so.
func TestCommandNotSent(t *testing.T) {
	commanded(t, func(s *switchable) { s.hangs = 2 * time.Second }, func(t *testing.T, b *Bus, s *switchable, _ *fake) {
		for what, f := range map[string]func() error{
			"no such device":   func() error { _, err := b.Command(t.Context(), 9, "off"); return err },
			"takes no command": func() error { _, err := b.Command(t.Context(), 2, "off"); return err },
			"no such command":  func() error { _, err := b.Command(t.Context(), 1, "on"); return err },
		} {
			if err := f(); !errors.Is(err, sensors.ErrNotSent) {
				t.Errorf("%s: %v", what, err)
			}
		}
		var wg sync.WaitGroup
		var mu sync.Mutex
		full := 0
		for range maxCommands + 5 {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				_, err := b.Command(ctx, 1, "off")
				mu.Lock()
				defer mu.Unlock()
				if errors.Is(err, sensors.ErrNotSent) {
					full++
				}
			})
		}
		wg.Wait()
		if full == 0 {
			t.Errorf("the queue took more than %d commands", maxCommands)
		}
		<-time.After(time.Minute)
		if s.sends > 2 {
			t.Errorf("%d commands were sent whose callers had gone", s.sends)
		}
	})
}
