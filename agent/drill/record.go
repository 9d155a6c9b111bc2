package drill

import (
	"sync"
	"time"

	"firebreak/agent/response"
	"firebreak/plugins"
)

// recorder hears what the drill's loop tells.
type recorder struct {
	mu    sync.Mutex
	plan  *response.Plan
	begin time.Time
	r     Report
	seen  plugins.PlanState
}

func newRecorder(plan *response.Plan, c Config) *recorder {
	r := &recorder{plan: plan, begin: time.Now()}
	r.r = Report{Plan: plan.Name, Zone: plan.Zone, By: c.By, Started: c.Wall, Running: true, Inject: c.Inject}
	if c.Stage > plugins.Watch {
		r.r.Tripped = c.Stage.String()
	}
	for i := range plan.Stages {
		level := plan.Stages[i].Level.String()
		r.r.Stages = append(r.r.Stages, Stage{Stage: level, BudgetS: c.Budget[level].Seconds(), CountdownS: plan.Stages[i].Countdown.Seconds()})
	}
	for k := range plan.Steps {
		s := &plan.Steps[k]
		r.r.Steps = append(r.r.Steps, Step{Step: s.Name, Stage: s.Stage.String(), Hook: c.Rules.Response.Hooks[s.Hook], Target: s.Target,
			CapS: s.Cap.Seconds(), State: response.Idle.String()})
	}
	return r
}

// Offer never waits.
func (r *recorder) Offer(u plugins.Update) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := time.Since(r.begin).Seconds()
	switch {
	case u.Plan != nil && u.Plan.Plan == r.plan.Name:
		r.seen = *u.Plan
		for i := range u.Plan.Steps {
			s := &u.Plan.Steps[i]
			for k := range r.r.Steps {
				if r.r.Steps[k].Step == s.Step {
					r.r.Steps[k].state(s, at)
				}
			}
		}
		r.r.Asks = u.Plan.Asking
	case u.Event != nil && u.Event.Plan == r.plan.Name && u.Event.Type == "stage.opened":
		for i := range r.r.Stages {
			if s := &r.r.Stages[i]; s.Stage == u.Event.Stage && s.OpenedS == nil {
				s.OpenedS = &at
			}
		}
	case u.Event != nil && u.Event.Plan == r.plan.Name && u.Event.Type == "step.starting":
		for i := range r.r.Stages {
			if s := &r.r.Stages[i]; s.Stage == u.Event.Stage && s.FirstHookS == nil {
				s.FirstHookS = &at
			}
		}
		for k := range r.r.Steps {
			if s := &r.r.Steps[k]; s.Step == u.Event.Step && s.StartedS == nil {
				s.StartedS = &at
			}
		}
	}
}

// state takes the state of a step over.
func (s *Step) state(now *plugins.StepState, at float64) {
	s.State, s.Detail, s.Evidence, s.Attempt = now.State, now.Detail, now.Evidence, now.Attempt
	if ended(now.State) && s.EndedS == nil {
		s.EndedS = &at
	}
}

func ended(state string) bool {
	switch state {
	case "done", "capped", "failed", "skipped", "blocked", "observed":
		return true
	}
	return false
}

// over: a stage has opened, and every step of the open stages has ended or asks a person.
func (r *recorder) over() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	high, err := plugins.ParseStage(r.seen.Stage)
	if err != nil || high == plugins.Watch || len(r.seen.Countdown) > 0 {
		return false
	}
	for k := range r.plan.Steps {
		s := &r.r.Steps[k]
		if r.plan.Steps[k].Stage <= high && !ended(s.State) && s.State != "withheld" {
			return false
		}
	}
	return true
}
