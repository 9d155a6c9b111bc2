package core_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"firebreak/agent/core"
	"firebreak/agent/hazard"
	"firebreak/agent/response"
	"firebreak/plugins"
	"firebreak/sensors"
)

// oracle remembers of each point only what S4 and S5 need: when it was last read as true, and since
// when it was read as false.
type oracle struct {
	true, false map[sensors.PointID]sensors.Mono
}

func (o *oracle) read(now sensors.Mono, r sensors.Reading) {
	if !r.Quality.Usable() {
		return
	}
	if r.Value >= threshold {
		o.true[r.Point] = now
		delete(o.false, r.Point)
	} else if _, ok := o.false[r.Point]; !ok {
		o.false[r.Point] = now
	}
}

// quorum says whether need points that may be true span two of everything.
func (o *oracle) quorum(now sensors.Mono, hz *hazard.Rules, need int) bool {
	weight := map[string]int{}
	axes := [5]map[string]bool{{}, {}, {}, {}, {}}
	two := func(i int) bool { return len(axes[i]) > 1 }
	for p, at := range o.true {
		if now.Sub(at) > heldTrue+hz.Points[p].Stale+time.Second {
			continue
		}
		if f, ok := o.false[p]; ok && now.Sub(f) > offDelay {
			continue
		}
		pt := &hz.Points[p]
		dev := &hz.Devices[pt.Device]
		reg := fmt.Sprint(dev.Name, "/", pt.Register)
		if pt.Register == "" {
			reg = pt.Name
		}
		weight[reg] = max(weight[reg], 1)
		gateway := dev.Path.Gateway
		if gateway == "" {
			gateway = "none of " + dev.Name
			axes[3]["no gateway takes all"] = true
		}
		for i, name := range []string{pt.Physics.String(), dev.Name, dev.Path.Bus, gateway, dev.Path.Supply} {
			axes[i][name] = true
		}
		if pt.Panel {
			weight[reg] = 2
			for i := range axes {
				axes[i]["panel 1"], axes[i]["panel 2"] = true, true
			}
		}
	}
	n := 0
	for _, w := range weight {
		n += w
	}
	return n >= need && two(0) && two(1) && two(2) && two(3) && two(4)
}

// No order of readings opens stage 3 or 4 without a quorum of S5.
func TestNoStage3WithoutQuorum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newSim(t, drawRules(t))
		o := oracle{map[sensors.PointID]sensors.Mono{}, map[sensors.PointID]sensors.Mono{}}
		s.on = func(e core.Effect) {
			if e.Kind != core.Write || e.Record.Plan == nil || e.Record.Plan.Kind != "stage" {
				return
			}
			for stage, need := range map[string]int{"3": 2, "4": 3} {
				if e.Record.Plan.Stage == stage && !o.quorum(s.now, s.rules.Hazard, min(need, 2)) {
					t.Fatalf("stage %s opened by %s", stage, e.Record.Plan.Why)
				}
			}
		}
		for _, h := range drawEvents(t, s.rules, false) {
			s.wait(h.after)
			h.after = 0
			for _, r := range h.ev.Readings {
				o.read(s.now, r)
			}
			s.happen(h)
		}
	})
}

func stageOf(s *sim) plugins.Stage {
	st, err := plugins.ParseStage(s.core.View(s.now, "p").Stage)
	if err != nil {
		s.t.Fatal(err)
	}
	return st
}

func judged(s *sim) map[string]bool {
	out := map[string]bool{}
	s.core.Alarms(func(a hazard.Alarm) {
		if a.Active && !strings.Contains(a.Name, "/") {
			out[a.Name] = true
		}
	})
	return out
}

// No silence clears an alarm or lowers a stage: from any state, with bad readings or none at all.
func TestSilenceClearsNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newSim(t, drawRules(t))
		for _, h := range drawEvents(t, s.rules, true) {
			s.happen(h)
		}
		// An off-delay that has run out by now, while its point was still read, is no silence.
		s.wait(sensorsStale)
		stage, alarms := stageOf(s), judged(s)
		for range rapid.IntRange(1, 20).Draw(t, "silence") {
			s.wait(time.Duration(rapid.Int64Range(0, int64(20*time.Minute)).Draw(t, "pause")))
			r := drawReading(t, len(s.rules.Hazard.Points), false)
			r.Quality = sensors.BadQuality(sensors.Reason(rapid.IntRange(0, 9).Draw(t, "reason")))
			r.At = s.now
			s.step(core.Event{Kind: core.Readings, Readings: []sensors.Reading{r}})
		}
		if now := stageOf(s); now < stage {
			t.Fatalf("silence lowered stage %s to %s", stage, now)
		}
		now := judged(s)
		for name := range alarms {
			if !now[name] {
				t.Fatalf("silence cleared alarm %s", name)
			}
		}
	})
}

// sensorsStale is long enough for every point to have gone stale.
const sensorsStale = 4 * time.Second

// Snapshot and restore at any instant equals never having stopped, and equal input gives equal
// output: the effects of three cores are the same byte for byte, one of them restored again and
// again.
func TestSnapshotIsNoStop(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules := drawRules(t)
		a, b, c := newSim(t, rules), newSim(t, rules), newSim(t, rules)
		for i, h := range drawEvents(t, rules, true) {
			for _, s := range []*sim{a, b, c} {
				s.happen(h)
			}
			if rapid.IntRange(0, 3).Draw(t, "restore") == 0 {
				snap := c.core.Snapshot(nil)
				if len(snap) == 0 {
					t.Fatal("an empty snapshot")
				}
				fresh, err := core.New(rules, snap)
				if err != nil {
					t.Fatal(err)
				}
				if again := fresh.Snapshot(nil); !bytes.Equal(snap, again) {
					t.Fatalf("event %d: snapshot of the restored core differs:\n%s\n%s", i, snap, again)
				}
				c.core = fresh
			}
			if !bytes.Equal(a.log, b.log) {
				t.Fatalf("event %d: equal input, other output:\n%s", i, differ(a.log, b.log))
			}
			if !bytes.Equal(a.log, c.log) {
				t.Fatalf("event %d: the restored core does otherwise:\n%s", i, differ(a.log, c.log))
			}
			a.log, b.log, c.log = a.log[:0], b.log[:0], c.log[:0]
		}
	})
}

func differ(a, b []byte) string {
	return firstDifference(string(a), string(b))
}

// Replay of the records at the same boot, with no time lost, gives the same state of every plan.
func TestReplayGivesTheSamePlan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newSim(t, drawRules(t))
		for _, h := range drawEvents(t, s.rules, true) {
			s.happen(h)
		}
		// A hold does not survive a restart, and ends before it.
		s.step(core.Event{Kind: core.OrderGiven, Order: core.Order{Kind: core.ReleasePlan, Name: "p", By: "kim", Channel: core.AtTheBox}})
		// Nor does an irreversible step whose hook is not known to have been called: it is voted on again.
		for _, key := range s.calls {
			s.step(core.Event{Kind: core.HookStarted, Key: key, Journaled: true})
		}
		c, err := core.New(s.rules, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, rec := range s.records {
			if err := c.Apply(rec); err != nil {
				t.Fatal(err)
			}
		}
		info := core.ResumeInfo{Resumed: response.Resumed{SameBoot: true, AgeKnown: true}, Last: s.now}
		c.Step(s.now, core.Event{Kind: core.Resumed, Resumed: info}, nil)
		want, got := planOf(s.core, s.now), planOf(c, s.now)
		if want != got {
			t.Fatalf("replayed otherwise:\n%s\n%s", want, got)
		}
		alarms := func(c *core.Core) string {
			var b strings.Builder
			c.Alarms(func(a hazard.Alarm) {
				if !strings.Contains(a.Name, "/") {
					fmt.Fprintln(&b, a.Name, a.State, a.Active, a.Occurrence)
				}
			})
			return b.String()
		}
		if want, got := alarms(s.core), alarms(c); want != got {
			t.Fatalf("alarms replayed otherwise:\n%s\n%s", want, got)
		}
	})
}

// planOf is what lasts of a plan: not the texts, which tell of the present votes.
func planOf(c *core.Core, now sensors.Mono) string {
	v := c.View(now, "p")
	for i := range v.Steps {
		v.Steps[i].Detail = ""
	}
	v.Asking, v.Vote = "", nil
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// Nothing that a sensor can say makes the core panic, ask to be called again without end, or hold
// what cannot be written.
func TestWildReadings(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newSim(t, drawRules(t))
		for _, h := range drawEvents(t, s.rules, true) {
			s.happen(h)
		}
		if len(s.core.Snapshot(nil)) == 0 {
			t.Fatal("an empty snapshot")
		}
	})
}

// A downtime of d within one boot leaves the same stage, episode and alarms as d without readings, once
// everything has been read again for longer than each delay. On-delays and leases are excepted: what
// runs at the kill has ended before it, and held-true is over or has not begun to be (S8).
func TestDowntimeIsSilence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules := drawRules(t)
		a, b := newSim(t, rules), newSim(t, rules)
		for _, h := range drawEvents(t, rules, false) {
			a.happen(h)
			b.happen(h)
		}
		for _, s := range []*sim{a, b} { // a hold does not survive a restart, and all that runs ends
			s.step(core.Event{Kind: core.OrderGiven, Order: core.Order{Kind: core.ReleasePlan, Name: "p", By: "kim", Channel: core.AtTheBox}})
			s.wait(sensorsStale)
		}
		down := rapid.SampledFrom([]time.Duration{10 * time.Second, 50 * time.Second, 20 * time.Minute}).Draw(t, "down")
		last := b.now
		a.wait(down)
		b.kill(last, down)
		var in []sensors.Reading
		for p := range rules.Hazard.Points {
			in = append(in, sensors.Reading{Point: sensors.PointID(p), Value: 20, Quality: sensors.GoodQuality})
		}
		for range 40 {
			for _, s := range []*sim{a, b} {
				s.happen(happening{hook: -1, after: time.Second, ev: core.Event{Kind: core.Readings, Readings: in}})
			}
		}
		if want, got := a.standing(), b.standing(); want != got {
			t.Fatalf("after %v without readings\n%s\nafter %v down\n%s", down, want, down, got)
		}
	})
}

// kill ends the core and starts it again from its records, in the same boot.
func (s *sim) kill(last sensors.Mono, down time.Duration) {
	c, err := core.New(s.rules, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, rec := range s.records {
		if err := c.Apply(rec); err != nil {
			s.t.Fatal(err)
		}
	}
	s.core, s.now = c, last.Add(down)
	s.step(core.Event{Kind: core.Resumed, Resumed: core.ResumeInfo{Resumed: response.Resumed{SameBoot: true, AgeKnown: true, Age: down, EpisodeBase: 1}, Last: last}})
}

// standing is the stage, and the alarms of detectors and votes: how they stand, not since when. That of
// the silence is left out: it counts from when the last reading went stale, which a restart knows to
// within that time, and what suppresses it likewise.
func (s *sim) standing() string {
	v := s.core.View(s.now, "p")
	out := []string{fmt.Sprint("stage ", v.Stage, " episode ", v.Episode, " latched ", v.Latched)}
	s.core.Alarms(func(a hazard.Alarm) {
		if !strings.Contains(a.Name, "/") && a.Name != "silent" {
			out = append(out, fmt.Sprint(a.Name, " ", a.State, " active ", a.Active))
		}
	})
	slices.Sort(out)
	return strings.Join(out, "\n")
}
