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
	m.keep(time.Hour, 5, gas) // poisoned, or the gas is gone: nobody can tell
	m.want(high, "true held-true")
	if !m.e.Latched("gas-high") {
		t.Error("it is not latched")
	}
	m.restart(time.Second, 0)
	m.keep(time.Hour, 5, gas)
	m.want(high, "true held-true")
	m.wait(time.Hour) // silence
	m.want(high, "true held-true")
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
