package core

import (
	"encoding/json"
	"fmt"
	"time"

	"firebreak/agent/hazard"
	"firebreak/agent/response"
	"firebreak/plugins"
	"firebreak/sensors"
)

// EventKind says which fields of an Event are set.
type EventKind uint8

const (
	Tick        EventKind = iota // only time has passed
	Readings                     // Readings of Device, and its Serial if that is known
	HookStarted                  // Key, Journaled
	HookDone                     // Key, Outcome
	Seen                         // Evidence; late and duplicate ones are allowed
	Durable                      // Err: the journal's state has changed; nil: it writes again
	Resumed                      // Resumed: the first event after Apply of the journal
	OrderGiven                   // Order
	Calendar                     // Wall, Synced: at the start and every minute; what only warns looks at it (S14)
	Probed                       // Hook, Err: a hook was exercised; nil: it would work
	Peer                         // Peer: what the peer of a plan said (S13)
	DrillOver                    // DrillOver: how a drill of a plan has ended
	Health                       // Part, Err: a part of the agent itself is not well; nil: it is
	Receipt                      // Part: the consumer whose signed answer to an alarm or a plan has come (S18)
)

// Event is what the core hears.
type Event struct {
	Kind      EventKind
	Readings  []sensors.Reading // the caller's: not kept; marked in place where the unit is not the proven one (S23)
	Device    sensors.DeviceID
	Serial    string
	Key       plugins.Key
	Journaled bool
	Outcome   plugins.Outcome
	Evidence  plugins.Evidence
	Err       error
	Resumed   ResumeInfo
	Order     Order
	Wall      time.Time
	Synced    bool
	Hook      int
	Peer      response.PeerSaid
	DrillOver DrillResult
	Part      string // the alarm agent/PART; a consumer
}

// DrillResult is the end of a drill, as far as the real core remembers it.
type DrillResult struct {
	Plan string
	Good bool
	Why  string // not good: what went wrong
}

// ResumeInfo is what the shell knows after a start.
type ResumeInfo struct {
	response.Resumed
	Last sensors.Mono // of the last record, before the shift

	// Damaged: durable records are gone, so that a hook may have run of which nothing here tells.
	Damaged bool
}

// OrderKind is what a person asks for.
type OrderKind string

const (
	AckAlarm        OrderKind = "ack"            // Name: the alarm
	ResetAlarm      OrderKind = "reset-alarm"    // Name: a latched alarm
	ResetPlan       OrderKind = "reset"          // Name: the plan
	HoldPlan        OrderKind = "hold"           // Name: the plan; a lease of 5 s, to be renewed every 2 s (S16)
	ReleasePlan     OrderKind = "release"        // Name: the plan
	TakeOutOfServe  OrderKind = "out-of-service" // Name: the point
	ReturnToService OrderKind = "in-service"     // Name: the point
	TripPlan        OrderKind = "trip"           // Name: the plan; Stage
	ArmPlan         OrderKind = "arm"            // Name: the plan
	DisarmPlan      OrderKind = "disarm"         // Name: the plan; Reason
	UndoPlan        OrderKind = "undo"           // Name: the plan
	SettleEntry     OrderKind = "settle"         // Name: PLAN/STEP; Reason
	ShelveAlarm     OrderKind = "shelve"         // Name: the alarm; For, Reason
	UnshelveAlarm   OrderKind = "unshelve"       // Name: the alarm
	LearnBaseline   OrderKind = "learn"          // Name: the point or device
	BypassInput     OrderKind = "bypass"         // Name: the point or device; For, Reason: the compensating measure
	EndBypass       OrderKind = "end-bypass"     // Name: the point or device
	ProvePoint      OrderKind = "prove"          // Name: the point (S23)
	ConsumerAnswers OrderKind = "answered"       // Name: the consumer, seen to have an alarm (S18)
	EnergiseHook    OrderKind = "energise"       // Name: the hook; Confirm (S1)
	DrillPlan       OrderKind = "drill"          // Name: the plan; carried out by the shell, asked of the core
	EndDrill        OrderKind = "end-drill"      // Name: the plan
	ReloadConfig    OrderKind = "reload"         // Reason; carried out by the shell, asked of the core
	RestartAgent    OrderKind = "restart"        // Reason; the same
)

// Order is an order that the shell has authenticated.
type Order struct {
	ID      uint64 // answered by a Reply
	Kind    OrderKind
	Name    string
	By      string
	Second  string        // the second person, where two keys are asked for
	Channel Channel       // how it came
	Stage   plugins.Stage // trip
	For     time.Duration // bypass, shelve
	Once    bool          // shelve: only until it clears
	Reason  string
	Confirm bool // energise: the lock-out is removed
}

// EffectKind says which fields of an Effect are set.
type EffectKind uint8

const (
	Write  EffectKind = iota // Record: append to the journal
	Start                    // Hook, Call: when all records before it are durable, or after Wait of real time
	Tell                     // Update; the executor sets Wall
	Reply                    // OrderID, Err
	Sample                   // Device, Period: poll it so often; 0: as configured
)

// Effect is what the core wants done.
type Effect struct {
	Kind    EffectKind
	Record  Record
	Hook    int
	Call    plugins.Call
	Wait    time.Duration
	Update  plugins.Update
	OrderID uint64
	Err     error
	Device  sensors.DeviceID
	Period  time.Duration
}

// Record is one lasting change; exactly one field is set.
type Record struct {
	Plan   *response.Record     `json:"plan,omitempty"`
	Member *hazard.MemberRecord `json:"member,omitempty"`
	Alarm  *hazard.Alarm        `json:"alarm,omitempty"`
	Proof  *Proof               `json:"proof,omitempty"`
	Answer *Answer              `json:"answer,omitempty"`
	Serial *SerialRead          `json:"serial,omitempty"`

	Baseline *hazard.BaselineRecord `json:"baseline,omitempty"`

	Alive bool `json:"alive,omitempty"`
}

// Apply takes one record of the journal back. After the last, the first event is Resumed.
func (c *Core) Apply(r Record) error {
	switch {
	case r.Plan != nil:
		return c.resp.Apply(*r.Plan)
	case r.Member != nil:
		c.eng.Restore(*r.Member)
	case r.Alarm != nil:
		c.book.Apply(*r.Alarm)
	case r.Proof != nil:
		c.gate.proofs[r.Proof.Point] = *r.Proof
		c.findOther(c.point(r.Proof.Point))
	case r.Serial != nil:
		c.gate.serials[r.Serial.Device] = r.Serial.Serial
		c.findOthers(r.Serial.Device)
	case r.Answer != nil:
		c.gate.answers[r.Answer.Consumer] = *r.Answer
	case r.Baseline != nil:
		c.eng.RestoreBaseline(*r.Baseline)
	case r.Alive:
	default:
		return fmt.Errorf("a record without content")
	}
	return nil
}

// Rebooted carries what Apply has taken back so far into a later boot, as the Resume of that boot did at
// the instant now: what follows in the journal stands in its time. last is that of the record before.
func (c *Core) Rebooted(now, last sensors.Mono, shift time.Duration) {
	c.eng.Resume(now, last.Add(shift), shift)
	c.book.Shift(shift)
	c.resp.Shift(shift)
}

// ParseRecord reads a record as it stands in the journal.
func ParseRecord(b []byte) (Record, error) {
	var r Record
	err := json.Unmarshal(b, &r)
	return r, err
}
