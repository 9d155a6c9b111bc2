package config

import (
	"fmt"
	"testing"
	"time"

	"firebreak/agent/hazard"
	"firebreak/sensors"

	"pgregory.net/rapid"
)

// drawRules makes a few devices on shared or separate paths, detectors on them and votes over
// those, some nested and some independent.
func drawRules(t *rapid.T) *hazard.Rules {
	r := &hazard.Rules{HeldTrue: time.Minute, LossPersist: time.Minute}
	pick := func(what string, from ...string) string { return rapid.SampledFrom(from).Draw(t, what) }
	for d := range rapid.IntRange(1, 5).Draw(t, "devices") {
		id := sensors.DeviceID(d)
		r.Devices = append(r.Devices, sensors.Device{ID: id, Name: fmt.Sprint("d", d), Poll: time.Second, Path: sensors.Path{
			Bus: pick("bus", "x", "y"), Gateway: pick("gateway", "", "g", "h"), Supply: pick("supply", "", "A", "B")}})
		for range rapid.IntRange(1, 2).Draw(t, "points") {
			p := sensors.PointID(len(r.Points))
			r.Points = append(r.Points, sensors.Point{ID: p, Device: id, Name: fmt.Sprint("p", p), Register: pick("register", "r1", "r2"),
				Kind: sensors.Binary, Stale: time.Hour, Panel: rapid.IntRange(0, 9).Draw(t, "panel") == 0,
				Physics: rapid.SampledFrom([]sensors.Physics{sensors.Smoke, sensors.Temperature}).Draw(t, "physics")})
		}
	}
	for i := range rapid.IntRange(1, 5).Draw(t, "detectors") {
		c := hazard.Cond{Name: fmt.Sprint("c", i), Kind: hazard.In, Values: []float64{1}}
		for p := range r.Points {
			if !rapid.Bool().Draw(t, "watched") {
				continue
			}
			if n := len(c.Members); n > 0 && c.Members[n-1].Device == r.Points[p].Device {
				c.Members[n-1].Points = append(c.Members[n-1].Points, sensors.PointID(p))
			} else {
				c.Members = append(c.Members, hazard.Member{Device: r.Points[p].Device, Points: []sensors.PointID{sensors.PointID(p)}})
			}
		}
		r.Conds = append(r.Conds, c)
	}
	for i := range rapid.IntRange(1, 3).Draw(t, "votes") {
		c := hazard.Cond{Name: fmt.Sprint("v", i), Kind: hazard.Vote, Need: rapid.IntRange(1, 4).Draw(t, "need"), Independent: rapid.Bool().Draw(t, "independent")}
		for id := range r.Conds {
			if rapid.Bool().Draw(t, "of") {
				c.Of = append(c.Of, hazard.CondID(id))
			}
		}
		r.Conds = append(r.Conds, c)
	}
	return r
}

// The model keeps one engine for all its questions: each answer must be that of a fresh engine
// on the real rules, whatever was asked before.
func TestModelAnswersAsTheEngine(t *testing.T) {
	opened := 0
	rapid.Check(t, func(t *rapid.T) {
		r := drawRules(t)
		m := mustModel(t, r)
		for range 4 {
			on := make([]bool, len(r.Points))
			in := make([]sensors.Reading, len(r.Points))
			for p := range r.Points {
				on[p] = rapid.Bool().Draw(t, "true")
				in[p] = sensors.Reading{Point: sensors.PointID(p), Quality: sensors.GoodQuality, At: 1}
				if on[p] {
					in[p].Value = 1
				}
			}
			e, err := hazard.New(r)
			if err != nil {
				t.Fatal(err)
			}
			var out hazard.Changes
			e.Step(1, in, &out)
			set := make([]bool, len(m.leaves))
			for i, l := range m.leaves {
				for _, p := range r.Conds[l.cond].Members[l.index].Points {
					set[i] = set[i] || on[p]
				}
			}
			for id := range r.Conds {
				got := m.holds([]hazard.CondID{hazard.CondID(id)}, set)
				want := e.Verdict(hazard.CondID(id)).Is == hazard.True
				if got != want {
					t.Fatalf("%s: the model says %v, the engine %v", r.Conds[id].Name, got, want)
				}
				if want && r.Conds[id].Independent && r.Conds[id].Need > 1 {
					opened++
				}
			}
		}
	})
	if opened < 5 {
		t.Errorf("only %d independent votes came true: the test compares nothing", opened)
	}
}

func mustModel(t *rapid.T, r *hazard.Rules) *model {
	m, err := newModel(r)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// A smallest quorum that is said to need a member holds with it and not without any of its own.
func TestSmallestQuorum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRules(t)
		m := mustModel(t, r)
		whens := []hazard.CondID{hazard.CondID(len(r.Conds) - 1)}
		scope := m.scope(whens)
		left := make([]bool, len(m.leaves))
		for _, i := range scope {
			left[i] = true
		}
		if !m.holds(whens, left) {
			return // nothing left to be smallest
		}
		for _, i := range scope {
			q := m.smallestWith(whens, scope, left, i)
			if q == nil {
				continue
			}
			set := make([]bool, len(m.leaves))
			for _, o := range q {
				set[o] = true
			}
			if !m.holds(whens, set) {
				t.Fatalf("%v is no quorum", q)
			}
			set[i] = false
			if m.holds(whens, set) {
				t.Fatalf("%v does not need %d", q, i)
			}
		}
	})
}

// smallestWith is a search in some orders only: against all subsets it must not miss a member.
func TestSmallestQuorumMissesNone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRules(t)
		m := mustModel(t, r)
		whens := []hazard.CondID{hazard.CondID(len(r.Conds) - 1)}
		scope := m.scope(whens)
		if len(scope) > 10 {
			return
		}
		left := make([]bool, len(m.leaves))
		for _, i := range scope {
			left[i] = true
		}
		for _, i := range scope {
			if m.smallestWith(whens, scope, left, i) == nil && neededBySome(m, whens, scope, i) {
				t.Fatalf("member %d is in a smallest quorum that was not found", i)
			}
		}
	})
}

func neededBySome(m *model, whens []hazard.CondID, scope []int, i int) bool {
	for bits := range 1 << len(scope) {
		set := make([]bool, len(m.leaves))
		for k, o := range scope {
			set[o] = bits>>k&1 == 1
		}
		set[i] = false
		if m.holds(whens, set) {
			continue
		}
		if set[i] = true; m.holds(whens, set) {
			return true
		}
	}
	return false
}
