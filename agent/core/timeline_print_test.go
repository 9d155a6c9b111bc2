package core_test

import (
	"encoding/json"
	"fmt"
	"strings"

	"firebreak/agent/hazard"
	"firebreak/plugins"
)

func (r *runner) tell(u *plugins.Update) {
	switch {
	case u.Event != nil:
		r.event(u.Event)
	case u.Plan != nil:
		text := u.Plan.Asking
		if text == "" {
			text = "nothing"
		}
		r.once("asks a person", text, "nothing")
		if p := u.Plan.Peer; p != nil {
			text := "out of contact"
			if p.Contact {
				text = fmt.Sprintf("stage %s, episode %d, holding: %v", p.Stage, p.Episode, p.HeldBy != "")
			}
			r.once("peer "+p.Agent, text, "")
		}
	case u.Alarm != nil:
		text := fmt.Sprintf("P%d %s, %s", u.Alarm.Priority, u.Alarm.State, u.Alarm.Basis)
		if n := len(u.Alarm.Children); n > 0 {
			text += fmt.Sprintf(", %d children", n)
		}
		if u.Alarm.FirstOut {
			text += ", first-out"
		}
		r.once("alarm "+u.Alarm.Name, text, "")
	}
}

func (r *runner) event(e *plugins.Event) {
	switch e.Type {
	case "stage.opened":
		var w hazard.Why
		if err := json.Unmarshal(e.Data, &w); err != nil {
			r.t.Fatalf("a stage without its reasons: %v", err)
		}
		var who []string
		for _, m := range w.Members {
			if m.Is == hazard.True {
				who = append(who, m.Name+" "+m.Basis.String())
			}
		}
		if w.ByHand != "" {
			r.say("STAGE %s opened by hand, by %s", e.Stage, w.ByHand)
			return
		}
		if who == nil {
			who = []string{w.Cause()}
		}
		r.say("STAGE %s opened by %s: %s", e.Stage, w.Cond, strings.Join(who, ", "))
	case "stage.fallen":
		r.say("STAGE 0: %s has ended by itself", e.Plan)
	case "plan.reset":
		r.say("STAGE 0: %s reset %s", e.Plan, e.Detail)
	case "hold.begun", "hold.released", "hold.lapsed":
		r.say("%s of %s: %s", strings.Replace(e.Type, ".", " ", 1), e.Plan, e.Detail)
	case "undo.begun", "undo.ended", "plan.tripped", "plan.armed", "plan.observe":
		r.say("%s of %s: %s", strings.Replace(e.Type, ".", " ", 1), e.Plan, e.Detail)
	case "ledger.settled":
		r.say("ledger: %s settled: %s", e.Step, e.Detail)
	case "energise.started", "energise.done", "energise.failed", "energise.unknown":
		r.say("%s: %s %s", strings.Replace(e.Type, ".", " ", 1), e.Step, e.Detail)
	case "step.starting", "step.running", "undo.started", "order.done", "order.refused":
	default:
		text := strings.Replace(e.Type, "step.", "", 1)
		if e.Detail != "" {
			text += ": " + e.Detail
		}
		r.say("step %s %s", e.Step, text)
	}
}

// conds prints every verdict that has changed.
func (r *runner) conds() {
	for i := range r.s.hz.Conds {
		c := &r.s.hz.Conds[i]
		v, _ := r.core.Verdict(c.Name)
		text := v.Is.String()
		if v.Basis != hazard.Measured {
			text += ", " + v.Basis.String()
		}
		if v.Is == hazard.True && !v.Settled {
			text += ", on probation"
		} else if v.Is == hazard.True && !v.Strong {
			text += ", weak"
		} else if v.Is == hazard.True && !v.Firm {
			text += ", not firm"
		}
		kind := "detector "
		if c.Kind == hazard.Vote {
			kind = "vote "
		}
		r.once(kind+c.Name, text, "false")
	}
}

// summary is how everything stands in the end.
func (r *runner) summary() {
	r.now = r.s.end
	if r.core == nil {
		r.say("the agent is down")
		return
	}
	for i := range r.s.rs.Plans {
		v := r.core.View(r.mono(), r.s.rs.Plans[i].Name)
		r.say("in the end: plan %s, stage %s, episode %d", v.Plan, v.Stage, v.Episode)
		for _, s := range v.Steps {
			note := ""
			if s.Attempt > 0 {
				note = fmt.Sprintf(", attempt %d", s.Attempt)
			}
			if !s.Journaled && s.State != "idle" && s.State != "withheld" && s.State != "observed" {
				note += ", not journaled"
			}
			r.say("  step %s %s%s", s.Step, s.State, note)
		}
		if v.Asking != "" {
			r.say("  asks a person: %s", v.Asking)
		}
	}
	r.core.Alarms(func(a hazard.Alarm) {
		r.say("  alarm %s %s", a.Name, a.State)
	})
}
