package sensors

import "math"

// Qualifier applies a point's range and rate of change to its readings (S3). It belongs to the
// goroutine that owns the device. The rule: a value that leaves the range, or jumps, away from the
// hazard is bad (implausible); in the hazardous direction it is clamped and uncertain, because a
// filter must not discard the fire.
type Qualifier struct {
	last float64
	at   Mono
	have bool
}

// Qualify returns r with its value clamped and its quality set. A reading that is already bad
// passes unchanged; the last usable value is kept for the next comparison.
func (q *Qualifier) Qualify(p *Point, r Reading) Reading {
	if !r.Quality.Usable() {
		return r
	}
	o := r.Quality.Origin()
	if math.IsNaN(r.Value) || math.IsInf(r.Value, 0) {
		r.Value, r.Quality = 0, MakeQuality(Bad, Implausible, o)
		return r
	}
	if p.Min != p.Max {
		switch {
		case r.Value > p.Max && p.Hazard > 0:
			r.Value, r.Quality = p.Max, MakeQuality(Uncertain, OverRange, o)
		case r.Value < p.Min && p.Hazard < 0:
			r.Value, r.Quality = p.Min, MakeQuality(Uncertain, OverRange, o)
		case r.Value > p.Max || r.Value < p.Min:
			r.Quality = MakeQuality(Bad, Implausible, o)
			return r
		}
	}
	if q.have && p.MaxRate > 0 && r.At > q.at {
		rate := (r.Value - q.last) / r.At.Sub(q.at).Seconds()
		toHazard := rate*float64(p.Hazard) > 0
		switch {
		case math.Abs(rate) <= p.MaxRate:
		case !toHazard && p.Hazard != 0:
			// Not kept as the last value: the point stays bad until so much time has passed
			// that the fall could be true.
			r.Quality = MakeQuality(Bad, Implausible, o)
			return r
		case r.Quality.Reason() == NoReason:
			r.Quality = MakeQuality(Uncertain, Fast, o)
		}
	}
	q.last, q.at, q.have = r.Value, r.At, true
	return r
}
