package hazard

import (
	"fmt"
	"slices"
	"time"

	"firebreak/sensors"
)

// AlarmState is a state of the ISA-18.2 / IEC 62682 life cycle.
type AlarmState uint8

const (
	Normal AlarmState = iota
	Unacknowledged
	Acknowledged
	RTNUnacknowledged
	LatchedUnacknowledged
	LatchedAcknowledged
	Shelved
	Suppressed
	OutOfService
)

var alarmStateNames = [...]string{"normal", "unacknowledged", "acknowledged", "rtn-unacknowledged",
	"latched-unacknowledged", "latched-acknowledged", "shelved", "suppressed", "out-of-service"}

func (s AlarmState) String() string {
	if int(s) < len(alarmStateNames) {
		return alarmStateNames[s]
	}
	return fmt.Sprintf("unknown(%d)", uint8(s))
}

func (s AlarmState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

func (s *AlarmState) UnmarshalText(b []byte) error {
	i := slices.Index(alarmStateNames[:], string(b))
	if i < 0 {
		return fmt.Errorf("alarm state %q is unknown", b)
	}
	*s = AlarmState(i)
	return nil
}

// AlarmInput is the present condition of an alarm, as its owner sees it.
type AlarmInput struct {
	Name     string
	Active   bool
	Basis    Basis
	Priority int
	Latching bool
	ReAlarm  time.Duration // acknowledged and still active for so long: raised again; 0: never
	Cause    string
	Children []string
}

// Alarm is one alarm with its state; also its journal record.
type Alarm struct {
	Name       string        `json:"name"`
	State      AlarmState    `json:"state"`
	Active     bool          `json:"active,omitempty"`
	Basis      Basis         `json:"basis"`
	Priority   int           `json:"priority"`
	Latching   bool          `json:"latching,omitempty"`
	ReAlarm    time.Duration `json:"re_alarm,omitempty"`
	Cause      string        `json:"cause"`
	Children   []string      `json:"children,omitempty"`
	Occurrence uint64        `json:"occurrence"`
	FirstOut   bool          `json:"first_out,omitempty"`
	Since      sensors.Mono  `json:"since"` // of Active
	AckedAt    sensors.Mono  `json:"acked_at,omitempty"`
	Until      sensors.Mono  `json:"until,omitempty"` // shelved until then
}

// AlarmEvent is what moves an alarm from state to state.
type AlarmEvent uint8

const (
	Raise AlarmEvent = iota
	Clear
	Ack
	ResetLatch
	ReAlarm
	Unshelve
)

// NextAlarmState is the table of ISA-18.2 for the states of an alarm in service. An event that a
// state does not know leaves it as it is.
func NextAlarmState(s AlarmState, ev AlarmEvent, latching bool) AlarmState {
	switch ev {
	case Raise:
		switch s {
		case Normal, RTNUnacknowledged, LatchedUnacknowledged, LatchedAcknowledged:
			return Unacknowledged
		}
	case Clear:
		switch {
		case s == Unacknowledged && latching:
			return LatchedUnacknowledged
		case s == Unacknowledged:
			return RTNUnacknowledged
		case s == Acknowledged && latching:
			return LatchedAcknowledged
		case s == Acknowledged:
			return Normal
		}
	case Ack:
		switch s {
		case Unacknowledged:
			return Acknowledged
		case RTNUnacknowledged:
			return Normal
		case LatchedUnacknowledged:
			return LatchedAcknowledged
		}
	case ResetLatch:
		if s == LatchedAcknowledged {
			return Normal
		}
	case ReAlarm:
		if s == Acknowledged {
			return Unacknowledged
		}
	}
	return s
}

// AlarmBook keeps every alarm by name. It changes only through Apply, so that a journal of its
// records rebuilds it.
type AlarmBook struct {
	alarms map[string]*Alarm
	names  []string // in order of first appearance: iteration is deterministic
}

func NewAlarmBook() *AlarmBook { return &AlarmBook{alarms: map[string]*Alarm{}} }

// Apply takes one record.
func (b *AlarmBook) Apply(a Alarm) {
	if b.alarms[a.Name] == nil {
		b.names = append(b.names, a.Name)
	}
	a.Children = slices.Clone(a.Children)
	b.alarms[a.Name] = &a
}

// Get returns an alarm; ok is false when it was never raised.
func (b *AlarmBook) Get(name string) (a Alarm, ok bool) {
	if p := b.alarms[name]; p != nil {
		return *p, true
	}
	return Alarm{}, false
}

// All visits every alarm that is not at rest, in order of first appearance.
func (b *AlarmBook) All(visit func(Alarm)) {
	for _, n := range b.names {
		if a := b.alarms[n]; a.State != Normal || a.Active {
			visit(*a)
		}
	}
}

// Set moves an alarm by its present condition, and returns the record of the change.
func (b *AlarmBook) Set(now sensors.Mono, in AlarmInput) (rec Alarm, changed bool) {
	p := b.alarms[in.Name]
	if p == nil {
		if !in.Active {
			return Alarm{}, false
		}
		p = &Alarm{Name: in.Name}
	}
	rec = *p
	if in.Active != p.Active {
		ev := Clear
		if in.Active {
			ev = Raise
			rec.Occurrence++
			rec.FirstOut = in.Priority <= 2 && !b.anyUrgent()
		}
		rec.Active, rec.Since = in.Active, now
		rec.State = NextAlarmState(p.State, ev, in.Latching || p.Latching)
	} else if !in.Active {
		return Alarm{}, false
	}
	if in.Active {
		rec.Basis, rec.Priority, rec.Latching, rec.ReAlarm = in.Basis, in.Priority, in.Latching, in.ReAlarm
		rec.Cause, rec.Children = in.Cause, in.Children
	}
	// A new text alone is not a change: readings move it all the time.
	changed = rec.State != p.State || rec.Active != p.Active || rec.Basis != p.Basis ||
		rec.Priority != p.Priority || !slices.Equal(rec.Children, p.Children)
	if changed {
		b.Apply(rec)
	}
	return rec, changed
}

func (b *AlarmBook) anyUrgent() bool {
	for _, a := range b.alarms {
		if a.Active && a.Priority <= 2 {
			return true
		}
	}
	return false
}

// Do applies a person's acknowledgement or reset to one alarm.
func (b *AlarmBook) Do(now sensors.Mono, name string, ev AlarmEvent) (rec Alarm, changed bool) {
	p := b.alarms[name]
	if p == nil {
		return Alarm{}, false
	}
	rec = *p
	rec.State = NextAlarmState(p.State, ev, p.Latching)
	if ev == Unshelve && p.State == Shelved {
		rec.State, rec.Until = p.unshelved(), 0
	}
	if rec.State == p.State {
		return rec, false
	}
	if ev == Ack {
		rec.AckedAt = now
	}
	b.Apply(rec)
	return rec, true
}

// Due re-raises what was acknowledged, is still active and has waited its re-alarm time, and takes
// from the shelf what has lain there for its time; wake is the next such instant.
func (b *AlarmBook) Due(now sensors.Mono, changed func(Alarm)) (wake sensors.Mono) {
	wake = never
	for _, n := range b.names {
		a := b.alarms[n]
		due, ev := a.AckedAt.Add(a.ReAlarm), ReAlarm
		switch {
		case a.State == Shelved:
			due, ev = a.Until, Unshelve
		case a.State != Acknowledged || a.ReAlarm <= 0:
			continue
		}
		if now < due {
			wake = min(wake, due)
			continue
		}
		if rec, ok := b.Do(now, n, ev); ok {
			changed(rec)
		}
	}
	return wake
}

// Shift moves every instant, after a reboot.
func (b *AlarmBook) Shift(d time.Duration) {
	for _, a := range b.alarms {
		a.Since = a.Since.Add(d)
		if a.AckedAt != 0 {
			a.AckedAt = a.AckedAt.Add(d)
		}
		if a.Until != 0 {
			a.Until = a.Until.Add(d)
		}
	}
}

// Records returns every alarm, for a snapshot.
func (b *AlarmBook) Records() []Alarm {
	out := make([]Alarm, 0, len(b.names))
	for _, n := range b.names {
		out = append(out, *b.alarms[n])
	}
	return out
}
