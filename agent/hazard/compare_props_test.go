package hazard

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"firebreak/sensors"
)

// drawComparing adds detectors that compare: from the median of all, from a baseline that is learned
// in a minute, jumps, silence and the rule for a runaway. None rests on another point: what a bypass of
// such a one does is tested by itself.
func drawComparing(t *rapid.T, r *Rules, all []sensors.PointID, silent bool) (of []CondID) {
	over := func(c Cond, points ...sensors.PointID) {
		c.OnDelay = rapid.SampledFrom([]time.Duration{0, 2 * time.Second}).Draw(t, "on")
		c.OffDelay = rapid.SampledFrom([]time.Duration{0, 7 * time.Second}).Draw(t, "off")
		c.Side = rapid.SampledFrom([]Side{Up, Down, Either}).Draw(t, "side")
		for _, p := range points {
			if n := len(c.Members); n == 0 || c.Members[n-1].Device != r.Points[p].Device {
				c.Members = append(c.Members, Member{Device: r.Points[p].Device})
			}
			m := &c.Members[len(c.Members)-1]
			m.Points = append(m.Points, p)
		}
		of = append(of, CondID(len(r.Conds)))
		r.Conds = append(r.Conds, c)
	}
	one := func() sensors.PointID { return rapid.SampledFrom(all).Draw(t, "point") }
	over(Cond{Name: "outlier", Kind: Deviation, From: FromMedian, Threshold: 25, Deadband: 2}, all...)
	over(Cond{Name: "crept", Kind: Deviation, From: FromBaseline, Learn: time.Minute, Threshold: 25, Deadband: 2}, one())
	over(Cond{Name: "jumped", Kind: Jump, Window: 5 * time.Second, Threshold: 25, Deadband: 2}, one())
	if silent { // in no vote in which faults vote too: one silence would count twice, and check refuses it
		over(Cond{Name: "silent", Kind: Silent, Window: 10 * time.Second}, all...)
	}
	over(Cond{Name: "runaway", Kind: Runaway, Window: 4 * time.Second, Threshold: 1, Limit: 60, HasLimit: true}, one())
	return of
}

// A restart within one boot after d equals d without readings: once everything has been read again for
// a minute, longer than every delay, all verdicts are the same; and before that nothing is true that is
// not true without the restart, and no alarm is over (S8). Whether a rise preceded is not kept, so that
// what is true after a restart may be weak.
func TestDowntimeIsSilence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRoom(t, true)
		a, b := newSim(t, r), newSim(t, r)
		var records []MemberRecord
		var bases []BaselineRecord
		keep := func() {
			records, bases = append(records, b.ch.Members...), append(bases, b.ch.Baselines...)
		}
		for _, d := range drawDeeds(t, r, true, false) {
			a.does(d, true, 0)
			b.does(d, true, 0)
			keep()
		}
		settled := deed{after: 4 * time.Second} // until all is stale, so that no on-delay runs: those are not served by downtime
		a.does(settled, true, 0)
		b.does(settled, true, 0)
		keep()
		last := b.now
		down := rapid.SampledFrom([]time.Duration{20 * time.Second, time.Minute, 20 * time.Minute}).Draw(t, "down")
		a.does(deed{after: down}, true, 0)
		e, err := New(r)
		if err != nil {
			t.Fatal(err)
		}
		for _, rec := range records {
			e.Restore(rec)
		}
		for _, rec := range bases {
			e.RestoreBaseline(rec)
		}
		b.e, b.now = e, last.Add(down)
		e.Resume(b.now, last, 0)
		b.step(nil)
		same := func(when string, exact bool) {
			for id := range r.Conds {
				x, y := a.e.Verdict(CondID(id)), b.e.Verdict(CondID(id))
				if exact && x.Is != y.Is || y.Is == True && x.Is == False || y.Is == False && x.Is == True {
					t.Fatalf("%s: %s is %+v, and restarted %+v", when, r.Conds[id].Name, x, y)
				}
			}
		}
		same("at once", false)
		for s := range 75 {
			d := deed{after: time.Second}
			for p := range r.Points {
				d.in = append(d.in, sensors.Reading{Point: sensors.PointID(p), Value: 20 + float64(p*s%3), Quality: sensors.GoodQuality})
			}
			a.does(d, true, 0)
			b.does(d, true, 0)
		}
		same(fmt.Sprintf("a minute after %v", down), true)
	})
}
