package hazard

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"firebreak/sensors"
)

const learning = time.Hour // 60 parts of a minute

func creeping(t *testing.T) (m *room, p sensors.PointID, warn CondID) {
	m = newRoom(t)
	p = m.point("voc", "ppm", sensors.Gas)
	m.r.Points[p].Stale, m.r.Points[p].Max = 3*time.Minute, 1000
	warn = m.over(Cond{Name: "voc-warn", Kind: Deviation, From: FromBaseline, Ratio: true, Threshold: 3, Floor: 5, Learn: learning}, p)
	return m, p, warn
}

// slow reads every minute.
func (m *room) slow(d time.Duration, p sensors.PointID, v func(i int) float64) {
	for i := 0; d > 0; i, d = i+1, d-time.Minute {
		m.read(p, v(i))
		m.wait(time.Minute)
	}
}

func level(v float64) func(int) float64 { return func(int) float64 { return v } }

func (m *room) learn(p sensors.PointID) {
	m.t.Helper()
	if _, err := m.e.Learn(m.now, []sensors.PointID{p}, "kim", 1700000000); err != nil {
		m.t.Fatal(err)
	}
	m.step()
}

func (m *room) base() (out BaselineRecord) {
	m.e.Baselines(func(b BaselineRecord, _ string) { out = b })
	return out
}

// Without a baseline the detector is unknown, not false; nothing is learned unless a person orders it.
func TestNoBaselineIsUnknown(t *testing.T) {
	m, p, warn := creeping(t)
	m.slow(3*time.Hour, p, level(10))
	m.want(warn, "unknown")
	m.learn(p)
	m.slow(learning-time.Minute, p, level(10))
	m.want(warn, "unknown")
	m.slow(3*time.Minute, p, level(10))
	m.want(warn, "false")
	if b := m.base(); !b.Have || b.Value != 10 || b.By != "kim" || b.Wall != 1700000000 {
		t.Errorf("learned %+v", b)
	}
	m.read(p, 29.9)
	m.want(warn, "false")
	m.read(p, 30)
	m.want(warn, "true")
}

// Timeline 20: 2 % a day for 60 days: what follows slowly would never see it.
func TestBaselineDoesNotFollow(t *testing.T) {
	m, p, warn := creeping(t)
	m.read(p, 10)
	m.learn(p)
	m.slow(learning+2*time.Minute, p, level(10))
	v := 10.0
	for day := 1; day <= 60; day++ {
		v *= 1.02
		m.read(p, v)
		m.wait(2 * time.Minute)
		if got, want := m.e.Verdict(warn).Is == True, v >= 30; got != want {
			t.Fatalf("day %d, %.1f ppm: %v, want %v", day, v, got, want)
		}
	}
	if b := m.base(); b.Value != 10 {
		t.Errorf("the baseline has followed to %g", b.Value)
	}
}

// A third of the window at another level, and a burst of polls, move nothing.
func TestBaselineIsRobust(t *testing.T) {
	m, p, _ := creeping(t)
	m.read(p, 10)
	m.learn(p)
	m.slow(20*time.Minute, p, level(14))
	for range 600 { // all within one part
		m.read(p, 14)
		m.wait(50 * time.Millisecond)
	}
	m.slow(41*time.Minute, p, func(i int) float64 { return 10 + []float64{-0.2, 0, 0.2}[i%3] })
	if b := m.base(); !b.Have || b.Value < 9.8 || b.Value > 10.2 {
		t.Errorf("learned %+v", b)
	}
}

func TestBaselineThatComesToNothing(t *testing.T) {
	for name, k := range map[string]struct {
		run  func(m *room, p sensors.PointID)
		want string
	}{
		"too few readings": {func(m *room, p sensors.PointID) {
			m.slow(47*time.Minute, p, level(10))
			m.wait(20 * time.Minute)
			m.read(p, 10)
		}, "of 60 parts"},
		"uncertain ones do not count": {func(m *room, p sensors.PointID) {
			for range 70 {
				m.step(sensors.Reading{Point: p, Value: 10, Quality: sensors.MakeQuality(sensors.Uncertain, sensors.Fast, sensors.Real), At: m.now})
				m.wait(time.Minute)
			}
			m.read(p, 10)
		}, "0 of 60 parts"},
		"a room full of gas": {func(m *room, p sensors.PointID) { m.slow(62*time.Minute, p, level(400)) }, "could never be true"},
		"a reboot": {func(m *room, p sensors.PointID) {
			m.slow(30*time.Minute, p, level(10))
			m.restart(time.Second, time.Hour)
		}, "restarted"},
	} {
		t.Run(name, func(t *testing.T) {
			m, p, warn := creeping(t)
			m.read(p, 10)
			m.learn(p)
			k.run(m, p)
			if b := m.base(); b.Have || b.Learning || !strings.Contains(b.Why, k.want) {
				t.Errorf("%+v, want why %q", b, k.want)
			}
			m.read(p, 10)
			m.want(warn, "unknown")
		})
	}
}

func TestLearnIsRefused(t *testing.T) {
	m, p, _ := creeping(t)
	high := m.over(Cond{Name: "voc-high", Threshold: 300, OnDelay: time.Minute}, p)
	plain := m.point("voc", "other", sensors.Gas)
	m.over(Cond{Name: "other", Threshold: 300}, plain)
	refused := func(p sensors.PointID, want string) {
		t.Helper()
		if _, err := m.e.Learn(m.now, []sensors.PointID{p}, "kim", 0); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	m.step()
	refused(p, "cannot be relied on")
	m.read(p, 500)
	m.want(high, "false") // its on-delay runs
	refused(p, "not at rest: voc-high is true")
	refused(plain, "no detector compares")
	m.read(p, 10)
	m.e.SetBypass(m.now, p, m.now.Add(time.Hour))
	refused(p, "cannot be relied on")
}

// It lasts: by the journal and by the snapshot, in the middle of the learning too. Downtime is a part
// of the window in which nothing was read.
func TestBaselineLasts(t *testing.T) {
	m, p, warn := creeping(t)
	m.read(p, 10)
	m.learn(p)
	for i := range 65 {
		m.read(p, 10)
		m.wait(time.Minute)
		switch i {
		case 20: // from the journal
			old := m.e
			m.restart(2*time.Minute, 0)
			if a, b := mustJSON(t, old.bases[0].BaselineRecord), mustJSON(t, m.base()); a != b {
				t.Fatalf("replayed %s, was %s", b, a)
			}
		case 40: // from a snapshot
			var st State
			if err := json.Unmarshal([]byte(mustJSON(t, m.e.State())), &st); err != nil {
				t.Fatal(err)
			}
			e, err := New(&m.r)
			if err != nil {
				t.Fatal(err)
			}
			e.SetState(st)
			m.e = e
		}
	}
	if b := m.base(); !b.Have || b.Value != 10 {
		t.Fatalf("learned %+v", b)
	}
	m.restart(time.Hour, -500*time.Second)
	m.read(p, 31)
	m.want(warn, "true")
}

func mustJSON(t *testing.T, v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// S23: another device's readings are not compared with what the proven one learned.
func TestReplacedDropsWhatWasLearned(t *testing.T) {
	m, p, warn := creeping(t)
	m.read(p, 10)
	m.learn(p)
	m.slow(learning+2*time.Minute, p, level(10))
	m.step(sensors.Reading{Point: p, Value: 40, Quality: sensors.MakeQuality(sensors.Uncertain, sensors.Replaced, sensors.Real), At: m.now})
	m.want(warn, "unknown")
	if len(m.ch.Baselines) != 1 || m.ch.Baselines[0].Have || m.ch.Baselines[0].Why == "" {
		t.Errorf("not recorded: %+v", m.ch.Baselines)
	}
	m.read(p, 40)
	m.want(warn, "unknown") // proven again, and still without
}
