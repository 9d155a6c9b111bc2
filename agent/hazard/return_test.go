package hazard

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"firebreak/sensors"
)

// The same of those that have come back: without their votes they are still what others share.
func TestProbationMakesNoTwoLossesOfOne(t *testing.T) {
	m := newRoom(t)
	var points []sensors.PointID
	var conds []CondID
	for i, p := range []sensors.Path{{Bus: "1", Gateway: "g1", Supply: "s1"}, {Bus: "1", Gateway: "g2", Supply: "s2"},
		{Bus: "2", Gateway: "g3", Supply: "s2"}, own("r")} {
		x, c := m.sensor(fmt.Sprint("d", i), sensors.Smoke, p)
		m.r.Conds[c].OnFault = FaultVotes
		points, conds = append(points, x), append(conds, c)
	}
	v := m.vote(2, false, conds...)
	m.keep(5*time.Second, 20, points...)
	for _, i := range []int{1, 3} {
		m.bypass(points[i], time.Minute)
		m.back(points[i])
	}
	m.wait(30 * time.Second)
	m.want(v, "true held returned") // two losses, one of them of a member on probation alone
	m.wait(Probation)
	m.want(v, "true held weak")
}

// What two losses have in common falls silent by a point that no vote looks at: the votes hear of it.
func TestSilenceOfWhatIsApart(t *testing.T) {
	for name, c := range map[string]struct {
		apart func(m *room, p sensors.PointID)
		want  string
	}{
		"bypassed":       {func(m *room, p sensors.PointID) { m.bypass(p, time.Hour) }, "unknown inhibited"},
		"returned":       {func(m *room, p sensors.PointID) { m.bypass(p, time.Hour); m.back(p) }, "true held returned"},
		"out of service": {func(m *room, p sensors.PointID) { m.e.SetOutOfService(m.now, p, true) }, "unknown inhibited"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newRoom(t)
			x, cx := m.sensor("x", sensors.Smoke, sensors.Path{Bus: "1", Gateway: "g1", Supply: "s1"})
			y, cy := m.sensor("y", sensors.Smoke, sensors.Path{Bus: "1", Gateway: "g2", Supply: "s2"})
			z, cz := m.sensor("z", sensors.Smoke, sensors.Path{Bus: "2", Gateway: "g3", Supply: "s2"})
			other := m.point("y", "other", sensors.Temperature)
			for _, c := range []CondID{cx, cy, cz} {
				m.r.Conds[c].OnFault = FaultVotes
			}
			v := m.vote(2, false, cx, cy, cz)
			m.keep(5*time.Second, 20, x, y, z, other)
			c.apart(m, y)
			m.keep(20*time.Second, 20, other)
			m.want(v, "true held weak") // x and z
			m.wait(2 * time.Second)
			m.want(v, c.want)
		})
	}
}

// What is held-true and settled does not become fresh by one that has come back and is read (S4).
func TestReturnMakesNothingFresh(t *testing.T) {
	m, p, _, one := trio(t)
	m.keep(time.Second, 20, p...)
	m.bypass(p[0], time.Minute)
	m.back(p[0])
	m.sensed(p[1], 20)
	m.sensed(p[1], 900)
	m.want(one, "true weak")
	m.bad(p[1], sensors.Comm)
	m.read(p[0], 70)
	m.want(one, "true held-true weak")
}

// S19: on return the on-delay is served in full, though the value was above it all along, and by
// readings that were sampled after the return.
func TestReturnServesAFullOnDelay(t *testing.T) {
	for _, name := range []string{"expiry", "order", "expiry seen late"} {
		t.Run(name, func(t *testing.T) {
			m := newRoom(t)
			p, id := hot(m, 10*time.Second, time.Minute)
			m.keep(8*time.Second, 20, p)
			m.bypass(p, 20*time.Second)
			end := m.now.Add(20 * time.Second)
			switch name {
			case "order":
				m.bypass(p, time.Hour)
				m.keep(20*time.Second, 70, p)
				m.want(id, "unknown bypassed")
				m.back(p)
				m.read(p, 70)
			case "expiry":
				m.keep(20*time.Second, 70, p)
				m.read(p, 70)
			default:
				m.keep(19*time.Second, 70, p)
				m.want(id, "unknown bypassed")
				m.now = end.Add(2 * time.Second)
				m.step(sensors.Reading{Point: p, Value: 70, Quality: sensors.GoodQuality, At: end.Add(-500 * time.Millisecond)})
			}
			m.want(id, "false")
			for m.now < end.Add(9*time.Second) {
				m.keep(time.Second, 70, p)
				m.want(id, "false")
			}
			m.read(p, 70)
			m.wait(end.Add(10*time.Second - 1).Sub(m.now))
			m.want(id, "false")
			m.wait(1)
			m.want(id, "true returned")
		})
	}
}

// Timeline 14: the bypass of a smoke head expires with test smoke still in the pipe.
func TestBypassExpiresWithTestSmoke(t *testing.T) {
	m, p, two, one := trio(t)
	m.keep(time.Second, 20, p...)
	m.bypass(p[0], 30*time.Minute)
	var until sensors.Mono
	m.e.Bypasses(func(b Bypass) { until = b.Until })
	if until != m.now.Add(30*time.Minute) {
		t.Fatalf("its end is told as %v", until)
	}
	for v := 20.0; v <= 70; v += 10 { // the smoke rises as in a fire
		m.sensed(p[0], v)
		m.keep(time.Second, 20, p[1], p[2])
	}
	m.keep(30*time.Minute, 70, p[0])
	m.want(one, "true returned") // stage 1 at most
	if w := m.e.Explain(m.now, one); !w.Members[0].Returned || w.Members[0].Weak || !strings.Contains(w.Cause(), "back from a bypass") {
		t.Errorf("a person is told %q (%+v)", w.Cause(), w)
	}
	m.read(p[1], 20)
	m.read(p[2], 20)
	m.want(two, "false")
	m.keep(Probation-30*time.Second, 70, p[0])
	m.want(one, "true returned")
	m.keep(30*time.Second, 70, p[0])
	m.want(one, "true")
}

// What is true without those that have come back counts as ever, and with them no more than that.
func TestProbationIsOfThatMemberAlone(t *testing.T) {
	m, p, two, one := trio(t)
	for _, v := range []float64{20, 40, 50} {
		m.sensed(p[0], v)
		m.sensed(p[1], v)
		m.sensed(p[2], v)
		m.wait(time.Second)
	}
	m.bypass(p[0], time.Minute)
	m.back(p[0])
	m.sensed(p[0], 70)
	m.want(one, "true returned")
	m.sensed(p[1], 70)
	m.want(one, "true")
	m.want(two, "true returned") // one of the two that it needs has come back
	m.sensed(p[2], 900)          // strong by its rise
	m.want(two, "true")
	m.sensed(p[1], 20)
	m.want(two, "true falling")
	m.wait(5 * time.Second)
	m.sensed(p[0], 70)
	m.sensed(p[2], 900)
	m.want(two, "true returned")
}

// A member of many points is on probation only as far as it is true by the one that has come back.
func TestProbationOfAPoint(t *testing.T) {
	m := newRoom(t)
	a, b := m.point("bms", "a", sensors.Temperature), m.point("bms", "b", sensors.Temperature)
	id := m.over(Cond{Name: "hot", Threshold: 60, OffDelay: 5 * time.Second}, a, b)
	m.keep(time.Second, 20, a, b)
	m.bypass(a, time.Minute)
	m.back(a)
	m.read(a, 70)
	m.want(id, "true returned")
	m.read(b, 70)
	m.want(id, "true")
	m.bad(b, sensors.Comm)
	m.want(id, "true held-true") // the fresh one is the one that has come back
}

// A lost member that votes as a fault does not lift a vote above stage 1 while it is on probation.
func TestProbationOfAFault(t *testing.T) {
	m, p, _, _ := trio(t)
	m.r.Conds[0].OnFault = FaultVotes
	v := m.vote(2, false, 0, 1)
	m.keep(time.Second, 20, p...)
	m.bypass(p[0], time.Minute)
	m.back(p[0])
	m.bad(p[0], sensors.Comm)
	m.keep(15*time.Second, 70, p[1])
	m.want(v, "true returned")
	m.keep(Probation, 70, p[1])
	m.want(v, "true weak")
}

// A bypass clears nothing: what was true is kept as an alarm, without a vote, until the point has
// been read as false after its return. A reset is told of it (S6).
func TestBypassKeepsTheAlarm(t *testing.T) {
	m := newRoom(t)
	p := m.point("a", "x", sensors.Smoke)
	q := m.point("b", "x", sensors.Smoke)
	id := m.over(Cond{Name: "smoke", Threshold: 60, OnDelay: 2 * time.Second, OffDelay: 10 * time.Second}, p, q)
	v := m.vote(1, false, id)
	for range 3 {
		m.keep(time.Second, 70, p)
		m.keep(time.Second, 20, q)
	}
	m.want(id, "true")
	m.bypass(p, time.Minute)
	m.want(id, "unknown held")
	m.want(v, "false") // out of the vote
	var unknown []string
	m.e.Leaves(v, func(name string, v Verdict) {
		if v.Is == Unknown && v.Basis != Bypassed {
			unknown = append(unknown, name)
		}
	})
	if !slices.Equal(unknown, []string{"a.x"}) {
		t.Errorf("a reset is told of %v, want a.x: it was true", unknown)
	}
	m.back(p)
	m.read(p, 70)
	m.want(id, "unknown held") // its on-delay runs: no vote, and no recovery
	m.bad(p, sensors.Comm)
	m.want(id, "unknown held") // not held-true: it has served nothing since its return
	for range 9 {
		m.read(p, 20)
		m.keep(time.Second, 20, q)
		m.want(id, "unknown held")
	}
	m.read(p, 20)
	m.keep(2*time.Second, 20, q)
	m.want(id, "false")
	if rec := m.members[len(m.members)-1]; rec.Active || rec.Anew {
		t.Errorf("of a cleared alarm is kept %+v", rec)
	}
}

// What is true anew after a return is as strong as what made it, not as what was true before.
func TestReturnIsANewOccurrence(t *testing.T) {
	m := newRoom(t)
	p, id := hot(m, 0, 0)
	for _, v := range []float64{20, 30, 40, 70} {
		m.sensed(p, v)
	}
	m.want(id, "true")
	m.bypass(p, time.Minute)
	m.sensed(p, 20)
	m.back(p)
	m.sensed(p, 900)
	m.want(id, "true returned")
	for range 601 {
		m.sensed(p, 900)
		m.wait(time.Second)
	}
	m.want(id, "true weak")
}

func TestKeptAlarmVotesAgainAfterItsOnDelay(t *testing.T) {
	m := newRoom(t)
	p, id := hot(m, 5*time.Second, time.Minute)
	m.keep(6*time.Second, 70, p)
	m.want(id, "true")
	m.bypass(p, time.Minute)
	m.want(id, "unknown bypassed")
	m.keep(time.Minute, 70, p)
	m.keep(4*time.Second, 70, p)
	m.want(id, "unknown held")
	m.keep(2*time.Second, 70, p)
	m.want(id, "true returned")
	m.wait(5 * time.Second)
	m.want(id, "true held-true returned")
}

// A latch (S3) outlasts a bypass: it votes again at the return, on probation, and only a person
// resets it. Test gas does not latch what is bypassed.
func TestBypassKeepsTheLatch(t *testing.T) {
	m, gas, _, high, _ := gasRoom(t)
	m.rises(gas)
	m.keep(20*time.Second, 5, gas)
	m.bypass(gas, time.Minute)
	m.want(high, "unknown bypassed")
	if err := m.e.Unlatch(m.now, "gas-high"); err == nil || !strings.Contains(err.Error(), "bypassed") {
		t.Errorf("reset of a bypassed detector: %v", err)
	}
	m.restart(time.Second, 0)
	m.want(high, "unknown bypassed")
	m.back(gas)
	m.want(high, "true held-true returned")
	m.keep(time.Hour, 5, gas)
	m.want(high, "true held-true falling")
	if err := m.e.Unlatch(m.now, "gas-high"); err != nil {
		t.Error(err)
	}
	m.read(gas, 5)
	m.want(high, "false")
	m.bypass(gas, time.Minute)
	m.rises(gas)
	m.sensed(gas, 5)
	m.back(gas)
	m.keep(5*time.Second, 5, gas)
	m.want(high, "false")
}

// A latch needs no on-delay when it comes back. Of one in test mode nothing is known; what was heard
// in the meantime counts.
func TestLatchThatComesBack(t *testing.T) {
	for name, c := range map[string]struct {
		heard []sensors.Reason // NoReason: read
		want  string
	}{
		"silent":            {nil, "true held-true returned"},
		"in test":           {[]sensors.Reason{sensors.TestMode}, "unknown held"},
		"test, then silent": {[]sensors.Reason{sensors.TestMode, sensors.Comm}, "unknown held"},
		"test is over":      {[]sensors.Reason{sensors.TestMode, sensors.NoReason}, "true held-true returned"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newRoom(t)
			gas := m.point("voc", "gas", sensors.Gas)
			id := m.over(Cond{Name: "gas-high", Threshold: 50, OnDelay: 10 * time.Second}, gas)
			m.rises(gas)
			m.bypass(gas, time.Minute)
			for _, r := range c.heard {
				if r == sensors.NoReason {
					m.read(gas, 5)
				} else {
					m.bad(gas, r)
				}
			}
			m.back(gas)
			m.want(id, c.want)
			m.read(gas, 70)
			m.want(id, "true returned")
		})
	}
}

// Probation, too, counts downtime within one boot, and across boots as far as its age is known.
func TestProbationOverARestart(t *testing.T) {
	for name, shift := range map[string]time.Duration{"same boot": 0, "another boot": -500 * time.Second} {
		t.Run(name, func(t *testing.T) {
			m := newRoom(t)
			p, id := hot(m, 0, 0)
			m.read(p, 20)
			m.bypass(p, time.Minute)
			m.back(p)
			m.keep(time.Minute, 70, p)
			m.restart(8*time.Minute, shift)
			m.read(p, 70)
			m.want(id, "true returned")
			m.keep(61*time.Second, 70, p)
			m.want(id, "true")
		})
	}
}
