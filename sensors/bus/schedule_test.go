package bus

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"firebreak/sensors"
)

func TestFirstPollsAtOnceThenSpread(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		var f []*fake
		var devs []Device
		for i := range 4 {
			f = append(f, &fake{id: sensors.DeviceID(i), do: takes(10 * ms)})
			devs = append(devs, r.device(f[i], time.Second))
		}
		devs[3].Reserved = true
		r.start(Options{}, devs...)
		r.pass(10500 * ms)
		for i, want := range []time.Duration{10 * ms, 20 * ms, 30 * ms, 0} { // reserved first, then in order
			if got := f[i].at(0); got != want {
				t.Errorf("device %d: first poll at %v, want %v", i, got, want)
			}
			phase := time.Duration(i) * 250 * ms
			for k := 1; k < f[i].polls(); k++ {
				if got := f[i].at(k) % time.Second; got != phase {
					t.Errorf("device %d: poll %d at phase %v, want %v", i, k, got, phase)
				}
			}
			if got := f[i].polls(); got < 11 || got > 12 {
				t.Errorf("device %d: %d polls in 10.5 s", i, got)
			}
		}
		if s := r.bus.Stats(); s.Missed != 0 || s.Failures != 0 || s.Utilisation < 0.035 || s.Utilisation > 0.05 {
			t.Errorf("stats: %+v", s)
		}
		r.stopClean()
	})
}

func TestMissedSlotIsSkippedAndCounted(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		slow := &fake{id: 0, do: takes(250 * ms)}
		r.start(Options{}, r.device(slow, 100*ms))
		r.pass(3050 * ms)
		for i, g := range slow.gaps(0) {
			if g != 300*ms {
				t.Errorf("gap %d is %v, want each third slot: no slot is made up for", i, g)
			}
		}
		// Polls at 0, 0.3 .. 3.0; the last has not ended and the first served no slot before.
		if got := r.bus.Stats().Missed; got != 18 {
			t.Errorf("missed = %d, want two for each of 9 polls", got)
		}
		r.stopClean()
	})
}

func TestReservedGoesFirstAndNobodyStarves(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		long := &fake{id: 0, do: takes(800 * ms)} // due before both others, and it would still run when they are
		plain := &fake{id: 1, do: takes(5 * ms)}
		plan := &fake{id: 2, do: takes(5 * ms)}
		d := r.device(plan, time.Second)
		d.Reserved = true
		r.start(Options{}, r.device(long, time.Second), r.device(plain, time.Second), d)
		r.pass(20 * time.Second)
		for k := 3; k < 18; k++ {
			if late := plan.at(k) % time.Second; late < 666*ms || late > 667*ms {
				t.Errorf("poll %d of a reserved slot is at %v, want it at two thirds of its period", k, plan.at(k))
			}
		}
		if a, b := long.polls(), plain.polls(); a < 10 || b < 18 {
			t.Errorf("the others fit between, the long one each second time, and were polled %d and %d times in 20 s", a, b)
		}
		r.stopClean()
	})
	inBubble(t, func(t *testing.T, r *rig) {
		hog := &fake{id: 0, do: takes(15 * ms)} // due again whenever it ends
		hog2 := &fake{id: 1, do: takes(15 * ms)}
		meek := &fake{id: 2, do: takes(15 * ms)}
		a, b := r.device(hog, 10*ms), r.device(hog2, 10*ms)
		a.Reserved, b.Reserved = true, true
		r.start(Options{}, a, b, r.device(meek, time.Second))
		r.pass(10 * time.Second)
		if got := meek.polls(); got < 5 {
			t.Errorf("an overloaded bus starves the device without a plan: %d polls in 10 s", got)
		}
		r.stopClean()
	})
}

func TestBackoffDoublesToTheCapAndEndsAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		back := make(chan struct{})
		f := &fake{id: 0, do: func(ctx context.Context, n int) error {
			select {
			case <-back:
				return nil
			default:
			}
			if n == 0 {
				return nil
			}
			return errFake
		}}
		r.start(Options{}, r.device(f, time.Second))
		r.pass(300 * time.Second)
		steps := []time.Duration{1, 2, 4, 8, 16, 30, 30, 30}
		gaps := f.gaps(0)[1:] // the first is from the answered poll to the failed one
		for i, s := range steps {
			s *= time.Second
			if gaps[i] > s || gaps[i] < s*3/4 {
				t.Errorf("back-off step %d took %v, want %v to %v", i, gaps[i], s*3/4, s)
			}
		}
		if s := r.bus.Stats(); s.Devices[0].State != Failing || s.LastError != "dev-0: no answer" || s.Failures == 0 {
			t.Errorf("stats: %+v", s)
		}
		close(back)
		r.pass(31 * time.Second)
		n := f.polls()
		r.pass(5 * time.Second)
		if got := f.polls() - n; got != 5 {
			t.Errorf("%d polls in 5 s after recovery, want the normal schedule", got)
		}
		if s := r.bus.Stats(); s.Devices[0].State != Polling || s.Missed != 0 {
			t.Errorf("after recovery: %+v", s)
		}
		r.stopClean()
	})
}

func TestProbeIsShortAndSlowDevicesAreStillFound(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		f := &fake{id: 0, do: dead}
		r.start(Options{}, r.device(f, time.Second))
		r.pass(5 * time.Minute)
		long := 0
		for i, b := range f.budgets {
			switch {
			case b == DefaultProbe && i > 0:
			case b == DefaultTimeout && (i == 0 || i > 5):
				long++
			default:
				t.Errorf("poll %d has a budget of %v", i, b)
			}
		}
		if n := len(f.budgets); long < 2 || long > 1+n/longLook {
			t.Errorf("%d of %d polls with the whole time-out", long, n)
		}
		r.stopClean()
	})
	inBubble(t, func(t *testing.T, r *rig) { // answers in 700 ms, always did
		f := &fake{id: 0, do: takes(700 * ms)}
		g := &fake{id: 1, do: func(ctx context.Context, n int) error {
			if n < 3 {
				return dead(ctx, n) // not powered yet
			}
			return takes(700*ms)(ctx, n)
		}}
		r.start(Options{}, r.device(f, 2*time.Second), r.device(g, 2*time.Second))
		r.pass(5 * time.Minute)
		if s := r.bus.Stats(); s.Devices[1].State != Polling {
			t.Errorf("slow device never found: %+v", s.Devices[1])
		}
		r.stopClean()
	})
	inBubble(t, func(t *testing.T, r *rig) { // a probe that brings part of the points shows life
		f := &fake{id: 0}
		f.do = takes(700 * ms)
		f.answer = func(out []sensors.Reading, n int, at sensors.Mono) []sensors.Reading {
			return append(out, sensors.Reading{Point: 0, Quality: sensors.GoodQuality, At: at})
		}
		d := r.device(f, time.Second)
		d.Timeout = 600 * ms
		r.start(Options{}, d)
		r.pass(4 * time.Second)
		for i, b := range f.budgets {
			if b != 600*ms {
				t.Errorf("poll %d of a device that talks has a budget of %v", i, b)
			}
		}
		r.stopClean()
	})
}

func TestOneDeadUnitAmongThirty(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) { deadAmongThirty(t, r, 1) })
}

// Any number of dead units delays a living one by one probe at a time, not by all of them.
func TestTenDeadUnitsAmongThirty(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) { deadAmongThirty(t, r, 10) })
}

func deadAmongThirty(t *testing.T, r *rig, deadOnes int) {
	const poll = 5 * ms
	from := 60 * time.Second // they die here, at once
	var fakes []*fake
	var devs []Device
	for i := range 30 {
		f := &fake{id: sensors.DeviceID(i), do: takes(poll)}
		if i < deadOnes {
			f.do = func(ctx context.Context, n int) error {
				if r.clock.Now()-r.began < sensors.Mono(from) {
					return takes(poll)(ctx, n)
				}
				return dead(ctx, n)
			}
		}
		fakes = append(fakes, f)
		devs = append(devs, r.device(f, time.Second))
	}
	r.start(Options{}, devs...)
	r.pass(10 * time.Minute)
	// The first failure costs its time-out. Then: one probe, and the turn of the living that piled
	// up behind it.
	settled := from + time.Duration(deadOnes)*DefaultTimeout + time.Second
	probe := DefaultProbe
	if slices.ContainsFunc(fakes[:deadOnes], func(f *fake) bool { return f.polls() == 0 }) {
		t.Fatal("a dead unit was never tried")
	}
	looks := 0
	for _, f := range fakes[:deadOnes] {
		for i, b := range f.budgets {
			if time.Duration(f.starts[i]) >= settled && b > probe {
				looks++
			}
		}
	}
	over := 0
	for _, f := range fakes[deadOnes:] {
		if before, after := p99(f.gapsUntil(from)), p99(f.gaps(settled)); deadOnes == 1 && after > before+probe {
			t.Errorf("device %d: the interval that 99 of 100 keep grew from %v to %v", f.id, before, after)
		}
		for _, g := range f.gaps(settled) {
			switch bound := time.Second + 30*poll; {
			case g > bound+DefaultTimeout:
				t.Errorf("device %d waited %v", f.id, g)
			case g > bound+probe:
				over++
			}
		}
	}
	if over > looks*30 || looks > deadOnes*10 {
		t.Errorf("%d intervals grew by more than a probe with %d long looks", over, looks)
	}
	s := r.bus.Stats()
	for i, d := range s.Devices {
		if want := i < deadOnes; (d.State == Failing) != want {
			t.Errorf("device %d is %v", i, d.State)
		}
	}
	r.stopClean()
}

func p99(gaps []time.Duration) time.Duration {
	gaps = slices.Sorted(slices.Values(gaps))
	return gaps[len(gaps)*99/100]
}

// gapsUntil are the intervals of the polls that began before end.
func (f *fake) gapsUntil(end time.Duration) (g []time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := 2; i < len(f.starts) && time.Duration(f.starts[i]) < end; i++ { // the first poll is out of phase
		g = append(g, f.starts[i].Sub(f.starts[i-1]))
	}
	return g
}

func TestScaledClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, sensors.NewScaledClock(1000, 60))
		f := &fake{id: 0, do: takes(2 * ms)}
		r.start(Options{}, r.device(f, time.Second))
		r.pass(10 * time.Second) // ten minutes of the clock
		if got := f.polls(); got < 599 || got > 601 {
			t.Errorf("%d polls in 600 s of clock time", got)
		}
		for _, g := range f.gaps(0) {
			if g < 999*ms || g > 1001*ms {
				t.Errorf("gap %v of clock time", g)
			}
		}
		if f.budgets[0] != DefaultTimeout {
			t.Errorf("budget %v: transport times do not scale", f.budgets[0])
		}
		r.stopClean()
	})
}

// The link may be given up once all that was due has been read, and not between.
func TestIdleEndsARound(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		a, b := &fake{id: 0, do: takes(10 * ms)}, &fake{id: 1, do: takes(10 * ms)}
		var ends []time.Duration
		r.start(Options{Idle: func() { ends = append(ends, r.clock.Now().Sub(r.began)) }}, r.device(a, time.Second), r.device(b, time.Second))
		r.pass(2200 * ms)
		// both at the start, then each in its own phase
		want := []time.Duration{20 * ms, 510 * ms, 1010 * ms, 1510 * ms, 2010 * ms}
		if !slices.Equal(ends, want) {
			t.Errorf("rounds ended at %v, want %v", ends, want)
		}
		r.stopClean()
	})
}

func TestSample(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		f := &fake{id: 0}
		other := &fake{id: 1}
		r.start(Options{}, r.device(f, 10*time.Second), r.device(other, 10*time.Second))
		count := func(d time.Duration) int {
			n := f.polls()
			r.pass(d)
			return f.polls() - n
		}
		r.pass(5 * time.Second)
		r.bus.Sample(0, 250*ms)
		if got := count(10 * time.Second); got < 40 || got > 41 {
			t.Errorf("%d polls in 10 s at 250 ms", got)
		}
		r.bus.Sample(0, time.Hour) // never slower than configured
		r.bus.Sample(9, ms)        // not on this bus
		count(20 * time.Second)
		if got := count(60 * time.Second); got != 6 {
			t.Errorf("%d polls in 60 s at the configured 10 s", got)
		}
		r.bus.Sample(0, 1)
		if r.pass(ms); r.bus.Stats().Devices[0].Period != MinPeriod {
			t.Errorf("period %v", r.bus.Stats().Devices[0].Period)
		}
		r.bus.Sample(0, 0)
		r.pass(ms)
		if got := r.bus.Stats(); got.Devices[0].Period != 10*time.Second || got.Missed != 0 {
			t.Errorf("stats %+v", got)
		}
		if got := len(other.gaps(0)); got > 10 {
			t.Errorf("the other device was polled %d times", got)
		}
		r.stopClean()
	})
}

// parted is a device of three parts: each has a point of its own, and the period that it is given.
func (r *rig) parted(id sensors.DeviceID, do func(context.Context, int) error, periods ...time.Duration) (Device, []*fake) {
	d := Device{Dev: sensors.Device{ID: id, Name: fmt.Sprint("dev-", id)}}
	var fakes []*fake
	for k, period := range periods {
		point := sensors.PointID(int(id)*10 + k)
		f := &fake{rig: r, id: id, do: do}
		f.answer = func(out []sensors.Reading, n int, at sensors.Mono) []sensors.Reading {
			return append(out, sensors.Reading{Point: point, Value: float64(n), Quality: sensors.GoodQuality, At: at})
		}
		p := Part{Points: []sensors.Point{{ID: point, Device: id, Name: fmt.Sprintf("dev-%d.%d", id, k)}}, Poller: f, Period: period}
		if k == 0 {
			d.Part = p
		} else {
			d.More = append(d.More, p)
		}
		fakes = append(fakes, f)
	}
	return d, fakes
}

// Each part of a device has its own period, from 10 ms to hours.
func TestPartsHaveTheirOwnPeriods(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		d, f := r.parted(1, nil, 10*ms, time.Second, time.Hour)
		e, g := r.parted(2, nil, 10*time.Second, time.Hour)
		r.start(Options{}, d, e)
		r.pass(10500 * ms)
		for k, want := range []int{1050, 11, 1} {
			if got := f[k].polls(); got < want-1 || got > want+2 {
				t.Errorf("part %d: %d polls in 10 s, want %d", k, got, want)
			}
		}
		r.stopClean()
		r.start(Options{}, e)
		r.pass(3 * time.Hour)
		for k, want := range []int{1080, 4} {
			if got := g[k].polls(); got < want-1 || got > want+4 {
				t.Errorf("part %d: %d polls in three hours, want %d", k, got, want)
			}
		}
		if s := r.bus.Stats(); s.Missed != 0 || s.Foreign != 0 {
			t.Errorf("stats %+v", s)
		}
		for _, b := range r.of(1)[:100] {
			if len(b.Readings) != 1 || b.Readings[0].Point != sensors.PointID(10+int(b.Part)) {
				t.Fatalf("part %d has %+v", b.Part, b.Readings)
			}
		}
		r.stopClean()
	})
}

// A device that falls silent is silent as a whole, costs one probe a back-off step, and is read whole
// once it is back.
func TestPartsFailTogether(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		var silent atomic.Bool
		d, f := r.parted(1, func(ctx context.Context, _ int) error {
			if silent.Load() {
				return dead(ctx, 0)
			}
			return nil
		}, time.Second, 10*time.Second, time.Hour)
		for _, k := range f {
			was := k.answer
			k.answer = func(out []sensors.Reading, n int, at sensors.Mono) []sensors.Reading {
				if silent.Load() {
					return out
				}
				return was(out, n, at)
			}
		}
		r.start(Options{}, d)
		r.pass(20500 * ms)
		silent.Store(true)
		n := []int{f[1].polls(), f[2].polls()}
		r.pass(10 * time.Minute)
		if a, b := f[1].polls()-n[0], f[2].polls()-n[1]; a+b > 1 {
			t.Errorf("parts of a silent device were asked %d and %d times", a, b)
		}
		last := r.of(1)[len(r.of(1))-1]
		if len(last.Readings) != 3 {
			t.Errorf("%d of 3 points are bad", len(last.Readings))
		}
		silent.Store(false)
		r.pass(31 * time.Second)
		if f[2].polls() != n[1]+1 {
			t.Error("the part with the long period was not read when the device was back")
		}
		if got := r.bus.Stats().Missed; got != 0 {
			t.Errorf("%d missed slots: those of a silent device do not count", got)
		}
		r.stopClean()
	})
}

// A point of a part without a plan never goes before one with, whatever device it is of.
func TestReservedParts(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		d, f := r.parted(1, takes(60*ms), 100*ms, 100*ms)
		d.Reserved = true
		r.start(Options{}, d)
		r.pass(10 * time.Second)
		if a, b := f[0].polls(), f[1].polls(); a < 90 || b < 5 {
			t.Errorf("the reserved part was read %d times of 100, the other %d", a, b)
		}
		s := r.bus.Stats()
		if s.Missed == 0 || s.Overrun == 0 || s.Utilisation < 0.6 {
			t.Errorf("an overloaded bus: %+v", s)
		}
		r.bus.Sample(1, 50*ms)
		r.pass(ms)
		if r.bus.slots[0].want != 50*ms || r.bus.slots[1].want != 100*ms {
			t.Errorf("Sample asks for %v and %v", r.bus.slots[0].want, r.bus.slots[1].want)
		}
		r.stopClean()
	})
}
