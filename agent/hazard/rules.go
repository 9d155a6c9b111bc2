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
	AlikeWithin time.Duration // three devices behind one bus or gateway that turn true so near together count as two; default 2 s, negative: off
	LossPersist time.Duration // how long a device is silent before the loss is an alarm (S2); default 10 s
}

// Kind is what a condition computes.
type Kind uint8

const (
	Above     Kind = iota // value >= Threshold; false again below Threshold - Deadband
	Below                 // value <= Threshold; false again above Threshold + Deadband
	Rate                  // change per second over Window, in the hazardous direction, >= Threshold (or <=, when negative)
	In                    // value is one of Values
	NotIn                 // value is none of Values
	Vote                  // at least Need of the members of Of
	Deviation             // value differs by Threshold, or is Threshold times as much, from what From says
	Jump                  // value differs by Threshold from one that it had within Window
	Silent                // nothing usable for Window after the last reading went stale or bad
	Runaway               // temperature rises by Threshold per second over Window, and is at Limit or its voltage has dropped
)

// Source is what a Deviation is measured from.
type Source uint8

const (
	FromPoint        Source = iota // the Ref of each point
	FromMedian                     // the median of all points of the detector
	FromDeviceMedian               // the median of the points of the same device
	FromBaseline                   // what was learned at commissioning: see Engine.Learn
)

// Side is the direction in which a Deviation or a Jump counts.
type Side uint8

const (
	Up Side = iota
	Down
	Either
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
	Window    time.Duration // Rate, Jump, Silent, Runaway
	OnDelay   time.Duration
	OffDelay  time.Duration
	OnFault   FaultPolicy
	HeldTrue  time.Duration // zero: Rules.HeldTrue

	From  Source        // Deviation
	Side  Side          // Deviation, Jump; their Threshold is positive
	Ratio bool          // Deviation: Threshold is a multiple; with Up more than 1, with Down less
	Floor float64       // Ratio: the reference is taken as so much at least
	Learn time.Duration // FromBaseline: how long one is learned

	Limit    float64       // Runaway: the maker's highest temperature
	HasLimit bool          //
	Drop     float64       // Runaway: the part of its voltage that was lost, 0.25 for a quarter; 0: not looked at
	DropOver time.Duration // within so long

	// Votes.
	Of          []CondID
	Need        int
	Independent bool // the quorum spans two physics, two devices and two paths (S5)

	Priority int           // of its alarm: 1 (highest) to 4; 0: no alarm
	Latching bool          // the alarm stays until reset
	ReAlarm  time.Duration // acknowledged and still active for so long: raised again; 0: never
	Group    string        // of its alarm: the first of a group is told as such; empty: the plan that it opens
}

// Member is the part of a detector that sits on one device, and votes as one.
type Member struct {
	Device sensors.DeviceID
	Points []sensors.PointID

	// Ref stands beside each of Points: what it is compared with (FromPoint), or its voltage
	// (Runaway). Whoever shares one is one observation (S5). Empty, or NoPoint where there is none.
	Ref []sensors.PointID
}

// NoPoint stands where a member has no reference.
const NoPoint = ^sensors.PointID(0)

func (m *Member) ref(i int) sensors.PointID {
	if i < len(m.Ref) {
		return m.Ref[i]
	}
	return NoPoint
}
