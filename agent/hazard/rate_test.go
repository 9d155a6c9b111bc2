package hazard

import (
	"math"
	"math/rand"
	"testing"
	"time"

	"firebreak/sensors"
)

// slope feeds value(t) every step and returns the estimate at the end.
func slope(window, step, total time.Duration, value func(t float64) (v float64, ok bool)) (float64, bool) {
	s := make([]sample, 0, maxSamples)
	base := sensors.Mono(time.Hour)
	for t := time.Duration(0); t <= total; t += step {
		if v, ok := value(t.Seconds()); ok {
			s = addSample(s, sensors.Reading{Value: v, At: base.Add(t)}, window)
		}
	}
	return rate(s, window)
}

func TestRateOfARamp(t *testing.T) {
	for _, step := range []time.Duration{100 * time.Millisecond, time.Second, 5 * time.Second, 13 * time.Second} {
		got, ok := slope(time.Minute, step, 3*time.Minute, func(t float64) (float64, bool) { return 20 + 0.1*t, true })
		if !ok || math.Abs(got-0.1) > 1e-9 {
			t.Errorf("every %v: %v, %v; want 0.1", step, got, ok)
		}
	}
}

func TestRateIsRobust(t *testing.T) {
	n := 0
	got, ok := slope(time.Minute, 4*time.Second, 3*time.Minute, func(t float64) (float64, bool) {
		if n++; n%5 == 0 { // a fifth are outliers
			return 900, true
		}
		return 20 + 0.1*t, true
	})
	if !ok || math.Abs(got-0.1) > 0.02 {
		t.Errorf("with outliers: %v, %v; want 0.1", got, ok)
	}
	rng := rand.New(rand.NewSource(1))
	got, ok = slope(time.Minute, time.Second, 3*time.Minute, func(t float64) (float64, bool) {
		return 20 + 0.1*t, rng.Float64() < 0.4 // uneven
	})
	if !ok || math.Abs(got-0.1) > 1e-9 {
		t.Errorf("unevenly sampled: %v, %v; want 0.1", got, ok)
	}
}

func TestRateKnowsWhenItDoesNotKnow(t *testing.T) {
	ramp := func(t float64) (float64, bool) { return t, true }
	for name, c := range map[string]struct {
		total time.Duration
		value func(float64) (float64, bool)
		want  bool
	}{
		"too short":    {40 * time.Second, ramp, false},
		"just covered": {48 * time.Second, ramp, true},
		"a hole of half": {3 * time.Minute, func(t float64) (float64, bool) {
			return t, t < 140 || t > 173
		}, false},
		"a small hole": {3 * time.Minute, func(t float64) (float64, bool) {
			return t, t < 140 || t > 160
		}, true},
		"nothing": {3 * time.Minute, func(float64) (float64, bool) { return 0, false }, false},
	} {
		if _, ok := slope(time.Minute, time.Second, c.total, c.value); ok != c.want {
			t.Errorf("%s: ready is %v", name, ok)
		}
	}
}

func TestRateDetector(t *testing.T) {
	m := newRoom(t)
	p := m.point("bms", "t", sensors.Temperature)
	up := m.over(Cond{Name: "up", Kind: Rate, Threshold: 0.1, Window: time.Minute}, p)
	down := m.over(Cond{Name: "down", Kind: Rate, Threshold: -0.1, Deadband: 0.05, Window: time.Minute}, p)
	fast := m.over(Cond{Name: "fast", Kind: Rate, Threshold: 1, Window: 3 * time.Second}, p) // a short window next to a long one
	long := m.over(Cond{Name: "long", Kind: Rate, Threshold: 1, Window: 10 * time.Minute}, p)
	v := 20.0
	ramp := func(d time.Duration, perSecond float64) {
		for ; d > 0; d -= time.Second {
			m.read(p, v)
			m.wait(time.Second)
			v += perSecond
		}
	}
	ramp(40*time.Second, 0)
	m.want(up, "unknown")
	m.want(fast, "false")
	ramp(20*time.Second, 0)
	m.want(up, "false")
	m.want(long, "unknown")
	ramp(90*time.Second, 0.2)
	m.want(up, "true")
	m.want(down, "false")
	ramp(90*time.Second, -0.2)
	m.want(up, "false")
	m.want(down, "true")
	ramp(90*time.Second, -0.07) // within the deadband
	m.want(down, "true")
	ramp(6*time.Second, 2)
	m.want(fast, "true")
	m.bad(p, sensors.Comm)
	m.want(down, "true held-true")
	m.wait(time.Minute)
	ramp(10*time.Second, 0)
	m.want(down, "true held-true") // read again, but its window is not filled: as if silent
	ramp(60*time.Second, 0)
	m.want(down, "false")
}

func TestWeakWithoutRise(t *testing.T) {
	setup := func(t *testing.T) (*room, sensors.PointID, CondID) {
		m := newRoom(t)
		p := m.point("bms", "t", sensors.Temperature)
		m.r.Points[p].MaxRate = 5
		return m, p, m.over(Cond{Threshold: 60, OffDelay: 5 * time.Second}, p)
	}
	feed := func(m *room, p sensors.PointID, values ...float64) {
		for _, v := range values {
			m.sensed(p, v)
			m.wait(time.Second)
		}
	}
	t.Run("jump", func(t *testing.T) {
		m, p, id := setup(t)
		feed(m, p, 25, 25, 100)
		m.want(id, "true weak")
		feed(m, p, 850, 850, 850)
		m.want(id, "true weak")
		for range 30 { // it comes back, as slowly as is plausible
			feed(m, p, 25)
		}
		m.want(id, "false")
		for v := 25.0; v < 70; v += 4 { // a true rise is as strong as any
			feed(m, p, v)
		}
		m.want(id, "true")
	})
	t.Run("rise, then over range", func(t *testing.T) {
		m, p, id := setup(t)
		feed(m, p, 25, 29, 33, 60, 200)
		m.want(id, "true")
	})
	t.Run("from the first reading", func(t *testing.T) {
		m, p, id := setup(t)
		feed(m, p, 850)
		m.want(id, "true weak")
	})
	t.Run("coming back from silence is no rise", func(t *testing.T) {
		m, p, id := setup(t)
		feed(m, p, 25)
		for range 3 { // a loose wire: what a bad reading holds is no value
			m.bad(p, sensors.Comm)
			m.wait(time.Second)
			feed(m, p, 25)
		}
		feed(m, p, 850)
		m.want(id, "true weak")
	})
	t.Run("a strong one stays strong", func(t *testing.T) {
		m, p, id := setup(t)
		for v := 25.0; v < 70; v += 4 {
			feed(m, p, v)
		}
		feed(m, p, 70, 70, 400)
		m.want(id, "true")
		feed(m, p, 150, 150)
		m.want(id, "true")
	})
	t.Run("falling hazard", func(t *testing.T) {
		m := newRoom(t)
		p := m.point("bms", "v", sensors.Electrical)
		m.r.Points[p].Hazard, m.r.Points[p].Min, m.r.Points[p].Max = -1, 20, 60
		id := m.over(Cond{Kind: Below, Threshold: 36}, p)
		feed(m, p, 48, 48, 0)
		m.want(id, "true weak")
	})
}

func TestAwayFromTheHazardIsBad(t *testing.T) {
	m := newRoom(t)
	p, id := hot(m, 0, 0)
	m.sensed(p, 25)
	m.sensed(p, -300)
	m.want(id, "unknown")
}
