//go:build peers

package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// payload decodes what stands behind the topic.
func payload(t testing.TB, l line) map[string]any {
	t.Helper()
	_, text, _ := strings.Cut(l.text, " ")
	var out map[string]any
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Fatalf("%q: %v", l.text, err)
	}
	return out
}

func want(t testing.TB, got map[string]any, name string, value any) {
	t.Helper()
	if got[name] != value {
		t.Errorf("%s is %v, want %v; the message is %v", name, got[name], value, got)
	}
}

// A UPS over TCP and a smoke detector on a serial line, both of pymodbus, are read by the built
// binary; mosquitto_sub sees the values that were put in, and a flipped register starts the hook.
func TestPymodbusToMosquitto(t *testing.T) {
	port := freePort(t)
	ups := startPymodbus(t, "tcp", fmt.Sprint(port), 1)
	ups.ups(t)
	agentEnd, deviceEnd := serialLine(t)
	duct := startPymodbus(t, "rtu", deviceEnd, 3)
	duct.set(t, 2, 0, 1, 0, 0, 0) // the head is there, no service, no smoke, relay off
	m := newMosquitto(t)
	m.start(t)
	told := m.subscribe(t, "firebreak/1/#")
	l := newLab(t, fmt.Sprintf("127.0.0.1:%d", port), agentEnd, m.address())
	agent := l.run(t)

	first, _ := told.line(t, 0, "firebreak/1/state/lab/b3/rack1/ups-a ", `"battery.temperature":25.5`)
	got := payload(t, first)
	for name, value := range map[string]any{"device": "ups-a", "on-line": true, "on-battery": false, "runtime": 3600.0,
		"battery.charge": 100.0, "battery.voltage": 54.5, "output.power": 40.0, "output.voltage": 230.0, "output.frequency": 50.0,
		"input.acceptable": true, "input.voltage": 229.5} {
		want(t, got, name, value)
	}
	quiet, _ := told.line(t, 0, "firebreak/1/state/lab/b3/rack1/duct-1 ", `"smoke.alarm":false`)
	want(t, payload(t, quiet), "head.missing", false)
	want(t, payload(t, quiet), "bad", nil)

	duct.set(t, 2, 2, 1)
	l.hook(t, "smoke", 0)
	smoke, _ := told.line(t, 0, "firebreak/1/alarm/lab/b3/rack1/smoke ", `"active":true`)
	alarm := payload(t, smoke)
	want(t, alarm, "priority", 1.0)
	want(t, alarm, "origin", "real")
	want(t, alarm, "first_out", true)
	told.line(t, 0, "/state/lab/b3/rack1/duct-1 ", `"smoke.alarm":true`)
	told.line(t, 0, "firebreak/1/plan/lab/b3/rack1/on-smoke ", `"stage":"1"`, `"state":"done"`)

	ups.set(t, 3, 135, 61.25*128)
	l.hook(t, "hot", 0)
	told.line(t, 0, "/state/lab/b3/rack1/ups-a ", `"battery.temperature":61.25`)
	told.line(t, 0, "/alarm/lab/b3/rack1/hot ", `"active":true`)

	if err := agent.stop(); err != nil {
		t.Errorf("the agent ended with %v on SIGTERM, want 0", err)
	}
	told.line(t, 0, "firebreak/1/status/lab/b3/rack1 ", `"online":false`, `"reason":"stopped"`)
}

// The head of the detector is taken out: its smoke point is bad and not "no smoke" (S3).
func TestPymodbusHeadMissing(t *testing.T) {
	agentEnd, deviceEnd := serialLine(t)
	duct := startPymodbus(t, "rtu", deviceEnd, 3)
	duct.set(t, 2, 0, 1, 0, 0, 0)
	m := newMosquitto(t)
	m.start(t)
	told := m.subscribe(t, "firebreak/1/state/#")
	// Nobody listens where the UPS should be: the serial line keeps its schedule.
	newLab(t, fmt.Sprintf("127.0.0.1:%d", freePort(t)), agentEnd, m.address()).run(t)
	_, n := told.line(t, 0, "duct-1 ", `"smoke.alarm":false`)
	duct.set(t, 2, 0, 0)
	told.line(t, n, "duct-1 ", `"head.missing":true`, `"smoke.alarm":null`, `smoke.alarm:not-ready`)
	told.line(t, 0, "ups-a ", `"battery.temperature":null`, `battery.temperature:comm`)
}

// A device that answers, but not as the model that the profile is for: none of its values counts
// (S3). Once the right one is there, they do.
func TestPymodbusOtherModel(t *testing.T) {
	port := freePort(t)
	ups := startPymodbus(t, "tcp", fmt.Sprint(port), 1)
	ups.ups(t)
	ups.set(t, 3, 2054, 0x3412) // the bytes of a word swapped, as some gateways do
	m := newMosquitto(t)
	m.start(t)
	told := m.subscribe(t, "firebreak/1/state/#")
	newLab(t, fmt.Sprintf("127.0.0.1:%d", port), "", m.address()).run(t)
	_, n := told.line(t, 0, "ups-a ", `"battery.temperature":null`, `battery.temperature:identity`)
	ups.set(t, 3, 2054, 0x1234)
	told.line(t, n, "ups-a ", `"battery.temperature":25.5`)
}
