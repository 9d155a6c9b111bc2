package hazard

import (
	"math"
	"slices"
	"time"

	"firebreak/sensors"
)

// maxSamples bounds the samples kept for a rate: enough for the estimator's breakdown point to
// matter, few enough that 120 pairs are compared at each reading.
const maxSamples = 16

type sample struct {
	At  sensors.Mono
	Val float64
}

// series holds the samples of one point for one window: a short window next to a long one has its
// own, or it would find too few of them.
type series struct {
	point   sensors.PointID
	window  time.Duration
	samples []sample
}

func (e *Engine) addSeries(p sensors.PointID, window time.Duration) int32 {
	for _, i := range e.points[p].series {
		if e.series[i].window == window {
			return i
		}
	}
	i := int32(len(e.series))
	e.series = append(e.series, series{p, window, make([]sample, 0, maxSamples)})
	e.points[p].series = append(e.points[p].series, i)
	return i
}

// addSample keeps at most maxSamples samples that span window. When they come faster than that,
// the newest takes the place of the one before it until a slot's width has passed.
func addSample(s []sample, r sensors.Reading, window time.Duration) []sample {
	// One sample before the window stays, so that the window is covered from end to end.
	for len(s) > 1 && r.At.Sub(s[1].At) >= window {
		s = append(s[:0], s[1:]...)
	}
	slot := window / (maxSamples - 2)
	if n := len(s); n >= 2 && s[n-1].At.Sub(s[n-2].At) < slot {
		s = s[:n-1]
	}
	if len(s) == maxSamples {
		s = append(s[:0], s[1:]...)
	}
	return append(s, sample{r.At, r.Value})
}

// rate estimates the change per second over window with the Theil-Sen estimator: the median of
// the slopes of all pairs of samples. Up to 29 % of outliers do not move it, it needs no even
// sampling, and on a clean ramp it equals the slope (Sen, J. Am. Stat. Assoc. 63, 1968). ok is
// false until three samples cover four fifths of the window without a hole of half of it.
func rate(s []sample, window time.Duration) (perSecond float64, ok bool) {
	n := len(s)
	if n == 0 {
		return 0, false
	}
	last := s[n-1].At
	first := n - 1
	for i := n - 2; i >= 0; i-- {
		if s[i+1].At.Sub(s[i].At) > window/2 || last.Sub(s[i].At) > window+window/4 {
			break
		}
		first = i
	}
	s = s[first:]
	if len(s) < 3 || last.Sub(s[0].At) < window*4/5 {
		return 0, false
	}
	var slopes [maxSamples * (maxSamples - 1) / 2]float64
	k := 0
	for i := range s {
		for j := i + 1; j < len(s); j++ {
			if dt := s[j].At.Sub(s[i].At).Seconds(); dt > 0 {
				slopes[k] = (s[j].Val - s[i].Val) / dt
				k++
			}
		}
	}
	if k == 0 {
		return 0, false
	}
	slices.Sort(slopes[:k])
	if k%2 == 1 {
		return slopes[k/2], true
	}
	return (slopes[k/2-1] + slopes[k/2]) / 2, true
}

// rises applies a rate detector.
func (e *Engine) rises(in *input, c *Cond, held bool) Tri {
	slope, ok := rate(e.series[in.series].samples, c.Window)
	if !ok {
		return Unknown
	}
	threshold := c.Threshold
	if threshold < 0 {
		slope, threshold = -slope, -threshold
	}
	return tri(slope >= threshold || held && slope > threshold-c.Deadband)
}

// identify notes whether the device that is read is the one that was proven (S23). Over range and
// too fast say nothing of it: then it is what it was. What another device read is no baseline for
// this one: its offset would be a rise.
func (e *Engine) identify(p *point, why sensors.Reason) {
	switch {
	case why == sensors.NoReason:
		p.other = false
	case why == sensors.Replaced && !p.other:
		p.other, p.rise = true, rise{}
		for _, s := range p.series {
			e.series[s].samples = e.series[s].samples[:0]
		}
		e.forget(p)
	}
}

// rise remembers whether a point moved towards the hazard before it went over range or jumped
// (S3): a fire is seen coming, a broken wire is not.
type rise struct {
	seen  bool    // a usable reading was
	last  float64 // its value: what a bad reading holds is no value, and coming back from it no rise
	run   float64 // total of the present run of readings, each more hazardous than the one before
	steps int     // readings in it
	weak  bool    // over range or jumped with no preceding rise
	base  float64 // value before that
	peak  float64
}

// observe takes a usable reading.
func (s *rise) observe(rule *sensors.Point, r sensors.Reading) {
	if rule.Hazard == 0 {
		return
	}
	was, seen := s.last, s.seen
	s.last, s.seen = r.Value, true
	dir := float64(rule.Hazard)
	sudden := r.Quality.Reason() == sensors.OverRange || r.Quality.Reason() == sensors.Fast
	if !seen { // the first reading of all: over range from the start is no rise
		if sudden {
			s.weak, s.base, s.peak = true, rule.Min, dir*r.Value
			if dir < 0 {
				s.base = rule.Max
			}
		}
		return
	}
	if s.weak {
		s.peak = math.Max(s.peak, dir*r.Value)
		if !sudden && dir*r.Value < dir*s.base/2+s.peak/2 {
			s.weak = false // it came back: a new rise counts as any other
		}
	} else if sudden && !s.supported(rule) {
		s.weak, s.base, s.peak = true, was, dir*r.Value
	}
	if step := dir * (r.Value - was); step > 0 {
		s.run, s.steps = min(s.run+step, math.MaxFloat64), s.steps+1 // finite, for the snapshot
	} else if step < 0 {
		s.run, s.steps = 0, 0
	}
}

// supported: two steps or more that together make a hundredth of the range, well above noise.
func (s *rise) supported(rule *sensors.Point) bool {
	return s.steps >= 2 && s.run >= (rule.Max-rule.Min)/100
}
