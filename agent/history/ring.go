package history

import (
	"slices"
	"time"

	"firebreak/plugins"
)

// What belongs to an episode: this long before its start, and, of that, the opening is what an
// investigator needs most.
const (
	lead    = 10 * time.Minute
	opening = 20 * time.Minute
	// maxEpisodes bounds the list of those that are remembered; the oldest ended ones go.
	maxEpisodes = 64
)

// segment is one file as the catalogue knows it.
type segment struct {
	Index uint64  `json:"i"`
	Size  int64   `json:"s"`
	First Instant `json:"a"`
	Last  Instant `json:"z"`
}

// episode is one run of a plan as the ring has to keep it.
type episode struct {
	Plan   string  `json:"plan"`
	Number uint64  `json:"number"`
	Start  Instant `json:"start"`
	End    Instant `json:"end"`
	Open   bool    `json:"open,omitempty"`
	From   uint64  `json:"from"` // segment in which it began
	To     uint64  `json:"to"`   // segment in which it ended
}

// ring is the catalogue of what is on the disk, and decides what goes.
type ring struct {
	max      int64
	age      time.Duration
	segments []segment // ascending, without the one that is written
	episodes []episode
	evicted  Evicted
}

// plan follows the episodes by what is told of a plan.
func (r *ring) plan(s *plugins.PlanState, at Instant, index uint64) {
	for i := range r.episodes {
		e := &r.episodes[i]
		if e.Plan != s.Plan || !e.Open {
			continue
		}
		if e.Number == s.Episode {
			return
		}
		e.Open, e.End, e.To = false, at, index
	}
	if s.Episode == 0 {
		return
	}
	start := at.back(time.Duration(s.ElapsedS) * time.Second)
	r.episodes = append(r.episodes, episode{Plan: s.Plan, Number: s.Episode, Start: start, Open: true, From: index})
	if len(r.episodes) > maxEpisodes {
		if i := slices.IndexFunc(r.episodes, func(e episode) bool { return !e.Open }); i >= 0 {
			r.episodes = slices.Delete(r.episodes, i, i+1)
		}
	}
}

// rank is how late a segment goes: 0 belongs to no episode; 1 to one; 2 holds the opening of one that
// has ended, 3 of one that is open. An episode that ended longer ago than the age bound counts no
// more; one of which that is not known counts on, until the bound in bytes takes it. The last minutes
// count as if an episode began now.
func (r *ring) rank(s *segment, now Instant) int {
	rank := 0
	if age, known := s.Last.To(now); known && age <= lead {
		rank = 1
	}
	for i := range r.episodes {
		e := &r.episodes[i]
		if !e.Open {
			if age, known := e.End.To(now); known && age > r.age || s.Index > e.To {
				continue
			}
		}
		before, known := s.Last.To(e.Start)
		if s.Index < e.From && (!known || before > lead) {
			continue
		}
		k := 1
		if after, known := e.Start.To(s.First); s.Index <= e.From || known && after <= opening {
			k = 2
			if e.Open {
				k = 3
			}
		}
		rank = max(rank, k)
	}
	return rank
}

func (r *ring) total() int64 {
	var n int64
	for i := range r.segments {
		n += r.segments[i].Size
	}
	return n
}

// aged names the segments that are past the age bound and belong to no episode. An age across boots
// that no synchronised clock tells is none: a clock that is set wrong must not take the history.
func (r *ring) aged(now Instant) (out []uint64) {
	for i := range r.segments {
		s := &r.segments[i]
		if age, known := s.Last.To(now); known && age > r.age && r.rank(s, now) == 0 {
			out = append(out, s.Index)
		}
	}
	return out
}

// next is the segment to go first when room is needed; any: also one that belongs to an episode.
func (r *ring) next(now Instant, any bool) (index uint64, ok bool) {
	least := 4
	for i := range r.segments {
		if k := r.rank(&r.segments[i], now); k < least {
			least, index = k, r.segments[i].Index
		}
	}
	return index, least == 0 || any && least < 4
}

// gone takes a segment out of the catalogue.
func (r *ring) gone(index uint64) {
	i := slices.IndexFunc(r.segments, func(s segment) bool { return s.Index == index })
	if i < 0 {
		return
	}
	s := r.segments[i]
	r.evicted.Segments++
	r.evicted.Bytes += s.Size
	if s.Last.Wall > r.evicted.Last.Wall {
		r.evicted.Last = s.Last
	}
	r.segments = slices.Delete(r.segments, i, i+1)
}
