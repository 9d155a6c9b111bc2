package plugins

import (
	"encoding/json"
	"time"

	"firebreak/sensors"
)

// Update is one thing to tell. Exactly one of the pointers is set. The receiver must not change
// what they point to: publishers share it.
type Update struct {
	Wall  time.Time
	Mark  Mark
	State *sensors.Batch // one poll of one device
	Goes  Goes           // of a State
	Alarm *AlarmState
	Plan  *PlanState
	Event *Event
}

// Goes says whether more polls follow an update at once: one that gathers them need not wait for what it knows of.
type Goes uint8

const (
	Alone  Goes = iota // nobody knows
	Before             // others
	Last               // of those that go together
)

// AlarmState is the present state of one alarm (ISA-18.2 life cycle, OPC UA Part 9 names).
type AlarmState struct {
	Name       string   `json:"name"`       // of its condition
	Occurrence uint64   `json:"occurrence"` // grows each time that the alarm is raised
	State      string   `json:"state"`      // normal, unacknowledged, acknowledged, rtn-unacknowledged, ...
	Active     bool     `json:"active"`     // the condition is true or held
	Priority   int      `json:"priority"`   // 1 (highest) to 4
	Basis      string   `json:"basis"`      // measured, held, held-true, bypassed, inhibited
	Origin     string   `json:"origin"`     // real, injected, simulated, replay
	Cause      string   `json:"cause"`      // one line a person can act on
	Children   []string `json:"children,omitempty"`
	FirstOut   bool     `json:"first_out"`
	SinceMs    int64    `json:"since_ms"`           // since the condition changed, at the time of the message
	Vote       *Vote    `json:"vote,omitempty"`     // of the alarm of a vote, as of the message
	Evidence   []Member `json:"evidence,omitempty"` // while active: what its verdict rests on, bounded

	SuppressedBy string `json:"suppressed_by,omitempty"` // the alarms that say it already
	Part9        *Part9 `json:"part9,omitempty"`
}

// Part9 is an alarm in the words of OPC UA Part 9; times are in milliseconds.
type Part9 struct {
	ActiveState         bool   `json:"ActiveState"`
	AckedState          bool   `json:"AckedState"`
	LatchedState        bool   `json:"LatchedState"`
	ShelvingState       string `json:"ShelvingState"` // Unshelved, TimedShelved, OneShotShelved
	UnshelveTime        int64  `json:"UnshelveTime,omitempty"`
	SuppressedState     bool   `json:"SuppressedState"`
	OutOfServiceState   bool   `json:"OutOfServiceState"`
	SuppressedOrShelved bool   `json:"SuppressedOrShelved"`
	OnDelay             int64  `json:"OnDelay"`
	OffDelay            int64  `json:"OffDelay"`
	ReAlarmTime         int64  `json:"ReAlarmTime"`
	MaxTimeShelved      int64  `json:"MaxTimeShelved"`
	FirstInGroup        string `json:"FirstInGroup"` // the group
	FirstInGroupFlag    bool   `json:"FirstInGroupFlag"`
	Severity            int    `json:"Severity"`
	Retain              bool   `json:"Retain"`
}

// PlanState is the present state of one plan.
type PlanState struct {
	Plan      string          `json:"plan"`
	Zone      string          `json:"zone"`
	Mode      string          `json:"mode"` // observe, armed
	Stage     string          `json:"stage"`
	Episode   uint64          `json:"episode"` // 0: none
	Latched   bool            `json:"latched"`
	Countdown map[string]int  `json:"countdown_s,omitempty"` // by stage, seconds left
	HoldS     int             `json:"hold_s,omitempty"`      // a hold is in force: seconds of hold time left to this run
	HeldBy    string          `json:"held_by,omitempty"`     // who renewed it last
	Asking    string          `json:"asking,omitempty"`      // what a person is asked to decide
	Steps     []StepState     `json:"steps"`
	Vote      json.RawMessage `json:"vote,omitempty"` // the frozen vote that opened the highest stage
	PowerLoss int             `json:"power_loss_s"`   // stated time to power loss, from the episode's start
	ElapsedS  int             `json:"elapsed_s"`      // since the episode's start
	Origin    string          `json:"origin"`
	OpenedBy  *Vote           `json:"opened_by,omitempty"` // that vote, counted
	Evidence  []Member        `json:"evidence,omitempty"`  // its members as they were then, bounded
	Cause     string          `json:"cause,omitempty"`     // of that vote, one line a person can act on
	Protects  []string        `json:"protects,omitempty"`  // in an episode: the zones that this plan vacates
	// ActByS is the time left, in seconds, until so little is left to the stated power loss as the
	// irreversible steps still to do may take by their caps; nil: no episode, or no power loss stated.
	ActByS      *int          `json:"act_by_s,omitempty"`
	TrippedBy   string        `json:"tripped_by,omitempty"` // a person opened its highest stage, or one that a vote did not
	NextEpisode uint64        `json:"next_episode"`         // the number that the next episode takes
	Outstanding []Outstanding `json:"outstanding,omitempty"`
	LastDrill   int64         `json:"last_drill,omitempty"` // good; Unix seconds
	UndoBy      string        `json:"undo_by,omitempty"`    // an undo is under way, by this person's order
	Peer        *PeerState    `json:"peer,omitempty"`
	// Reversible: no irreversible step of this episode has started.
	Reversible bool `json:"reversible"`
}

// Outstanding is an action that was done and is neither taken back nor accepted (S21).
type Outstanding struct {
	Step    string `json:"step"`
	Stage   string `json:"stage"`
	Episode uint64 `json:"episode"`
	AgeS    int    `json:"age_s"`
	Owner   string `json:"owner"`
	Revert  string `json:"revert,omitempty"` // how it is taken back by hand
	Undo    bool   `json:"undo"`             // an order takes it back
	Overdue bool   `json:"overdue"`
	State   string `json:"state"` // of its undo: idle, starting, waiting, failed
	Detail  string `json:"detail,omitempty"`
}

// PeerState is what the peer of a plan said last (S13).
type PeerState struct {
	Agent   string `json:"agent"`
	Contact bool   `json:"contact"` // heard in the last 10 s
	Episode uint64 `json:"episode"`
	Stage   string `json:"stage"`
	HeldBy  string `json:"held_by,omitempty"` // empty: the peer does not hold, whatever this agent does
}

// Vote is how the members of a condition stand.
type Vote struct {
	Cond     string `json:"cond"`
	Is       string `json:"is"`          // true, false, unknown
	Basis    string `json:"basis"`       // measured, held, held-true, bypassed, inhibited
	K        int    `json:"k,omitempty"` // members needed; 0 for a detector, of which one is enough
	N        int    `json:"n"`           // members
	True     int    `json:"true"`        // of them; the held ones included
	Held     int    `json:"held"`        // true when last read, and silent since (S4)
	Bad      int    `json:"bad"`         // cannot be judged
	Bypassed int    `json:"bypassed"`    // taken out by a person
}

// Member is one member of a condition, with readings that made it what it is.
type Member struct {
	Name     string          `json:"name"` // detector@device, or the nested vote
	Is       string          `json:"is"`
	Basis    string          `json:"basis"`
	Weak     bool            `json:"weak,omitempty"` // counts up to stage 2 only (S3)
	Readings []MemberReading `json:"readings,omitempty"`
}

// MemberReading is a reading with its age.
type MemberReading struct {
	Point   string   `json:"point"`
	Value   *float64 `json:"value"` // nil: none that could be used
	Unit    string   `json:"unit,omitempty"`
	Quality string   `json:"quality"`
	AgeMs   int64    `json:"age_ms"` // at the time of the verdict

	State   string   `json:"state,omitempty"`   // of the detector on it, in words
	Against *float64 `json:"against,omitempty"` // what it was compared with, in unit
}

// StepState is one step of a plan as it stands.
type StepState struct {
	Step      string `json:"step"`
	Stage     string `json:"stage"`
	State     string `json:"state"` // idle, waiting, withheld, starting, running, working, done, capped, failed, skipped, observed
	Attempt   int    `json:"attempt"`
	Evidence  bool   `json:"evidence"`  // done by evidence
	Journaled bool   `json:"journaled"` // the start was durable before the hook started
	Detail    string `json:"detail,omitempty"`
}

// Event is something that happened once: a transition, an order, a fault of the agent itself.
type Event struct {
	Type   string          `json:"type"` // "stage.opened", "step.started", "order.refused", ...
	Plan   string          `json:"plan,omitempty"`
	Stage  string          `json:"stage,omitempty"`
	Step   string          `json:"step,omitempty"`
	Key    string          `json:"key,omitempty"`
	Detail string          `json:"detail,omitempty"`
	Data   json.RawMessage `json:"data,omitempty"`
}
