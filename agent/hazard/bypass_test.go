package hazard

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"firebreak/sensors"
)

func (m *room) bypass(p sensors.PointID, d time.Duration) {
	m.engine().SetBypass(m.now, p, m.now.Add(d))
	m.step()
}

func (m *room) back(p sensors.PointID) {
	m.e.EndBypass(m.now, p)
	m.step()
}

// trio is a vote of two of three, all different, and one that any of them opens.
func trio(t *testing.T) (m *room, p []sensors.PointID, two, one CondID) {
	m = newRoom(t)
	a, ca := m.sensor("a", sensors.Smoke, own("a"))
	b, cb := m.sensor("b", sensors.Temperature, own("b"))
	c, cc := m.sensor("c", sensors.Gas, own("c"))
	return m, []sensors.PointID{a, b, c}, m.vote(2, true, ca, cb, cc), m.vote(1, false, ca, cb, cc)
}

// S19: the vote re-forms over the others. What it needs stays, so it says when it cannot trip.
func TestBypassIsOutOfEveryVote(t *testing.T) {
	m, p, two, one := trio(t)
	m.keep(time.Second, 20, p...)
	m.bypass(p[0], time.Hour)
	m.read(p[0], 70)
	m.want(one, "false")
	m.read(p[1], 70)
	m.want(one, "true")
	m.want(two, "false") // not unknown: nobody waits for the one that is out
	m.read(p[2], 70)
	m.want(two, "true")
	m.bypass(p[1], time.Hour)
	m.want(two, "unknown inhibited")
	m.want(one, "true")
	if w := m.e.Explain(m.now, two); w.Bypassed != 2 || w.Bad != 0 || w.Members[0].Readings[0].Quality != "good" {
		t.Errorf("told as %+v: a bypassed point is counted apart, and what it reads is shown", w)
	}
}

// A bypassed member is silent and yet no fault, and no child of a loss; the loss of the others on
// its bus is still one.
func TestBypassedIsNoLoss(t *testing.T) {
	m, p := plant(t)
	c := m.over(Cond{Name: "hot", Threshold: 60, OnFault: FaultVotes}, p...)
	v := m.vote(1, false, c)
	keepBut(m, 5*time.Second, "")
	m.bypass(p[0], time.Hour)
	m.bypass(p[1], time.Hour)
	keepBut(m, 30*time.Second, "a")
	if got := told(m); got != "" {
		t.Errorf("a bypassed device is told as lost: %s", got)
	}
	m.want(v, "false") // nor does it vote as a fault
	keepBut(m, 20*time.Second, "abc")
	if got := told(m); got != "gateway/g:4" {
		t.Errorf("told %q: b and c are one loss, without the points of a", got)
	}
	keepBut(m, 20*time.Second, "ab")
	if got := told(m); !strings.Contains(got, "b:2") && !strings.Contains(got, "gateway/g:2") {
		t.Errorf("told %q, want b with its two points", got)
	}
	keepBut(m, 5*time.Second, "")
	keepBut(m, 20*time.Second, "ab")
	if got := told(m); got != "device/b:2" {
		t.Errorf("told %q: of its bus b alone is in service", got)
	}
	m.back(p[1])
	keepBut(m, 15*time.Second, "ab")
	if got := told(m); got != "bus/1:3" {
		t.Errorf("told %q: one point of a is in service", got)
	}
}

// A vote that cannot trip for a bypass is not explained by a loss (S2).
func TestLossExplainsNoBypass(t *testing.T) {
	m, p := plant(t)
	v := m.vote(3, false, m.over(Cond{Name: "x", Threshold: 60}, p[0]), m.over(Cond{Name: "y", Threshold: 60}, p[1]),
		m.over(Cond{Name: "z", Threshold: 60}, p[2]))
	keepBut(m, 5*time.Second, "")
	keepBut(m, 20*time.Second, "a")
	if m.want(v, "unknown inhibited"); !m.e.LossExplains(v) {
		t.Error("the loss of a does not explain it")
	}
	m.bypass(p[0], time.Hour)
	if m.e.LossExplains(v) {
		t.Error("a bypass is taken for a part of the loss")
	}
}

// A point that is bypassed and can be read shows that its device lives.
func TestBypassedPointThatIsReadIsNoSilence(t *testing.T) {
	m, p := plant(t)
	c := m.over(Cond{Name: "hot", Threshold: 60, OnFault: FaultVotes}, p[0])
	v := m.vote(1, false, c)
	keepBut(m, 5*time.Second, "")
	m.bypass(p[1], time.Hour)
	for range 30 {
		m.read(p[1], 20) // p[0], on the same device, is silent
		keepBut(m, time.Second, "a")
	}
	if got := told(m); got != "" {
		t.Errorf("told %q", got)
	}
	m.want(v, "unknown inhibited")
}

// S2: two losses with one cause stay one when what they have in common is bypassed.
func TestBypassMakesNoTwoLossesOfOne(t *testing.T) {
	m := newRoom(t)
	x, cx := m.sensor("x", sensors.Smoke, sensors.Path{Bus: "1", Gateway: "g1", Supply: "s1"})
	y, cy := m.sensor("y", sensors.Smoke, sensors.Path{Bus: "1", Gateway: "g2", Supply: "s2"})
	z, cz := m.sensor("z", sensors.Smoke, sensors.Path{Bus: "2", Gateway: "g3", Supply: "s2"})
	for _, c := range []CondID{cx, cy, cz} {
		m.r.Conds[c].OnFault = FaultVotes
	}
	v := m.vote(2, false, cx, cy, cz)
	m.keep(5*time.Second, 20, x, y, z)
	m.bypass(y, time.Hour)
	m.wait(30 * time.Second)
	m.want(v, "unknown inhibited")
	m.keep(time.Second, 20, y) // y lives: x and z have nothing in common
	m.want(v, "true held weak")
	m.wait(10 * time.Second)
	m.want(v, "unknown inhibited")
}

// S8: within one boot a bypass and a probation go on, and downtime counts; a reboot ends a bypass.
func TestBypassOverARestart(t *testing.T) {
	for name, c := range map[string]struct {
		gap, shift time.Duration
		want       []string // at once; after 21 s of 70; 5 min later; 5 min later
	}{
		"same boot":                {time.Second, 0, []string{"unknown bypassed", "unknown bypassed", "true returned", "true returned"}},
		"expired in the meantime":  {2 * time.Minute, 0, []string{"unknown", "true returned", "true returned", "true"}},
		"probation over meanwhile": {20 * time.Minute, 0, []string{"unknown", "true", "true", "true"}},
		"another boot":             {time.Second, -500 * time.Second, []string{"unknown", "true returned", "true returned", "true"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := newRoom(t)
			p, id := hot(m, 20*time.Second, 0)
			m.keep(15*time.Second, 70, p)
			m.bypass(p, time.Minute)
			m.keep(5*time.Second, 70, p)
			m.restart(c.gap, c.shift)
			got := []string{m.verdict(id)}
			m.keep(21*time.Second, 70, p)
			got = append(got, m.verdict(id))
			for range 2 {
				m.keep(5*time.Minute, 70, p)
				got = append(got, m.verdict(id))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
			m.restart(time.Second, 0)
		})
	}
}

// A reload may rename every detector of a bypassed point: it stays bypassed.
func TestBypassOverARename(t *testing.T) {
	m, p, _, one := trio(t)
	m.keep(time.Second, 20, p...)
	m.bypass(p[0], time.Minute)
	s := m.e.State()
	m.r.Conds[0].Name = "smoke"
	e, err := New(&m.r)
	if err != nil {
		t.Fatal(err)
	}
	m.e = e
	e.SetState(s)
	m.read(p[1], 20)
	m.read(p[0], 70)
	m.want(0, "unknown bypassed")
	m.wait(time.Minute)
	m.read(p[0], 70)
	m.want(one, "true returned")
}

// Every change is told once, and the engine asks to be woken for it.
func TestBypassIsTold(t *testing.T) {
	m, p, _, _ := trio(t)
	m.keep(time.Second, 20, p...)
	list := func() string {
		var out []string
		m.e.Bypasses(func(b Bypass) {
			out = append(out, b.Name+"@"+b.Device+" until "+b.Until.Sub(m.now).String()+" back "+b.Back.Sub(m.now).String())
		})
		return strings.Join(out, "; ")
	}
	var wake sensors.Mono
	tell := func(want bool, text string) {
		t.Helper()
		m.ch.Reset()
		for wake = m.now; wake <= m.now; {
			wake = m.e.Step(m.now, nil, &m.ch)
		}
		if m.ch.Bypasses != want {
			t.Errorf("told: %v, want %v (%s)", m.ch.Bypasses, want, text)
		}
		got := list()
		if text = strings.ReplaceAll(text, "-", (-time.Duration(m.now)).String()); got != text {
			t.Errorf("the list is %q, want %q", got, text)
		}
	}
	tell(false, "")
	m.bad(p[0], sensors.Comm) // its stale time is no alarm clock
	m.bad(p[1], sensors.Comm)
	m.bad(p[2], sensors.Comm)
	m.e.SetBypass(m.now, p[1], m.now.Add(time.Minute))
	m.e.SetBypass(m.now, 99, m.now.Add(time.Minute))
	tell(true, "b.x@b until 1m0s back -")
	m.e.SetBypass(m.now, p[1], m.now.Add(3*time.Minute)) // moved
	tell(true, "b.x@b until 3m0s back -")
	tell(false, "b.x@b until 3m0s back -")
	m.now = m.now.Add(3*time.Minute - 1)
	tell(false, "b.x@b until 1ns back -")
	if wake != m.now.Add(1) {
		t.Errorf("wake is %v, want the end of the bypass", wake)
	}
	m.now++
	tell(true, "b.x@b until - back 0s")
	if wake != m.now.Add(Probation) {
		t.Errorf("wake is %v, want the end of the probation", wake)
	}
	m.e.SetBypass(m.now, p[1], m.now.Add(time.Second)) // again, while on probation
	tell(true, "b.x@b until 1s back -")
	m.e.EndBypass(m.now, p[1])
	tell(true, "b.x@b until - back 0s")
	m.now = m.now.Add(Probation)
	tell(true, "")
	m.e.EndBypass(m.now, p[1]) // it is none
	m.e.EndBypass(m.now, 99)
	m.e.SetBypass(m.now, p[1], m.now)
	tell(false, "")
}

// What would be dead if a point were bypassed, and the engine is as it was.
func TestWouldInhibit(t *testing.T) {
	m, p, two, one := trio(t)
	nested := m.vote(1, false, two)
	m.keep(time.Second, 20, p...)
	for _, x := range p {
		m.read(x, 20)
	}
	ask := func(points ...sensors.PointID) string {
		before, _ := json.Marshal(m.e.State())
		var names []string
		for _, id := range m.e.WouldInhibit(m.now, points) {
			names = append(names, m.r.Conds[id].Name)
		}
		if after, _ := json.Marshal(m.e.State()); string(before) != string(after) {
			t.Fatalf("the question changed the engine:\n%s\n%s", before, after)
		}
		return strings.Join(names, " ")
	}
	name := func(ids ...CondID) string {
		var out []string
		for _, id := range ids {
			out = append(out, m.r.Conds[id].Name)
		}
		return strings.Join(out, " ")
	}
	for _, c := range []struct {
		points []sensors.PointID
		want   string
	}{
		{nil, ""},
		{[]sensors.PointID{p[0]}, name(0)}, // the detector itself
		{[]sensors.PointID{p[2]}, name(2)},
		{[]sensors.PointID{p[0], p[1]}, name(0, 1, two, nested)},
		{[]sensors.PointID{99}, ""},
		{p, name(0, 1, 2, two, one, nested)},
	} {
		if got := ask(c.points...); got != c.want {
			t.Errorf("points %v: %q, want %q", c.points, got, c.want)
		}
	}
	m.bypass(p[1], time.Hour)
	if got, want := ask(p[0]), name(0, two, nested); got != want {
		t.Errorf("with another bypassed: %q, want %q", got, want)
	}
	m.back(p[1])
	m.keep(time.Second, 20, p...)
	m.read(p[0], 20)
	m.bad(p[1], sensors.Comm)
	if got, want := ask(p[0]), name(0, two, nested); got != want {
		t.Errorf("with another silent: %q, want %q", got, want)
	}
	m.bad(p[2], sensors.Comm)
	if got, want := ask(p[1]), name(1, two, nested); got != want {
		t.Errorf("dead already, and looked at: %q, want %q", got, want)
	}
}

// What a person types: a point, or a device for all of its points that vote.
func TestNamed(t *testing.T) {
	m := newRoom(t)
	b := m.point("bms", "b", sensors.Temperature)
	a := m.point("asd", "a", sensors.Smoke)
	m.point("asd", "spare", sensors.Smoke) // that nobody looks at
	c := m.point("bms", "c", sensors.Temperature)
	m.over(Cond{Name: "hot", Threshold: 60}, c, b)
	m.over(Cond{Name: "warm", Threshold: 40}, b)
	m.over(Cond{Name: "smoke", Threshold: 60}, a)
	m.engine()
	for name, want := range map[string][]sensors.PointID{"bms.c": {c}, "bms": {b, c}, "asd": {a}, "asd.spare": nil, "nobody": nil} {
		if got := m.e.Named(name); !slices.Equal(got, want) {
			t.Errorf("%q means %v, want %v", name, got, want)
		}
	}
}
