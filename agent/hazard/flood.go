package hazard

import (
	"time"

	"firebreak/sensors"
)

// Of an alarm system that people can follow, ISA-18.2 and EEMUA 191 say: about one alarm in ten
// minutes is manageable, more than ten in ten minutes is a flood, and it is over below five.
const (
	floodWindow = 10 * time.Minute
	floodBegins = 10
	floodEnds   = 5
	staleAlarm  = 24 * time.Hour

	maxRaised = 1000 // that are remembered: far beyond a flood
)

// Raised is an alarm that was raised and shown.
type Raised struct {
	Name     string       `json:"name"`
	At       sensors.Mono `json:"at"`
	Priority int          `json:"priority"`
}

// AlarmLoad is how much the alarms ask of a person.
type AlarmLoad struct {
	Raised   int    // in the last ten minutes; what is suppressed, shelved or out of service asks nobody
	Priority [5]int // of those, by priority
	Standing int    // active and shown
	Waiting  int    // for an acknowledgement
	Stale    int    // standing for more than 24 h
	Hidden   int    // active, and shelved, suppressed or out of service
}

func (b *AlarmBook) note(r Raised) {
	b.raises++
	if len(b.raised) == maxRaised {
		b.raised = append(b.raised[:0], b.raised[1:]...)
	}
	b.raised = append(b.raised, r)
}

// Raises counts the alarms that were raised and shown.
func (b *AlarmBook) Raises() uint64 { return b.raises }

// RaisedLately and SetRaised carry the load over a snapshot.
func (b *AlarmBook) RaisedLately() []Raised { return append([]Raised(nil), b.raised...) }

// SetRaised is the inverse of RaisedLately.
func (b *AlarmBook) SetRaised(r []Raised) { b.raised = append([]Raised(nil), r...) }

// Flood tells whether the alarms are a flood, and when that is to be looked at again if none is
// raised. was is the answer before: it ends below where it begins. The alarms of except are not counted.
func (b *AlarmBook) Flood(now sensors.Mono, was bool, except string) (is bool, wake sensors.Mono) {
	drop := 0
	for drop < len(b.raised) && now >= b.raised[drop].At.Add(floodWindow) {
		drop++
	}
	b.raised = append(b.raised[:0], b.raised[drop:]...)
	n := 0
	for _, r := range b.raised {
		if r.Name != except {
			n++
		}
	}
	if len(b.raised) == 0 {
		return false, never
	}
	wake = b.raised[0].At.Add(floodWindow)
	return n > floodBegins || was && n >= floodEnds, wake
}

// Load measures the alarms.
func (b *AlarmBook) Load(now sensors.Mono) (l AlarmLoad) {
	for _, r := range b.raised {
		if now < r.At.Add(floodWindow) {
			l.Raised++
			l.Priority[min(max(r.Priority, 0), 4)]++
		}
	}
	for _, n := range b.names {
		a := b.alarms[n]
		switch a.State {
		case Shelved, Suppressed, OutOfService:
			if a.Active {
				l.Hidden++
			}
			continue
		case Unacknowledged, RTNUnacknowledged, LatchedUnacknowledged:
			l.Waiting++
		}
		if a.Active {
			l.Standing++
			if now.Sub(a.Since) > staleAlarm {
				l.Stale++
			}
		}
	}
	return l
}
