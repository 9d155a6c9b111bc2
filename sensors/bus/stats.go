package bus

import (
	"time"

	"firebreak/sensors"
)

// Stats is a snapshot of a bus, for health and metrics. Counters only grow.
type Stats struct {
	Bus         string
	Polls       uint64  // started
	Failures    uint64  // ended in an error, a panic or beyond their deadline
	Missed      uint64  // slots skipped because the bus was busy
	Panics      uint64  // of drivers
	Hung        uint64  // polls that ignored their deadline
	Foreign     uint64  // readings thrown away: of a point that the device does not have, or given twice
	Stuck       bool    // a poll is beyond its deadline and grace now
	Utilisation float64 // part of the last whole usageWindow that was spent in polls; 1 while stuck
	Overrun     uint64  // slots missed in the last whole usageWindow
	Recent      uint64  // polls in it
	LastError   string  // with the device's name
	Devices     []DeviceStats
}

// DeviceStats is the part of one device.
type DeviceStats struct {
	Device    sensors.DeviceID
	Name      string
	State     State
	Period    time.Duration // in force, clock time
	Polls     uint64
	Failures  uint64
	Missed    uint64
	Took      time.Duration // last poll, real time
	Good      sensors.Mono  // end of the last poll that succeeded; 0: none yet
	LastError string        // of the last failed poll; kept after recovery
}

// Stats returns a snapshot.
func (b *Bus) Stats() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.stats
	s.Bus = b.name
	var last window
	s.Utilisation, last = b.busy.share(time.Now())
	s.Overrun, s.Recent = last.missed, last.polls
	if s.Stuck {
		s.Utilisation = 1
	}
	s.Devices = make([]DeviceStats, len(b.units))
	for i, u := range b.units {
		s.Devices[i] = u.stats
	}
	return s
}

// usageWindow is the real time over which utilisation is taken.
const usageWindow = 10 * time.Second

// usage measures the busy part of real time, and the missed slots, in windows. A poll counts in the
// window it ends in.
type usage struct {
	from    time.Time
	now     window
	last    window
	whole   float64 // of the last whole window
	haveOne bool
}

type window struct {
	busy   time.Duration
	polls  uint64
	missed uint64
}

func (u *usage) add(now time.Time, busy time.Duration, missed uint64) {
	if u.from.IsZero() {
		u.from = now.Add(-busy)
	}
	u.roll(now)
	u.now.busy += busy
	u.now.polls++
	u.now.missed += missed
}

func (u *usage) roll(now time.Time) {
	if span := now.Sub(u.from); span >= usageWindow {
		u.whole, u.haveOne = min(1, float64(u.now.busy)/float64(span)), true
		u.from, u.last, u.now = now, u.now, window{}
	}
}

func (u *usage) share(now time.Time) (busy float64, last window) {
	if u.from.IsZero() {
		return 0, window{}
	}
	u.roll(now)
	if span := now.Sub(u.from); !u.haveOne && span > 0 {
		return min(1, float64(u.now.busy)/float64(span)), u.now
	}
	return u.whole, u.last
}
