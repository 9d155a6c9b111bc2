package hazard

import (
	"cmp"
	"slices"
	"testing"
	"time"

	"firebreak/sensors"
)

// beside makes a detector on points that are all compared with ref.
func (m *room) beside(c Cond, ref sensors.PointID, points ...sensors.PointID) CondID {
	id := m.over(c, points...)
	for i := range m.r.Conds[id].Members {
		mb := &m.r.Conds[id].Members[i]
		for range mb.Points {
			mb.Ref = append(mb.Ref, ref)
		}
	}
	return id
}

func TestDeviationFromAPoint(t *testing.T) {
	m := newRoom(t)
	p, ref := m.point("vrla", "t", sensors.Temperature), m.point("room", "t", sensors.Temperature)
	up := m.beside(Cond{Name: "up", Kind: Deviation, Threshold: 10, Deadband: 2}, ref, p)
	down := m.beside(Cond{Name: "down", Kind: Deviation, Threshold: 10, Side: Down}, ref, p)
	either := m.beside(Cond{Name: "either", Kind: Deviation, Threshold: 10, Side: Either}, ref, p)
	m.read(p, 40)
	m.want(up, "unknown") // the reference was never read
	m.read(ref, 25)
	m.want(up, "unknown") // judged when its own point is read
	m.read(p, 40)
	m.want(up, "true")
	m.want(down, "false")
	m.want(either, "true")
	m.read(p, 33.5) // within the deadband
	m.want(up, "true")
	m.want(either, "false")
	m.read(p, 32)
	m.want(up, "false")
	m.read(p, 14)
	m.want(up, "false")
	m.want(down, "true")
	m.want(either, "true")
	m.read(ref, 4)
	m.read(p, 14)
	m.want(up, "true")
	m.want(down, "false")
}

// A reference that is silent makes the detector unknown: what was true is held-true, and what was
// false is no false (S4).
func TestDeviationWithoutItsReference(t *testing.T) {
	wants := map[string]string{"out of service": "unknown held"} // by a person: then it is no vote either
	for name, gone := range map[string]func(m *room, ref, p sensors.PointID){
		"bad": func(m *room, ref, p sensors.PointID) { m.bad(ref, sensors.Comm) },
		"stale": func(m *room, ref, p sensors.PointID) { // 3 s
			m.wait(2 * time.Second)
			m.read(p, 25)
			m.wait(time.Second)
		},
		"out of service": func(m *room, ref, p sensors.PointID) { m.e.SetOutOfService(m.now, ref, true) },
	} {
		t.Run(name, func(t *testing.T) {
			m := newRoom(t)
			p, q, ref := m.point("a", "t", sensors.Temperature), m.point("b", "t", sensors.Temperature), m.point("room", "t", sensors.Temperature)
			hot := m.beside(Cond{Name: "hot", Kind: Deviation, Threshold: 10}, ref, p)
			cold := m.beside(Cond{Name: "cold", Kind: Deviation, Threshold: 10}, ref, q)
			m.over(Cond{Name: "watch", Threshold: 140}, ref)
			m.read(ref, 20)
			m.read(p, 40)
			m.read(q, 20)
			m.want(hot, "true")
			m.want(cold, "false")
			gone(m, ref, q)
			m.read(p, 90)
			m.read(q, 20)
			m.want(hot, cmp.Or(wants[name], "true held-true"))
			m.want(cold, "unknown")
		})
	}
}

// Two members that are compared with one point are one observation: it makes both true by lying (S5).
func TestSharedReferenceIsOneMember(t *testing.T) {
	m := newRoom(t)
	a, b := m.point("a", "t", sensors.Temperature), m.point("b", "t", sensors.Temperature)
	c, ref := m.point("c", "s", sensors.Smoke), m.point("ref", "t", sensors.Temperature)
	own := m.point("ref", "s", sensors.Smoke)
	one := m.beside(Cond{Name: "one", Kind: Deviation, Threshold: 10}, ref, a)
	two := m.beside(Cond{Name: "two", Kind: Deviation, Threshold: 10}, ref, b)
	smoke := m.over(Cond{Name: "smoke", Threshold: 60}, c)
	onRef := m.over(Cond{Name: "on-ref", Threshold: 60}, own)
	pair := m.vote(2, false, one, two)
	with := m.vote(2, true, one, smoke)
	lies := m.vote(2, true, one, onRef) // both rest on the device ref
	m.read(ref, 20)
	for _, p := range []sensors.PointID{a, b, c, own} {
		m.read(p, 90)
	}
	m.want(pair, "unknown inhibited")
	m.want(with, "true")
	m.want(lies, "unknown inhibited")
}

// One that lies moves no median far; a group that moves as a whole moves it too (timeline 21).
func TestMedian(t *testing.T) {
	m := newRoom(t)
	var p []sensors.PointID
	for _, d := range []string{"a", "b", "c", "d"} {
		p = append(p, m.point(d, "t", sensors.Temperature))
	}
	id := m.over(Cond{Name: "off", Kind: Deviation, From: FromMedian, Threshold: 5, Side: Either}, p...)
	is := func(i int, want Tri) {
		t.Helper()
		if got := m.e.members[i].v.Is; got != want {
			t.Errorf("t+%v: member %d is %v, want %v", m.now.Sub(sensors.Mono(1000*time.Second)), i, got, want)
		}
	}
	m.read(p[0], 25)
	m.read(p[1], 25)
	m.want(id, "unknown") // two are no group
	for _, q := range p {
		m.read(q, 25)
	}
	m.want(id, "false") // the first two were read before there was a median; half of the members is enough
	m.read(p[0], 25)
	m.read(p[3], 140)
	for i, want := range []Tri{False, False, False, True} {
		m.read(p[i], []float64{25, 25, 25, 140}[i])
		is(i, want)
	}
	for step := range 40 { // all of them rise, one is ahead
		for i, q := range p {
			m.read(q, 25+float64(step)+[]float64{0, 0, 0, 4}[i])
		}
		m.wait(time.Second)
	}
	m.want(id, "false")
	m.bad(p[0], sensors.Comm)
	m.bad(p[1], sensors.Comm)
	m.read(p[2], 140)
	is(2, Unknown)
}

func TestDeviceMedian(t *testing.T) {
	m := newRoom(t)
	var p []sensors.PointID
	for _, d := range []string{"a", "b"} {
		for _, k := range []string{"1", "2", "3"} {
			p = append(p, m.point(d, k, sensors.Temperature))
		}
	}
	id := m.over(Cond{Name: "off", Kind: Deviation, From: FromDeviceMedian, Threshold: 5}, p...)
	for range 2 {
		for i, q := range p {
			m.read(q, []float64{20, 21, 22, 60, 61, 62}[i])
		}
	}
	m.want(id, "false") // a hot string, none of whose modules is hotter than the others
	m.read(p[5], 67)
	m.want(id, "true")
}

// A bypassed point is read and counts in the median as before: a bypass makes nobody deviate, and no
// detector unknown (S19). One out of service does not.
func TestMedianWithTheBypassed(t *testing.T) {
	m := newRoom(t)
	var p []sensors.PointID
	for _, d := range []string{"a", "b", "c"} {
		p = append(p, m.point(d, "t", sensors.Temperature))
	}
	off := m.over(Cond{Name: "off", Kind: Deviation, From: FromMedian, Threshold: 5}, p...)
	v := m.vote(1, false, off)
	for range 2 {
		for _, q := range p {
			m.read(q, 25)
		}
	}
	m.want(v, "false")
	m.e.SetBypass(m.now, p[0], m.now.Add(time.Hour))
	m.read(p[1], 25)
	m.read(p[2], 25)
	m.want(v, "false")
	m.e.SetOutOfService(m.now, p[0], true)
	m.read(p[1], 25)
	m.read(p[2], 25)
	m.want(v, "unknown inhibited")
}

// A bypass of what others are compared with takes them along: they are not held-true by it, and whoever
// asks what it would cost is told.
func TestBypassOfAReference(t *testing.T) {
	m := newRoom(t)
	p, ref := m.point("a", "t", sensors.Temperature), m.point("room", "t", sensors.Temperature)
	hot := m.beside(Cond{Name: "hot", Kind: Deviation, Threshold: 10}, ref, p)
	m.over(Cond{Name: "watch", Threshold: 140}, ref)
	v := m.vote(1, false, hot)
	m.read(ref, 20)
	m.read(p, 20)
	if dead := m.e.WouldInhibit(m.now, []sensors.PointID{ref}); !slices.Contains(dead, v) {
		t.Errorf("only %v could not trip", dead)
	}
	m.read(p, 40)
	m.want(hot, "true")
	m.e.SetBypass(m.now, ref, m.now.Add(time.Hour))
	m.read(p, 40)
	m.want(hot, "unknown held")
}

func TestRatio(t *testing.T) {
	m := newRoom(t)
	p, ref := m.point("vrla", "i", sensors.Temperature), m.point("other", "i", sensors.Temperature)
	up := m.beside(Cond{Name: "up", Kind: Deviation, Ratio: true, Threshold: 3, Floor: 4, Deadband: 1}, ref, p)
	down := m.beside(Cond{Name: "down", Kind: Deviation, Ratio: true, Threshold: 0.8, Side: Down}, ref, p)
	for _, k := range []struct {
		ref, p   float64
		up, down string
	}{{10, 29, "false", "false"}, {10, 30, "true", "false"}, {10, 29.5, "true", "false"}, {10, 29, "false", "false"}, {10, 8, "false", "true"},
		{0, 11.9, "false", "false"}, {0, 12, "true", "false"}} { // three times nearly nothing is not everything
		m.read(ref, k.ref)
		m.read(p, k.p)
		m.want(up, k.up)
		m.want(down, k.down)
	}
}
