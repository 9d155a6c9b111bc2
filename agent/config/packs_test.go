package config

import (
	"slices"
	"strings"
	"testing"
	"time"

	"firebreak/agent/hazard"
	"firebreak/configs"
	"firebreak/sensors"
	"firebreak/sensors/profile"
)

// Every pack that ships compiles without a fault in a room that has all that it looks for: its
// thresholds lie inside the ranges of typical devices, its windows hold enough polls, and its votes
// meet the deadline (S24). Nothing of it is left out there.
func TestShippedPacks(t *testing.T) {
	names := profile.List(configs.Hazards())
	if len(names) < 14 {
		t.Errorf("only %d packs ship", len(names))
	}
	for _, name := range names {
		room, ok := packRooms[name]
		if !ok {
			t.Errorf("pack %s has no room in this test", name)
			continue
		}
		c := mustParse(t, name, room.config(name, ""), packKinds(t))
		checkRules(t, c)
		for _, l := range c.Packs[0].Left {
			t.Errorf("%s: %s is left out: %s", name, l.Name, l.Why)
		}
		if len(c.Packs[0].Changes) > 0 {
			t.Errorf("%s: changed by nobody: %v", name, c.Packs[0].Changes)
		}
	}
}

// Each threshold of a pack says where it comes from: a document, or that it is engineering judgement,
// and then why.
func TestPacksNameTheirSources(t *testing.T) {
	n := 0
	for _, f := range shippedPacks(t) {
		for _, d := range slices.Concat(f.detectors, f.votes) {
			n++
			source := d.text("source")
			rest, judged := strings.CutPrefix(source, "engineering judgement")
			if len(source) < 12 || judged && len(strings.Trim(rest, ":, ")) < 10 {
				t.Errorf("%s: %s has the source %q: name a document, or the reason of the judgement", f.file, d.text("name"), source)
			}
			if d.text("does") == "" {
				t.Errorf("%s: %s does not say what it is for", f.file, d.text("name"))
			}
		}
		if !strings.HasPrefix(f.tab.text("delays"), "engineering judgement: ") {
			t.Errorf("%s: says of its delays %q", f.file, f.tab.text("delays"))
		}
	}
	if n < 100 {
		t.Errorf("only %d detectors and votes were looked at", n)
	}
}

// shippedPacks reads all packs, by name.
func shippedPacks(t testing.TB) (out []*packFile) {
	t.Helper()
	for _, name := range profile.List(configs.Hazards()) {
		c := &compiler{source: &source{file: "f"}, kinds: packKinds(t), cfg: &Config{}}
		use := newTable(c.source, "pack", Pos{Line: 1})
		f := c.readPack(use, use, "use", name)
		if f == nil || len(c.faults) > 0 {
			t.Fatalf("pack %s: %v", name, c.faults)
		}
		out = append(out, f)
	}
	return out
}

// No physics alone opens what cannot be taken back, however many sensors of it see something: smoke
// spreads, and a hall warms as a whole. A supervised contact of the fire panel is more than one.
func TestPacksVoteByPhysics(t *testing.T) {
	votes := 0
	for name, room := range packRooms {
		c := mustParse(t, name, room.config(name, ""), packKinds(t))
		m, err := newModel(c.Rules.Hazard)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range c.Plans[0].Stages {
			if !s.Stage.Irreversible() {
				continue
			}
			votes++
			all := make([]bool, len(m.leaves))
			for phys := sensors.Status; phys <= sensors.AirFlow; phys++ {
				set := make([]bool, len(m.leaves))
				for i := range m.leaves {
					set[i] = m.leaves[i].physics == phys && !m.leaves[i].panel
					all[i] = true
				}
				if m.holds([]hazard.CondID{s.WhenID}, set) {
					t.Errorf("%s: %s opens stage %s by %s alone", name, s.When, s.Stage, phys)
				}
			}
			if !m.holds([]hazard.CondID{s.WhenID}, all) {
				t.Errorf("%s: %s never opens stage %s", name, s.When, s.Stage)
			}
		}
	}
	if votes < 5 {
		t.Errorf("only %d votes were looked at", votes)
	}
}

// Each detector of each pack becomes true at its threshold, on each of its points, when its on-delay
// and its window have been served, and not before; just below the threshold it never does, and it
// becomes false again when all is quiet, but for a confirmed runaway.
func TestPackDetectors(t *testing.T) {
	for name, room := range packRooms {
		c := mustParse(t, name, room.config(name, ""), packKinds(t))
		for i := range c.Rules.Hazard.Conds {
			k := &c.Rules.Hazard.Conds[i]
			if k.Kind == hazard.Vote || strings.Contains(k.Name, "/") {
				continue
			}
			for _, m := range k.Members {
				for j := range m.Points {
					checkDetector(t, name, c.Rules.Hazard, k, m.Points[j])
				}
			}
		}
	}
}

// way is how a point goes: its value so long after the quiet has ended.
type way func(after time.Duration) float64

func checkDetector(t *testing.T, pack string, r *hazard.Rules, k *hazard.Cond, p sensors.PointID) {
	t.Helper()
	quiet, below, at := waysOf(k)
	at1 := pack + ": " + k.Name + " on " + r.Points[p].Name
	if at == nil {
		t.Errorf("%s: this test knows nothing of its kind", at1)
		return
	}
	if got, _ := drive(t, r, k, p, quiet, below); got >= 0 {
		t.Errorf("%s: true %s after it went just below its threshold", at1, got)
	}
	got, cleared := drive(t, r, k, p, quiet, at)
	latest := k.OnDelay
	if k.Kind == hazard.Rate || k.Kind == hazard.Runaway {
		latest += k.Window
	}
	if got < k.OnDelay || got > latest+2*time.Second {
		t.Errorf("%s: true %s after it went to its threshold, want %s to %s", at1, got, k.OnDelay, latest)
	}
	if cleared == (k.Kind == hazard.Runaway) { // which stays until a person resets it
		t.Errorf("%s: cleared after the quiet has come back: %v", at1, cleared)
	}
}

const quietAt = 20 // degrees and whatever else: where nothing is wrong

// waysOf gives the value of all points at rest, and how one goes to just below the threshold and to it.
func waysOf(k *hazard.Cond) (quiet float64, below, at way) {
	to := func(v float64) way { return func(time.Duration) float64 { return v } }
	ramp := func(from, slope float64) way {
		return func(d time.Duration) float64 { return from + slope*d.Seconds() }
	}
	sign := 1.0
	if k.Side == hazard.Down {
		sign = -1
	}
	const near, over = 0.999, 1.0001
	switch k.Kind {
	case hazard.Above:
		return k.Threshold / 2, to(k.Threshold * near), to(k.Threshold)
	case hazard.Below:
		return k.Threshold * 1.5, to(k.Threshold / near), to(k.Threshold)
	case hazard.In:
		return 1 - k.Values[0], to(1 - k.Values[0]), to(k.Values[0])
	case hazard.Rate:
		at := max(quietAt, k.Limit)
		return at, ramp(at, k.Threshold*near), ramp(at, k.Threshold*over)
	case hazard.Runaway: // as fast, but too cold; and as hot
		return k.Limit - 1000, ramp(k.Limit-1000, k.Threshold*over), ramp(k.Limit, k.Threshold*over)
	case hazard.Jump:
		return quietAt, to(quietAt + sign*k.Threshold*near), to(quietAt + sign*k.Threshold)
	case hazard.Deviation:
		switch {
		case k.Ratio && k.Side == hazard.Down:
			return quietAt, to(quietAt * k.Threshold / near), to(quietAt * k.Threshold / over)
		case k.Ratio:
			return quietAt, to(quietAt * k.Threshold * near), to(quietAt * k.Threshold * over)
		}
		at := max(quietAt, k.Limit)
		return at, to(at + sign*k.Threshold*near), to(at + sign*k.Threshold*over)
	}
	return 0, nil, nil
}

// drive lets the engine judge one detector alone: all is quiet first, then the point goes its way, then
// all is quiet again. It says when the detector became true, -1 if never, and whether it cleared.
func drive(t *testing.T, r *hazard.Rules, k *hazard.Cond, p sensors.PointID, quiet float64, to way) (first time.Duration, cleared bool) {
	t.Helper()
	alone := *r
	alone.Conds = []hazard.Cond{*k}
	e, err := hazard.New(&alone)
	if err != nil {
		t.Fatal(err)
	}
	var ids []sensors.PointID
	for _, m := range k.Members {
		for _, id := range slices.Concat(m.Points, m.Ref) {
			if !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
			e.RestoreBaseline(hazard.BaselineRecord{Point: r.Points[id].Name, Have: true, Value: quiet})
		}
	}
	first = -1
	var out hazard.Changes
	in := make([]sensors.Reading, len(ids))
	rest, moved := k.Window+5*time.Second, k.Window+k.OnDelay+30*time.Second
	end := rest + moved + k.Window + k.OffDelay + 5*time.Second
	for d := time.Duration(0); d <= end; d += time.Second {
		now := sensors.Mono(time.Hour + d)
		for i, id := range ids {
			v := quiet
			if id == p && d >= rest && d < rest+moved {
				v = to(d - rest)
			}
			in[i] = sensors.Reading{Point: id, Value: v, Quality: sensors.GoodQuality, At: now}
		}
		out.Reset()
		e.Step(now, in, &out)
		if is := e.Verdict(0).Is; is == hazard.True && first < 0 {
			if first = d - rest; d < rest {
				t.Errorf("%s is true while all is quiet", k.Name)
			}
		}
	}
	return first, e.Verdict(0).Is == hazard.False
}
