package hazard

import (
	"strings"
	"testing"
	"time"

	"firebreak/sensors"
)

func gasRoom(t *testing.T) (m *room, gas, temp sensors.PointID, high, vent CondID) {
	m = newRoom(t)
	gas, temp = m.point("voc", "gas", sensors.Gas), m.point("bms", "temp", sensors.Temperature)
	high = m.over(Cond{Name: "gas-high", Kind: Above, Threshold: 50, OffDelay: 10 * time.Second}, gas)
	hot := m.over(Cond{Name: "hot", Kind: Above, Threshold: 60, OffDelay: 10 * time.Second}, temp)
	vent = m.vote(1, false, high, hot)
	return m, gas, temp, high, vent
}

// rises takes the gas up by steps and over range.
func (m *room) rises(gas sensors.PointID) {
	for v := 20.0; v < 200; v += 20 {
		m.sensed(gas, v)
		m.wait(time.Second)
	}
}

// S3: a gas detector that went over range stays true whatever it reads then, until a person resets
// it; over a restart too.
func TestGasOverRangeLatches(t *testing.T) {
	m, gas, _, high, _ := gasRoom(t)
	m.rises(gas)
	m.want(high, "true")
	m.keep(time.Hour, 5, gas)              // poisoned, or the gas is gone: nobody can tell
	m.want(high, "true held-true falling") // it votes, but not in the re-vote (S4)
	if !m.e.Latched("gas-high") {
		t.Error("it is not latched")
	}
	m.restart(time.Second, 0)
	m.keep(time.Hour, 5, gas)
	m.want(high, "true held-true falling")
	m.wait(time.Hour) // silence
	m.want(high, "true held-true falling")
	if err := m.e.Unlatch(m.now, "gas-high"); err == nil || !strings.Contains(err.Error(), "cannot be read") {
		t.Errorf("reset of a silent detector: %v", err)
	}
	m.read(gas, 80)
	if err := m.e.Unlatch(m.now, "gas-high"); err == nil || !strings.Contains(err.Error(), "still reads") {
		t.Errorf("reset while gas is read: %v", err)
	}
	m.keep(time.Minute, 5, gas)
	if err := m.e.Unlatch(m.now, "gas-high"); err != nil {
		t.Errorf("reset of a quiet detector: %v", err)
	}
	m.step()
	m.want(high, "false")
}

// A sensor that is poisoned at once does not stay over range for an on-delay: the reading itself
// latches. With no rise before it, it counts up to stage 2.
func TestGasOverRangeNeedsNoDelay(t *testing.T) {
	m := newRoom(t)
	gas := m.point("voc", "gas", sensors.Gas)
	high := m.over(Cond{Name: "gas-high", Kind: Above, Threshold: 50, OnDelay: 10 * time.Second}, gas)
	m.sensed(gas, 5)
	m.wait(time.Second)
	m.sensed(gas, 900)
	m.want(high, "true weak")
	m.wait(time.Second)
	m.read(gas, 5)
	m.want(high, "true held-true weak")
}

// A point of a quiet wildcard member that cannot be read is named to a reset (S6).
func TestLeavesNameUnreadablePoints(t *testing.T) {
	m := newRoom(t)
	var points []sensors.PointID
	for _, n := range []string{"t1", "t2", "t3", "t4"} {
		points = append(points, m.point("bms", n, sensors.Temperature))
	}
	hot := m.over(Cond{Name: "hot", Kind: Above, Threshold: 60}, points...)
	m.keep(time.Second, 20, points...)
	m.bad(points[2], sensors.Sentinel)
	m.want(hot, "false")
	var unknown []string
	m.e.Leaves(hot, func(name string, v Verdict) {
		if v.Is == Unknown {
			unknown = append(unknown, name)
		}
	})
	if len(unknown) != 1 || unknown[0] != "bms.t3" {
		t.Errorf("unreadable: %v, want bms.t3", unknown)
	}
	m.e.SetOutOfService(m.now, points[2], true)
	m.step()
	m.e.Leaves(hot, func(name string, v Verdict) {
		if v.Is == Unknown {
			t.Errorf("%s is out of service, and still named", name)
		}
	})
}

// Below its range a gas detector does not latch, and no other physics does.
func TestOnlyGasOverRangeLatches(t *testing.T) {
	m, gas, temp, high, _ := gasRoom(t)
	for v := 20.0; v <= 140; v += 20 {
		m.sensed(gas, v)
		m.wait(time.Second)
	}
	m.rises(temp)
	m.keep(time.Minute, 5, gas, temp)
	m.want(high, "false")
	if m.e.Latched("hot") {
		t.Error("a temperature latches")
	}
}

// Venting is gas together with another effect, neither alone.
func TestVenting(t *testing.T) {
	m, gas, temp, _, vent := gasRoom(t)
	m.keep(5*time.Second, 5, gas, temp)
	for v := 20.0; v <= 100; v += 20 {
		m.sensed(gas, v)
		m.wait(time.Second)
	}
	if m.e.Venting(vent) {
		t.Error("gas alone is called venting")
	}
	for v := 20.0; v <= 100; v += 20 {
		m.sensed(gas, 100)
		m.sensed(temp, v)
		m.wait(time.Second)
	}
	if !m.e.Venting(vent) {
		t.Error("gas and heat together are not called venting")
	}
}
