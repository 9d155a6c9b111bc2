package hazard

import (
	"fmt"
	"testing"
	"time"

	"firebreak/sensors"
)

// room is an engine under test, in simulated time. Devices and points are made by name when they
// are first named; "dev.point" sits on "dev".
type room struct {
	t   *testing.T
	r   Rules
	e   *Engine
	now sensors.Mono
	ch  Changes

	members []MemberRecord // all that were recorded
	bases   []BaselineRecord
	conds   []CondChange
	losses  int // how often the losses changed
	qual    map[sensors.PointID]*sensors.Qualifier
}

func newRoom(t *testing.T) *room {
	return &room{t: t, now: sensors.Mono(1000 * time.Second), qual: map[sensors.PointID]*sensors.Qualifier{}}
}

func (m *room) device(name string, p sensors.Path) sensors.DeviceID {
	for i := range m.r.Devices {
		if m.r.Devices[i].Name == name {
			return sensors.DeviceID(i)
		}
	}
	m.r.Devices = append(m.r.Devices, sensors.Device{ID: sensors.DeviceID(len(m.r.Devices)), Name: name, Path: p})
	return sensors.DeviceID(len(m.r.Devices) - 1)
}

// own is a path that shares nothing.
func own(name string) sensors.Path {
	return sensors.Path{Bus: "bus-" + name, Gateway: "gw-" + name, Supply: "feed-" + name}
}

func (m *room) point(dev, name string, ph sensors.Physics) sensors.PointID {
	d := m.device(dev, own(dev))
	m.r.Points = append(m.r.Points, sensors.Point{ID: sensors.PointID(len(m.r.Points)), Device: d, Name: dev + "." + name,
		Physics: ph, Hazard: 1, Min: -40, Max: 150, Stale: 3 * time.Second})
	return sensors.PointID(len(m.r.Points) - 1)
}

// over makes a member for each point of c, or one for each device when they share one.
func (m *room) over(c Cond, points ...sensors.PointID) CondID {
	at := map[sensors.DeviceID]int{}
	for _, p := range points {
		d := m.r.Points[p].Device
		i, ok := at[d]
		if !ok {
			i = len(c.Members)
			at[d] = i
			c.Members = append(c.Members, Member{Device: d})
		}
		c.Members[i].Points = append(c.Members[i].Points, p)
	}
	return m.cond(c)
}

func (m *room) cond(c Cond) CondID {
	if c.Name == "" {
		c.Name = fmt.Sprintf("cond-%d", len(m.r.Conds))
	}
	m.r.Conds = append(m.r.Conds, c)
	return CondID(len(m.r.Conds) - 1)
}

func (m *room) vote(need int, independent bool, of ...CondID) CondID {
	return m.cond(Cond{Name: fmt.Sprintf("vote-%d", len(m.r.Conds)), Kind: Vote, Need: need, Independent: independent, Of: of})
}

func (m *room) engine() *Engine {
	if m.e == nil {
		e, err := New(&m.r)
		if err != nil {
			m.t.Fatal(err)
		}
		m.e = e
	}
	return m.e
}

// step steps once, and again as long as the engine asks for it at this instant.
func (m *room) step(in ...sensors.Reading) (wake sensors.Mono) {
	for i := 0; ; i++ {
		m.ch.Reset()
		wake = m.engine().Step(m.now, in, &m.ch)
		in = nil
		m.members = append(m.members, m.ch.Members...)
		m.bases = append(m.bases, m.ch.Baselines...)
		m.conds = append(m.conds, m.ch.Conds...)
		if m.ch.Losses {
			m.losses++
		}
		if wake > m.now {
			return wake
		}
		if i == 10 {
			m.t.Fatal("the engine asks to be called again without end")
		}
	}
}

// wait lets time pass, and steps when the engine asks for it.
func (m *room) wait(d time.Duration) {
	end := m.now.Add(d)
	for {
		wake := m.step()
		if wake > end {
			break
		}
		m.now = wake
	}
	m.now = end
}

func (m *room) read(p sensors.PointID, v float64) {
	m.step(sensors.Reading{Point: p, Value: v, Quality: sensors.GoodQuality, At: m.now})
}

// sensed is a reading that has passed the qualifier, as all do in service.
func (m *room) sensed(p sensors.PointID, v float64) {
	q := m.qual[p]
	if q == nil {
		q = &sensors.Qualifier{}
		m.qual[p] = q
	}
	m.step(q.Qualify(&m.r.Points[p], sensors.Reading{Point: p, Value: v, Quality: sensors.GoodQuality, At: m.now}))
}

func (m *room) bad(p sensors.PointID, r sensors.Reason) {
	m.step(sensors.Reading{Point: p, Quality: sensors.BadQuality(r), At: m.now})
}

// keep reads the same values every second for d.
func (m *room) keep(d time.Duration, v float64, points ...sensors.PointID) {
	for ; d > 0; d -= time.Second {
		for _, p := range points {
			m.read(p, v)
		}
		m.wait(time.Second)
	}
}

func (m *room) verdict(id CondID) string {
	v := m.engine().Verdict(id)
	s := v.Is.String()
	if v.Basis != Measured {
		s += " " + v.Basis.String()
	}
	if v.Is == True && !v.Settled {
		s += " returned"
	} else if v.Is == True && !v.Strong {
		s += " weak"
	} else if v.Is == True && !v.Firm {
		s += " falling"
	}
	return s
}

func (m *room) want(id CondID, want string) {
	m.t.Helper()
	if got := m.verdict(id); got != want {
		m.t.Fatalf("t+%v: %s is %q, want %q", m.now.Sub(sensors.Mono(1000*time.Second)), m.r.Conds[id].Name, got, want)
	}
}
