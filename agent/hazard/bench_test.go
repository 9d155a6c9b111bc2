package hazard

import (
	"fmt"
	"testing"
	"time"

	"firebreak/sensors"
)

// bigRules is 10,000 points on 1,000 devices, 2,000 detectors of five points each, and 200 votes.
func bigRules() *Rules {
	r := &Rules{}
	for d := range 1000 {
		r.Devices = append(r.Devices, sensors.Device{ID: sensors.DeviceID(d), Name: fmt.Sprint("d", d), Path: sensors.Path{
			Bus: fmt.Sprint("b", d/20), Gateway: fmt.Sprint("g", d/100), Supply: []string{"A", "B"}[d%2]}})
		for p := range 10 {
			r.Points = append(r.Points, sensors.Point{ID: sensors.PointID(len(r.Points)), Device: sensors.DeviceID(d),
				Name: fmt.Sprintf("d%d.p%d", d, p), Hazard: 1, Min: -40, Max: 150, Stale: 10 * time.Second,
				Physics: []sensors.Physics{sensors.Temperature, sensors.Smoke}[p/5]})
		}
		for half := range 2 {
			c := Cond{Name: fmt.Sprintf("d%d-%d", d, half), Threshold: 60, OnDelay: 5 * time.Second, OffDelay: time.Minute, Priority: 2}
			m := Member{Device: sensors.DeviceID(d)}
			for p := range 5 {
				m.Points = append(m.Points, sensors.PointID(d*10+half*5+p))
			}
			c.Members = []Member{m}
			r.Conds = append(r.Conds, c)
		}
	}
	for v := range 200 {
		c := Cond{Name: fmt.Sprint("v", v), Kind: Vote, Need: 2, Independent: true}
		for i := range 10 {
			c.Of = append(c.Of, CondID(v*10+i))
		}
		r.Conds = append(r.Conds, c)
	}
	return r
}

// BenchmarkMassReturn is a plant of which every device has been silent, and comes back poll by poll.
func BenchmarkMassReturn(b *testing.B) {
	r := bigRules()
	var ch Changes
	for range b.N {
		e, err := New(r)
		if err != nil {
			b.Fatal(err)
		}
		now := sensors.Mono(time.Hour)
		e.Step(now, nil, &ch)
		now = now.Add(time.Minute)
		e.Step(now, nil, &ch)
		for d := range r.Devices {
			now = now.Add(time.Millisecond)
			ch.Reset()
			in := []sensors.Reading{{Point: sensors.PointID(d * 10), Value: 25, Quality: sensors.GoodQuality, At: now}}
			for e.Step(now, in, &ch) <= now {
				in = nil
			}
		}
		if len(e.Losses()) != 0 {
			b.Fatal("some are still lost")
		}
	}
}

// BenchmarkReadings judges polls of one device of ten points each, every device once a second.
func BenchmarkReadings(b *testing.B) {
	for _, c := range []struct {
		name  string
		value func(i int) float64
	}{
		{"quiet", func(i int) float64 { return 25 + float64(i%7)/10 }},
		{"all true", func(int) float64 { return 70 }},
		{"one in a hundred flickers", func(i int) float64 { return []float64{25, 70}[max(0, i%200-198)] }},
	} {
		b.Run(c.name, func(b *testing.B) {
			e, err := New(bigRules())
			if err != nil {
				b.Fatal(err)
			}
			now := sensors.Mono(time.Hour)
			batch := make([]sensors.Reading, 10)
			var ch Changes
			poll := func(i int) {
				now = now.Add(time.Millisecond)
				for k := range batch {
					batch[k] = sensors.Reading{Point: sensors.PointID(i%1000*10 + k), Value: c.value(i + k), Quality: sensors.GoodQuality, At: now}
				}
				ch.Reset()
				for e.Step(now, batch, &ch) <= now {
					batch = batch[:0]
				}
				batch = batch[:10]
			}
			for i := range 20000 {
				poll(i)
			}
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				poll(i)
			}
			b.ReportMetric(float64(b.N)*10/b.Elapsed().Seconds(), "readings/s")
		})
	}
}

// BenchmarkWouldInhibit is the question whether a point may be bypassed, of a plant that reads.
func BenchmarkWouldInhibit(b *testing.B) {
	r := bigRules()
	e, err := New(r)
	if err != nil {
		b.Fatal(err)
	}
	now := sensors.Mono(time.Hour)
	var in []sensors.Reading
	for p := range r.Points {
		in = append(in, sensors.Reading{Point: sensors.PointID(p), Value: 25, Quality: sensors.GoodQuality, At: now})
	}
	var ch Changes
	for e.Step(now, in, &ch) <= now {
		in = nil
	}
	for range b.N {
		if dead := e.WouldInhibit(now, []sensors.PointID{7}); len(dead) != 1 { // its vote, which spans one bus
			b.Fatal(dead)
		}
	}
}
