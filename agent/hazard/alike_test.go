package hazard

import (
	"testing"
	"time"

	"firebreak/sensors"
)

// behind makes n devices of one physics behind a gateway, each on a bus of its own, and a detector on
// all of them.
func (m *room) behind(gateway string, n int, ph sensors.Physics) (id CondID, points []sensors.PointID) {
	for i := range n {
		name := gateway + string(rune('a'+i))
		m.device(name, sensors.Path{Bus: "bus-" + name, Gateway: gateway, Supply: "feed-" + name})
		points = append(points, m.point(name, "x", ph))
	}
	return m.over(Cond{Name: "on-" + gateway, Threshold: 60}, points...), points
}

// A group that turns alike counts as two; one from elsewhere makes three. What turns one after the
// other, as a fire does, counts in full.
func TestAlikeCountsAsTwo(t *testing.T) {
	for name, c := range map[string]struct {
		between  time.Duration
		want     string
		distrust int
	}{"together": {0, "unknown", 1}, "in one poll": {500 * time.Millisecond, "unknown", 1}, "one after the other": {2 * time.Second, "true", 0}} {
		t.Run(name, func(t *testing.T) {
			m := newRoom(t)
			on, p := m.behind("sw", 4, sensors.Temperature)
			q := m.point("asd", "s", sensors.Smoke)
			smoke := m.over(Cond{Name: "smoke", Threshold: 60}, q)
			three := m.vote(3, false, on, smoke)
			four := m.vote(4, false, on, smoke)
			two := m.vote(2, false, on, smoke)
			for i := range m.r.Points {
				m.r.Points[i].Stale = time.Minute
			}
			for _, x := range append(p, q) {
				m.read(x, 20)
			}
			for _, x := range p {
				m.wait(c.between)
				m.read(x, 90)
			}
			m.want(two, "true")
			m.want(three, c.want)
			if got := m.e.Alike(); len(got) != c.distrust {
				t.Errorf("distrusted: %v", got)
			}
			m.wait(3 * time.Second)
			m.read(q, 90)
			m.want(three, "true")
			m.want(four, c.want)
			m.read(p[0], 91) // a restart and new readings are no turn
			m.restart(time.Second, 0)
			for _, x := range append(p, q) {
				m.read(x, 90)
			}
			m.want(four, c.want)
			for _, x := range p { // a silence of all, and their return, is none
				m.bad(x, sensors.Comm)
			}
			for _, x := range p {
				m.read(x, 90)
			}
			m.want(four, c.want)
		})
	}
}

// What comes back true after a silence did not turn, and is trusted.
func TestBackFromSilenceIsNotAlike(t *testing.T) {
	m := newRoom(t)
	on, p := m.behind("sw", 3, sensors.Temperature)
	three := m.vote(3, false, on)
	for _, x := range p {
		m.bad(x, sensors.Comm)
	}
	for _, x := range p {
		m.read(x, 90)
	}
	m.want(three, "true")
}
