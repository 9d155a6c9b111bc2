package core

import (
	"encoding/json"
	"fmt"

	"firebreak/agent/hazard"
	"firebreak/agent/response"
	"firebreak/sensors"
)

// snapshot is the whole state, by name.
type snapshot struct {
	Version int                          `json:"v"`
	Hazard  hazard.State                 `json:"hazard"`
	Alarms  []hazard.Alarm               `json:"alarms"`
	Plans   map[string]*response.PlanRun `json:"plans"`
	Losses  []string                     `json:"losses"`
	LastRec sensors.Mono                 `json:"last_rec"`
	Pending bool                         `json:"pending"`
	Begun   bool                         `json:"begun"`
	Book    sensors.Mono                 `json:"book_wake"`

	Inhibited map[string]sensors.Mono `json:"inhibited,omitempty"`
	LossHold  sensors.Mono            `json:"loss_hold"`

	Gate   gateState       `json:"gate"`
	Raised []hazard.Raised `json:"raised,omitempty"`
}

// Snapshot appends the whole state to dst. Restored by New, it goes on as if it had never stopped.
func (c *Core) Snapshot(dst []byte) []byte {
	b, err := json.Marshal(snapshot{1, c.eng.State(), c.book.Records(), c.resp.State(), c.losses, c.lastRec, c.pending, c.begun, c.bookWake, c.inhibited, c.lossHold, c.gate.state(), c.book.RaisedLately()})
	if err != nil {
		return dst // values are finite and strings: it cannot fail; an empty snapshot is refused by none
	}
	return append(dst, b...)
}

// essence is what must not be forgotten: plans and what arming rests on.
type essence struct {
	Plans map[string]*response.PlanRun `json:"plans"`
	Gate  gateState                    `json:"gate"`
}

// Essence appends modes, runs, ledger, proofs and answers to dst: small, for it is made often.
func (c *Core) Essence(dst []byte) []byte {
	b, err := json.Marshal(essence{c.resp.State(), c.gate.state()})
	if err != nil {
		return dst
	}
	return append(dst, b...)
}

// Adopt takes an essence over what the journal gave.
func (c *Core) Adopt(b []byte) error {
	var e essence
	if err := json.Unmarshal(b, &e); err != nil {
		return err
	}
	c.resp.SetState(e.Plans)
	c.gate.setState(e.Gate)
	c.findOthers("")
	return nil
}

func (c *Core) restore(b []byte) error {
	var s snapshot
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	if s.Version != 1 {
		return fmt.Errorf("version %d is not 1: it was written by another version of firebreak", s.Version)
	}
	c.eng.SetState(s.Hazard)
	for _, a := range s.Alarms {
		c.book.Apply(a)
	}
	c.book.SetRaised(s.Raised)
	c.resp.SetState(s.Plans)
	c.losses, c.lastRec, c.pending, c.begun, c.bookWake = s.Losses, s.LastRec, s.Pending, s.Begun, s.Book
	c.gate.setState(s.Gate)
	c.findOthers("")
	c.lossHold, c.holding = s.LossHold, c.eng.Active()
	c.book.All(func(a hazard.Alarm) { c.wasAlike(&a) })
	for name, since := range s.Inhibited {
		c.inhibited[name] = since
	}
	return nil
}
