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
	Readings                     // Readings
	HookStarted                  // Key, Journaled
	HookDone                     // Key, Outcome
	Seen                         // Evidence; late and duplicate ones are allowed
	Durable                      // Err: the journal's state has changed; nil: it writes again
	Resumed                      // Resumed: the first event after Apply of the journal
	OrderGiven                   // Order
)

// Event is what the core hears.
type Event struct {
	Kind      EventKind
	Readings  []sensors.Reading // the caller's: not kept
	Key       plugins.Key
	Journaled bool
	Outcome   plugins.Outcome
	Evidence  plugins.Evidence
	Err       error
	Resumed   ResumeInfo
	Order     Order
}

// ResumeInfo is what the shell knows after a start.
type ResumeInfo struct {
	response.Resumed
	Last sensors.Mono // of the last record, before the shift
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
)

// Order is an order that the shell has authenticated.
type Order struct {
	ID   uint64 // answered by a Reply
	Kind OrderKind
	Name string
	By   string
}

// EffectKind says which fields of an Effect are set.
type EffectKind uint8

const (
	Write EffectKind = iota // Record: append to the journal
	Start                   // Hook, Call: when all records before it are durable, or after Wait of real time
	Tell                    // Update; the executor sets Wall
	Reply                   // OrderID, Err
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
}

// Record is one lasting change; exactly one field is set.
type Record struct {
	Plan   *response.Record     `json:"plan,omitempty"`
	Member *hazard.MemberRecord `json:"member,omitempty"`
	Alarm  *hazard.Alarm        `json:"alarm,omitempty"`
	Alive  bool                 `json:"alive,omitempty"`
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
	case r.Alive:
	default:
		return fmt.Errorf("a record without content")
	}
	return nil
}

// ParseRecord reads a record as it stands in the journal.
func ParseRecord(b []byte) (Record, error) {
	var r Record
	err := json.Unmarshal(b, &r)
	return r, err
}

func (c *Core) order(now sensors.Mono, o Order, fx *[]Effect) error {
	if o.By == "" {
		return fmt.Errorf("an order needs the name of the person who gives it")
	}
	switch o.Kind {
	case ResetPlan:
		return c.resp.Reset(now, o.Name, o.By, c.eng, &c.out)
	case HoldPlan:
		return c.resp.Hold(now, o.Name, o.By, &c.out)
	case ReleasePlan:
		return c.resp.Release(now, o.Name, o.By, &c.out)
	case AckAlarm, ResetAlarm:
		ev := hazard.Ack
		if o.Kind == ResetAlarm {
			if c.eng.Latched(o.Name) { // gas over range (S3): the alarm follows the condition
				return c.eng.Unlatch(now, o.Name)
			}
			ev = hazard.ResetLatch
		}
		a, changed := c.book.Do(now, o.Name, ev)
		if a.Name == "" {
			return fmt.Errorf("no alarm %q", o.Name)
		}
		if !changed {
			return fmt.Errorf("alarm %q is %s: %s does not apply", o.Name, a.State, o.Kind)
		}
		*fx = c.tellAlarm(now, *fx, a)
		c.bookWake = now
		return nil
	case TakeOutOfServe, ReturnToService:
		for i := range c.r.Hazard.Points {
			if c.r.Hazard.Points[i].Name == o.Name {
				c.eng.SetOutOfService(now, sensors.PointID(i), o.Kind == TakeOutOfServe)
				c.out.Events = append(c.out.Events, plugins.Event{Type: "point." + string(o.Kind), Detail: o.Name + " by " + o.By})
				return nil
			}
		}
		return fmt.Errorf("no point %q", o.Name)
	}
	return fmt.Errorf("unknown order %q", o.Kind)
}
