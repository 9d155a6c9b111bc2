package hazard

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"firebreak/sensors"
)

// plant has four devices: a and b on one bus, with c behind one gateway, with d on one supply.
func plant(t *testing.T) (*room, []sensors.PointID) {
	m := newRoom(t)
	m.device("a", sensors.Path{Bus: "1", Gateway: "g", Supply: "s"})
	m.device("b", sensors.Path{Bus: "1", Gateway: "g", Supply: "s"})
	m.device("c", sensors.Path{Bus: "2", Gateway: "g", Supply: "s"})
	m.device("d", sensors.Path{Bus: "3", Gateway: "h", Supply: "s"})
	m.device("spare", sensors.Path{Bus: "1", Gateway: "g", Supply: "s"}) // nothing is read from it
	var p []sensors.PointID
	for _, d := range []string{"a", "b", "c", "d"} {
		p = append(p, m.point(d, "x", sensors.Temperature), m.point(d, "y", sensors.Temperature))
	}
	return m, p
}

// keepBut reads every device but those named for d.
func keepBut(m *room, d time.Duration, silent string) {
	for ; d > 0; d -= time.Second {
		for i := range m.r.Points {
			if !strings.Contains(silent, m.r.Points[i].Name[:1]) {
				m.read(sensors.PointID(i), 20)
			}
		}
		m.wait(time.Second)
	}
}

func told(m *room) string {
	var out []string
	for _, l := range m.e.Losses() {
		out = append(out, fmt.Sprintf("%s:%d", l.Name, len(l.Children)))
	}
	return strings.Join(out, " ")
}

func TestLossIsOneCause(t *testing.T) {
	for silent, want := range map[string]string{
		"a": "device/a:2", "ab": "bus/1:4", "abc": "gateway/g:6", "abcd": "supply/s:8",
		"ac": "device/a:2 device/c:2", "d": "device/d:2", "abd": "bus/1:4 device/d:2",
	} {
		t.Run(silent, func(t *testing.T) {
			m, _ := plant(t)
			keepBut(m, 5*time.Second, "")
			keepBut(m, 11*time.Second, silent) // stale after 3 s of the last, then the persist time of 10 s
			if got := told(m); got != "" {
				t.Fatalf("told before the persist time: %s", got)
			}
			keepBut(m, 3*time.Second, silent)
			if got := told(m); got != want {
				t.Fatalf("told %q, want %q", got, want)
			}
		})
	}
}

func TestShortSilenceIsNoLoss(t *testing.T) {
	m, _ := plant(t)
	keepBut(m, 5*time.Second, "")
	for range 5 {
		keepBut(m, 10*time.Second, "abcd")
		keepBut(m, 2*time.Second, "")
	}
	if m.losses != 0 {
		t.Fatalf("losses changed %d times", m.losses)
	}
}

func TestReturnOneByOne(t *testing.T) {
	m, _ := plant(t)
	keepBut(m, 5*time.Second, "")
	keepBut(m, 20*time.Second, "abc")
	names := map[string]bool{}
	for _, left := range []string{"bc", "c", ""} {
		keepBut(m, 15*time.Second, left)
		for _, l := range m.e.Losses() {
			names[l.Name] = true
		}
	}
	if len(names) != 1 || !names["gateway/g"] {
		t.Fatalf("the return raised %v", names)
	}
	if got := told(m); got != "" {
		t.Fatalf("all are back, but told is %q", got)
	}
}

func TestLossGrows(t *testing.T) {
	m, _ := plant(t)
	keepBut(m, 20*time.Second, "a")
	if got := told(m); got != "device/a:2" {
		t.Fatalf("told %q", got)
	}
	keepBut(m, 20*time.Second, "ab")
	if got := told(m); got != "bus/1:4" {
		t.Fatalf("told %q", got)
	}
	keepBut(m, 20*time.Second, "abc")
	if got := told(m); got != "gateway/g:6" {
		t.Fatalf("told %q", got)
	}
}

func TestNeverHeardIsALoss(t *testing.T) {
	m, _ := plant(t)
	m.wait(9 * time.Second)
	if got := told(m); got != "" {
		t.Fatalf("told %q at once", got)
	}
	m.wait(2 * time.Second)
	if got := told(m); got != "supply/s:8" {
		t.Fatalf("told %q", got)
	}
}

func TestOutOfServiceIsNoLoss(t *testing.T) {
	m, p := plant(t)
	keepBut(m, 5*time.Second, "")
	m.e.SetOutOfService(m.now, p[0], true)
	m.e.SetOutOfService(m.now, p[1], true)
	keepBut(m, 30*time.Second, "a")
	if got := told(m); got != "" {
		t.Fatalf("what a person took out is told as lost: %q", got)
	}
	m.e.SetOutOfService(m.now, p[0], false)
	keepBut(m, 12*time.Second, "a")
	if got := told(m); got != "device/a:1" {
		t.Fatalf("told %q", got)
	}
}
