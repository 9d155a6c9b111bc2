package wire

import (
	"encoding/json"

	"firebreak/plugins"
)

// Schemas name the shape of a payload. Within one number fields are only ever added.
const (
	SchemaStatus = "firebreak.status/1"
	SchemaAlarm  = "firebreak.alarm/1"
	SchemaPlan   = "firebreak.plan/1"
	SchemaEvent  = "firebreak.event/1"
	SchemaHello  = "firebreak.hello/1"
)

// Head is common to all messages but state. Ts is the wall clock in milliseconds, advisory: no
// consumer decides by it.
type Head struct {
	Schema   string `json:"schema"`
	Agent    string `json:"agent"`
	Instance string `json:"instance"`
	Epoch    uint64 `json:"epoch"`
	Seq      uint64 `json:"seq"`
	Ts       int64  `json:"ts,omitempty"`
	Site     string `json:"site"`
	Zone     string `json:"zone"`
}

// Place is where a hazard is, for messages that a failover system acts on.
type Place struct {
	Building    string   `json:"building,omitempty"`
	Racks       []string `json:"racks,omitempty"`
	ThreatScope string   `json:"threat_scope,omitempty"` // rack, row, room, building, site
	Leave       string   `json:"leave,omitempty"`        // the failure domain to vacate
}

// Vote is the shape of a vote in a payload: how many members of n it needs, and what they say.
type Vote struct {
	K        int `json:"k"`
	N        int `json:"n"`
	True     int `json:"true"`
	Held     int `json:"held"`
	Bad      int `json:"bad"`
	Bypassed int `json:"bypassed"`
}

// PowerLoss is the time left, in seconds from the message, until power is expected to be lost. It
// is negative when that time has passed.
type PowerLoss struct {
	Earliest int    `json:"earliest"`
	Likely   int    `json:"likely"`
	Basis    string `json:"basis"` // declared: the plan's own figure
}

// Actions names the steps that were asked for and those that are done.
type Actions struct {
	Requested []string `json:"requested"`
	Done      []string `json:"done"`
}

// Trust is the tail of every message that somebody acts on. While messages are not signed its
// strings are empty.
type Trust struct {
	AgeS int64 `json:"age_s"`           // of the condition or the episode
	TTLS int   `json:"ttl_s,omitempty"` // counted by the consumer from receipt
	// Replayed marks history that is told again behind newer states.
	Replayed bool   `json:"replayed,omitempty"`
	Clock    string `json:"clock"` // synced, holdover, unset; empty: not told
	KeyID    string `json:"key_id"`
	Sig      string `json:"sig"`
}

// AlarmMessage is the payload of class alarm. ID names one occurrence for ever.
type AlarmMessage struct {
	Head
	ID         string `json:"id"`
	DecisionID string `json:"decision_id,omitempty"`
	Place
	Hazard     string          `json:"hazard"` // name of the condition
	Occurrence uint64          `json:"occurrence"`
	State      string          `json:"state"` // ISA-18.2
	Active     bool            `json:"active"`
	Priority   int             `json:"priority"`
	Basis      string          `json:"basis"`
	Mark       string          `json:"mark"` // real, drill, dry
	Origin     string          `json:"origin"`
	FirstOut   bool            `json:"first_out"`
	Vote       json.RawMessage `json:"vote,omitempty"`
	Evidence   json.RawMessage `json:"evidence,omitempty"`
	Cause      string          `json:"cause"`
	Children   []string        `json:"children,omitempty"`
	SinceMs    int64           `json:"since_ms"`
	Supersedes string          `json:"supersedes,omitempty"`
	Runbook    string          `json:"runbook,omitempty"`
	Trust
}

// PlanMessage is the payload of class plan. ID names one episode for ever.
type PlanMessage struct {
	Head
	ID         string `json:"id"`
	DecisionID string `json:"decision_id,omitempty"`
	Place
	Plan       string              `json:"plan"`
	PlanZone   string              `json:"plan_zone"`
	Episode    uint64              `json:"episode"` // 0: none
	Stage      string              `json:"stage"`
	Mode       string              `json:"mode"`
	Mark       string              `json:"mark"`
	Origin     string              `json:"origin"`
	Latched    bool                `json:"latched"`
	Countdown  map[string]int      `json:"countdown_s,omitempty"`
	Asking     string              `json:"asking,omitempty"`
	Vote       json.RawMessage     `json:"vote,omitempty"`
	Evidence   json.RawMessage     `json:"evidence,omitempty"`
	PowerLoss  *PowerLoss          `json:"power_loss_s,omitempty"`
	ActByS     *int                `json:"act_by_s,omitempty"`
	Actions    Actions             `json:"actions"`
	Steps      []plugins.StepState `json:"steps"`
	Reversible bool                `json:"reversible"`
	Journaled  bool                `json:"journaled"` // every start of a step was durable first (S9)
	Cause      string              `json:"cause,omitempty"`
	Supersedes string              `json:"supersedes,omitempty"`
	Runbook    string              `json:"runbook,omitempty"`
	Trust
}

// EventMessage is the payload of class event.
type EventMessage struct {
	Head
	ID     string `json:"id"`
	Mark   string `json:"mark"`
	Type   string `json:"type"`
	Plan   string `json:"plan,omitempty"`
	Stage  string `json:"stage,omitempty"`
	Step   string `json:"step,omitempty"`
	Key    string `json:"key,omitempty"`
	Detail string `json:"detail,omitempty"`
	// Shortened: the data did not fit into a message and was left out.
	Shortened bool            `json:"shortened,omitempty"`
	Data      json.RawMessage `json:"data,omitempty"`
	Trust
}

// StatusMessage is the payload of class status. Its Seq counts the sessions with one broker: the
// birth of session n has 2n-1, its will and its orderly stop 2n. So the will of a session that
// was given up, told late, is older than the birth of the next.
type StatusMessage struct {
	Head
	Online  bool          `json:"online"`
	Reason  string        `json:"reason,omitempty"` // of being offline: lost (will), stopped
	Boot    string        `json:"boot,omitempty"`
	Version string        `json:"version,omitempty"`
	Started int64         `json:"started,omitempty"` // ms
	Drill   bool          `json:"drill,omitempty"`
	Points  []StatusPoint `json:"points,omitempty"`
	// PointsLeftOut counts those that did not fit into the message.
	PointsLeftOut int    `json:"points_left_out,omitempty"`
	Dropped       *Drops `json:"dropped,omitempty"`
	KeyID         string `json:"key_id"`
	Sig           string `json:"sig"`
}

// StatusPoint describes one point of the state messages to come.
type StatusPoint struct {
	Name    string `json:"name"` // ups-a.battery.temperature
	Device  string `json:"device"`
	Channel string `json:"channel"` // the key in the state message: battery.temperature
	Unit    string `json:"unit"`
	Kind    string `json:"kind"`
	Physics string `json:"physics"`
}

// Drops counts, for one broker, what was never delivered since the agent started.
type Drops struct {
	Alarm      uint64 `json:"alarm"` // transitions; the present state is told all the same
	Event      uint64 `json:"event"`
	State      uint64 `json:"state"`
	Superseded uint64 `json:"superseded"` // plan states replaced by a newer one before they were sent
}

// Sequences holds the last sequence number given out in each class.
type Sequences struct {
	Status uint64 `json:"status"`
	Alarm  uint64 `json:"alarm"`
	Plan   uint64 `json:"plan"`
	Event  uint64 `json:"event"`
	State  uint64 `json:"state"`
}

// ActiveAlarms lets a consumer see whether it knows them all. Hash is that of AlarmHash.
type ActiveAlarms struct {
	Count int    `json:"count"`
	Hash  string `json:"hash"`
}

// HelloMessage is the payload of class hello.
type HelloMessage struct {
	Head
	Last      Sequences    `json:"last"`
	DrillLast *Sequences   `json:"drill_last,omitempty"`
	Active    ActiveAlarms `json:"active_alarms"`
	Queued    int          `json:"queued"` // messages that wait for this broker
	Dropped   Drops        `json:"dropped"`
	Challenge string       `json:"challenge"` // a command answers it, within 30 s (S14)
	KeyID     string       `json:"key_id"`
	Sig       string       `json:"sig"`
}
