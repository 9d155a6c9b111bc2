package consumer

import "time"

// Bounds of what is kept of one class of one life.
const (
	maxAhead = 4096
	maxLost  = 64
)

type span struct{ from, to uint64 } // both included

// sequence finds what is missing of the messages of one class. They come over several brokers, in
// order on each, so that one that has not come yet is missed only after a while.
type sequence struct {
	begun   bool
	next    uint64 // all below have come, or are among the lost
	last    uint64 // the highest that is known to have been sent
	ahead   map[uint64]struct{}
	lost    []span
	missing time.Time // since when next has not come; zero: nothing is missing
}

// begin sets where counting begins: what was sent before this consumer listened is not missed. It may come all the
// same, by a slower broker or because it has waited, and is then told.
func (s *sequence) begin(after uint64) {
	if s.begun {
		return
	}
	s.begun, s.next, s.last = true, after+1, after
	if after > 0 {
		s.lost = append(s.lost, span{1, after})
	}
}

// take tells whether number n has come for the first time.
func (s *sequence) take(now time.Time, n uint64) bool {
	s.begin(n - 1)
	s.last = max(s.last, n)
	if n < s.next {
		return s.found(n)
	}
	if _, dup := s.ahead[n]; dup {
		return false
	}
	if n == s.next {
		s.next++
		s.advance()
	} else if len(s.ahead) < maxAhead {
		if s.ahead == nil {
			s.ahead = map[uint64]struct{}{}
		}
		s.ahead[n] = struct{}{}
	}
	s.look(now)
	return true
}

func (s *sequence) advance() {
	for len(s.ahead) > 0 {
		if _, ok := s.ahead[s.next]; !ok {
			return
		}
		delete(s.ahead, s.next)
		s.next++
	}
}

func (s *sequence) look(now time.Time) {
	switch {
	case s.next > s.last:
		s.missing = time.Time{}
	case s.missing.IsZero():
		s.missing = now
	}
}

// found takes a number out of the lost.
func (s *sequence) found(n uint64) bool {
	for i, l := range s.lost {
		if n < l.from || n > l.to {
			continue
		}
		s.lost = append(s.lost[:i], s.lost[i+1:]...)
		if n > l.from {
			s.lost = append(s.lost, span{l.from, n - 1})
		}
		if n < l.to {
			s.lost = append(s.lost, span{n + 1, l.to})
		}
		return true
	}
	return false
}

// heard takes what a hello says was sent last.
func (s *sequence) heard(now time.Time, last uint64) {
	s.begin(last)
	s.last = max(s.last, last)
	s.look(now)
}

// due gives up what has been missing for longer than grace: a gap. It may come later all the same.
func (s *sequence) due(now time.Time, grace time.Duration) (g span, ok bool) {
	if s.missing.IsZero() || now.Sub(s.missing) < grace {
		return g, false
	}
	g = span{s.next, s.last}
	for n := range s.ahead {
		g.to = min(g.to, n-1)
	}
	s.lost = append(s.lost, g)
	if len(s.lost) > maxLost {
		s.lost = s.lost[1:]
	}
	s.next = g.to + 1
	s.advance()
	s.missing = time.Time{}
	s.look(now)
	return g, true
}
