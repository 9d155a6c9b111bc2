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

// Spared answers a call for which a hook does nothing (S7): a dry one, and one of a drill that the hook does not
// support. drill is what the hook declares, would what a real call would do.
func (c Call) Spared(drill, would string) (Outcome, bool) {
	switch {
	case c.Mark == MarkReal, c.Mark == MarkDrill && drill == "native":
		return Outcome{}, false
	case c.Mark == MarkDry, c.Mark == MarkDrill && drill == "dry-run":
		return Outcome{Result: Skipped, Detail: would}, true
	case c.Mark == MarkDrill:
		return Outcome{Result: Skipped, Detail: "skipped: the hook declares no drill support (S7); " + would}, true
	}
	// A mark from a later version: doing nothing is the side on which a drill stays harmless.
	return Outcome{Result: Skipped, Detail: fmt.Sprintf("skipped: the mark %v is not known", c.Mark)}, true
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
