package hazard

import (
	"time"

	"firebreak/sensors"
)

// CondID names a condition within one set of rules: its index in Rules.Conds.
type CondID uint32

// NoCond stands where a rule names no condition.
const NoCond = ^CondID(0)

// Rules is what the engine judges by, compiled from the configuration and never changed after.
type Rules struct {
	Points  []sensors.Point  // by PointID
	Devices []sensors.Device // by DeviceID
	Conds   []Cond           // a condition refers to earlier ones only

	Origin sensors.Origin // of the readings that count; others never vote (S7)

	HeldTrue    time.Duration // how long a member that was true and fell silent still votes (S4); default 30 min
	LossPersist time.Duration // how long a device is silent before the loss is an alarm (S2); default 10 s
}

// Kind is what a condition computes.
type Kind uint8

const (
	Above Kind = iota // value >= Threshold; false again below Threshold - Deadband
	Below             // value <= Threshold; false again above Threshold + Deadband
	Rate              // change per second over Window, in the hazardous direction, >= Threshold (or <=, when negative)
	In                // value is one of Values
	NotIn             // value is none of Values
	Vote              // at least Need of the members of Of
)

// FaultPolicy says what a member does for the vote while it is bad (S2).
type FaultPolicy uint8

const (
	NoVote     FaultPolicy = iota
	FaultVotes             // counts as one vote for each cause lost; stages 1 and 2 only
)

// Cond is one condition: a detector, or a vote over conditions. Evidence and only_if are
// detectors without an alarm.
type Cond struct {
	Name string
	Kind Kind

	// Detectors. A wildcard detector has one member for each device that its pattern meets.
	Members   []Member
	Threshold float64 // in the points' unit; for Rate, unit per second
	Deadband  float64
	Values    []float64
	Window    time.Duration // Rate
	OnDelay   time.Duration
	OffDelay  time.Duration
	OnFault   FaultPolicy
	HeldTrue  time.Duration // zero: Rules.HeldTrue

	// Votes.
	Of          []CondID
	Need        int
	Independent bool // the quorum spans two physics, two devices and two paths (S5)

	Priority int  // of its alarm: 1 (highest) to 4; 0: no alarm
	Latching bool // the alarm stays until reset
}

// Member is the part of a detector that sits on one device, and votes as one.
type Member struct {
	Device sensors.DeviceID
	Points []sensors.PointID
}
