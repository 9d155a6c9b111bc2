package app

import (
	"sync"

	"firebreak/plugins"
	"firebreak/sensors"
)

// newest keeps the last reading of each point, for a person who looks at the box. It is a publisher; all
// methods may be called from any goroutine.
type newest struct {
	points []sensors.Point
	votes  map[sensors.PointID]bool
	clock  *sensors.Clock

	mu       sync.Mutex
	readings []sensors.Reading // by point; At is 0 before the first
	serials  []string          // by point: of the unit that was read
}

func newNewest(points []sensors.Point, votes []sensors.PointID, clock *sensors.Clock) *newest {
	n := &newest{points: points, votes: map[sensors.PointID]bool{}, clock: clock, readings: make([]sensors.Reading, len(points)), serials: make([]string, len(points))}
	for _, id := range votes {
		n.votes[id] = true
	}
	return n
}

// Offer never blocks.
func (n *newest) Offer(u plugins.Update) {
	if u.State == nil || u.Mark != plugins.MarkReal {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, r := range u.State.Readings {
		if int(r.Point) < len(n.readings) {
			n.readings[r.Point] = r
			if u.State.Serial != "" { // a fault does not make it another unit
				n.serials[r.Point] = u.State.Serial
			}
		}
	}
}

// NoneYet is the quality of a point before its first reading.
const NoneYet = "none yet"

// PointState is the last reading of a point.
type PointState struct {
	Name    string  `json:"name"`
	Unit    string  `json:"unit,omitempty"`
	Kind    string  `json:"kind"`
	Physics string  `json:"physics"`
	Hazard  int8    `json:"hazard,omitempty"` // +1 rising, -1 falling is dangerous
	Votes   bool    `json:"votes,omitempty"`  // a stage of a plan rests on it
	Value   float64 `json:"value"`
	Quality string  `json:"quality"` // NoneYet before the first reading
	Usable  bool    `json:"usable"`
	AgeMs   int64   `json:"age_ms"`
	Stale   bool    `json:"stale,omitempty"` // too old to count
	PollMs  int64   `json:"poll_ms"`
	LagMs   int64   `json:"lag_ms"`
	Range   float64 `json:"range,omitempty"`  // width of the device's range
	Serial  string  `json:"serial,omitempty"` // of the unit, where it tells one
}

func (n *newest) told() []PointState {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.clock.Now()
	out := make([]PointState, len(n.points))
	for i := range n.points {
		p, r := &n.points[i], n.readings[i]
		s := PointState{Name: p.Name, Unit: string(p.Unit), Kind: p.Kind.String(), Physics: p.Physics.String(), Hazard: p.Hazard, Votes: n.votes[p.ID],
			Quality: NoneYet, PollMs: p.Poll.Milliseconds(), LagMs: p.Lag.Milliseconds(), Range: p.Max - p.Min, Serial: n.serials[i]}
		if r.At != 0 {
			age := now.Sub(r.At)
			s.Value, s.Quality, s.Usable, s.AgeMs, s.Stale = r.Value, r.Quality.String(), r.Quality.Usable(), age.Milliseconds(), p.Stale > 0 && age > p.Stale
		}
		out[i] = s
	}
	return out
}
