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
	Alarm *AlarmState
	Plan  *PlanState
	Event *Event
}

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
	SinceMs    int64    `json:"since_ms"` // since the condition changed, at the time of the message
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
	Asking    string          `json:"asking,omitempty"`      // what a person is asked to decide
	Steps     []StepState     `json:"steps"`
	Vote      json.RawMessage `json:"vote,omitempty"` // the frozen vote that opened the highest stage
	PowerLoss int             `json:"power_loss_s"`   // stated time to power loss, from the episode's start
	ElapsedS  int             `json:"elapsed_s"`      // since the episode's start
	Origin    string          `json:"origin"`
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
