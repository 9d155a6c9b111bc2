package hazard

import (
	"fmt"
	"slices"
)

// The life cycle of an alarm, ISA-18.2 / IEC 62682. Normal to LatchedAcknowledged are its states in
// service; Shelved, Suppressed and OutOfService are reached from each of them and lead back by the
// live condition: what is still there, or came meanwhile, is told as new. None of the nine moves a vote
// or a stage: those look at conditions.

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

// AlarmEvent is what moves an alarm from state to state.
type AlarmEvent uint8

const (
	Raise AlarmEvent = iota
	Clear
	Ack
	ResetLatch
	ReAlarm
	Shelve
	Unshelve // by a person, or at its end
	Suppress // by design: another alarm says it already
	Unsuppress
	Retire // taken out of service
	Return // to service
)

// NextAlarmState is the whole table. An event that a state does not know leaves it as it is. active is
// the live condition.
func NextAlarmState(s AlarmState, ev AlarmEvent, active, latching bool) AlarmState {
	inService := s <= LatchedAcknowledged
	switch {
	case ev == Shelve && inService:
		return Shelved
	case ev == Suppress && inService:
		return Suppressed
	case ev == Retire && inService:
		return OutOfService
	case ev == Unshelve && s == Shelved, ev == Unsuppress && s == Suppressed, ev == Return && s == OutOfService:
		switch {
		case active:
			return Unacknowledged
		case latching:
			return LatchedUnacknowledged // what is latched still waits for its reset
		}
		return Normal
	}
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
