package metrics

import (
	"sync"
	"sync/atomic"
	"time"

	"firebreak/agent/latency"
	"firebreak/plugins"
	"firebreak/sensors"
)

// floodAlarm is the alarm that says that there are more than a person can follow.
const floodAlarm = "alarms/flood"

// raisedWindow and maxRaised bound what is remembered of alarms that were raised.
const (
	raisedWindow = 10 * time.Minute
	maxRaised    = 1000
)

// Tally counts what the loop tells. It is a publisher.
type Tally struct {
	began   sensors.Mono
	devices []sensors.Device
	hooks   []string
	called  []called // by hook

	mu      sync.Mutex
	taken   [][3]uint64       // readings by device and status
	usable  []sensors.Mono    // newest usable one, by device
	quality []uint8           // by point: 0 unheard, else status + 1
	known   map[string]uint64 // newest occurrence, by alarm
	raised  [5]uint64         // by priority; 0: none of 1 to 4
	lately  []time.Time       // when, ascending
	flood   bool
}

type called struct {
	took  latency.Histogram
	ended [plugins.Skipped + 1]atomic.Uint64 // by result
}

// NewTally makes one. known are the occurrences of alarms before this start: telling them again raises
// nothing.
func NewTally(now sensors.Mono, devices []sensors.Device, points int, hooks []string, known map[string]uint64) *Tally {
	t := &Tally{began: now, devices: devices, hooks: hooks, called: make([]called, len(hooks)), taken: make([][3]uint64, len(devices)),
		usable: make([]sensors.Mono, len(devices)), quality: make([]uint8, points), known: known}
	if t.known == nil {
		t.known = map[string]uint64{}
	}
	return t
}

// Offer never waits for anything but another goroutine's copy.
func (t *Tally) Offer(u plugins.Update) {
	if u.Mark != plugins.MarkReal {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case u.State != nil:
		t.poll(u.State)
	case u.Alarm != nil:
		t.alarm(u.Alarm, u.Wall)
	}
}

func (t *Tally) poll(b *sensors.Batch) {
	if int(b.Device) >= len(t.taken) {
		return
	}
	for i := range b.Readings {
		r := &b.Readings[i]
		s := r.Quality.Status()
		t.taken[b.Device][s]++
		if int(r.Point) < len(t.quality) {
			t.quality[r.Point] = uint8(s) + 1
		}
		if r.Quality.Usable() {
			t.usable[b.Device] = max(t.usable[b.Device], r.At)
		}
	}
}

func (t *Tally) alarm(a *plugins.AlarmState, at time.Time) {
	if a.Name == floodAlarm {
		t.flood = a.Active
	}
	if a.Occurrence <= t.known[a.Name] {
		return
	}
	t.known[a.Name] = a.Occurrence
	if a.Priority > 0 && a.Priority < len(t.raised) {
		t.raised[a.Priority]++
	}
	if a.Name == floodAlarm {
		return // it tells of the others
	}
	if len(t.lately) == maxRaised {
		t.lately = t.lately[:copy(t.lately, t.lately[1:])]
	}
	t.lately = append(t.lately, at)
}

// Called notes the end of a hook's call; hook is its index. It runs between hook and loop, so it takes no
// lock at all.
func (t *Tally) Called(hook int, o plugins.Outcome) {
	if hook < 0 || hook >= len(t.called) || int(o.Result) >= len(t.called[hook].ended) {
		return
	}
	t.called[hook].took.Note(o.Elapsed)
	t.called[hook].ended[o.Result].Add(1)
}

// Put adds all that was counted to a page.
func (t *Tally) Put(p *Page, now sensors.Mono, wall time.Time) {
	for i, name := range t.hooks {
		c := &t.called[i]
		p.Took("firebreak_hook_seconds", c.took.Read(), name)
		for r := range c.ended {
			p.Count("firebreak_hook_calls_total", c.ended[r].Load(), name, plugins.Result(r).String())
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var present [4]int
	for _, q := range t.quality {
		present[q]++
	}
	for i, s := range []string{"unheard", sensors.Bad.String(), sensors.Uncertain.String(), sensors.Good.String()} {
		p.Set("firebreak_points", float64(present[i]), s)
	}
	for i := range t.devices {
		d := &t.devices[i]
		for s, n := range t.taken[i] {
			p.Count("firebreak_readings_total", n, d.Name, sensors.QualityStatus(s).String())
		}
		p.Set("firebreak_sample_age_seconds", max(0, now.Sub(max(t.usable[i], t.began)).Seconds()), d.Name)
	}
	for i, n := range t.raised[1:] {
		p.Count("firebreak_alarms_raised_total", n, string(rune('1'+i)))
	}
	drop := 0
	for drop < len(t.lately) && wall.Sub(t.lately[drop]) >= raisedWindow {
		drop++
	}
	t.lately = t.lately[:copy(t.lately, t.lately[drop:])]
	p.Set("firebreak_alarms_raised_10m", float64(len(t.lately)))
	p.Is("firebreak_alarm_flood", t.flood)
}
