package uplink

import (
	"math"
	"time"

	"firebreak/sensors"
)

// Exception is telemetry of a device by exception: a poll is told when something in it has changed, and
// once in each integrity period. It belongs to telling alone: what judges sees every poll.
type Exception struct {
	Deadband  float64       // a measurement has changed when it moved by more than this part of its range; 0: at all
	Integrity time.Duration // a poll is told after so long in any case
}

// exceptions filters polls. It belongs to whoever holds the uplink's lock.
type exceptions struct {
	rules  map[sensors.DeviceID]Exception
	points []sensors.Point                // by PointID
	told   map[sensors.PointID]told       // as they were told last
	at     map[sensors.DeviceID]time.Time // when its last poll was told
	left   uint64                         // polls that were not
}

type told struct {
	value   float64
	quality sensors.Quality
}

func newExceptions(rules map[sensors.DeviceID]Exception, points []sensors.Point) *exceptions {
	e := &exceptions{rules: rules, told: map[sensors.PointID]told{}, at: map[sensors.DeviceID]time.Time{}}
	for _, p := range points {
		for int(p.ID) >= len(e.points) {
			e.points = append(e.points, sensors.Point{})
		}
		e.points[p.ID] = p
	}
	return e
}

// leave tells whether a poll is left out.
func (e *exceptions) leave(b *sensors.Batch, now time.Time) bool {
	r, ok := e.rules[b.Device]
	if !ok {
		return false
	}
	at, before := e.at[b.Device]
	due := !before || now.Sub(at) >= r.Integrity
	for i := range b.Readings {
		due = due || e.changed(&r, &b.Readings[i])
	}
	if !due {
		e.left++
		return true
	}
	e.at[b.Device] = now
	for i := range b.Readings {
		e.told[b.Readings[i].Point] = told{b.Readings[i].Value, b.Readings[i].Quality}
	}
	return false
}

func (e *exceptions) changed(r *Exception, v *sensors.Reading) bool {
	was, ok := e.told[v.Point]
	if !ok || was.quality != v.Quality {
		return true
	}
	if !v.Quality.Usable() {
		return false // bad as before: its value says nothing
	}
	band := 0.0
	if int(v.Point) < len(e.points) && e.points[v.Point].Kind == sensors.Measurement {
		band = r.Deadband * (e.points[v.Point].Max - e.points[v.Point].Min)
	}
	return !(math.Abs(v.Value-was.value) <= band) // what is no number has changed
}
