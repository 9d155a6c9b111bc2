package plugins

import (
	"encoding/json"
	"fmt"
)

// Body is what a hook tells its target of a call: the standard input of a command, the data of a
// webhook. Every hook sends the same fields, so that a target can be moved from one to another.
type Body struct {
	Key       string          `json:"key"` // the ID of the call
	Plan      string          `json:"plan"`
	Zone      string          `json:"zone"`
	Stage     string          `json:"stage"`
	Step      string          `json:"step"`
	Episode   uint64          `json:"episode"`
	Undo      bool            `json:"undo"`
	Attempt   uint16          `json:"attempt"`
	Target    string          `json:"target,omitempty"`
	Mark      string          `json:"mark"`      // real, drill, dry: a target must look at it (S7)
	Journaled bool            `json:"journaled"` // S9
	Why       json.RawMessage `json:"why,omitempty"`
	Site      string          `json:"site,omitempty"`
	Agent     string          `json:"agent,omitempty"`
}

// ID names the call for targets and stores: the key, and for a drill one of its own. A drill counts
// its episodes on a copy, so that a real call may come under the same Key; a target that has seen
// it in the drill must not take the real one for a repetition (S7).
func (c Call) ID() string {
	if c.Mark == MarkReal {
		return c.Key.String()
	}
	return c.Mark.String() + "/" + c.Key.String()
}

// Body makes the body of a call. A Why that is no JSON is told as a JSON string: a fault in the
// explanation must not stop the action.
func (c Call) Body(site, agent string) Body {
	why := json.RawMessage(c.Why)
	if len(why) > 0 && !json.Valid(why) {
		why, _ = json.Marshal(fmt.Sprintf("not JSON: %s", c.Why))
	}
	k := c.Key
	return Body{
		Key: c.ID(), Plan: k.Plan, Zone: k.Zone, Stage: k.Stage.String(), Step: k.Step,
		Episode: k.Episode, Undo: k.Undo, Attempt: k.Attempt, Target: c.Target, Mark: c.Mark.String(),
		Journaled: c.Journaled, Why: why, Site: site, Agent: agent,
	}
}
