package hazard

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"firebreak/sensors"
)

// drawRoom makes devices that share buses, gateways and supplies at random, a detector on each point
// and one over all, a rate, and votes over them.
func drawRoom(t *rapid.T, faults bool) *Rules {
	r := &Rules{HeldTrue: 5 * time.Minute, LossPersist: 10 * time.Second}
	for d := range rapid.IntRange(2, 4).Draw(t, "devices") {
		r.Devices = append(r.Devices, sensors.Device{ID: sensors.DeviceID(d), Name: fmt.Sprint("d", d), Path: sensors.Path{
			Bus:     rapid.SampledFrom([]string{"1", "2", "3"}).Draw(t, "bus"),
			Gateway: rapid.SampledFrom([]string{"", "g", "h"}).Draw(t, "gateway"),
			Supply:  rapid.SampledFrom([]string{"A", "B", "C"}).Draw(t, "supply")}})
		for p := range rapid.IntRange(1, 2).Draw(t, "points") {
			r.Points = append(r.Points, sensors.Point{ID: sensors.PointID(len(r.Points)), Device: sensors.DeviceID(d),
				Name: fmt.Sprintf("d%d.p%d", d, p), Hazard: 1, Min: -40, Max: 150, Stale: 3 * time.Second,
				Physics: rapid.SampledFrom([]sensors.Physics{sensors.Temperature, sensors.Smoke, sensors.Gas}).Draw(t, "physics")})
		}
	}
	detector := func(name string, kind Kind, points ...sensors.PointID) CondID {
		c := Cond{Name: name, Kind: kind, Threshold: 60, Deadband: 2,
			OnDelay:  rapid.SampledFrom([]time.Duration{0, 2 * time.Second}).Draw(t, "on"),
			OffDelay: rapid.SampledFrom([]time.Duration{0, 7 * time.Second}).Draw(t, "off")}
		if kind == Rate {
			c.Threshold, c.Window = 1, 4*time.Second
		}
		if faults && rapid.Bool().Draw(t, "faults vote") {
			c.OnFault = FaultVotes
		}
		for _, p := range points {
			if n := len(c.Members); n == 0 || c.Members[n-1].Device != r.Points[p].Device {
				c.Members = append(c.Members, Member{Device: r.Points[p].Device})
			}
			m := &c.Members[len(c.Members)-1]
			m.Points = append(m.Points, p)
		}
		r.Conds = append(r.Conds, c)
		return CondID(len(r.Conds) - 1)
	}
	var of []CondID
	var all []sensors.PointID
	for p := range r.Points {
		all = append(all, sensors.PointID(p))
		of = append(of, detector("high-"+r.Points[p].Name, Above, sensors.PointID(p)))
	}
	of = append(of, drawComparing(t, r, all, !faults)...)
	wide := detector("any", Above, all...)
	rise := detector("rise", Rate, all[0], all[len(all)-1])
	vote := func(need int, independent bool, of ...CondID) CondID {
		r.Conds = append(r.Conds, Cond{Name: fmt.Sprint("vote-", len(r.Conds)), Kind: Vote, Need: need, Independent: independent, Of: of})
		return CondID(len(r.Conds) - 1)
	}
	vote(1, false, of...)
	two := vote(2, true, of...)
	vote(2, false, wide)
	vote(3, false, of...)
	vote(1, true, two, rise)
	return r
}

// deed is one thing that happens to an engine.
type deed struct {
	after  time.Duration
	in     []sensors.Reading // At is set when it happens
	point  sensors.PointID
	bypass time.Duration // > 0
	end    bool
	learn  bool
}

func drawDeeds(t *rapid.T, r *Rules, bypasses, silence bool) []deed {
	point := func() sensors.PointID {
		return sensors.PointID(rapid.IntRange(0, len(r.Points)-1).Draw(t, "point"))
	}
	out := make([]deed, rapid.IntRange(10, 80).Draw(t, "deeds"))
	for i := range out {
		d := &out[i]
		d.after = rapid.SampledFrom([]time.Duration{0, 100 * time.Millisecond, time.Second, time.Second, 4 * time.Second}).Draw(t, "after")
		if rapid.IntRange(0, 20).Draw(t, "pause") == 0 {
			d.after = rapid.SampledFrom([]time.Duration{20 * time.Second, 6 * time.Minute, 11 * time.Minute}).Draw(t, "long")
		}
		if k := rapid.IntRange(0, 11).Draw(t, "kind"); bypasses && k < 2 {
			d.point, d.end = point(), k == 1
			if !d.end {
				d.bypass = rapid.SampledFrom([]time.Duration{time.Second, 5 * time.Second, time.Minute, time.Hour}).Draw(t, "bypass")
			}
			continue
		}
		d.learn = rapid.IntRange(0, 9).Draw(t, "learn") == 0
		if d.learn {
			d.point = point()
		}
		for range rapid.IntRange(1, 4).Draw(t, "batch") {
			in := sensors.Reading{Point: point(), Quality: sensors.GoodQuality,
				Value: rapid.SampledFrom([]float64{20, 40, 59, 60, 70, 90, 150}).Draw(t, "value")}
			switch q := rapid.IntRange(0, 9).Draw(t, "quality"); {
			case q == 0 || silence:
				in.Quality = sensors.BadQuality(sensors.Reason(rapid.IntRange(0, 9).Draw(t, "reason")))
			case q == 1:
				why := rapid.SampledFrom([]sensors.Reason{sensors.OverRange, sensors.Fast, sensors.Replaced}).Draw(t, "why")
				in.Quality = sensors.MakeQuality(sensors.Uncertain, why, sensors.Real)
			}
			d.in = append(d.in, in)
		}
	}
	return out
}

// sim is one engine in simulated time.
type sim struct {
	t    *rapid.T
	e    *Engine
	now  sensors.Mono
	wake sensors.Mono
	ch   Changes // of the last happening
	seen func()  // after each step
}

func newSim(t *rapid.T, r *Rules) *sim {
	e, err := New(r)
	if err != nil {
		t.Fatal(err)
	}
	s := &sim{t: t, e: e, now: sensors.Mono(1000 * time.Second), seen: func() {}}
	s.step(nil)
	return s
}

func (s *sim) step(in []sensors.Reading) {
	for spins := 0; ; spins++ {
		s.wake = s.e.Step(s.now, in, &s.ch)
		s.seen()
		if in = nil; s.wake > s.now {
			return
		}
		if spins == 10 {
			s.t.Fatal("the engine asks to be called again without end")
		}
	}
}

func (s *sim) wait(d time.Duration) {
	end := s.now.Add(d)
	for s.wake <= end {
		s.now = s.wake
		s.step(nil)
	}
	s.now = end
}

// does waits and does one thing; bypasses are left out, or last so much longer.
func (s *sim) does(d deed, bypasses bool, longer time.Duration) {
	s.ch.Reset()
	s.wait(d.after)
	switch {
	case d.bypass > 0 && bypasses:
		s.e.SetBypass(s.now, d.point, s.now.Add(d.bypass+longer))
	case d.end && bypasses:
		s.e.EndBypass(s.now, d.point)
	}
	if d.learn {
		_, _ = s.e.Learn(s.now, []sensors.PointID{d.point}, "kim", 0) // refused or not
	}
	in := append([]sensors.Reading(nil), d.in...)
	for i := range in {
		in[i].At = s.now
	}
	s.step(in)
}

// A bypass opens nothing: nothing is true with bypasses, or stronger, that is not without them (S19).
func TestBypassOpensNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRoom(t, true)
		plain, with := newSim(t, r), newSim(t, r)
		for i, d := range drawDeeds(t, r, true, false) {
			plain.does(d, false, 0)
			with.does(d, true, 0)
			for id := range r.Conds {
				a, b := plain.e.Verdict(CondID(id)), with.e.Verdict(CondID(id))
				if class(b) > class(a) {
					t.Fatalf("deed %d: %s is %+v, and with bypasses %+v", i, r.Conds[id].Name, a, b)
				}
			}
		}
	})
}

// A verdict is settled while a point is on probation just when it would be true if that point were
// bypassed still (S19). Where faults vote it is never more.
func TestSettledIsAsIfBypassedStill(t *testing.T) {
	for _, faults := range []bool{false, true} {
		t.Run(fmt.Sprint("faults vote ", faults), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				r := drawRoom(t, faults)
				back, still := newSim(t, r), newSim(t, r)
				var end sensors.Mono
				for i, d := range drawDeeds(t, r, true, false) {
					if d.end || d.bypass > 0 && end != 0 {
						d = deed{after: d.after}
					}
					if d.bypass > 0 {
						end = back.now.Add(d.after + d.bypass + Probation)
					}
					if end != 0 && back.now.Add(d.after) >= end {
						return
					}
					back.does(d, true, 0)
					still.does(d, true, Probation)
					for id := range r.Conds {
						b, s := back.e.Verdict(CondID(id)), still.e.Verdict(CondID(id))
						if b.Settled != (s.Is == True) && (!faults || b.Settled) || b.Strong != s.Strong && !faults || b.Firm && !b.Strong || b.Strong && !b.Settled {
							t.Fatalf("deed %d: %s is %+v, and if still bypassed %+v", i, r.Conds[id].Name, b, s)
						}
					}
				}
			})
		})
	}
}

// Neither silence nor a bypass nor its end clears the alarm of a detector.
func TestNeitherSilenceNorBypassClears(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRoom(t, true)
		s := newSim(t, r)
		alarm := make([]bool, len(r.Conds))
		quiet := false
		s.seen = func() {
			for id := range r.Conds {
				v := s.e.Verdict(CondID(id))
				if quiet && alarm[id] && v.Is == False && r.Conds[id].Kind != Vote {
					t.Fatalf("%s is cleared: %+v", r.Conds[id].Name, v)
				}
				alarm[id] = v.Is == True || v.Is == Unknown && alarm[id]
			}
		}
		for _, d := range drawDeeds(t, r, true, false) {
			s.does(d, true, 0)
		}
		s.wait(4 * time.Second) // an off-delay that runs out while its point is still read is no silence
		quiet = true
		for _, d := range drawDeeds(t, r, true, true) {
			s.does(d, true, 0)
		}
	})
}

// An engine that is restored again and again does what one does that never stopped, with bypasses
// and probations running (S8).
func TestSnapshotWithBypassesIsNoStop(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRoom(t, true)
		a, c := newSim(t, r), newSim(t, r)
		for i, d := range drawDeeds(t, r, true, false) {
			a.does(d, true, 0)
			c.does(d, true, 0)
			if x, y := toldOf(a), toldOf(c); !bytes.Equal(x, y) {
				t.Fatalf("deed %d: the restored engine does otherwise:\n%s\n%s", i, x, y)
			}
			if rapid.Bool().Draw(t, "restore") {
				snap := stateOf(t, c.e)
				var st State
				if err := json.Unmarshal(snap, &st); err != nil {
					t.Fatal(err)
				}
				fresh, err := New(r)
				if err != nil {
					t.Fatal(err)
				}
				fresh.SetState(st)
				if again := stateOf(t, fresh); !bytes.Equal(snap, again) {
					t.Fatalf("deed %d: the state of the restored engine differs:\n%s\n%s", i, snap, again)
				}
				c.e = fresh
			}
		}
	})
}

func stateOf(t *rapid.T, e *Engine) []byte {
	b, err := json.Marshal(e.State())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// toldOf is all that an engine has told in its last happening, and its bypasses. Fresh is no part of
// it: readings that stay false move it when a condition is next looked at.
func toldOf(s *sim) []byte {
	for i := range s.ch.Conds {
		s.ch.Conds[i].From.Fresh, s.ch.Conds[i].To.Fresh = 0, 0
	}
	var list []Bypass
	s.e.Bypasses(func(b Bypass) { list = append(list, b) })
	b, err := json.Marshal([]any{s.ch, list})
	if err != nil {
		s.t.Fatal(err)
	}
	return b
}

// Replay of the records within one boot gives the same votes once everything has been read again.
func TestReplayWithBypasses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRoom(t, false)
		s := newSim(t, r)
		var records []MemberRecord
		var bases []BaselineRecord
		for _, d := range drawDeeds(t, r, true, false) {
			s.does(d, true, 0)
			records, bases = append(records, s.ch.Members...), append(bases, s.ch.Baselines...)
		}
		fresh, err := New(r)
		if err != nil {
			t.Fatal(err)
		}
		for _, rec := range records {
			fresh.Restore(rec)
		}
		for _, rec := range bases {
			fresh.RestoreBaseline(rec)
		}
		fresh.Resume(s.now, s.now, 0)
		var ch Changes
		for fresh.Step(s.now, nil, &ch) <= s.now {
		}
		var want, got []Bypass
		s.e.Bypasses(func(b Bypass) { want = append(want, b) })
		fresh.Bypasses(func(b Bypass) { got = append(got, b) })
		if fmt.Sprint(want) != fmt.Sprint(got) {
			t.Fatalf("bypasses %v are replayed as %v", want, got)
		}
		for id := range r.Conds {
			if a, b := s.e.Verdict(CondID(id)), fresh.Verdict(CondID(id)); class(b) > class(a) {
				t.Fatalf("%s is %+v, and replayed %+v", r.Conds[id].Name, a, b)
			}
		}
	})
}
