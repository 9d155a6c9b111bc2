package hazard

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"firebreak/sensors"
)

// sensor makes a detector of its own on a point of its own device.
func (m *room) sensor(dev string, ph sensors.Physics, path sensors.Path) (sensors.PointID, CondID) {
	m.device(dev, path)
	p := m.point(dev, "x", ph)
	return p, m.over(Cond{Name: dev + "-high", Threshold: 60, OffDelay: 5 * time.Second}, p)
}

func TestKofN(t *testing.T) {
	m := newRoom(t)
	var p [3]sensors.PointID
	var c [3]CondID
	for i := range p {
		p[i], c[i] = m.sensor(fmt.Sprintf("d%d", i), sensors.Smoke, own(fmt.Sprint(i)))
	}
	v := m.vote(2, false, c[:]...)
	m.step()
	m.want(v, "unknown inhibited")
	m.read(p[0], 20)
	m.want(v, "unknown inhibited")
	m.read(p[1], 20)
	m.want(v, "false") // the third alone cannot make two
	m.read(p[0], 70)
	m.want(v, "unknown") // it could
	m.read(p[2], 20)
	m.want(v, "false")
	m.read(p[1], 70)
	m.want(v, "true")
	m.bad(p[0], sensors.Comm)
	m.want(v, "true")
	m.bad(p[1], sensors.Comm)
	m.want(v, "true held-true")
	m.read(p[1], 20) // false after a silence: no vote
	m.want(v, "unknown")
	m.read(p[0], 20)
	m.want(v, "unknown")
	m.wait(2 * time.Second)
	m.read(p[0], 20)
	m.read(p[1], 20)
	m.read(p[2], 70)
	m.want(v, "unknown") // alarms are held for the off-delay
}

// Members of one wildcard detector vote one by one, also when the detector's own verdict stays.
func TestWildcardMembersVoteOneByOne(t *testing.T) {
	m := newRoom(t)
	var p []sensors.PointID
	for i := range 3 {
		p = append(p, m.point(fmt.Sprintf("d%d", i), "x", sensors.Smoke))
	}
	c := m.over(Cond{Name: "smoke", Threshold: 60}, p...)
	two, three := m.vote(2, false, c), m.vote(3, false, c)
	for _, x := range p {
		m.read(x, 70)
	}
	m.want(three, "true")
	m.bad(p[1], sensors.TestMode) // the detector stays true and as fresh as it was
	m.want(c, "true")
	m.want(two, "true")
	m.want(three, "unknown inhibited")
	m.bad(p[2], sensors.NotReady)
	m.want(two, "unknown inhibited")
}

func TestNested(t *testing.T) {
	m := newRoom(t)
	pa, a := m.sensor("a", sensors.Smoke, own("a"))
	pb, b := m.sensor("b", sensors.Smoke, own("b"))
	pc, c := m.sensor("c", sensors.Temperature, own("c"))
	smoke := m.vote(2, false, a, b)
	both := m.vote(2, true, smoke, c)
	for _, p := range []sensors.PointID{pa, pb, pc} {
		m.read(p, 20)
	}
	m.read(pa, 70)
	m.read(pc, 70)
	m.want(both, "false")
	m.read(pb, 70)
	m.want(both, "true")
	m.bad(pc, sensors.TestMode)
	m.want(both, "unknown inhibited")
}

// A nested vote is as independent as what is true in it, not as all that it names: any-of-many
// with one smoke head true is one smoke head (S5).
func TestNestedSpan(t *testing.T) {
	m := newRoom(t)
	pa, a := m.sensor("a", sensors.Smoke, own("a"))
	pb, b := m.sensor("b", sensors.Temperature, own("b"))
	anyOf := m.vote(1, false, a, b)
	open := m.vote(1, true, anyOf)
	m.read(pa, 20)
	m.read(pb, 20)
	m.want(open, "false")
	m.read(pa, 70)
	m.want(anyOf, "true")
	m.want(open, "false")
	m.read(pb, 70)
	m.want(open, "true")
}

// One more true member never closes a vote: here the nested vote shares its members with the outer.
func TestNestedOverlapIsMonotone(t *testing.T) {
	m := newRoom(t)
	pa, a := m.sensor("a", sensors.Smoke, own("a"))
	pb, b := m.sensor("b", sensors.Temperature, own("b"))
	both := m.vote(2, false, a, b)
	v := m.vote(2, true, a, b, both)
	m.read(pa, 70)
	m.want(v, "unknown inhibited")
	m.read(pb, 70)
	m.want(both, "true")
	m.want(v, "true")
	m.read(pa, 20)
	m.wait(5 * time.Second)
	m.want(v, "unknown inhibited") // silent by then
}

func TestIndependence(t *testing.T) {
	type unit struct {
		physics              sensors.Physics
		dev, bus, gw, supply string
	}
	a := unit{sensors.Smoke, "a", "b1", "g1", "s1"}
	for name, c := range map[string]struct {
		b    unit
		want string
	}{
		"all differ":      {unit{sensors.Temperature, "b", "b2", "g2", "s2"}, "true"},
		"same physics":    {unit{sensors.Smoke, "b", "b2", "g2", "s2"}, "unknown inhibited"},
		"same device":     {unit{sensors.Temperature, "a", "b1", "g1", "s1"}, "unknown inhibited"},
		"same bus":        {unit{sensors.Temperature, "b", "b1", "g2", "s2"}, "unknown inhibited"},
		"same gateway":    {unit{sensors.Temperature, "b", "b2", "g1", "s2"}, "unknown inhibited"},
		"same supply":     {unit{sensors.Temperature, "b", "b2", "g2", "s1"}, "unknown inhibited"},
		"no gateway":      {unit{sensors.Temperature, "b", "b2", "", "s2"}, "true"},
		"supply unstated": {unit{sensors.Temperature, "b", "b2", "g2", ""}, "true"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newRoom(t)
			var ids []CondID
			var points []sensors.PointID
			for i, u := range []unit{a, c.b} {
				m.device(u.dev, sensors.Path{Bus: u.bus, Gateway: u.gw, Supply: u.supply})
				p := m.point(u.dev, fmt.Sprint("x", i), u.physics)
				points, ids = append(points, p), append(ids, m.over(Cond{Threshold: 60}, p))
			}
			v := m.vote(2, true, ids...)
			plain := m.vote(2, false, ids...)
			for _, p := range points {
				m.read(p, 70)
			}
			m.want(plain, "true")
			m.want(v, c.want)
		})
	}
	t.Run("both supplies unstated", func(t *testing.T) {
		m := newRoom(t)
		pa, ca := m.sensor("a", sensors.Smoke, sensors.Path{Bus: "b1"})
		pb, cb := m.sensor("b", sensors.Temperature, sensors.Path{Bus: "b2"})
		v := m.vote(2, true, ca, cb)
		m.read(pa, 70)
		m.read(pb, 70)
		m.want(v, "unknown inhibited")
	})
}

func TestOneRegisterIsOneMember(t *testing.T) {
	m := newRoom(t)
	var ids []CondID
	var points []sensors.PointID
	for i, reg := range []string{"40001", "40001", "40002", ""} {
		p := m.point("bms", fmt.Sprint("x", i), sensors.Temperature)
		m.r.Points[p].Register = reg
		points, ids = append(points, p), append(ids, m.over(Cond{Threshold: 60}, p))
	}
	two, three, four := m.vote(2, false, ids[:2]...), m.vote(3, false, ids...), m.vote(4, false, ids...)
	for _, p := range points {
		m.read(p, 70)
	}
	m.want(two, "unknown inhibited")
	m.want(three, "true")
	m.want(four, "unknown inhibited")
}

func TestPanelCountsTwice(t *testing.T) {
	m := newRoom(t)
	p, c := m.sensor("pnl", sensors.Smoke, sensors.Path{Bus: "gpio"})
	m.r.Points[p].Panel = true
	q, d := m.sensor("asd", sensors.Smoke, own("asd"))
	two, three := m.vote(2, true, c, d), m.vote(3, true, c, d)
	m.read(p, 20)
	m.read(q, 70)
	m.want(two, "false")
	m.read(p, 70)
	m.want(two, "true")
	m.want(three, "true")
	for range 6 {
		m.read(p, 70)
		m.read(q, 20)
		m.wait(time.Second)
	}
	m.want(two, "true")
	m.want(three, "false")
}

func TestWeakCountsToStage2Only(t *testing.T) {
	m := newRoom(t)
	p, a := m.sensor("a", sensors.Smoke, own("a"))
	q, b := m.sensor("b", sensors.Temperature, own("b"))
	v := m.vote(2, true, a, b)
	m.read(p, 20)
	for _, x := range []float64{20, 40, 70} {
		m.sensed(q, x)
	}
	m.sensed(p, 20)
	m.sensed(p, 900)
	m.want(a, "true weak")
	m.want(b, "true")
	m.want(v, "true weak")
	if got := m.e.Verdict(v); got.Basis != Measured {
		t.Fatalf("it opens stage 2: %+v", got)
	}
}

// Firm is asked for by the re-vote: a member that has since been false does not count, and what is
// held-true without any fresh firm one is not "measured" (S4).
func TestFirm(t *testing.T) {
	m := newRoom(t)
	p, a := m.sensor("a", sensors.Smoke, own("a"))
	q, b := m.sensor("b", sensors.Temperature, own("b"))
	r, c := m.sensor("c", sensors.Gas, own("c"))
	v := m.vote(2, true, a, b, c)
	for _, x := range []sensors.PointID{p, q, r} {
		m.read(x, 70)
	}
	m.want(v, "true")
	m.read(p, 20)
	m.want(v, "true") // two firm ones are left
	m.bad(q, sensors.Comm)
	m.bad(r, sensors.Comm)
	m.want(v, "true held-true") // a is still read, but has fallen
	m.read(q, 20)
	m.want(v, "true falling")
}

func TestFaultVotes(t *testing.T) {
	m := newRoom(t)
	m.r.LossPersist = 10 * time.Second
	paths := []sensors.Path{{Bus: "b1", Gateway: "g1", Supply: "s1"}, {Bus: "b1", Gateway: "g1", Supply: "s1"},
		{Bus: "b2", Gateway: "g2", Supply: "s2"}, {Bus: "b3", Gateway: "g3", Supply: "s3"}}
	var p []sensors.PointID
	var ids []CondID
	for i, path := range paths {
		x, c := m.sensor(fmt.Sprintf("d%d", i), sensors.Smoke, path)
		m.r.Conds[c].OnFault = FaultVotes
		p, ids = append(p, x), append(ids, c)
	}
	two := m.vote(2, false, ids...)
	for _, x := range p {
		m.read(x, 20)
	}
	m.bad(p[0], sensors.Comm)
	m.bad(p[1], sensors.Comm)
	for range 15 {
		m.read(p[2], 20)
		m.read(p[3], 20)
		m.wait(time.Second)
	}
	m.want(two, "unknown") // one bus: one loss
	m.bad(p[2], sensors.Comm)
	for range 9 {
		m.read(p[3], 20)
		m.wait(time.Second)
	}
	m.want(two, "unknown inhibited")
	m.read(p[3], 20)
	m.wait(time.Second)
	m.want(two, "true held weak") // two losses: faults alone
	m.read(p[3], 70)
	m.want(two, "true weak") // a measured one with a fault opens stage 2, not 3
	m.read(p[0], 20)
	m.want(two, "true weak")
	m.read(p[2], 20)
	m.read(p[1], 20)
	m.want(two, "false")
}

// What was warm and then falls silent is one observation, though another detector on it votes by its
// fault (S5): it is held true or lost, never both.
func TestFaultAndHeldTrueOfOneRegister(t *testing.T) {
	m := newRoom(t)
	m.r.LossPersist = 10 * time.Second
	p, other := m.point("d", "t", sensors.Temperature), m.point("o", "t", sensors.Temperature)
	warm := m.over(Cond{Name: "warm", Kind: Above, Threshold: 60}, p)
	hot := m.over(Cond{Name: "hot", Kind: Above, Threshold: 100, OnFault: FaultVotes}, p)
	far := m.over(Cond{Name: "far", Kind: Above, Threshold: 60, OnFault: FaultVotes}, other)
	two := m.vote(2, false, warm, hot, far)
	m.read(p, 70)
	m.read(other, 20)
	m.want(two, "false")
	m.bad(p, sensors.Comm)
	for range 15 {
		m.read(other, 20)
		m.wait(time.Second)
	}
	m.want(warm, "true held-true")
	m.want(two, "false")
	m.bad(other, sensors.Comm)
	m.wait(10 * time.Second)
	m.want(two, "true held-true weak") // two observations: what was warm, and a loss elsewhere
}

// A device that joins a loss which is told already has a persist time of its own, and wakes up.
func TestFaultVoteOfALateJoiner(t *testing.T) {
	m := newRoom(t)
	m.r.LossPersist = 10 * time.Second
	path := sensors.Path{Bus: "b1", Gateway: "g1", Supply: "s1"}
	m.device("a", path)
	a := m.point("a", "x", sensors.Smoke)
	b, c := m.sensor("b", sensors.Smoke, path)
	m.r.Conds[c].OnFault = FaultVotes
	v := m.vote(1, false, c)
	m.read(a, 20)
	m.bad(a, sensors.Comm)
	for range 30 {
		m.read(b, 20)
		m.wait(time.Second)
	}
	m.bad(b, sensors.Comm)
	m.wait(9 * time.Second)
	m.want(v, "unknown inhibited")
	m.wait(time.Second)
	m.want(v, "true held weak")
}

func TestNewRefuses(t *testing.T) {
	for name, r := range map[string]Rules{
		"order":   {Conds: []Cond{{Name: "v", Kind: Vote, Of: []CondID{1}}, {Name: "d"}}},
		"itself":  {Conds: []Cond{{Name: "v", Kind: Vote, Of: []CondID{0}}}},
		"point":   {Conds: []Cond{{Name: "d", Members: []Member{{Points: []sensors.PointID{3}}}}}},
		"device":  {Points: []sensors.Point{{Name: "p", Device: 1}}},
		"members": {Devices: make([]sensors.Device, 1), Points: make([]sensors.Point, 1), Conds: []Cond{{Name: "d", Members: make([]Member, 65)}, {Name: "v", Kind: Vote, Of: []CondID{0}}}},
	} {
		if _, err := New(&r); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// A vote that is true by faults alone names them: "it is true" tells nobody at night which sensor to look at.
func TestCauseNamesTheFaults(t *testing.T) {
	m := newRoom(t)
	p := m.point("asd", "t", sensors.Smoke)
	v := m.vote(1, false, m.over(Cond{Name: "hot", Kind: Above, Threshold: 60, OnFault: FaultVotes}, p))
	m.read(p, 25)
	m.bad(p, sensors.Comm)
	m.wait(time.Minute)
	w := m.e.Explain(m.now, v)
	if w.Is != True || !strings.Contains(w.Cause(), "by faults: cannot judge hot@asd") {
		t.Errorf("%s: %q", w.Is, w.Cause())
	}
}

// What cannot be read has no value: "0 C" at night beside a sensor that burns is a lie. The last value of a stale one was true once.
func TestCauseTellsNoValueThatIsNone(t *testing.T) {
	w := Why{Cond: "hot", Is: True, Members: []WhyMember{
		{Name: "hot@bms-1", Is: True, Basis: HeldTrue, Readings: []WhyReading{{Point: "bms-1.t", Unit: "C", Quality: "bad:comm"}}},
		{Name: "hot@bms-2", Is: True, Basis: HeldTrue, Readings: []WhyReading{{Point: "bms-2.t", Unit: "C", Quality: "never read"}}},
		{Name: "hot@bms-3", Is: True, Basis: HeldTrue, Readings: []WhyReading{{Point: "bms-3.t", Value: 70, Unit: "C", Quality: "bad:stale"}}},
		{Name: "hot@bms-4", Is: True, Readings: []WhyReading{{Point: "bms-4.t", Value: 71, Unit: "C", Quality: "uncertain:fast"}, {Point: "bms-4.smoke", Value: 1, Quality: "good"}}}}}
	want := "hot@bms-1 (held-true) bms-1.t bad:comm; hot@bms-2 (held-true) bms-2.t never read; hot@bms-3 (held-true) bms-3.t 70 C bad:stale; hot@bms-4 bms-4.t 71 C uncertain:fast bms-4.smoke 1"
	if got := w.Cause(); got != want {
		t.Errorf("%q, want\n%q", got, want)
	}
}
