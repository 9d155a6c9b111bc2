package replay

import (
	"slices"
	"time"

	"firebreak/agent/core"
	"firebreak/agent/hazard"
	"firebreak/agent/response"
	"firebreak/plugins"
	"firebreak/sensors"
)

// typical is how long the work of a step takes where nothing says it, answers how long a hook takes
// to say that it has taken the work on.
const (
	typical = 10 * time.Second
	answers = time.Second
)

// work is what a step does in place of its hook.
type work struct {
	step  string
	takes time.Duration
	shows []shown // points that tell of it
	does  string  // what it does to the scenario's plant, when done
}

// shown is a point that a work moves.
type shown struct {
	point    string
	from, to float64
}

// works stands in for every hook: it calls none. A step's work begins when its hook would have been
// called and ends after its stated time; the points of its evidence say so then.
type works struct {
	play  *player
	rules *core.Rules
	list  map[string]work // by step
	done  func(does string, now sensors.Mono)

	polls   []workPoll
	spoken  map[sensors.PointID]bool // moved by a work
	derived map[sensors.PointID]bool // of these: by what the evidence asks for, not by the scenario
	starts  []started
	buf     []sensors.Reading
}

// workPoll is one device of which works move points.
type workPoll struct {
	every  time.Duration
	next   sensors.Mono
	points []workPoint
}

type workPoint struct {
	id    sensors.PointID
	moves []move
}

// move is how one step moves a point.
type move struct {
	step     string
	from, to float64
	takes    time.Duration
}

type started struct {
	step string
	at   sensors.Mono
}

func newWorks(r *core.Rules, given []work) *works {
	w := &works{rules: r, list: map[string]work{}, spoken: map[sensors.PointID]bool{}, derived: map[sensors.PointID]bool{}, done: func(string, sensors.Mono) {}}
	given = slices.Clone(given)
	given = slices.DeleteFunc(given, func(g work) bool { // the first that names a step has it
		if _, have := w.list[g.step]; have {
			return true
		}
		w.list[g.step] = g
		return false
	})
	byPoint := map[sensors.PointID][]move{}
	var order []sensors.PointID
	add := func(id sensors.PointID, m move) {
		if byPoint[id] == nil {
			order = append(order, id)
		}
		byPoint[id] = append(byPoint[id], m)
		w.spoken[id] = true
	}
	for _, g := range given {
		for _, s := range g.shows {
			if id, ok := pointNamed(r, s.point); ok {
				add(id, move{g.step, s.from, s.to, g.takes})
			}
		}
	}
	for i := range r.Response.Plans {
		for k := range r.Response.Plans[i].Steps {
			w.derive(&r.Response.Plans[i].Steps[k], add)
		}
	}
	at := map[sensors.DeviceID]int{}
	for _, id := range order {
		d := r.Hazard.Points[id].Device
		if _, have := at[d]; !have {
			at[d] = len(w.polls)
			w.polls = append(w.polls, workPoll{every: max(r.Hazard.Devices[d].Poll, time.Millisecond), next: base})
		}
		p := &w.polls[at[d]]
		p.points = append(p.points, workPoint{id, byPoint[id]})
	}
	return w
}

func pointNamed(r *core.Rules, name string) (sensors.PointID, bool) {
	i := slices.IndexFunc(r.Hazard.Points, func(p sensors.Point) bool { return p.Name == name })
	return sensors.PointID(max(0, i)), i >= 0
}

// derive lets a point that the evidence of a step looks at, and of which nothing else speaks, say "not
// done" and then "done".
func (w *works) derive(s *response.Step, add func(sensors.PointID, move)) {
	if _, given := w.list[s.Name]; !given {
		w.list[s.Name] = work{step: s.Name, takes: typical}
	}
	if s.Evidence != response.ByCondition {
		return
	}
	c := &w.rules.Hazard.Conds[s.EvidenceCond]
	id := c.Members[0].Points[0]
	if w.spoken[id] && !w.derived[id] {
		return
	}
	w.derived[id] = true
	from, to := around(c, &w.rules.Hazard.Points[id])
	add(id, move{s.Name, from, to, w.list[s.Name].takes})
}

// around are a value at which the condition is false, and one at which it is true.
func around(c *hazard.Cond, p *sensors.Point) (from, to float64) {
	off := max(1, c.Threshold)
	switch c.Kind {
	case hazard.Below:
		return c.Threshold + off, c.Threshold
	case hazard.Above:
		return c.Threshold - off, c.Threshold
	case hazard.NotIn:
		return c.Values[0], other(c.Values[0], p)
	default:
		return other(c.Values[0], p), c.Values[0]
	}
}

func other(v float64, p *sensors.Point) float64 {
	if p.Kind == sensors.Binary {
		return 1 - v
	}
	return v + 1
}

// silence takes points out that the feed itself speaks of.
func (w *works) silence(spoken func(sensors.PointID) bool) {
	for i := range w.polls {
		w.polls[i].points = slices.DeleteFunc(w.polls[i].points, func(p workPoint) bool { return w.derived[p.id] && spoken(p.id) })
	}
	w.polls = slices.DeleteFunc(w.polls, func(p workPoll) bool { return len(p.points) == 0 })
}

// poll reads the points that works move.
func (w *works) poll(now sensors.Mono, put func([]sensors.Reading)) sensors.Mono {
	next := never
	for i := range w.polls {
		p := &w.polls[i]
		if now >= p.next {
			w.buf = w.buf[:0]
			for k := range p.points {
				w.buf = append(w.buf, sensors.Reading{Point: p.points[k].id, Value: w.value(&p.points[k], now), At: now,
					Quality: sensors.GoodQuality.WithOrigin(w.rules.Hazard.Origin)})
			}
			p.next = now.Add(p.every)
			put(w.buf)
		}
		next = min(next, p.next)
	}
	return next
}

// value is what the step that began last makes of a point.
func (w *works) value(p *workPoint, now sensors.Mono) float64 {
	v := p.moves[0].from
	for _, s := range w.starts {
		for _, m := range p.moves {
			if m.step != s.step {
				continue
			}
			part := 1.0
			if m.takes > 0 {
				part = min(1, float64(now.Sub(s.at))/float64(m.takes))
			}
			if w.rules.Hazard.Points[p.id].Kind != sensors.Measurement && part < 1 {
				part = 0
			}
			v = m.from + part*(m.to-m.from)
		}
	}
	return v
}

// start stands in for a hook.
func (w *works) start(now sensors.Mono, c plugins.Call) {
	g, ok := w.list[c.Key.Step]
	if !ok {
		g = work{step: c.Key.Step, takes: typical}
	}
	ends, out := answers, plugins.Outcome{Result: plugins.Done}
	byHook := ""
	if st := w.step(c.Key); st != nil {
		switch st.Evidence {
		case response.ByOutcome:
			ends = g.takes
		case response.ByHook:
			if byHook = st.EvidenceName; byHook == "" {
				byHook = plugins.SeenDone
			}
		}
	}
	if c.Timeout > 0 && ends > c.Timeout {
		ends, out = c.Timeout, plugins.Outcome{Detail: "the work takes longer than the time-out of the call"}
	}
	if !slices.ContainsFunc(w.starts, func(s started) bool { return s.step == c.Key.Step }) && !c.Key.Undo {
		w.starts = append(w.starts, started{c.Key.Step, now})
	}
	p := w.play
	p.later(now, func() { p.step(core.Event{Kind: core.HookStarted, Key: c.Key, Journaled: true}) })
	p.later(now.Add(ends), func() { p.step(core.Event{Kind: core.HookDone, Key: c.Key, Outcome: out}) })
	p.later(now.Add(g.takes), func() {
		if g.does != "" {
			w.done(g.does, p.now)
		}
		if byHook != "" {
			p.step(core.Event{Kind: core.Seen, Evidence: plugins.Evidence{Key: c.Key, Name: byHook, OK: true, Detail: "supposed by the replay"}})
		}
	})
}

func (w *works) step(k plugins.Key) *response.Step {
	for i := range w.rules.Response.Plans {
		p := &w.rules.Response.Plans[i]
		if p.Name != k.Plan {
			continue
		}
		for n := range p.Steps {
			if p.Steps[n].Name == k.Step {
				return &p.Steps[n]
			}
		}
	}
	return nil
}
