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

// PowerLoss is the time left, in seconds from the message, until power is expected to be lost. It
// is negative when that time has passed.
type PowerLoss struct {
	Earliest int    `json:"earliest"`
	Likely   int    `json:"likely"`
	Basis    string `json:"basis"` // stated in the configuration: the plan's own figure
}

// Actions names the steps that were asked for and those that are done.
type Actions struct {
	Requested []string `json:"requested"`
	Done      []string `json:"done"`
}

// AlarmMessage is the payload of class alarm. ID names one occurrence for ever.
type AlarmMessage struct {
	Head
	ID         string           `json:"id"`
	Hazard     string           `json:"hazard"` // name of the condition
	Occurrence uint64           `json:"occurrence"`
	State      string           `json:"state"` // ISA-18.2
	Active     bool             `json:"active"`
	Priority   int              `json:"priority"`
	Basis      string           `json:"basis"`
	Mark       string           `json:"mark"` // real, drill, dry
	Origin     string           `json:"origin"`
	FirstOut   bool             `json:"first_out"`
	Vote       *plugins.Vote    `json:"vote,omitempty"`
	Evidence   []plugins.Member `json:"evidence,omitempty"`
	Cause      string           `json:"cause"`
	Children   []string         `json:"children,omitempty"`
	SinceMs    int64            `json:"since_ms"`

	SuppressedBy string         `json:"suppressed_by,omitempty"`
	Part9        *plugins.Part9 `json:"part9,omitempty"`
	Trust
}

// PlanMessage is the payload of class plan. ID names one episode for ever.
type PlanMessage struct {
	Head
	ID         string              `json:"id"`
	DecisionID string              `json:"decision_id,omitempty"` // in an episode
	Leave      []string            `json:"leave,omitempty"`       // in an episode: the failure domains to vacate
	Plan       string              `json:"plan"`
	PlanZone   string              `json:"plan_zone"`
	Episode    uint64              `json:"episode"` // 0: none
	Stage      string              `json:"stage"`
	Mode       string              `json:"mode"`
	Mark       string              `json:"mark"`
	Origin     string              `json:"origin"`
	Latched    bool                `json:"latched"`
	Countdown  map[string]int      `json:"countdown_s,omitempty"`
	HoldS      int                 `json:"hold_s,omitempty"`
	HeldBy     string              `json:"held_by,omitempty"`
	Asking     string              `json:"asking,omitempty"`
	Vote       *plugins.Vote       `json:"vote,omitempty"`
	Evidence   []plugins.Member    `json:"evidence,omitempty"`
	PowerLoss  *PowerLoss          `json:"power_loss_s,omitempty"`
	ActByS     *int                `json:"act_by_s,omitempty"`
	Actions    Actions             `json:"actions"`
	Steps      []plugins.StepState `json:"steps"`
	Reversible bool                `json:"reversible"`
	Journaled  bool                `json:"journaled"` // every start of a step was durable first (S9)
	Cause      string              `json:"cause,omitempty"`

	NextEpisode uint64                `json:"next_episode"`          // peers agree on it (S13)
	TrippedBy   string                `json:"tripped_by,omitempty"`  // a person opened a stage over its vote
	Outstanding []plugins.Outstanding `json:"outstanding,omitempty"` // done, and not taken back (S21)
	Peer        *plugins.PeerState    `json:"peer,omitempty"`
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

// GapRange names messages that were dropped before a broker had them: numbers of one class, both ends
// included.
type GapRange struct {
	Class string `json:"class"`
	// Of a life before this one: what it had kept for this broker is gone.
	Epoch    uint64 `json:"epoch,omitempty"`
	Instance string `json:"instance,omitempty"`

	Drill bool   `json:"drill,omitempty"`
	From  uint64 `json:"from"`
	To    uint64 `json:"to"`
}

// Add sums up two lanes.
func (d Drops) Add(o Drops) Drops {
	return Drops{d.Alarm + o.Alarm, d.Event + o.Event, d.State + o.State, d.Superseded + o.Superseded}
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

// ToldPlans lets a consumer see whether it knows the newest state of each. Hash is that of PlanHash.
type ToldPlans struct {
	Count int    `json:"count"`
	Hash  string `json:"hash"`
}

// BusLoad is how a bus keeps up. Counters are since the agent's start.
type BusLoad struct {
	Utilisation float64 `json:"utilisation"` // part of the last 10 s that was spent in polls
	Missed      uint64  `json:"missed"`      // slots that were skipped because the bus was busy
	Failures    uint64  `json:"failures"`    // polls without an answer
	Silent      int     `json:"silent"`      // devices that do not answer now
	Stuck       bool    `json:"stuck,omitempty"`
}

// HelloMessage is the payload of class hello.
type HelloMessage struct {
	Head
	Last      Sequences    `json:"last"`
	DrillLast *Sequences   `json:"drill_last,omitempty"`
	Active    ActiveAlarms `json:"active_alarms"`
	Plans     *ToldPlans   `json:"plans,omitempty"`
	Queued    int          `json:"queued"` // messages that wait for this broker
	Dropped   Drops        `json:"dropped"`
	Gaps      []GapRange   `json:"gaps,omitempty"` // the last of what was dropped
	Challenge string       `json:"challenge"`      // a command answers it, within 30 s (S14)

	Buses map[string]BusLoad `json:"buses,omitempty"`
}
