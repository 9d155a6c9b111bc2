package drill

import (
	"context"
	"strings"
	"sync"
	"time"

	"firebreak/agent/hazard"
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

func newRecorder(plan *response.Plan, c Config, hz *hazard.Rules) *recorder {
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
			CapS: s.Cap.Seconds(), TimeoutS: s.Timeout.Seconds(), State: response.Idle.String(), Awaits: awaits(s, hz)})
	}
	return r
}

// awaits is the evidence that ends a step.
func awaits(s *response.Step, hz *hazard.Rules) string {
	switch {
	case s.Evidence == response.ByCondition:
		return hz.Conds[s.EvidenceCond].Name
	case s.Evidence == response.ByHook && s.EvidenceName == "":
		return "hook"
	case s.Evidence == response.ByHook:
		return "hook:" + s.EvidenceName
	}
	return "the end of the call"
}

// watch puts a witness before each hook: what it did, or would have done, and what it saw of it.
func (r *recorder) watch(hooks []plugins.Hook) (out []plugins.Hook) {
	for _, h := range hooks {
		out = append(out, witness{h, r})
	}
	return out
}

type witness struct {
	plugins.Hook
	r *recorder
}

func (w witness) Do(ctx context.Context, c plugins.Call, seen func(plugins.Evidence)) plugins.Outcome {
	begin := time.Now()
	oc := w.Hook.Do(ctx, c, func(ev plugins.Evidence) {
		ev.Key = c.Key
		w.r.came(ev)
		seen(ev)
	})
	w.r.did(c, oc, time.Since(begin))
	return oc
}

// came notes evidence; each is told once.
func (r *recorder) came(ev plugins.Evidence) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := time.Since(r.begin).Seconds()
	for k := range r.r.Steps {
		if s := &r.r.Steps[k]; s.Step == ev.Key.Step {
			s.saw(Seen{Name: ev.Name, OK: ev.OK, Detail: ev.Detail, AtS: at})
		}
	}
}

// maxSeen bounds what is noted of one step: a hook may say anything, and for ever.
const maxSeen = 32

func (s *Step) saw(n Seen) {
	for _, was := range s.Came {
		if was.Name == n.Name && was.Detail == n.Detail {
			return
		}
	}
	if len(s.Came) < maxSeen {
		s.Came = append(s.Came[:len(s.Came):len(s.Came)], n) // copies of the report share what stands there already
	}
}

// did notes how a call has ended: it was made, or the hook told what it would have done.
func (r *recorder) did(c plugins.Call, oc plugins.Outcome, took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for k := range r.r.Steps {
		s := &r.r.Steps[k]
		if s.Step != c.Key.Step {
			continue
		}
		if oc.Result == plugins.Skipped {
			s.Would = oc.Detail
			return
		}
		s.Did = strings.TrimSuffix(oc.Result.String()+": "+oc.Detail, ": ")
		s.CallS = took.Seconds()
	}
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
	if now.Evidence && !s.Evidence && !strings.HasPrefix(s.Awaits, "hook") { // what a hook says is noted as it comes
		s.saw(Seen{Name: s.Awaits, OK: true, AtS: at})
	}
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
