package profile

import (
	"math"

	"firebreak/sensors"
)

// still follows how long a value has not moved.
type still struct {
	ref   float64
	since sensors.Mono
	seen  bool
}

// take takes a value; moved by no more than noise from where it was, it stands still.
func (s *still) take(v, noise float64, at sensors.Mono) {
	if !s.seen || math.Abs(v-s.ref) > noise+1e-9*math.Abs(v) { // scaled values differ from decimals by that
		s.ref, s.since, s.seen = v, at, true
	}
}

// stuck tells whether a reading of channel i is of a sensor that does not move where its own noise
// would. One that is uncertain is never stuck: a value at the end of its range stands still there, in a
// fire too (S3). After a silence it has its time anew.
func (d *Decoder) stuck(i int, r sensors.Reading) bool {
	c := &d.p.Channels[i]
	s := &d.still[i]
	switch {
	case c.Stuck == 0:
		return false
	case r.Quality.Status() != sensors.Good:
		s.seen = false
		return false
	}
	s.take(r.Value, c.Noise, r.At)
	return r.At.Sub(s.since) >= c.Stuck
}

// stands tells whether the liveness channel has stood still for too long: the device answers, with
// values from before. A poll in which it could not be read tells nothing.
func (d *Decoder) stands(raw []Raw) bool {
	a := &d.p.Alive
	if a.Within == 0 || a.Channel >= len(raw) || !d.values[a.Channel].q.Usable() {
		return false
	}
	s := &d.still[a.Channel]
	s.take(d.values[a.Channel].v, 0, raw[a.Channel].At)
	return raw[a.Channel].At.Sub(s.since) >= a.Within
}

// zeros tells whether all registers of a group, at least two, hold zero: a harness that is off or a
// gateway that has lost the device. One of them alone may be zero.
func (d *Decoder) zeros(need []int, raw []Raw, group string) bool {
	n := 0
	for _, i := range need {
		if d.p.Channels[i].Zeros != group {
			continue
		}
		if i >= len(raw) || raw[i].Fail != sensors.NoReason {
			return false
		}
		for _, w := range raw[i].Words {
			if w != 0 {
				return false
			}
		}
		n++
	}
	return n > 1
}
