package bus

import (
	"math/rand/v2"
	"time"

	"firebreak/sensors"
)

// State of a device on the bus.
type State uint8

const (
	Starting State = iota // not polled yet
	Polling               // its last poll was answered
	Failing               // its last poll failed: probed with back-off
)

func (s State) String() string {
	switch s {
	case Starting:
		return "starting"
	case Polling:
		return "polling"
	}
	return "failing"
}

// maxOvertaken bounds the privilege of rank: after so many polls in a row that went before one
// that has waited for a whole period (back-off step), the longest waiting goes, whoever it is. So
// an overloaded bus starves nobody.
const maxOvertaken = 7

// longLook: each so many probes at the longest back-off step, one has the whole Timeout, so that a
// slow device that was never heard is found when it comes.
const longLook = 4

// unit is a device with its place in the schedule. All but want and stats belong to Run.
type unit struct {
	Device
	index map[sensors.PointID]int // place in Points
	seen  []bool                  // scratch, by that place
	phase float64                 // place in its period, [0, 1)

	state    State
	period   time.Duration // in force
	anchor   sensors.Mono  // slots are anchor + k*period
	due      sensors.Mono
	last     sensors.Mono  // start of the last poll
	step     time.Duration // back-off, before jitter
	probes   int           // since the back-off reached its longest step
	answered bool          // the failed poll brought usable readings: the device talks
	longest  time.Duration // of the polls that succeeded, real time, decaying
	seq      uint64

	want  time.Duration // Bus.mu: period asked for by Sample
	stats DeviceStats   // Bus.mu
}

func newUnit(d Device, i, n int) *unit {
	u := &unit{Device: d, period: d.Period, want: d.Period, phase: float64(i) / float64(n),
		index: make(map[sensors.PointID]int, len(d.Points)), seen: make([]bool, len(d.Points))}
	for k, p := range d.Points {
		u.index[p.ID] = k
	}
	u.stats = DeviceStats{Device: d.Dev.ID, Name: d.Dev.Name, Period: d.Period}
	return u
}

// rank orders the devices that are due. One that is known to answer goes before one that may cost
// a time-out, so that any number of dead units delays a living one by a single probe.
func (u *unit) rank() int {
	r := 0
	switch {
	case u.state == Failing:
		r = 4
	case u.state == Starting && u.Reserved:
		return 1
	case u.state == Starting:
		return 3
	}
	if !u.Reserved {
		r += 2
	}
	return r
}

// pick returns the unit to poll now; when none is due it returns nil and the instant of the next.
func (b *Bus) pick(now sensors.Mono) (u *unit, next sensors.Mono) {
	var oldest *unit
	for i, c := range b.units {
		if i == 0 || c.due < next {
			next = c.due
		}
		if c.due > now {
			continue
		}
		if c.due.Add(max(c.period, c.step)) <= now && (oldest == nil || c.due < oldest.due) {
			oldest = c
		}
		if u == nil || c.rank() < u.rank() || c.rank() == u.rank() && c.due < u.due {
			u = c
		}
	}
	switch {
	case u == nil:
		return nil, next
	case oldest == nil || oldest.due == u.due:
		b.overtaken = 0
	case b.overtaken >= maxOvertaken:
		b.overtaken = 0
		u = oldest
	default:
		b.overtaken++
	}
	return u, next
}

// budget is the real time that the next poll of u may take.
func (u *unit) budget() time.Duration {
	if u.state != Failing || u.answered || u.probes%longLook == longLook-1 {
		return u.Timeout
	}
	return min(u.Timeout, max(u.Probe, 2*u.longest))
}

// slotAfter is the first slot after now.
func (u *unit) slotAfter(now sensors.Mono) sensors.Mono {
	if now < u.anchor {
		return u.anchor
	}
	return u.anchor.Add((now.Sub(u.anchor)/u.period + 1) * u.period)
}

// succeed sets the next slot and returns how many slots were missed: passed while the device
// waited for its turn or was being polled. They are not made up for.
func (u *unit) succeed(now sensors.Mono, took time.Duration) (missed uint64) {
	served := u.due
	u.due = u.slotAfter(now)
	if u.state == Polling {
		if n := u.due.Sub(served)/u.period - 1; n > 0 {
			missed = uint64(n)
		}
	}
	u.longest = max(took, u.longest-u.longest/16)
	u.state, u.step, u.probes, u.answered = Polling, 0, 0, false
	return missed
}

// fail puts the device on its next back-off step: its period at first, doubled each time, up to
// MaxBackoff. Jitter only shortens, so the bounds hold.
func (u *unit) fail(now sensors.Mono, answered bool) {
	switch {
	case u.state != Failing:
		u.step = min(u.period, MaxBackoff)
	case u.step < MaxBackoff:
		u.step = min(2*u.step, MaxBackoff)
	default:
		u.probes++
	}
	u.state, u.answered = Failing, answered
	u.due = now.Add(u.step - time.Duration(rand.Float64()*float64(u.step)/4))
}

// setPeriod takes a new period into force. A failing device keeps its back-off.
func (u *unit) setPeriod(now sensors.Mono, period time.Duration) {
	if period == u.period {
		return
	}
	u.period = period
	if u.state != Polling {
		return
	}
	u.anchor = max(now, u.last.Add(period))
	u.due = u.anchor
}

// applySamples takes what Sample has asked for.
func (b *Bus) applySamples(now sensors.Mono) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, u := range b.units {
		u.setPeriod(now, u.want)
		u.stats.Period = u.period
	}
}
