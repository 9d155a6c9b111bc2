package hazard

import (
	"testing"
	"time"

	"firebreak/sensors"
)

func TestKinds(t *testing.T) {
	type read struct {
		v    float64
		want string
	}
	for name, c := range map[string]struct {
		cond  Cond
		reads []read
	}{
		"above":        {Cond{Kind: Above, Threshold: 60, Deadband: 2}, []read{{59.9, "false"}, {60, "true"}, {58.1, "true"}, {58, "false"}, {59.9, "false"}, {60, "true"}}},
		"below":        {Cond{Kind: Below, Threshold: 40, Deadband: 1}, []read{{40.5, "false"}, {40, "true"}, {40.9, "true"}, {41, "false"}}},
		"in":           {Cond{Kind: In, Values: []float64{2, 4}}, []read{{3, "false"}, {4, "true"}, {2, "true"}, {0, "false"}}},
		"not in":       {Cond{Kind: NotIn, Values: []float64{3}}, []read{{3, "false"}, {7, "true"}, {3, "false"}}},
		"no deadband":  {Cond{Kind: Above, Threshold: 60}, []read{{60, "true"}, {59.99, "false"}}},
		"unknown kind": {Cond{Kind: 77}, []read{{60, "unknown"}}},
	} {
		t.Run(name, func(t *testing.T) {
			m := newRoom(t)
			id := m.over(c.cond, m.point("d", "p", sensors.Temperature))
			for _, r := range c.reads {
				m.read(0, r.v)
				m.want(id, r.want)
				m.wait(time.Second)
			}
		})
	}
}

func hot(m *room, on, off time.Duration) (sensors.PointID, CondID) {
	p := m.point("bms", "t", sensors.Temperature)
	return p, m.over(Cond{Name: "hot", Threshold: 60, OnDelay: on, OffDelay: off}, p)
}

func TestOnDelayCountsFromTheReading(t *testing.T) {
	m := newRoom(t)
	p, id := hot(m, 5*time.Second, 0)
	at := m.now
	m.now = m.now.Add(2 * time.Second) // it arrives late: polled 2 s ago
	wake := m.step(sensors.Reading{Point: p, Value: 70, Quality: sensors.GoodQuality, At: at})
	m.want(id, "false")
	if want := at.Add(3 * time.Second); wake != want { // stale comes before the on-delay ends
		t.Fatalf("wake is %v, want %v", wake, want)
	}
	m.keep(2*time.Second, 70, p)
	m.want(id, "false")
	m.keep(time.Second, 70, p)
	m.want(id, "true")
}

func TestOnDelayIsServedEvenWhenTheStepIsLate(t *testing.T) {
	for name, next := range map[string]sensors.Reading{
		"bad":   {Quality: sensors.BadQuality(sensors.Comm)},
		"false": {Quality: sensors.GoodQuality, Value: 20},
	} {
		t.Run(name, func(t *testing.T) {
			m := newRoom(t)
			_, id := hot(m, 2*time.Second, time.Minute)
			m.read(0, 70)
			m.now = m.now.Add(2500 * time.Millisecond) // nobody called at +2 s
			next.At = m.now
			m.step(next)
			if v := m.e.Verdict(id); v.Is != True {
				t.Fatalf("served on-delay lost: %s", m.verdict(id))
			}
		})
	}
	t.Run("silent", func(t *testing.T) {
		m := newRoom(t)
		_, id := hot(m, 2*time.Second, time.Minute)
		m.read(0, 70)
		m.now = m.now.Add(time.Minute)
		m.step()
		m.want(id, "true held-true")
	})
}

func TestUnknownPausesTheOnDelay(t *testing.T) {
	m := newRoom(t)
	p, id := hot(m, 10*time.Second, 0)
	m.keep(6*time.Second, 70, p)
	m.bad(p, sensors.Comm)
	m.want(id, "unknown")
	m.wait(time.Minute)
	m.want(id, "unknown")
	m.keep(3*time.Second, 70, p)
	m.want(id, "false") // 6 + 3 s
	m.keep(time.Second, 70, p)
	m.want(id, "true")
}

func TestFalseEndsTheOnDelay(t *testing.T) {
	m := newRoom(t)
	p, id := hot(m, 10*time.Second, 0)
	m.keep(9*time.Second, 70, p)
	m.read(p, 20)
	if rec := m.members[len(m.members)-1]; rec.Raw != False {
		t.Fatalf("the end of an on-delay is not on record: %+v", rec)
	}
	m.keep(9*time.Second, 70, p)
	m.want(id, "false")
	m.keep(2*time.Second, 70, p)
	m.want(id, "true")
}

func TestOffDelayAndSilence(t *testing.T) {
	m := newRoom(t)
	p, id := hot(m, 0, 10*time.Second)
	m.read(p, 70)
	m.want(id, "true")
	m.keep(8*time.Second, 20, p)
	m.want(id, "true falling")
	m.read(p, 70) // back before the end
	m.want(id, "true")
	m.keep(9*time.Second, 20, p)
	m.want(id, "true falling")
	m.bad(p, sensors.Comm)
	m.want(id, "unknown held") // it was falling: no vote from now on
	m.wait(time.Minute)
	m.want(id, "unknown held") // silence clears nothing
	m.keep(9*time.Second, 20, p)
	m.want(id, "unknown held") // the off-delay began anew, and gave no vote back
	m.keep(2*time.Second, 20, p)
	m.want(id, "false")
}

func TestHeldTrue(t *testing.T) {
	for name, c := range map[string]struct {
		cond, rules, want time.Duration
	}{"default": {0, 0, 30 * time.Minute}, "rules": {0, time.Hour, time.Hour}, "detector": {time.Minute, time.Hour, time.Minute}} {
		t.Run(name, func(t *testing.T) {
			m := newRoom(t)
			m.r.HeldTrue = c.rules
			p := m.point("bms", "t", sensors.Temperature)
			id := m.over(Cond{Threshold: 60, HeldTrue: c.cond}, p)
			m.read(p, 70)
			m.bad(p, sensors.Sentinel)
			m.wait(c.want - time.Second)
			m.want(id, "true held-true")
			m.wait(time.Second)
			m.want(id, "unknown held")
			m.read(p, 70)
			m.want(id, "true")
		})
	}
}

func TestPendingIsNotHeldTrue(t *testing.T) {
	m := newRoom(t)
	p, id := hot(m, 5*time.Second, 0)
	m.keep(3*time.Second, 70, p)
	m.bad(p, sensors.Comm)
	m.wait(time.Minute)
	m.want(id, "unknown")
}

func TestReasonsThatNeverVote(t *testing.T) {
	for r := sensors.NoReason; r <= sensors.OutOfService; r++ {
		t.Run(r.String(), func(t *testing.T) {
			m := newRoom(t)
			p, id := hot(m, 0, 0)
			m.read(p, 70)
			m.bad(p, r)
			want := "true held-true"
			if r == sensors.TestMode || r == sensors.NotReady || r == sensors.Identity || r == sensors.OutOfService {
				want = "unknown held"
			}
			m.want(id, want)
			m.bad(p, sensors.Comm) // the present reason decides, but a test is not known to have ended
			if want = "true held-true"; r == sensors.TestMode {
				want = "unknown held"
			}
			m.want(id, want)
			m.read(p, 70)
			m.bad(p, sensors.Comm) // read since: the test is over
			m.want(id, "true held-true")
			m.bad(p, sensors.TestMode)
			m.want(id, "unknown held")
			if rec := m.members[len(m.members)-1]; !rec.NoVote {
				t.Fatalf("test mode is not on record: %+v", rec)
			}
		})
	}
}

func TestForeignOriginTouchesNothing(t *testing.T) {
	m := newRoom(t)
	p, id := hot(m, 0, 0)
	m.read(p, 70)
	for o := sensors.Injected; o <= sensors.Replay; o++ {
		m.step(sensors.Reading{Point: p, Value: 20, Quality: sensors.GoodQuality.WithOrigin(o), At: m.now})
		m.step(sensors.Reading{Point: p, Quality: sensors.BadQuality(sensors.Comm).WithOrigin(o), At: m.now})
	}
	m.want(id, "true")
	if m.e.Foreign() != 6 {
		t.Fatalf("%d foreign readings counted, want 6", m.e.Foreign())
	}
}

func TestLateReadingsAreIgnored(t *testing.T) {
	m := newRoom(t)
	p, id := hot(m, 0, 0)
	m.read(p, 70)
	m.step(sensors.Reading{Point: p, Value: 20, Quality: sensors.GoodQuality, At: m.now - 1})
	m.want(id, "true")
	if m.e.Late() != 1 {
		t.Fatalf("%d late readings, want 1", m.e.Late())
	}
	m.step(sensors.Reading{Point: p, Value: 70, Quality: sensors.GoodQuality, At: m.now.Add(time.Hour)}) // taken as now
	m.wait(time.Second)
	m.read(p, 20)
	m.want(id, "false")
}

func TestOneDeviceManyPoints(t *testing.T) {
	m := newRoom(t)
	var p []sensors.PointID
	for _, n := range []string{"a", "b", "c", "d"} {
		p = append(p, m.point("bms", n, sensors.Temperature))
	}
	id := m.over(Cond{Threshold: 60}, p...)
	m.step()
	m.want(id, "unknown")
	m.read(p[0], 20)
	m.want(id, "unknown") // one of four
	m.read(p[1], 20)
	m.want(id, "false") // half
	m.read(p[2], 70)
	m.want(id, "true")
	m.read(p[2], 20)
	m.want(id, "false")
	m.bad(p[0], sensors.Comm)
	m.bad(p[1], sensors.Comm)
	m.want(id, "unknown") // c alone of four
	m.e.SetOutOfService(m.now, p[0], true)
	m.e.SetOutOfService(m.now, p[1], true)
	m.step()
	m.want(id, "false") // c of two in service
	m.e.SetOutOfService(m.now, p[2], true)
	m.e.SetOutOfService(m.now, p[3], true)
	m.step()
	m.want(id, "unknown bypassed")
	m.read(p[2], 70)
	m.want(id, "unknown bypassed")
	m.e.SetOutOfService(m.now, p[2], false)
	m.step()
	m.want(id, "unknown")
	m.read(p[2], 70)
	m.want(id, "true")
}

// What may rest on a combination is what its best part allows: a point that is still read but has
// fallen, or went over range without a rise, does not make a burnt one fresh.
func TestMixedMember(t *testing.T) {
	m := newRoom(t)
	a, b := m.point("bms", "a", sensors.Temperature), m.point("bms", "b", sensors.Temperature)
	id := m.over(Cond{Threshold: 60, OffDelay: time.Minute}, a, b)
	m.read(a, 70)
	m.read(b, 70)
	m.bad(a, sensors.Comm)
	m.want(id, "true")
	m.read(b, 20)
	m.want(id, "true held-true")
	m.read(a, 70)
	m.want(id, "true")
	if v := m.e.Verdict(id); v.Fresh != m.now {
		t.Fatalf("fresh is %v, want %v", v.Fresh, m.now)
	}
	at := m.now
	m.read(a, 20)
	m.wait(2 * time.Second)
	m.read(a, 20)
	m.read(b, 20)
	m.want(id, "true falling")
	if v := m.e.Verdict(id); v.Fresh != at {
		t.Fatalf("a true verdict rests on the last reading that was true: %v, not %v", at, v.Fresh)
	}
}

// A detector that does not draw the room's air: the smoke that it sees counts, "no smoke" says nothing.
func TestNoSmokeWithoutAirFlow(t *testing.T) {
	m := newRoom(t)
	p := m.point("asd", "smoke", sensors.Smoke)
	id := m.over(Cond{Name: "smoke", Threshold: 60}, p)
	off := sensors.MakeQuality(sensors.Uncertain, sensors.FlowFault, sensors.Real)
	for _, r := range []struct {
		v    float64
		q    sensors.Quality
		want string
	}{{20, sensors.GoodQuality, "false"}, {20, off, "unknown"}, {70, off, "true"}, {20, sensors.GoodQuality, "false"}, {20, off, "unknown"}} {
		m.now = m.now.Add(time.Second)
		m.step(sensors.Reading{Point: p, Value: r.v, Quality: r.q, At: m.now})
		m.want(id, r.want)
	}
}
