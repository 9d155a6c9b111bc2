package hazard

import (
	"slices"
	"testing"
	"time"

	"firebreak/sensors"
)

// mixedRules is bigRules with every kind of detector among the 2,000, on the same 10,000 points: of
// each ten detectors four are thresholds, one each a rate, a deviation from a point, from the median of
// its device and from a baseline, a jump, and silence; one in fifty is the rule for a runaway.
func mixedRules() *Rules {
	r := bigRules()
	for i := range r.Conds {
		c := &r.Conds[i]
		if c.Kind == Vote {
			continue
		}
		switch m := &c.Members[0]; i % 10 {
		case 4:
			c.Kind, c.Threshold, c.Window = Rate, 5.0/60, time.Minute
			if i%50 == 4 {
				c.Kind, c.Threshold, c.Window, c.Limit, c.HasLimit = Runaway, 1, 4*time.Second, 60, true
			}
		case 5:
			c.Kind, c.Threshold = Deviation, 20
			for range m.Points {
				m.Ref = append(m.Ref, m.Points[0]-5) // the other half of its device
			}
		case 6:
			c.Kind, c.From, c.Threshold = Deviation, FromDeviceMedian, 20
		case 7:
			c.Kind, c.From, c.Threshold, c.Learn = Deviation, FromBaseline, 20, time.Minute
		case 8:
			c.Kind, c.Threshold, c.Window = Jump, 20, 10*time.Second
		case 9:
			c.Kind, c.Window = Silent, 30*time.Second
		}
	}
	return r
}

// BenchmarkMixed judges polls of one device of ten points each, every device once a second, with every
// kind of detector.
func BenchmarkMixed(b *testing.B) {
	e, now, poll := mixed(b, 10)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		poll(i)
	}
	b.ReportMetric(float64(b.N)*10/b.Elapsed().Seconds(), "readings/s")
	if e.Late() != 0 || *now == 0 {
		b.Fatal("readings were dropped")
	}
}

// BenchmarkStep32 is one step of 32 readings, and how long the slowest of a hundred takes.
func BenchmarkStep32(b *testing.B) {
	_, _, poll := mixed(b, 32)
	took := make([]time.Duration, 0, b.N)
	b.ResetTimer()
	for i := range b.N {
		t := time.Now()
		poll(i)
		took = append(took, time.Since(t))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds())/1000, "p99-us")
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1000, "p50-us")
}

// mixed returns an engine in its second minute, with its baselines learned, and a poll of n readings.
func mixed(b *testing.B, n int) (*Engine, *sensors.Mono, func(i int)) {
	e, err := New(mixedRules())
	if err != nil {
		b.Fatal(err)
	}
	now := sensors.Mono(time.Hour)
	batch := make([]sensors.Reading, n)
	var ch Changes
	polls := 10000 / n
	poll := func(i int) {
		now = now.Add(time.Second / time.Duration(polls))
		for k := range batch {
			batch[k] = sensors.Reading{Point: sensors.PointID(i%polls*n + k), Value: 25 + float64((i*7+k*3)%11)/10, Quality: sensors.GoodQuality, At: now}
		}
		ch.Reset()
		in := batch
		for e.Step(now, in, &ch) <= now {
			in = nil
		}
	}
	for i := range 3 * polls {
		poll(i)
	}
	for i := range e.bases {
		p := e.bases[i].point
		if int(p) >= polls*n {
			continue // the rest of a division: no poll reads it
		}
		if _, err := e.Learn(now, []sensors.PointID{p}, "kim", 0); err != nil {
			b.Fatal(err)
		}
	}
	for i := range 80 * polls {
		poll(i)
	}
	return e, &now, poll
}
