package hazard

import (
	"slices"
	"time"

	"firebreak/sensors"
)

// AlarmInput is the present condition of an alarm, as its owner sees it.
type AlarmInput struct {
	Name     string
	Active   bool
	Basis    Basis
	Priority int
	Latching bool
	ReAlarm  time.Duration // acknowledged and still active for so long: raised again; 0: never
	Cause    string
	Newest   bool // the owner speaks only when something has changed: another cause is a change
	Children []string

	Group      string // the first of a group that is urgent is first-out
	Suppressed string // by design: the alarm that says it already
	Why        *Why   // what a condition rests on, frozen
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
	Until      sensors.Mono  `json:"until,omitempty"`    // shelved until then
	OneShot    bool          `json:"one_shot,omitempty"` // or until it clears
	Unreset    bool          `json:"unreset,omitempty"`  // latching, raised and not reset since
	Group      string        `json:"group,omitempty"`
	Suppressed string        `json:"suppressed,omitempty"` // the alarm that says it already
	By         string        `json:"by,omitempty"`         // who acknowledged, shelved, reset or retired it last
	Why        *Why          `json:"why,omitempty"`        // of its last move: readings, detectors and vote
}

// AlarmBook keeps every alarm by name. It changes only through Apply, so that a journal of its
// records rebuilds it.
type AlarmBook struct {
	alarms map[string]*Alarm
	names  []string // in order of first appearance: iteration is deterministic
	raised []Raised // in the last ten minutes, and some before
	raises uint64
}

func NewAlarmBook() *AlarmBook { return &AlarmBook{alarms: map[string]*Alarm{}} }

// Apply takes one record.
func (b *AlarmBook) Apply(a Alarm) {
	was := b.alarms[a.Name]
	if was == nil {
		b.names = append(b.names, a.Name)
	}
	if a.State == Unacknowledged && a.Active && (was == nil || was.Occurrence != a.Occurrence) {
		b.note(Raised{a.Name, a.Since, a.Priority})
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
	switch {
	case in.Active != p.Active:
		b.turn(now, &rec, &in)
	case !in.Active && p.Suppressed == "":
		return Alarm{}, false
	case in.Basis != p.Basis && in.Why != nil:
		rec.Why = in.Why
	}
	if in.Active {
		rec.Basis, rec.Priority, rec.Latching, rec.ReAlarm = in.Basis, in.Priority, in.Latching, in.ReAlarm
		rec.Cause, rec.Children, rec.Group = in.Cause, in.Children, in.Group
		rec.Unreset = rec.Unreset || in.Latching
	}
	rec.hide(in.Suppressed)
	// A new text alone is not a change, where readings move it all the time.
	changed = in.Newest && rec.Cause != p.Cause || rec.State != p.State || rec.Active != p.Active || rec.Basis != p.Basis ||
		rec.Suppressed != p.Suppressed || rec.Priority != p.Priority || !slices.Equal(rec.Children, p.Children)
	if changed {
		b.Apply(rec)
	}
	return rec, changed
}

// turn is the raise or the clear of an alarm.
func (b *AlarmBook) turn(now sensors.Mono, rec *Alarm, in *AlarmInput) {
	ev := Clear
	if in.Active {
		ev = Raise
		rec.Occurrence++
		rec.FirstOut = in.Suppressed == "" && rec.State <= LatchedAcknowledged && in.Priority <= 2 && !b.anyUrgent(in.Group)
	}
	rec.State = NextAlarmState(rec.State, ev, in.Active, in.Latching || rec.Latching)
	rec.Active, rec.Since, rec.Why = in.Active, now, in.Why
	if ev == Clear && rec.State == Shelved && rec.OneShot {
		rec.leave(Unshelve)
	}
}

// hide suppresses an alarm that another one says already, and shows it again. An alarm that is
// shelved or out of service stays so, and is suppressed when it comes back.
func (a *Alarm) hide(by string) {
	a.Suppressed = by
	switch {
	case by != "":
		a.State = NextAlarmState(a.State, Suppress, a.Active, a.Latching)
	case a.State == Suppressed:
		a.leave(Unsuppress)
	}
}

// leave brings an alarm back from the shelf, from being suppressed or from out of service.
func (a *Alarm) leave(ev AlarmEvent) {
	a.State = NextAlarmState(a.State, ev, a.Active, a.Unreset)
	a.Until, a.OneShot = 0, false
	if a.Suppressed != "" {
		a.State = NextAlarmState(a.State, Suppress, a.Active, a.Latching)
	}
}

func (b *AlarmBook) anyUrgent(group string) bool {
	for _, a := range b.alarms {
		if a.Active && a.Priority <= 2 && a.Group == group && a.State <= LatchedAcknowledged {
			return true
		}
	}
	return false
}

// Do applies what a person did to one alarm: acknowledge, reset, unshelve, take out of service or
// return.
func (b *AlarmBook) Do(now sensors.Mono, name string, ev AlarmEvent, by string) (rec Alarm, changed bool) {
	p := b.alarms[name]
	if p == nil {
		return Alarm{}, false
	}
	rec = *p
	if ev == Unshelve && p.State == Shelved || ev == Return && p.State == OutOfService {
		rec.leave(ev)
	} else if ev != Shelve {
		rec.State = NextAlarmState(p.State, ev, p.Active, p.Latching)
	}
	if rec.State == p.State {
		return rec, false
	}
	switch ev {
	case Ack:
		rec.AckedAt = now
	case ResetLatch:
		rec.Unreset = false
	}
	rec.By = by
	b.Apply(rec)
	return rec, true
}

// Know enters an alarm that was never raised, so that it can be shelved or taken out of service
// beforehand.
func (b *AlarmBook) Know(in AlarmInput) {
	if b.alarms[in.Name] == nil {
		b.Apply(Alarm{Name: in.Name, Priority: in.Priority, Latching: in.Latching, ReAlarm: in.ReAlarm, Group: in.Group})
	}
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
		if rec, ok := b.Do(now, n, ev, ""); ok {
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
	for i := range b.raised {
		b.raised[i].At = b.raised[i].At.Add(d)
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
