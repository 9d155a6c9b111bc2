package hazard

import (
	"strings"
	"testing"
	"time"

	"firebreak/sensors"
)

func TestJump(t *testing.T) {
	m := newRoom(t)
	p := m.point("bms", "t", sensors.Temperature)
	up := m.over(Cond{Name: "up", Kind: Jump, Threshold: 10, Window: 10 * time.Second}, p)
	down := m.over(Cond{Name: "down", Kind: Jump, Threshold: 10, Window: 10 * time.Second, Side: Down}, p)
	either := m.over(Cond{Name: "either", Kind: Jump, Threshold: 10, Window: 10 * time.Second, Side: Either}, p)
	m.read(p, 25)
	m.want(up, "unknown") // it has come from nowhere yet
	m.wait(time.Second)
	for v := 25.0; v < 33; v++ { // slow: 9 in 10 s is none
		m.keep(time.Second, v, p)
	}
	m.want(up, "false")
	m.read(p, 45)
	m.want(up, "true weak") // it counts up to stage 2 only (S3)
	m.want(down, "false")
	m.want(either, "true weak")
	m.keep(8*time.Second, 45, p)
	m.want(up, "true weak") // one reading is enough for a person to find it
	m.keep(4*time.Second, 45, p)
	m.want(up, "false")
	m.read(p, 20)
	m.want(up, "false")
	m.want(down, "true weak")
}

func TestSilent(t *testing.T) {
	m := newRoom(t)
	p, q := m.point("cab", "t", sensors.Temperature), m.point("asd", "s", sensors.Smoke)
	id := m.over(Cond{Name: "dead", Kind: Silent, Window: 30 * time.Second, OffDelay: 5 * time.Second}, p)
	smoke := m.over(Cond{Name: "smoke", Threshold: 60}, q)
	alone, both := m.vote(1, false, id, smoke), m.vote(2, false, id, smoke)
	m.step()
	m.want(id, "unknown") // not for so long yet
	m.wait(31 * time.Second)
	m.want(id, "true held weak") // never heard at all
	m.read(p, 25)
	m.read(q, 20)
	m.want(id, "true held weak") // back, for no 5 s yet
	m.keep(6*time.Second, 25, p)
	m.want(id, "false")
	m.wait(31 * time.Second) // 2 s more until it is stale
	m.want(id, "unknown")
	m.wait(time.Second)
	m.want(id, "true held weak")
	m.want(alone, "true held weak") // a fault alone: stage 1 at most (S2)
	m.read(q, 90)
	if v := m.e.Verdict(both); v.Is != True || v.Strong || v.Basis != Measured {
		t.Errorf("with smoke beside it is %+v: stage 2 at most", v)
	}
	m.bad(p, sensors.Comm)
	m.want(id, "true held weak") // a bad reading is no return
	m.bad(p, sensors.TestMode)
	m.want(id, "unknown")
	m.e.SetOutOfService(m.now, p, true)
	m.step()
	m.want(id, "unknown bypassed")
}

// Whoever steps late finds the same as who steps in time, and a restart counts from what was last known.
func TestSilentInTime(t *testing.T) {
	m := newRoom(t)
	p := m.point("cab", "t", sensors.Temperature)
	id := m.over(Cond{Name: "dead", Kind: Silent, Window: 30 * time.Second, OffDelay: time.Minute}, p)
	m.read(p, 25)
	m.now = m.now.Add(50 * time.Second) // nobody stepped
	m.read(p, 25)
	m.want(id, "true held weak")
	m.keep(2*time.Minute, 25, p)
	m.want(id, "false")
	m.restart(20*time.Second, 0)
	m.want(id, "unknown")
	m.wait(12 * time.Second)
	m.want(id, "unknown")
	m.wait(2 * time.Second)
	m.want(id, "true held weak")
}

// The rule of GB 38031, row by row: (voltage or limit) and rate, for more than 3 s.
func TestRunaway(t *testing.T) {
	rise := func(s int) float64 { return 40 + 1.2*float64(s) }
	steady := func(int) float64 { return 40 }
	hot := func(int) float64 { return 65 }
	full := func(int) float64 { return 48 }
	drop := func(int) float64 { return 34 }
	for _, k := range []struct {
		name  string
		t, v  func(s int) float64
		limit float64
		want  string
	}{
		{"rise, voltage gone", rise, drop, 0, "true"},
		{"rise, voltage there", rise, full, 0, "false"},
		{"rise to the limit, voltage there", func(s int) float64 { return 50 + 1.2*float64(s) }, full, 60, "true"},
		{"rise below the limit", rise, full, 100, "false"},
		{"voltage gone, temperature steady: the harness is off", steady, func(int) float64 { return 0 }, 60, "false"},
		{"beyond the limit, steady", hot, full, 60, "false"},
		{"slow rise, voltage gone", func(s int) float64 { return 40 + 0.5*float64(s) }, drop, 0, "false"},
		{"battery test: 12 % down, 6 C up", func(s int) float64 { return 40 + 0.4*float64(s) }, func(int) float64 { return 42.24 }, 60, "false"},
	} {
		t.Run(k.name, func(t *testing.T) {
			m := newRoom(t)
			p, v := m.point("bms", "t", sensors.Temperature), m.point("bms", "v", sensors.Electrical)
			id := m.beside(Cond{Name: "confirmed", Kind: Runaway, Threshold: 1, Window: 4 * time.Second, OnDelay: 3 * time.Second,
				Limit: k.limit, HasLimit: k.limit > 0, Drop: 0.25, DropOver: time.Minute}, v, p)
			for range 60 {
				m.read(v, 48)
				m.read(p, 40)
				m.wait(time.Second)
			}
			for s := range 15 {
				m.read(v, k.v(s))
				m.read(p, k.t(s))
				m.wait(time.Second)
			}
			m.want(id, k.want)
		})
	}
}

// What cannot be known is unknown: a voltage that cannot be read, or was not read for long enough.
func TestRunawayUnknown(t *testing.T) {
	m := newRoom(t)
	p, v := m.point("bms", "t", sensors.Temperature), m.point("bms", "v", sensors.Electrical)
	id := m.beside(Cond{Name: "confirmed", Kind: Runaway, Threshold: 1, Window: 4 * time.Second, Drop: 0.25, DropOver: time.Minute}, v, p)
	for s := range 10 {
		m.read(v, 30) // it may have dropped before anybody looked
		m.read(p, 40+2*float64(s))
		m.wait(time.Second)
	}
	m.want(id, "unknown")
	for range 60 {
		m.read(v, 30)
		m.read(p, 60)
		m.wait(time.Second)
	}
	m.want(id, "false")
	m.bad(v, sensors.Comm)
	m.read(p, 60)
	m.want(id, "false") // it does not rise: no voltage could make it one
	m.keep(6*time.Second, 60, p)
	for s := range 8 {
		m.read(p, 60+2*float64(s))
		m.wait(time.Second)
	}
	m.want(id, "unknown")
}

// Once confirmed it stays, over a restart too, until a person resets it: then only when it is cold.
func TestRunawayStays(t *testing.T) {
	m := newRoom(t)
	p := m.point("bms", "t", sensors.Temperature)
	id := m.over(Cond{Name: "confirmed", Kind: Runaway, Threshold: 1, Window: 4 * time.Second, OnDelay: 3 * time.Second, Limit: 60, HasLimit: true}, p)
	m.keep(6*time.Second, 50, p)
	for s := range 20 {
		m.keep(time.Second, 50+2*float64(s), p)
	}
	m.want(id, "true")
	m.keep(10*time.Minute, 88, p) // burnt out
	m.want(id, "true")
	m.restart(time.Second, 0)
	m.keep(time.Minute, 40, p)
	m.want(id, "true")
	reset := func(want string) {
		t.Helper()
		err := m.e.Unlatch(m.now, "confirmed")
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("reset: %v, want %q", err, want)
		}
		m.step()
	}
	m.keep(30*time.Second, 70, p)
	reset("at the limit")
	m.bad(p, sensors.Comm)
	m.want(id, "true held-true")
	reset("cannot be read")
	m.keep(time.Minute, 40, p)
	reset("")
	m.want(id, "false")
	m.keep(time.Minute, 40, p)
	m.want(id, "false")
}
