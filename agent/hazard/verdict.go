// Package hazard judges readings: it turns them into verdicts of named conditions (detectors and
// votes over them) and keeps the life cycle of alarms. It is pure: no clock, no goroutine, no I/O;
// equal input gives equal output.
//
// Concurrency: an Engine and an AlarmBook belong to one goroutine, the one that runs the core.
// Failure: it has none of its own. What it cannot know is Unknown, and silence is neither health
// nor recovery: a member that was true and fell silent goes on voting for a while (S4), an alarm
// is held until a usable reading clears it, and a vote that cannot trip any more says so.
package hazard

import (
	"fmt"

	"firebreak/sensors"
)

// Tri is a three-valued truth. The zero value is Unknown.
type Tri uint8

const (
	Unknown Tri = iota
	False
	True
)

func (t Tri) String() string { return [...]string{"unknown", "false", "true"}[t%3] }

// MarshalText and UnmarshalText make journal records readable.
func (t Tri) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

func (t *Tri) UnmarshalText(b []byte) error {
	for v := Unknown; v <= True; v++ {
		if v.String() == string(b) {
			*t = v
			return nil
		}
	}
	return fmt.Errorf("truth %q is not unknown, false or true", b)
}

// Basis says what a verdict rests on.
type Basis uint8

const (
	Measured  Basis = iota // fresh, usable readings
	Held                   // an alarm kept on unknown; gives no vote
	HeldTrue               // was true on usable readings and fell silent: still votes (S4)
	Bypassed               // taken out of the vote by a person
	Inhibited              // too few usable members are left: the vote cannot trip
)

var basisNames = [...]string{"measured", "held", "held-true", "bypassed", "inhibited"}

func (b Basis) String() string {
	if int(b) < len(basisNames) {
		return basisNames[b]
	}
	return fmt.Sprintf("unknown(%d)", uint8(b))
}

func (b Basis) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

func (b *Basis) UnmarshalText(t []byte) error {
	for i, n := range basisNames {
		if n == string(t) {
			*b = Basis(i)
			return nil
		}
	}
	return fmt.Errorf("basis %q is unknown: use one of %v", t, basisNames)
}

// Verdict is the present truth of a condition.
type Verdict struct {
	Is    Tri
	Basis Basis
	Since sensors.Mono // of Is
	Fresh sensors.Mono // newest usable reading that it rests on: if true, one that was true

	// Settled: true also without members that have come back from a bypass less than Probation ago
	// (S19). A verdict that is not settled opens stage 1 at most: whoever opens a stage above it asks
	// for Settled besides a Measured basis. Strong and Firm are never set without it.
	Settled bool
	// Strong: settled, and true without members that went over range or jumped with no preceding rise,
	// or whose device is not the proven one (S23), which count up to stage 2 only (S3), and without
	// faulty members that vote (S2).
	Strong bool
	// Firm: strong, and without members whose last usable reading was false and whose off-delay
	// still runs, or that a start has not heard of yet. The re-vote before an irreversible step asks for it (S4).
	Firm bool
}

// same is equality of all that matters to a listener: Fresh moves with every reading.
func (v Verdict) same(o Verdict) bool { o.Fresh = v.Fresh; return v == o }

// CondChange tells that the verdict of a condition has changed.
type CondChange struct {
	Cond CondID
	From Verdict
	To   Verdict
}

// Changes collects what one Step changed. The caller empties it with Reset before the call.
type Changes struct {
	Conds   []CondChange
	Members []MemberRecord // lasting state of detectors, for the journal
	Losses  bool           // the set of lost devices has changed: see Engine.Losses

	Baselines []BaselineRecord // lasting state of baselines, for the journal

	Bypasses bool // a bypass or probation has begun, ended or moved: see Engine.Bypasses
}

// Reset empties c and keeps its memory.
func (c *Changes) Reset() {
	c.Conds, c.Members, c.Losses, c.Bypasses = c.Conds[:0], c.Members[:0], false, false
	c.Baselines = c.Baselines[:0]
}
