package commission

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"firebreak/agent/app"
)

const longestAfter = 30 * time.Second

// step is by how much a point moves when it moves: more than it trembles at rest, and a part of its range.
func (r *rest) step(p *app.PointState) float64 {
	if p.Kind != "measurement" {
		return 0
	}
	part := 0.02 * p.Range
	if p.Range == 0 {
		part = 0.05 * math.Abs(r.last)
	}
	return max(3*(r.hi-r.lo), part)
}

// moved tells whether a point has left its rest: +1 up, -1 down, 0 not.
func (r *rest) moved(p *app.PointState) int {
	if r == nil || r.bad != "" || !p.Usable || p.Stale {
		return 0
	}
	switch s := r.step(p); {
	case p.Value > r.hi+s:
		return 1
	case p.Value < r.lo-s:
		return -1
	}
	return 0
}

// watch waits until the point has moved, and looks at the others as long and a while longer. What stands
// against the proof is in r.Why.
func (w *Walk) watch(ctx context.Context, p *app.PointState, r *Result, began time.Time) error {
	others := map[string]bool{}
	sense, slowest := 0, time.Duration(0)
	look := func(points []app.PointState) bool {
		for i := range points {
			q := &points[i]
			if q.Physics == p.Physics { // who was read just before the test is read twice more
				slowest = min(max(slowest, 2*time.Duration(q.PollMs)*time.Millisecond), longestAfter)
			}
			m := w.rest[q.Name].moved(q)
			switch {
			case m == 0:
			case q.Name == p.Name:
				if sense == 0 {
					sense = m
					r.After, r.Took, r.At = q.Value, time.Since(began), time.Now()
				} else if m == sense && math.Abs(q.Value-r.Before) > math.Abs(r.After-r.Before) {
					r.After = q.Value
				}
			case q.Physics == p.Physics && device(q.Name) != device(p.Name) && (q.Hazard == 0 || m == int(q.Hazard)): // not one that still cools down
				others[q.Name] = true
			}
		}
		return sense != 0
	}
	if err := w.look(ctx, w.Patience, look); err != nil {
		r.Why = err.Error()
		return err
	}
	if sense != 0 {
		if err := w.look(ctx, max(w.After, slowest), func(ps []app.PointState) bool { look(ps); return false }); err != nil {
			r.Why = err.Error()
			return err
		}
	}
	names := make([]string, 0, len(others))
	for n := range others {
		names = append(names, n)
	}
	slices.Sort(names)
	r.Why = against(p, r, sense, names)
	return nil
}

// against is why a movement proves nothing; empty: it proves.
func against(p *app.PointState, r *Result, sense int, others []string) string {
	switch {
	case sense == 0 && len(others) > 0:
		return fmt.Sprintf("it did not move, and %s did: they are swapped, or the other one was touched", strings.Join(others, ", "))
	case sense == 0:
		return "it did not move: is it this sensor, and does the test reach it?"
	case p.Hazard != 0 && sense != int(p.Hazard):
		return fmt.Sprintf("it moved away from danger (%s): wiring, sign or profile is wrong", r.moved())
	case len(others) > 0:
		return fmt.Sprintf("%s moved too, on another device: exactly one point must move, so shield the others", strings.Join(others, ", "))
	}
	return ""
}

func device(point string) string {
	d, _, _ := strings.Cut(point, ".")
	return d
}
