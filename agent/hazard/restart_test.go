package hazard

import (
	"testing"
	"time"

	"firebreak/sensors"
)

// restart makes a new engine from the records alone, after the agent was down for gap.
func (m *room) restart(gap, shift time.Duration) {
	last := m.now
	m.now = m.now.Add(gap + shift)
	e, err := New(&m.r)
	if err != nil {
		m.t.Fatal(err)
	}
	for _, rec := range m.members {
		e.Restore(rec)
	}
	for _, rec := range m.bases {
		e.RestoreBaseline(rec)
	}
	m.e = e
	e.Resume(m.now, last.Add(shift), shift)
	m.step()
}

func TestRestartKeepsTheOnDelay(t *testing.T) {
	for name, shift := range map[string]time.Duration{"same boot": 0, "another boot": -500 * time.Second} {
		t.Run(name, func(t *testing.T) {
			m := newRoom(t)
			p, id := hot(m, 30*time.Second, 0)
			m.keep(20*time.Second, 70, p)
			m.restart(time.Minute, shift)
			m.want(id, "unknown")
			m.keep(9*time.Second, 70, p)
			m.want(id, "false")
			m.keep(2*time.Second, 70, p)
			m.want(id, "true")
		})
	}
}

func TestRestartForgetsAnOnDelayThatHasEnded(t *testing.T) {
	m := newRoom(t)
	p, id := hot(m, 30*time.Second, 0)
	m.keep(20*time.Second, 70, p)
	m.read(p, 20)
	m.restart(time.Second, 0)
	m.keep(20*time.Second, 70, p)
	m.want(id, "false")
}

func TestRestartOfATrueMember(t *testing.T) {
	m := newRoom(t)
	p, id := hot(m, 0, 10*time.Second)
	m.read(p, 70)
	m.bad(p, sensors.Comm)
	m.wait(20 * time.Minute)
	m.keep(20*time.Minute, 70, p) // back long before the end of held-true
	m.want(id, "true")
	m.restart(time.Second, 0)
	m.want(id, "true held-true falling") // what was read a second ago is not lost since 40 min
	m.read(p, 20)
	m.want(id, "unknown held")
	m.restart(time.Second, 0)
	m.want(id, "unknown held")
	m.keep(11*time.Second, 20, p)
	m.want(id, "false")
	m.restart(time.Second, 0)
	m.want(id, "unknown")
	m.read(p, 20)
	m.want(id, "false")
}

// S4: the record of a reading that was false may have been lost with the power, or on a full disk. So what
// was true has no say in a re-vote after a start until it was read, or has been silent for its stale time.
func TestAStartHearsAMemberFirst(t *testing.T) {
	m := newRoom(t)
	p, id := hot(m, 0, 0)
	m.read(p, 70)
	m.restart(time.Second, 0)
	m.want(id, "true held-true falling")
	m.read(p, 70)
	m.want(id, "true")
	m.restart(time.Second, 0)
	m.bad(p, sensors.Comm) // heard, and cannot be read
	m.want(id, "true held-true")
	m.restart(time.Second, 0)
	m.want(id, "true held-true falling")
	m.wait(m.e.r.Points[p].Stale - 1)
	m.want(id, "true held-true falling")
	m.wait(1)
	m.want(id, "true held-true")
}

// S4: what was true is held for so long after it was last known, not after the start.
func TestHeldTrueCountsTheDowntime(t *testing.T) {
	for name, shift := range map[string]time.Duration{"same boot": 0, "another boot": -500 * time.Second} {
		t.Run(name, func(t *testing.T) {
			m := newRoom(t)
			p, id := hot(m, 0, 0)
			m.keep(20*time.Second, 70, p)
			m.restart(20*time.Minute, shift)
			m.want(id, "true held-true falling")
			m.wait(time.Minute)
			m.want(id, "true held-true")
			m.wait(10 * time.Minute)
			m.want(id, "unknown held")
			m.restart(24*time.Hour, shift)
			m.want(id, "unknown held")
		})
	}
}

func TestRestartKeepsWhatNeverVotes(t *testing.T) {
	m := newRoom(t)
	p, id := hot(m, 0, 0)
	q := m.point("bms", "u", sensors.Temperature)
	other := m.over(Cond{Name: "other", Threshold: 60}, q)
	m.read(p, 70)
	m.read(q, 70)
	m.bad(p, sensors.Comm)
	m.bad(p, sensors.TestMode)
	m.e.SetOutOfService(m.now, q, true)
	m.step()
	m.restart(time.Second, 0)
	m.bad(p, sensors.Comm) // the test is not known to have ended
	m.want(id, "unknown held")
	m.want(other, "unknown bypassed")
}

func TestWeakIsKept(t *testing.T) {
	m := newRoom(t)
	p, id := hot(m, 0, 0)
	m.sensed(p, 20)
	m.sensed(p, 900)
	m.want(id, "true weak")
	m.restart(time.Second, 0)
	m.want(id, "true held-true weak")
}

// What a person took out stays out over a kill also where no detector watches the point (others are compared with
// it, and a cold one that is put back would make heat of what is not), and where the rules have renamed its detector.
func TestRestartKeepsWhatAPersonTookOut(t *testing.T) {
	m := newRoom(t)
	p, q := m.point("bms", "t", sensors.Temperature), m.point("hall", "t", sensors.Temperature)
	m.cond(Cond{Name: "above-hall", Kind: Deviation, From: FromPoint, Threshold: 10,
		Members: []Member{{Device: m.r.Points[p].Device, Points: []sensors.PointID{p}, Ref: []sensors.PointID{q}}}})
	high := m.over(Cond{Name: "high", Threshold: 60}, p)
	m.keep(time.Second, 20, p, q)
	m.e.SetOutOfService(m.now, q, true)
	m.step()
	m.restart(time.Second, 0)
	m.read(q, -40)
	m.read(p, 20)
	m.want(0, "unknown")
	m.e.SetOutOfService(m.now, q, false)
	m.step()
	m.restart(time.Second, 0)
	m.read(q, 15)
	m.read(p, 20)
	m.want(0, "false")

	m.e.SetOutOfService(m.now, p, true)
	m.step()
	m.r.Conds[0].Name, m.r.Conds[high].Name = "above", "hot"
	m.restart(time.Second, 0)
	m.read(p, 70)
	m.want(high, "unknown bypassed")
	m.e.SetOutOfService(m.now, p, false)
	m.e.SetBypass(m.now, p, m.now.Add(time.Minute))
	m.step()
	m.r.Conds[0].Name, m.r.Conds[high].Name = "over", "warm"
	m.restart(time.Second, 0)
	m.wait(2 * time.Minute)
	m.read(p, 70)
	m.want(high, "true returned")
}

// A detector that was quiet when its device was put into test mode has no vote by its fault after a kill either.
func TestRestartKeepsATestOfAQuietOne(t *testing.T) {
	m := newRoom(t)
	p := m.point("asd", "smoke", sensors.Smoke)
	id := m.over(Cond{Name: "smoke", Threshold: 60, OnFault: FaultVotes}, p)
	q := m.point("bms", "t", sensors.Temperature)
	m.over(Cond{Name: "high", Threshold: 60}, q)
	vote := m.vote(1, false, id)
	m.keep(time.Second, 20, p, q)
	m.bad(p, sensors.TestMode)
	m.restart(time.Second, 0)
	m.keep(time.Minute, 20, q) // and p is unplugged
	m.want(vote, "unknown inhibited")
	m.read(p, 20)
	m.restart(time.Second, 0)
	m.keep(time.Minute, 20, q)
	m.want(vote, "true held weak")
}
