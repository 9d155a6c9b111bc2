package bus

import (
	"cmp"
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

// maxOvertaken bounds the privilege of rank and of reserved slots: after so many polls in a row that
// went before one that has waited for a whole period (back-off step), or MaxBackoff if that is shorter, the
// longest waiting goes, whoever it is. So an overloaded bus starves nobody, and a point of one reading an hour
// whose poll fits between no two reserved slots is not an hour late.
const maxOvertaken = 7

// longLook: each so many probes at the longest back-off step, one has the whole Timeout, so that a
// slow device that was never heard is found when it comes.
const longLook = 4

// unit is a device: what is known of its health. All but stats belongs to Run.
type unit struct {
	Device
	points   []sensors.Point           // of all parts
	ids      []sensors.PointID         // of them, close together: each poll goes over them
	index    map[sensors.PointID]place // of each point
	seen     []bool                    // scratch, by place
	slots    []*slot
	reserved bool // some part is

	state    State
	due      sensors.Mono  // of the next probe, while failing
	step     time.Duration // back-off, before jitter
	probes   int           // since the back-off reached its longest step
	answered bool          // the failed poll brought usable readings: the device talks
	longest  time.Duration // of the polls that succeeded, real time, decaying
	seq      uint64

	stats DeviceStats // Bus.mu
}

// place of a point: in unit.points, and the part that reads it.
type place struct{ at, part int }

// slot is a part of a device with its place in the schedule. All but want belongs to Run.
type slot struct {
	Part
	u      *unit
	number int     // of the part
	phase  float64 // place in its period, [0, 1)

	period time.Duration // in force
	anchor sensors.Mono  // slots are anchor + k*period
	at     sensors.Mono  // the next one
	last   sensors.Mono  // start of the last poll
	served bool          // polled since the device was found

	longest time.Duration // of its polls that succeeded, real time, decaying
	told    string        // serial number after the last poll; of the worker, until the poll has ended
	serial  string        // the same, of the owner

	want time.Duration // Bus.mu: period asked for by Sample
}

func newUnit(d Device, i, n int) *unit {
	u := &unit{Device: d, index: make(map[sensors.PointID]place)}
	for k, p := range d.parts() {
		p.Period = cmp.Or(p.Period, d.Dev.Poll)
		s := &slot{Part: p, u: u, number: k, phase: (float64(i) + float64(k)/float64(1+len(d.More))) / float64(n), period: p.Period, want: p.Period}
		u.slots = append(u.slots, s)
		u.reserved = u.reserved || p.Reserved
		for _, pt := range p.Points {
			u.index[pt.ID] = place{len(u.points), k}
			u.points, u.ids = append(u.points, pt), append(u.ids, pt.ID)
		}
	}
	u.seen = make([]bool, len(u.points))
	u.stats = DeviceStats{Device: d.Dev.ID, Name: d.Dev.Name, Period: u.slots[0].period}
	return u
}

// due is when s is to be polled next. Of a device that does not answer only the first part is, as
// a probe: it costs its neighbours one, however many parts it has.
func (s *slot) due() (at sensors.Mono, ok bool) {
	if s.u.state != Failing {
		return s.at, true
	}
	return s.u.due, s.number == 0
}

// rank orders what is due. A device that is known to answer goes before one that may cost a
// time-out, so that any number of dead units delays a living one by a single probe.
func (s *slot) rank() int {
	r := 0
	switch {
	case s.u.state == Failing:
		r = 4
	case s.u.state == Starting && s.Reserved:
		return 1
	case s.u.state == Starting:
		return 3
	}
	if !s.Reserved && (s.u.state != Failing || !s.u.reserved) {
		r += 2
	}
	return r
}

// pick returns what to poll now; when nothing is due, or what is due has to wait for a reserved slot, it
// returns nil and the instant to look again.
func (b *Bus) pick(now sensors.Mono) (s *slot, next sensors.Mono) {
	var oldest *slot
	var due, oldestDue sensors.Mono
	reserved, have := b.nextReserved(now)
	next = reserved
	for _, c := range b.slots {
		at, ok := c.due()
		if !ok {
			continue
		}
		if at > now {
			if !have || at < next {
				have, next = true, at
			}
			continue
		}
		if at.Add(min(max(c.period, c.u.step), MaxBackoff)) <= now && (oldest == nil || at < oldestDue) {
			oldest, oldestDue = c, at
		}
		if !c.Reserved && c.u.state == Polling && reserved > now && now.Add(b.scaled(c.longest)) > reserved {
			continue // it would run into that slot; a probe takes what it takes, once a back-off step
		}
		if s == nil || c.rank() < s.rank() || c.rank() == s.rank() && at < due {
			s, due = c, at
		}
	}
	switch {
	case oldest == nil || s != nil && oldestDue == due:
		b.overtaken = 0
	case b.overtaken >= maxOvertaken:
		b.overtaken = 0
		s = oldest
	case s != nil:
		b.overtaken++
	}
	return s, next
}

// scaled is a real duration on the bus's clock.
func (b *Bus) scaled(d time.Duration) time.Duration {
	return time.Duration(float64(d) * b.clock.Factor())
}

// nextReserved is the next slot of a part on which a plan depends and that answers.
func (b *Bus) nextReserved(now sensors.Mono) (at sensors.Mono, have bool) {
	for _, c := range b.slots {
		if c.Reserved && c.u.state == Polling && c.at > now && (!have || c.at < at) {
			at, have = c.at, true
		}
	}
	return at, have
}

// budget is the real time that the next poll of u may take.
func (u *unit) budget() time.Duration {
	if u.state != Failing || u.answered || u.probes%longLook == longLook-1 {
		return u.Timeout
	}
	return min(u.Timeout, max(u.Probe, 2*u.longest))
}

// after is the first slot after now.
func (s *slot) after(now sensors.Mono) sensors.Mono {
	if now < s.anchor {
		return s.anchor
	}
	return s.anchor.Add((now.Sub(s.anchor)/s.period + 1) * s.period)
}

// succeed sets the next slot and returns how many slots were missed: passed while the part waited for
// its turn or was being polled. They are not made up for. A device that answers again is polled whole.
func (s *slot) succeed(now sensors.Mono, took time.Duration) (missed uint64) {
	u := s.u
	if u.state == Failing {
		for _, o := range u.slots {
			o.at, o.served = now, false
		}
	}
	was := s.at
	s.at = s.after(now)
	if n := s.at.Sub(was)/s.period - 1; s.served && n > 0 {
		missed = uint64(n)
	}
	s.served = true
	s.longest = max(took, s.longest-s.longest/16)
	u.longest = max(took, u.longest-u.longest/16)
	u.state, u.step, u.probes, u.answered = Polling, 0, 0, false
	return missed
}

// fail puts the device on its next back-off step: the shortest period of its parts at first, doubled each
// time, up to MaxBackoff. Jitter only shortens, so the bounds hold.
func (u *unit) fail(now sensors.Mono, answered bool) {
	switch {
	case u.state != Failing:
		u.step = MaxBackoff
		for _, s := range u.slots {
			u.step = min(u.step, s.period)
		}
	case u.step < MaxBackoff:
		u.step = min(2*u.step, MaxBackoff)
	default:
		u.probes++
	}
	u.state, u.answered = Failing, answered
	u.due = now.Add(u.step - time.Duration(rand.Float64()*float64(u.step)/4))
}

// dueAgain has all that answers polled at once, each part once: what was told of it meanwhile is that it is bad.
func (b *Bus) dueAgain(now sensors.Mono) {
	for _, s := range b.slots {
		if s.u.state != Failing {
			s.at, s.served = min(s.at, now), false
		}
	}
}

// setPeriod takes a new period into force. A failing device keeps its back-off.
func (s *slot) setPeriod(now sensors.Mono, period time.Duration) {
	if period == s.period {
		return
	}
	s.period = period
	if s.u.state == Starting || !s.served {
		return
	}
	s.anchor = max(now, s.last.Add(period))
	s.at = s.anchor
}

// applySamples takes what Sample has asked for.
func (b *Bus) applySamples(now sensors.Mono) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, u := range b.units {
		for _, s := range u.slots {
			s.setPeriod(now, s.want)
		}
		u.stats.Period = u.slots[0].period
	}
}
