//go:build peers

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// registers of the UPS that raise one alarm each.
const (
	regStatus  = 1   // bit 2: on battery; bit 1: on line
	regPower   = 21  // bit 4: a component is too hot
	regBattery = 22  // bit 3: the battery is too hot, critically
	regTemp    = 135 // 1/128 C
)

// transition is one message of the class alarm.
type transition struct {
	name   string
	active bool
	seq    int
}

// transitions are those of one agent's life, doubles (QoS 1) taken out, in the order of arrival.
func transitions(t testing.TB, lines []line) []transition {
	t.Helper()
	var out []transition
	seen := map[int]bool{}
	for _, l := range lines {
		if !strings.HasPrefix(l.text, "firebreak/1/alarm/") || strings.Contains(l.text, "/_echo ") {
			continue
		}
		p := payload(t, l)
		seq, _ := p["seq"].(float64)
		active, _ := p["active"].(bool)
		if name, _ := p["hazard"].(string); !seen[int(seq)] {
			seen[int(seq)] = true
			out = append(out, transition{name, active, int(seq)})
		}
	}
	return out
}

func has(all []transition, name string, active bool) bool {
	return slices.ContainsFunc(all, func(x transition) bool { return x.name == name && x.active == active })
}

// The broker stops in the middle and comes back: hooks start meanwhile, and mosquitto_sub in the end
// has every transition of every alarm, in order, without a gap.
func TestBrokerStoppedInTheMiddle(t *testing.T) {
	port := freePort(t)
	ups := startPymodbus(t, "tcp", fmt.Sprint(port), 1)
	ups.ups(t)
	m := newMosquitto(t)
	m.start(t)
	told := m.subscribe(t, "firebreak/1/#")
	l := newLab(t, fmt.Sprintf("127.0.0.1:%d", port), "", m.address())
	agent := l.run(t)
	told.line(t, 0, "/status/", `"online":true`)

	ups.set(t, 3, regStatus, 1<<2)
	l.hook(t, "on-battery", 0)
	told.line(t, 0, "/alarm/lab/b3/rack1/on-battery ", `"active":true`)
	if err := m.stop(); err != nil {
		t.Fatal(err)
	}
	agent.errs.line(t, 0, "broker not reachable", "broker=site")

	// Each hook proves that what was set before it was judged too.
	ups.set(t, 3, regStatus, 1<<1)
	ups.set(t, 3, regPower, 1<<4)
	l.hook(t, "over-temperature", 0)
	ups.set(t, 3, regStatus, 1<<2)
	ups.set(t, 3, regBattery, 1<<3)
	l.hook(t, "battery-over-temperature", 0)
	ups.set(t, 3, regPower, 0)
	ups.set(t, 3, regTemp, 60*128)
	l.hook(t, "hot", 0)

	m.start(t)
	lines := told.await(t, "alarms after the broker came back", func(all []line) bool {
		got := transitions(t, all)
		return has(got, "hot", true) && has(got, "over-temperature", false)
	})
	got := transitions(t, lines)
	if !slices.IsSortedFunc(got, func(a, b transition) int { return a.seq - b.seq }) || got[0].seq != 1 || got[len(got)-1].seq != len(got) {
		t.Errorf("transitions with a gap or out of order: %+v", got)
	}
	var battery []bool
	for _, x := range got {
		if x.name == "on-battery" && (len(battery) == 0 || battery[len(battery)-1] != x.active) {
			battery = append(battery, x.active)
		}
	}
	if !slices.Equal(battery, []bool{true, false, true}) {
		t.Errorf("the UPS went on battery, off and on again, and was told as %v", battery)
	}
	for _, name := range []string{"over-temperature", "battery-over-temperature", "hot"} {
		if !has(got, name, true) {
			t.Errorf("%s was never told: %+v", name, got)
		}
	}
}

// No broker is there at the start: every alarm starts its hook, and is told once the broker is up.
func TestBrokerAbsentAtStart(t *testing.T) {
	port := freePort(t)
	ups := startPymodbus(t, "tcp", fmt.Sprint(port), 1)
	ups.ups(t)
	m := newMosquitto(t)
	l := newLab(t, fmt.Sprintf("127.0.0.1:%d", port), "", m.address())
	l.run(t)
	names := []string{"hot", "over-temperature", "battery-over-temperature", "on-battery"}
	ups.set(t, 3, regTemp, 60*128)
	ups.set(t, 3, regPower, 1<<4, 1<<3)
	ups.set(t, 3, regStatus, 1<<2)
	for _, n := range names {
		l.hook(t, n, 0)
	}
	m.start(t)
	told := m.subscribe(t, "firebreak/1/#")
	told.await(t, "every alarm", func(all []line) bool {
		got := transitions(t, all)
		return !slices.ContainsFunc(names, func(n string) bool { return !has(got, n, true) })
	})
	l.hooks.mu.Lock()
	defer l.hooks.mu.Unlock()
	if len(l.hooks.lines) != len(names) {
		t.Errorf("%d hooks ran for %d alarms: %v", len(l.hooks.lines), len(names), l.hooks.lines)
	}
}
