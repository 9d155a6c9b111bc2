package hazard

import (
	"testing"
	"time"

	"firebreak/sensors"
)

// What comes back true after a silence or a test of its device, and was true before, votes at once: nobody has read it
// false, and S4 asks no more of it. One that was quiet before, or that a person had taken out, serves its on-delay in full.
func TestBackTrue(t *testing.T) {
	for _, c := range []struct {
		name   string
		before float64
		away   func(m *room, p sensors.PointID)
		want   string
	}{
		{"silent beyond held-true, was true", 70, func(m *room, _ sensors.PointID) { m.wait(2 * time.Hour) }, "true"},
		{"in test, was true", 70, func(m *room, p sensors.PointID) { m.bad(p, sensors.TestMode); m.wait(time.Hour) }, "true"},
		{"in test, was quiet", 20, func(m *room, p sensors.PointID) { m.bad(p, sensors.TestMode); m.wait(time.Hour) }, "false"},
		{"silent, was quiet", 20, func(m *room, _ sensors.PointID) { m.wait(time.Hour) }, "false"},
		{"out of service, was true", 70, func(m *room, p sensors.PointID) {
			m.e.SetOutOfService(m.now, p, true)
			m.wait(time.Minute)
			m.e.SetOutOfService(m.now, p, false)
		}, "false"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newRoom(t)
			p, id := hot(m, 10*time.Second, time.Minute)
			m.keep(12*time.Second, c.before, p)
			c.away(m, p)
			if v := m.e.Verdict(id); v.Is != Unknown {
				t.Fatalf("while it is away: %+v", v)
			}
			m.read(p, 70)
			m.want(id, c.want)
			m.wait(time.Second)
			m.keep(8*time.Second, 70, p)
			m.want(id, c.want)
			m.keep(2*time.Second, 70, p)
			m.want(id, "true")
		})
	}
}
