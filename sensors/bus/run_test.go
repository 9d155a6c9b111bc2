package bus

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"firebreak/sensors"
	"firebreak/sensors/i2c"
)

var _ Poller = (*i2c.Poller)(nil)

// commOnly fails unless every batch is one bad (comm) reading, stamped not before from.
func commOnly(t *testing.T, batches []sensors.Batch, from sensors.Mono) {
	t.Helper()
	for _, b := range batches {
		if len(b.Readings) != 1 || b.Readings[0].Quality != sensors.BadQuality(sensors.Comm) || b.Readings[0].At < from {
			t.Errorf("batch %+v, want one bad (comm) reading from %d on", b, from)
		}
	}
}

func TestFailureAndPanicCostOnlyTheirDevice(t *testing.T) {
	for name, do := range map[string]func(context.Context, int) error{
		"error":  func(context.Context, int) error { return errFake },
		"panic":  func(context.Context, int) error { panic("index out of range") },
		"goexit": func(context.Context, int) error { runtime.Goexit(); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, r *rig) {
				ill, well := &fake{id: 0, do: do}, &fake{id: 1}
				r.start(Options{}, r.device(ill, time.Second), r.device(well, time.Second))
				r.pass(60 * time.Second)
				s := r.bus.Stats()
				got := r.of(0)
				if uint64(len(got)) != s.Devices[0].Failures || len(got) < 5 || len(got) > 9 {
					t.Errorf("%d bad batches for %d failures, want one for each probe", len(got), s.Devices[0].Failures)
				}
				commOnly(t, got, r.began)
				if want := name == "panic"; (s.Panics > 0) != want || want && !strings.Contains(s.LastError, "index out of range") {
					t.Errorf("panics %d, last error %q", s.Panics, s.LastError)
				}
				if n := len(r.of(1)); n < 60 {
					t.Errorf("the neighbour gave %d batches in 60 s", n)
				}
				for i, b := range r.of(1) {
					if b.Seq != uint64(i+1) || b.Wall.IsZero() || b.Readings[0].Value != float64(i) {
						t.Errorf("batch %d: %+v", i, b)
					}
				}
				r.stopClean()
			})
		})
	}
}

func TestReadingsWithAnErrorStand(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		f := &fake{id: 7, do: func(context.Context, int) error { return errFake }}
		f.answer = func(out []sensors.Reading, n int, at sensors.Mono) []sensors.Reading {
			q := sensors.BadQuality(sensors.Identity)
			return append(out, sensors.Reading{Point: 7, Quality: q, At: at},
				sensors.Reading{Point: 7, Value: 1, Quality: sensors.GoodQuality, At: at}, // a second one
				sensors.Reading{Point: 3, Value: 2, Quality: sensors.GoodQuality, At: at}) // not its own
		}
		d := r.device(f, time.Second)
		d.Points = append(d.Points, sensors.Point{ID: 8, Device: 7, Name: "dev-7.y"})
		r.start(Options{Origin: sensors.Simulated}, d)
		r.pass(100 * ms)
		got := r.of(7)
		if len(got) != 1 || len(got[0].Readings) != 2 {
			t.Fatalf("batches %+v", got)
		}
		a, b := got[0].Readings[0], got[0].Readings[1]
		if a.Point != 7 || a.Quality != sensors.MakeQuality(sensors.Bad, sensors.Identity, sensors.Simulated) {
			t.Errorf("reading %+v", a)
		}
		if b.Point != 8 || b.Quality != sensors.MakeQuality(sensors.Bad, sensors.Comm, sensors.Simulated) {
			t.Errorf("reading %+v", b)
		}
		if s := r.bus.Stats(); s.Foreign != 2 {
			t.Errorf("foreign = %d, want 2", s.Foreign)
		}
		r.stopClean()
	})
}

func TestNothingNewIsHealthyAndPutsNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		f := &fake{id: 0}
		f.answer = func(out []sensors.Reading, _ int, _ sensors.Mono) []sensors.Reading { return out }
		r.start(Options{}, r.device(f, time.Second))
		r.pass(10 * time.Second)
		if s := r.bus.Stats(); len(r.of(0)) != 0 || s.Failures != 0 || s.Polls < 10 {
			t.Errorf("%d batches, stats %+v", len(r.of(0)), s)
		}
		r.stopClean()
	})
}

func TestReceiverOwnsReadings(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.start(Options{}, r.device(&fake{id: 0}, 100*ms))
		r.pass(time.Second)
		for _, b := range r.of(0) {
			_ = append(b.Readings, sensors.Reading{})
			b.Readings[0].Value = -1
		}
		n := len(r.of(0))
		r.pass(time.Second)
		for i, b := range r.of(0) {
			if want := float64(i); i >= n && b.Readings[0].Value != want {
				t.Errorf("batch %d has %v, want %v: a slice was shared", i, b.Readings[0].Value, want)
			}
		}
		r.stopClean()
	})
}

func TestHungPollTakesTheBusDownUntilItReturns(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		release := make(chan struct{})
		ill := &fake{id: 0, do: func(_ context.Context, n int) error {
			if n == 3 {
				<-release // deaf to its deadline
			}
			return nil
		}}
		well := &fake{id: 1}
		r.start(Options{}, r.device(ill, time.Second), r.device(well, time.Second))
		r.pass(3100 * ms) // the fourth poll starts at 3 s; hung at 5 s
		before := well.polls()
		illBefore := len(r.of(0))
		r.pass(1800 * ms)
		if s := r.bus.Stats(); s.Hung != 0 || s.Stuck {
			t.Errorf("hung before deadline and grace: %+v", s)
		}
		wellBefore := len(r.of(1))
		r.pass(20 * time.Second)
		s := r.bus.Stats()
		if s.Hung != 1 || !s.Stuck || s.Utilisation != 1 || !strings.Contains(s.LastError, "deadline") {
			t.Errorf("stats %+v", s)
		}
		if well.polls() != before {
			t.Error("a second poll was started beside the hung one")
		}
		for d, from := range map[sensors.DeviceID]int{0: illBefore, 1: wellBefore} {
			got := r.of(d)[from:]
			commOnly(t, got, r.began.Add(5*time.Second))
			if len(got) != 4 {
				t.Errorf("device %d: %d bad batches in 20 s of hanging, want one each 5 s", d, len(got))
			}
		}
		n := len(r.of(0))
		close(release)
		r.pass(10 * ms)
		commOnly(t, r.of(0)[n:], r.began.Add(24*time.Second)) // the late answer is thrown away
		if well.polls() == before || r.bus.Stats().Stuck {
			t.Error("the bus did not go on when the poll returned")
		}
		r.pass(5 * time.Second)
		if s := r.bus.Stats(); s.Devices[0].State != Polling || s.Devices[0].Failures != 1 || s.Devices[1].Failures != 0 {
			t.Errorf("after recovery: %+v", s)
		}
		r.stopClean()
	})
}

func TestStop(t *testing.T) {
	type tc struct {
		do     func(release chan struct{}) func(context.Context, int) error
		close  func(release chan struct{})
		within time.Duration
		err    error
		closed int
	}
	stuck := func(release chan struct{}) func(context.Context, int) error {
		return func(context.Context, int) error { <-release; return nil }
	}
	for name, c := range map[string]tc{
		"idle":               {do: func(chan struct{}) func(context.Context, int) error { return nil }, closed: 1},
		"poll heeds context": {do: func(chan struct{}) func(context.Context, int) error { return dead }, closed: 1},
		"close breaks it":    {do: stuck, close: func(release chan struct{}) { close(release) }, within: DefaultGrace, closed: 1},
		"nothing breaks it":  {do: stuck, within: 2 * DefaultGrace, err: ErrStuck, closed: 1},
	} {
		for _, after := range []time.Duration{500 * ms, 10 * time.Second} { // in the poll; long hung
			t.Run(name+" after "+after.String(), func(t *testing.T) {
				inBubble(t, func(t *testing.T, r *rig) {
					release := make(chan struct{})
					closed := 0
					f := &fake{id: 0, do: c.do(release)}
					r.start(Options{Close: func() {
						closed++
						if c.close != nil {
							c.close(release)
						}
					}}, r.device(f, time.Minute))
					r.pass(after)
					n := len(r.of(0))
					took, err := r.stop()
					if !errors.Is(err, c.err) || took != c.within || closed != c.closed {
						t.Errorf("Run returned %v after %v, closed %d times; want %v, %v, %d", err, took, closed, c.err, c.within, c.closed)
					}
					if err != nil && !strings.Contains(err.Error(), "dev-0") {
						t.Errorf("error %q does not name the device", err)
					}
					if got := len(r.of(0)); got != n {
						t.Errorf("%d batches were put after the end of the context", got-n)
					}
					if err != nil {
						close(release) // the bubble must end
					}
				})
			})
		}
	}
}

func TestCloseThatBlocksOrPanicsDoesNotHoldRun(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		release := make(chan struct{})
		r.start(Options{Close: func() { <-release }}, r.device(&fake{id: 0}, time.Second))
		r.pass(500 * ms)
		if took, err := r.stop(); err == nil || took != DefaultGrace {
			t.Errorf("Run returned %v after %v", err, took)
		}
		close(release)
	})
	inBubble(t, func(t *testing.T, r *rig) {
		r.start(Options{Close: func() { panic("twice") }}, r.device(&fake{id: 0}, time.Second))
		r.pass(500 * ms)
		r.stopClean()
	})
}

func TestRunTwiceIsRefused(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.start(Options{}, r.device(&fake{id: 0}, time.Second))
		r.pass(ms)
		if err := r.bus.Run(t.Context(), nil); err == nil {
			t.Error("a second Run was accepted")
		}
		r.stopClean()
	})
}

func TestNewReportsAllFaults(t *testing.T) {
	p := &fake{}
	dev := func(id sensors.DeviceID, name string) sensors.Device {
		return sensors.Device{ID: id, Name: name, Poll: time.Second}
	}
	_, err := New("upsnet", nil, []Device{
		{Dev: dev(1, "a"), Part: Part{Points: []sensors.Point{{ID: 4, Device: 2, Name: "a.x"}}, Poller: p, Period: ms}},
		{Dev: dev(1, "b"), Part: Part{Points: []sensors.Point{{ID: 4, Device: 1, Name: "b.x"}}}, Timeout: -1},
		{Dev: dev(3, "c"), Part: Part{Poller: p}},
	}, Options{})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"no clock", `"a": period 1ms`, `"a.x" belongs to device 2`, `"b": no poller`, `"b": timeout`,
		`"b.x": id 4`, `"b": id 1`, `"c": no points`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the faults lack %q:\n%v", want, err)
		}
	}
	if _, err := New("empty", sensors.NewClock(), nil, Options{}); err == nil {
		t.Error("a bus without devices was accepted")
	}
	good := Device{Dev: dev(1, "a"), Part: Part{Points: []sensors.Point{{ID: 4, Device: 1, Name: "a.x"}}, Poller: p}}
	b, err := New("one", sensors.NewClock(), []Device{good}, Options{})
	if err != nil || b.Name() != "one" || len(b.Points()) != 1 || b.Stats().Devices[0].Period != time.Second {
		t.Errorf("%v, %+v", err, b)
	}
}

// numberedFake tells a serial number with each poll; the number is another one from the third poll on.
type numberedFake struct{ fake }

func (f *numberedFake) Serial() string {
	if f.polls() > 2 {
		return "SN-2"
	}
	return "SN-1"
}

// The serial number goes with the readings of the poll that it was asked after; a poll that failed does not ask (S23).
func TestSerialGoesWithTheReadings(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		f := &numberedFake{}
		f.do = func(_ context.Context, n int) error {
			if n == 1 {
				return errFake
			}
			return nil
		}
		d := r.device(&f.fake, time.Second)
		d.Poller = f
		plain := &fake{id: 1}
		r.start(Options{}, d, r.device(plain, time.Second))
		r.pass(10 * time.Second)
		var got []string
		for _, b := range r.of(0)[:3] {
			got = append(got, b.Serial)
		}
		if want := []string{"SN-1", "SN-1", "SN-2"}; !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
		if s := r.of(1)[0].Serial; s != "" {
			t.Errorf("a device without a number has %q", s)
		}
		r.stopClean()
	})
}
