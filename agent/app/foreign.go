package app

import (
	"slices"
	"sync"
	"time"

	"firebreak/agent/config"
	"firebreak/agent/consumer"
	"firebreak/agent/uplink"
	"firebreak/sensors"
)

// foreigners makes readings of what other agents tell, verified, so that a rack agent learns of the battery
// room. A value has the instant at which it was heard and is never stamped anew: when its agent falls
// silent, or its readings stop, it gets stale like that of a sensor. An alarm is confirmed by each hello
// whose count of active alarms it agrees with; until then it is not known.
type foreigners struct {
	now func() sensors.Mono
	put func(sensors.Batch) // never waits

	mu   sync.Mutex
	from []foreign
}

type foreign struct {
	config.AgentSource
	first sensors.PointID
	seq   uint64
	last  []sensors.Reading // by the order of the points
	known []bool
}

func newForeigners(c *config.Config, now func() sensors.Mono, put func(sensors.Batch)) *foreigners {
	f := &foreigners{now: now, put: put}
	for _, s := range c.Sources {
		f.from = append(f.from, foreign{AgentSource: s, first: c.Devices[s.Device].First,
			last: make([]sensors.Reading, len(s.Points)), known: make([]bool, len(s.Points))})
	}
	return f
}

// heard takes what one of them said.
func (f *foreigners) heard(h uplink.Foreign) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.from {
		s := &f.from[i]
		if s.Agent != h.Agent.Name {
			continue
		}
		changed := h.Hello && h.Agent.Complete && s.alarms(h.Agent, f.now())
		for _, n := range h.Notes {
			switch {
			case n.Kind == consumer.AlarmTold && n.Act() && n.Alarm.Active: // what is worse is not waited for
				changed = s.raised(n.Alarm.Hazard, f.now()) || changed
			case n.Kind == consumer.StateTold && !n.Past:
				changed = s.state(&n, f.now()) || changed
			}
		}
		if changed {
			f.put(s.batch())
		}
	}
}

// alarms takes that the active alarms are these, and no others.
func (s *foreign) alarms(a consumer.Agent, at sensors.Mono) (any bool) {
	for i, p := range s.Points {
		if p.Alarm == "" {
			continue
		}
		v := 0.0
		for _, al := range a.Alarms {
			if al.Hazard == p.Alarm {
				v = 1
			}
		}
		s.set(i, v, sensors.GoodQuality, at)
		any = true
	}
	return any
}

// raised takes that one alarm is active, before a hello has confirmed it.
func (s *foreign) raised(hazard string, at sensors.Mono) (any bool) {
	for i, p := range s.Points {
		if p.Alarm == hazard {
			s.set(i, 1, sensors.GoodQuality, at)
			any = true
		}
	}
	return any
}

// state takes one poll of one of its devices.
func (s *foreign) state(n *consumer.Note, at sensors.Mono) (any bool) {
	for i, p := range s.Points {
		if p.Device != n.State.Device || p.Device == "" {
			continue
		}
		v, there := n.State.Values[p.Channel]
		switch reason, bad := n.State.Bad[p.Channel]; {
		case !there:
			continue
		case v == nil || bad:
			s.set(i, 0, quality(sensors.Bad, reason), at)
		default:
			q := sensors.GoodQuality
			if why, uncertain := n.State.Uncertain[p.Channel]; uncertain {
				q = quality(sensors.Uncertain, why)
			}
			s.set(i, *v, q, at)
		}
		any = true
	}
	return any
}

// quality is that of the other agent; a reason that is not known here says that the value is not.
func quality(st sensors.QualityStatus, reason string) sensors.Quality {
	r, err := sensors.ParseReason(reason)
	if err != nil || r == sensors.NoReason {
		return sensors.MakeQuality(sensors.Bad, sensors.Comm, sensors.Real)
	}
	return sensors.MakeQuality(st, r, sensors.Real)
}

func (s *foreign) set(i int, v float64, q sensors.Quality, at sensors.Mono) {
	s.last[i], s.known[i] = sensors.Reading{Point: s.first + sensors.PointID(i), Value: v, Quality: q, At: at}, true
}

// batch is all that is known of the agent, each value with its own time: the mailbox keeps the newest
// batch of a device.
func (s *foreign) batch() sensors.Batch {
	s.seq++
	b := sensors.Batch{Device: s.Device, Seq: s.seq, Wall: time.Now()}
	for i := range s.last {
		if s.known[i] {
			b.Readings = append(b.Readings, s.last[i])
		}
	}
	b.Readings = slices.Clip(b.Readings)
	return b
}
