package history

import (
	"testing"
	"time"

	"firebreak/plugins"
	"firebreak/sensors"
)

func at(boot string, m time.Duration, synced bool) Instant {
	return Instant{boot, sensors.Mono(m), m.Milliseconds(), synced}
}

// What goes last, of all that a ring can hold.
func TestRank(t *testing.T) {
	const h, m = time.Hour, time.Minute
	seg := func(ix uint64, boot string, from, to time.Duration) *segment {
		return &segment{Index: ix, First: at(boot, from, true), Last: at(boot, to, true)}
	}
	r := &ring{age: 24 * h, episodes: []episode{
		{Plan: "ended", Start: at("b", 10*h, true), End: at("b", 12*h, true), From: 10, To: 12},
		{Plan: "open", Open: true, Start: at("b", 20*h, true), From: 20}}}
	for _, c := range []struct {
		name string
		s    *segment
		now  time.Duration
		want int
	}{
		{"long before", seg(8, "b", 8*h, 9*h), 30 * h, 0},
		{"just before an ended one", seg(9, "b", 9*h, 10*h-5*m), 30 * h, 2},
		{"opening of an ended one", seg(10, "b", 10*h-5*m, 10*h+30*m), 30 * h, 2},
		{"the rest of an ended one", seg(11, "b", 10*h+30*m, 11*h), 30 * h, 1},
		{"after an ended one", seg(13, "b", 12*h+m, 13*h), 30 * h, 0},
		{"an ended one, too old", seg(10, "b", 10*h-5*m, 10*h+30*m), 37 * h, 0},
		{"just before an open one", seg(19, "b", 19*h, 20*h-9*m), 90 * h, 3},
		{"a little too early for it", seg(19, "b", 19*h, 20*h-11*m), 90 * h, 0},
		{"opening of an open one", seg(20, "b", 20*h-m, 20*h+m), 90 * h, 3},
		{"the rest of an open one", seg(30, "b", 22*h, 23*h), 90 * h, 1},
		{"in another boot, still of the open one", &segment{Index: 31, First: at("c", 25*h, true), Last: at("c", 26*h, true)}, 90 * h, 1},
		{"the last minutes", seg(14, "b", 13*h, 13*h+m), 13*h + 10*m, 1},
	} {
		if got := r.rank(c.s, at("b", c.now, true)); got != c.want {
			t.Errorf("%s: rank %d, want %d", c.name, got, c.want)
		}
	}
	other := at("c", 5*h, false)
	if got := r.rank(seg(10, "b", 10*h, 10*h+m), other); got != 2 {
		t.Errorf("an ended one of unknown age: rank %d, want 2", got)
	}
	r.segments = []segment{*seg(1, "b", 0, h)}
	if got := r.aged(other); len(got) != 0 {
		t.Errorf("of unknown age, and yet too old: %v", got)
	}
	if got := r.aged(at("b", 40*h, false)); len(got) != 1 {
		t.Error("within one boot no clock is needed to know an age")
	}
}

// The list of episodes is bounded; the open ones stay on it.
func TestEpisodesAreBounded(t *testing.T) {
	r := &ring{age: time.Hour}
	r.plan(&plugins.PlanState{Plan: "open", Episode: 1}, at("b", 0, true), 1)
	for n := uint64(1); n < 3*maxEpisodes; n++ {
		r.plan(&plugins.PlanState{Plan: "short", Episode: n}, at("b", 0, true), n)
		r.plan(&plugins.PlanState{Plan: "short"}, at("b", 0, true), n)
	}
	if len(r.episodes) > maxEpisodes || r.episodes[0].Plan != "open" || !r.episodes[0].Open {
		t.Errorf("%d episodes, the first %+v", len(r.episodes), r.episodes[0])
	}
}
