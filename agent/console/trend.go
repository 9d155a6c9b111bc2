package console

import (
	"slices"
	"strconv"
	"time"
)

// What is kept of the past, for the tiny curves: ten minutes, and not of more points than anybody looks at.
const (
	trendEvery  = 5 * time.Second
	trendKept   = 120
	trendPoints = 4096
)

// trend is a ring of columns, each one value of every point, in the order of the answer. When the points are others, it begins anew.
type trend struct {
	gen   int64 // of these points
	seq   int64 // columns so far
	names []string
	ring  [trendKept][]byte // JSON: numbers, and null for what could not be used; [] where the agent was silent
	at    time.Time
}

// note keeps a column if one is due; a is nil while the agent is silent.
func (t *trend) note(now time.Time, a *Answer) {
	if a != nil {
		if n := min(len(a.Points), trendPoints); !slices.EqualFunc(t.names, a.Points[:n], func(s string, p Point) bool { return s == p.Name }) {
			*t = trend{gen: t.gen + 1}
			for _, p := range a.Points[:n] {
				t.names = append(t.names, p.Name)
			}
		}
	}
	if !t.at.IsZero() && now.Sub(t.at) < trendEvery-askEvery/2 {
		return
	}
	t.at = now
	col := []byte{'['}
	for i := range t.names {
		if a == nil {
			break
		}
		if i > 0 {
			col = append(col, ',')
		}
		if p := &a.Points[i]; p.Usable && !p.Stale {
			col = strconv.AppendFloat(col, p.Value, 'g', 6, 64)
		} else {
			col = append(col, "null"...)
		}
	}
	t.ring[t.seq%trendKept] = append(col, ']')
	t.seq++
}

// after is what came after a browser's last column, of those that are kept.
func (t *trend) after(seq int64) []byte {
	first := max(seq, t.seq-trendKept, 0)
	out := strconv.AppendInt([]byte(`{"gen":`), t.gen, 10)
	out = append(strconv.AppendInt(append(out, `,"seq":`...), t.seq, 10), `,"columns":[`...)
	for s := first; s < t.seq; s++ {
		if s > first {
			out = append(out, ',')
		}
		out = append(out, t.ring[s%trendKept]...)
	}
	return append(out, "]}"...)
}
