// Package mapping makes readings of what Telegraf inputs bring: which measurement, tags and field are which
// point.
//
// Concurrency: a Mapper belongs to one goroutine. Failure: a metric that does not fit is counted; a value
// that is none of its point's is a bad reading; an input that says that it could not gather makes those of
// its points bad that this gather brought nothing for; one that says nothing lets its points get stale.
package mapping

import (
	"time"

	"firebreak/plugins/telegraf/line"
	"firebreak/plugins/telegraf/pipe"
	"firebreak/sensors"
)

// Point is where a point comes from.
type Point struct {
	Measurement string
	Tags        map[string]string // all of them, with these values
	Field       string
	Values      map[string]float64 // what a text means, for a state or a contact
}

// Source is the points of one device, all of one input.
type Source struct {
	Device sensors.DeviceID
	Input  string // "upsd" or "upsd::alias", for its errors; empty: nobody's
	From   []Point
	Points []sensors.Point // in the order of From
}

// Mapper keeps the newest reading of each point.
type Mapper struct {
	sources []source
	byName  map[string][]place
	now     func() sensors.Mono
	put     func(sensors.Batch) // never waits
	unfit   uint64
}

type source struct {
	Source
	quals   []sensors.Qualifier
	last    []sensors.Reading
	known   []bool
	seq     uint64
	changed bool
}

type place struct{ source, point int }

// New returns a mapper that puts batches as they change. put must not wait.
func New(sources []Source, now func() sensors.Mono, put func(sensors.Batch)) *Mapper {
	m := &Mapper{byName: map[string][]place{}, now: now, put: put}
	for i, s := range sources {
		n := len(s.From)
		m.sources = append(m.sources, source{Source: s, quals: make([]sensors.Qualifier, n), last: make([]sensors.Reading, n), known: make([]bool, n)})
		for k, p := range s.From {
			m.byName[p.Measurement] = append(m.byName[p.Measurement], place{i, k})
		}
	}
	return m
}

// Measurements are those that some point comes from.
func (m *Mapper) Measurements() (names []string) {
	for n := range m.byName {
		names = append(names, n)
	}
	return names
}

// Unfit counts lines that could not be read.
func (m *Mapper) Unfit() uint64 { return m.unfit }

// Take makes readings of metrics. A reading is as old as its metric was by the clock of the process that sent
// it, and as long as it was under way by the monotonic one: the wall clock of this process decides nothing.
func (m *Mapper) Take(ms pipe.Metrics) {
	sent := m.now().Add(-time.Duration(max(pipe.Now()-ms.Mono, 0)))
	err := ms.Each(func(one line.Metric) {
		at := sent
		if age := ms.Wall - one.Time; one.Time != 0 && age > 0 {
			at = sent.Add(-time.Duration(age))
		}
		for _, p := range m.byName[one.Name] {
			m.sources[p.source].take(p.point, &one, at)
		}
	})
	if err != nil {
		m.unfit++
	}
	m.flush()
}

// Gathered takes the end of a gather.
func (m *Mapper) Gathered(g pipe.Gathered) {
	if len(g.Errors) == 0 {
		return
	}
	now := m.now()
	begun := now.Add(-time.Duration(max(pipe.Now()-g.Begun, 0)))
	for i := range m.sources {
		s := &m.sources[i]
		if s.Input != g.Input {
			continue
		}
		for k := range s.last {
			if s.known[k] && s.last[k].At >= begun {
				continue
			}
			s.set(k, sensors.Reading{Quality: sensors.BadQuality(sensors.Comm), At: now})
		}
	}
	m.flush()
}

func (m *Mapper) flush() {
	for i := range m.sources {
		if s := &m.sources[i]; s.changed {
			s.changed = false
			m.put(s.batch(m.now()))
		}
	}
}

// take makes a reading of a metric that has the point's measurement, unless a newer one is there.
func (s *source) take(k int, one *line.Metric, at sensors.Mono) {
	p := &s.From[k]
	for key, want := range p.Tags {
		if one.Tag(key) != want {
			return
		}
	}
	v := one.Field(p.Field)
	if v == nil || s.known[k] && s.last[k].At > at {
		return
	}
	r := sensors.Reading{Point: s.Points[k].ID, At: at, Quality: sensors.GoodQuality}
	var ok bool
	if r.Value, ok = p.value(v); !ok || s.Points[k].Kind == sensors.Binary && r.Value != 0 && r.Value != 1 {
		r.Value, r.Quality = 0, sensors.BadQuality(sensors.Implausible)
	}
	s.set(k, s.quals[k].Qualify(&s.Points[k], r))
}

// value is a field as a number; false: it is none that the point knows.
func (p *Point) value(v any) (float64, bool) {
	switch v := v.(type) {
	case float64:
		return v, true
	case int64:
		return float64(v), true
	case uint64:
		return float64(v), true
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	case string:
		f, ok := p.Values[v]
		return f, ok
	}
	return 0, false
}

func (s *source) set(k int, r sensors.Reading) {
	r.Point = s.Points[k].ID
	s.last[k], s.known[k], s.changed = r, true, true
}

// batch is all that is known of the device, each value with its own time: the mailbox keeps the newest
// batch of a device. Its wall time is that of its newest reading, from which the others are dated.
func (s *source) batch(now sensors.Mono) sensors.Batch {
	s.seq++
	b := sensors.Batch{Device: s.Device, Seq: s.seq, Readings: make([]sensors.Reading, 0, len(s.last))}
	var newest sensors.Mono
	for k := range s.last {
		if s.known[k] {
			b.Readings, newest = append(b.Readings, s.last[k]), max(newest, s.last[k].At)
		}
	}
	b.Wall = time.Now().Add(-now.Sub(newest))
	return b
}
