package guard

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"firebreak/agent/response"
	"firebreak/plugins"
)

// recovered looks at what a start has found, before it goes on.
func (s *story) recovered(l *life) {
	v := l.got.Core.View(l.clock.Now(), "evacuate")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.starts = append(s.starts, startLine(s, l, v))
	newest := s.out.newest()
	forgot := v.Episode == 0 && v.NextEpisode == 0 && newest != 0 // not one record that the keys rest on is left (S9)
	undid := v.Episode != 0 && v.Episode <= s.reset               // a reset that a person was told of
	// A damaged disk may have taken a whole fire away: nobody knows then what there is to take back.
	missed := strings.Contains(s.blow.kind, "flipped") && (v.Episode == 0 && v.NextEpisode <= newest || s.lost(v, newest))
	// The start that finds the damage says so; those after it find a repaired journal. What is flipped at the
	// very end, or in the header of the only segment, looks like what a power loss leaves: the log alone tells it.
	notes := strings.Join(l.got.Notes, " ")
	s.told = s.told || l.got.Resume.Damaged
	s.hurt = s.hurt || strings.Contains(notes, "its good part kept") || strings.Contains(notes, "it follows record")
	if missed && s.hurt && !s.told {
		s.out.wrong("durable records are gone, and nobody is told")
	}
	s.lax = s.lax || missed && s.out.now() > quiet1-20*time.Second && (s.out.now() < fire2 || s.out.now() > quiet2-20*time.Second)
	if forgot || undid {
		s.lax = true
		if !strings.Contains(s.blow.kind, "flipped") && !(forgot && l.j == nil) && !(undid && s.broken) {
			s.out.wrong("this start knows of episode %d and next %d; the hooks had %d, reset was %d", v.Episode, v.NextEpisode, newest, s.reset)
		}
	}
	if s.broken || v.NextEpisode > newest && v.Episode != newest { // nothing was promised, or it was reset
		return
	}
	for _, st := range v.Steps {
		if (v.Episode != newest || st.State == "idle") && s.out.journaled(st.Step, newest) {
			s.out.wrong("step %s was started with a durable record, and this start knows nothing of it", st.Step)
		}
	}
}

// lost: a step was started with a durable record in the present episode, and nothing tells of it.
func (s *story) lost(v plugins.PlanState, newest uint64) bool {
	return v.Episode == newest && slices.ContainsFunc(v.Steps, func(st plugins.StepState) bool {
		return st.State == "idle" && s.out.journaled(st.Step, newest)
	})
}

// newest is the highest episode of which a hook was started.
func (o *outside) newest() (n uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, w := range o.starts {
		n = max(n, w.key.Episode)
	}
	return n
}

func (o *outside) journaled(step string, episode uint64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.ContainsFunc(o.starts, func(w *work) bool {
		return w.journaled && w.key.Step == step && w.key.Episode == episode && !w.key.Undo
	})
}

// look holds the end of a fire against what should have happened by then.
func (s *story) look(from time.Duration) {
	l := s.living()
	if l == nil || s.isLax() || time.Since(l.begun) < 100*time.Second {
		return // it may still be at it; judge looks at what was done
	}
	v := l.view()
	for _, st := range v.Steps {
		if st.State != "done" {
			s.out.wrong("at the end of the fire step %s is %s (%s); asking: %q", st.Step, st.State, st.Detail, v.Asking)
		}
	}
}

func (s *story) isLax() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lax
}

// judge looks at all that was done outside.
func (s *story) judge() {
	if s.lax {
		return // votes and keys were held to the rules at each start all the same
	}
	var episodes []uint64
	for _, span := range [][2]time.Duration{{fire1, quiet1}, {fire2, quiet2}} {
		seen := map[uint64]bool{}
		for k := range s.out.plan.Steps {
			st := &s.out.plan.Steps[k]
			did := s.out.ran(st.Name, false, span[0], span[1])
			want := 1
			if st.Name == "dns" {
				want = 2
			}
			if len(did) != want {
				s.out.wrong("step %s was started %d times in the fire of %v, want %d: %s", st.Name, len(did), span[0], want, keysOf(did))
			}
			for _, w := range did {
				seen[w.key.Episode] = true
			}
			if st.HasUndo {
				s.undone(st, span[1])
			}
		}
		if len(seen) != 1 {
			s.out.wrong("the fire of %v has the episodes %v", span[0], slices.Sorted(maps.Keys(seen)))
		}
		episodes = slices.AppendSeq(episodes, maps.Keys(seen))
	}
	if len(episodes) == 2 && episodes[0] == episodes[1] {
		s.out.wrong("both fires have episode %d", episodes[0])
	}
	if early := s.out.ran("", false, 0, fire1); len(early) > 0 {
		s.out.wrong("started before any fire: %s", keysOf(early))
	}
}

// undone: after the reset, once, and before the next fire.
func (s *story) undone(st *response.Step, from time.Duration) {
	to := from + fire2 - quiet1
	if did := s.out.ran(st.Name, true, from, to); len(did) != 1 {
		s.out.wrong("step %s was taken back %d times after %v, want once: %s", st.Name, len(did), from, keysOf(did))
	}
}

func keysOf(ws []*work) string {
	var b strings.Builder
	for _, w := range ws {
		fmt.Fprintf(&b, "%s at %v (%v) ", w.key, w.at, w.result)
	}
	return b.String()
}

// tell is a story that a person can repeat.
func (s *story) tell() string {
	var b strings.Builder
	for _, f := range s.out.faults {
		fmt.Fprintln(&b, " -", f)
	}
	for _, line := range s.starts {
		fmt.Fprintln(&b, line)
	}
	fmt.Fprintln(&b, keysOf(s.out.starts))
	return b.String()
}

// startLine is what a start has found, for whoever has to understand a failure.
func startLine(s *story, l *life, v plugins.PlanState) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v: start in %s, journal %v, behind %v, stage %s, episode %d:", s.out.now(), l.boot, l.j != nil, l.got.Behind, v.Stage, v.Episode)
	for _, st := range v.Steps {
		if st.State != "idle" {
			fmt.Fprintf(&b, " %s %s", st.Step, st.State)
		}
	}
	for _, o := range v.Outstanding {
		fmt.Fprintf(&b, " owes %s", o.Step)
	}
	return fmt.Sprintf("%s %q", b.String(), l.got.Notes)
}

// play1 plays one story in a bubble of its own: every goroutine has ended when it returns.
func play1(t *testing.T, sc scene, b blow, seed uint64) *story {
	var s *story
	synctest.Test(t, func(*testing.T) {
		s = newStory(sc, b, seed)
		s.play()
	})
	return s
}

// S4, S8, S9, S10, S15: the agent is killed, its machine loses power, or its disk fails, at every
// operation of the journal. FIREBREAK_CRASH_RUNS is how many of these runs, spread evenly; "all" is
// every operation of every scene with every blow. FIREBREAK_CRASH_ONLY repeats one, as a failure names it;
// which goroutine comes first is not ours to say, so repeat it with -count.
func TestCrashAtEveryWrite(t *testing.T) {
	var ops [scenes]int
	var base [scenes][]*work
	for sc := range scenes {
		s := play1(t, sc, blow{}, 0)
		if len(s.out.faults) > 0 {
			t.Fatalf("scene %s without any blow:\n%s", sc, s.tell())
		}
		ops[sc], base[sc] = s.disk.n, s.out.starts
	}
	plays := pickPlays(t, ops)
	felt, ran := map[string]int{}, map[string]int{}
	for _, p := range plays {
		s := play1(t, p.scene, p.blow, p.seed)
		if p.kind == "full" || p.kind == "EIO" || p.kind == "hang" {
			s.late(base[p.scene])
		}
		ran[p.kind]++
		if s.struck > 0 && s.bites > 0 {
			felt[p.kind]++
		}
		if s.again {
			felt["a second time"]++
		}
		if s.lax {
			felt["journal lost"]++
		}
		if len(s.out.faults) > 0 {
			t.Errorf("FIREBREAK_CRASH_ONLY='%s'\n%s", p, s.tell())
		}
	}
	t.Logf("%d runs over %v operations; felt: %v of %v", len(plays), ops, felt, ran)
	for _, kind := range blows {
		if felt[kind] == 0 && len(plays) > 1 {
			t.Errorf("no run felt %q", kind)
		}
	}
}

// late: a disk that fails but kills nobody costs each hook the bound and no more (S9); where a step
// waits for a reading, that may be the next one. An upgrade waits for the disk at its stop and start.
func (s *story) late(base []*work) {
	for _, w := range base {
		limit := 2500 * time.Millisecond
		switch {
		case w.at >= upgrade-4*time.Second && w.at < fire2:
			limit = 12 * time.Second
		case w.key.Step == "freeze" && !w.key.Undo:
			limit = grace
		}
		begun := false
		for _, now := range s.out.ran(w.key.Step, w.key.Undo, w.at-limit, w.at+limit) {
			if now.key.Attempt == w.key.Attempt {
				begun = true
			}
		}
		if !begun {
			s.out.wrong("%s was not started by %v, as on a sound disk at %v", w.key, w.at+limit, w.at)
		}
	}
}

// aPlay is one run: "scene/kind/operation/second/seed".
type aPlay struct {
	scene scene
	blow
	seed uint64
}

func (p aPlay) String() string {
	return fmt.Sprintf("%d/%s/%d/%d/%d", p.scene, p.kind, p.at, p.second, p.seed)
}

func pickPlays(t *testing.T, ops [scenes]int) (plays []aPlay) {
	if only := os.Getenv("FIREBREAK_CRASH_ONLY"); only != "" {
		var p aPlay
		f := strings.Split(only, "/")
		if len(f) != 5 {
			t.Fatalf("FIREBREAK_CRASH_ONLY=%q: want scene/kind/operation/second/seed", only)
		}
		p.kind = f[1]
		if _, err := fmt.Sscan(f[0]+" "+f[2]+" "+f[3]+" "+f[4], &p.scene, &p.at, &p.second, &p.seed); err != nil {
			t.Fatal(err)
		}
		return []aPlay{p}
	}
	one := func(sc scene, at, i int) aPlay {
		p := aPlay{sc, blow{kind: blows[i], at: at}, uint64(at)}
		if (at+i)%2 == 0 && (strings.Contains(p.kind, "kill") || strings.Contains(p.kind, "power")) {
			p.second = 1 + (at/2)%24
		}
		return p
	}
	total := ops[0] + ops[1] + ops[2]
	want := 100
	switch text := os.Getenv("FIREBREAK_CRASH_RUNS"); text {
	case "":
	case "all":
		want = total * len(blows)
	default:
		var err error
		if want, err = strconv.Atoi(text); err != nil || want < 1 {
			t.Fatalf("FIREBREAK_CRASH_RUNS=%q: want a number or all", text)
		}
	}
	for i := range want {
		sc, at := steady, 1+i*total/want // "all" comes back to each operation with the next blow
		for ; at > ops[sc]; sc++ {
			at -= ops[sc]
		}
		plays = append(plays, one(sc, at, i%len(blows)))
	}
	return plays
}
