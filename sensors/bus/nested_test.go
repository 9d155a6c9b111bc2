package bus

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// A slow point whose poll does not fit between the reserved slots of a quick one waits half a minute for its
// turn, and not a whole period of its own.
func TestSlowPartFitsNoGap(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		slow := &fake{id: 0, do: takes(20 * ms)}
		plan := &fake{id: 1, do: takes(2 * ms)}
		d, slower := r.device(plan, 10*ms), r.device(slow, 10*time.Minute)
		d.Reserved = true
		r.start(Options{}, d, slower) // the second slot of the slow one is at half of its period
		r.pass(5*time.Minute + MaxBackoff + time.Second)
		if got := slow.polls(); got != 2 {
			t.Errorf("polled %d times half a minute after its second slot, want 2", got)
		}
		if s := r.bus.Stats(); s.Missed > 8 { // two slots of the quick one each time, and what they overtake
			t.Errorf("%d slots were missed for it", s.Missed)
		}
		r.stopClean()
	})
}

// One lost poll of the quick part does not cost it a back-off step of the slow one, although that goes first
// because a plan depends on it.
func TestBackoffBeginsWithTheQuickestPart(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		lost := false
		d, f := r.parted(1, func(context.Context, int) error {
			if lost {
				lost = false
				return errFake
			}
			return nil
		}, time.Hour, time.Second)
		d.Reserved = true
		r.start(Options{}, d)
		r.pass(10900 * ms)
		lost = true
		n := f[1].polls()
		r.pass(3 * time.Second)
		if got := f[1].polls() - n; got < 3 {
			t.Errorf("%d polls of the part of 1 s in the 3 s with one failure", got)
		}
		r.stopClean()
	})
}

// Sample brings a point from an hour to 100 ms and back beside one of 10 ms: neither misses a slot, and the
// next poll of the slow one is an hour after its last.
func TestSampleOfAnHour(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		slow, quick := &fake{id: 0}, &fake{id: 1}
		d := r.device(quick, 10*ms)
		d.Reserved = true
		r.start(Options{}, r.device(slow, time.Hour), d)
		r.pass(time.Second)
		r.bus.Sample(0, 100*ms)
		r.pass(10 * time.Second)
		if got := slow.polls(); got < 100 || got > 102 {
			t.Errorf("%d polls in 10 s at 100 ms", got)
		}
		for _, g := range quick.gaps(ms) {
			if g != 10*ms {
				t.Fatalf("the neighbour's polls are %v apart", g)
			}
		}
		r.bus.Sample(0, 0)
		r.pass(ms)
		if s := r.bus.Stats(); s.Missed != 0 || s.Devices[0].Period != time.Hour {
			t.Errorf("stats %+v", s)
		}
		if left := r.bus.slots[0].at.Sub(r.bus.slots[0].last); left != time.Hour {
			t.Errorf("the next poll is %v after the last", left)
		}
		r.stopClean()
	})
	inBubble(t, func(t *testing.T, r *rig) { // there and back while neither is due: the hour stands
		slow, other := &fake{id: 0}, &fake{id: 1}
		r.start(Options{}, r.device(slow, time.Hour), r.device(other, 10*time.Second))
		for range 50 {
			r.pass(2 * time.Hour / 50)
			r.bus.Sample(0, 30*time.Minute)
			synctest.Wait()
			r.bus.Sample(0, 0)
			synctest.Wait()
		}
		if got := slow.polls(); got < 3 || got > 6 {
			t.Errorf("%d polls in two hours", got)
		}
		r.stopClean()
	})
}

// A process that stands still for a minute makes up for nothing: each point is polled once, then in its old
// slots, and what was missed is counted.
func TestAfterAStandstill(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		quick, other, slow := &fake{id: 0}, &fake{id: 1}, &fake{id: 2}
		idles := 0
		r.start(Options{Idle: func() {
			if idles++; idles == 500 {
				<-time.After(time.Minute)
			}
		}}, r.device(quick, 10*ms), r.device(other, time.Second), r.device(slow, time.Hour))
		r.pass(70 * time.Second)
		polls := quick.gaps(0)
		for i, g := range polls {
			if g < 59*time.Second {
				continue
			}
			for _, after := range polls[i+2:] {
				if after != 10*ms {
					t.Fatalf("polls %v apart after the minute", after)
				}
			}
		}
		if a, b, c := quick.polls(), other.polls(), slow.polls(); a > 1010 || b > 14 || c != 1 {
			t.Errorf("%d, %d and %d polls in 70 s, of which one minute was none", a, b, c)
		}
		if s := r.bus.Stats(); s.Missed < 6000 || s.Missed > 6070 || s.Failures != 0 {
			t.Errorf("stats %+v", s)
		}
		r.stopClean()
	})
}

// A driver that had no chance to return, since the whole process stood still beyond its deadline, gets one
// more grace: its bus is not told as held, nor its neighbours' points as bad. One that stays is.
func TestStandstillIsNoHungPoll(t *testing.T) {
	for _, stays := range []bool{false, true} {
		inBubble(t, func(t *testing.T, r *rig) {
			release := make(chan struct{})
			f := &fake{id: 0, do: func(_ context.Context, n int) error {
				if n != 3 {
					return nil
				}
				r.bus.mu.Lock()
				r.bus.now.late = r.bus.now.late.Add(-time.Minute) // as late as that the timer is heard
				r.bus.mu.Unlock()
				<-release
				return errFake
			}}
			other := &fake{id: 1}
			r.start(Options{}, r.device(f, time.Second), r.device(other, time.Second))
			r.pass(5100 * ms) // the fourth poll starts at 3 s, and is over at 5 s
			if s := r.bus.Stats(); s.Hung != 0 || s.Stuck {
				t.Errorf("told as hung: %+v", s)
			}
			if stays {
				if r.pass(time.Second); r.bus.Stats().Hung != 1 {
					t.Error("a poll that stays is not told as hung")
				}
			}
			close(release)
			r.pass(10 * ms)
			r.stopClean()
		})
	}
}

// What a hung poll has made bad is read again at once when the bus is free, also what is read once an hour.
func TestAllIsReadAgainAfterAHungPoll(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		release := make(chan struct{})
		ill := &fake{id: 0, do: func(_ context.Context, n int) error {
			if n == 3 {
				<-release
			}
			return nil
		}}
		slow := &fake{id: 1}
		r.start(Options{}, r.device(ill, time.Second), r.device(slow, time.Hour))
		r.pass(9 * time.Second)
		got := r.of(1)
		if len(got) != 2 || got[1].Readings[0].Quality.Usable() {
			t.Fatalf("while the bus is held: %+v", got)
		}
		close(release)
		r.pass(ms)
		if got = r.of(1); len(got) != 3 || !got[2].Readings[0].Quality.Usable() {
			t.Errorf("when it is free the slow point was read %d times", slow.polls())
		}
		if s := r.bus.Stats(); s.Devices[1].Missed != 0 {
			t.Errorf("stats %+v", s)
		}
		r.stopClean()
	})
}
