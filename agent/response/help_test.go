package response_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"firebreak/agent/hazard"
	"firebreak/agent/response"
	"firebreak/plugins"
	"firebreak/sensors"
)

// The conditions of the test plans.
const (
	seen hazard.CondID = iota // opens stage 1
	prepare
	switchOver
	shed
	isolate
	proof // evidence
	mains // only_if
	conds
)

const second = time.Second

// judge is a hazard engine whose verdicts the test sets.
type judge struct {
	v      [conds]hazard.Verdict
	leaves map[hazard.CondID]map[string]hazard.Verdict
	vents  bool
}

func (j *judge) Venting(hazard.CondID) bool { return j.vents }

func (j *judge) Verdict(id hazard.CondID) hazard.Verdict {
	if id >= conds {
		return hazard.Verdict{}
	}
	return j.v[id]
}

func (j *judge) Explain(_ sensors.Mono, id hazard.CondID) hazard.Why {
	return hazard.Why{Cond: fmt.Sprintf("c%d", id), Is: j.v[id].Is}
}

func (j *judge) Leaves(id hazard.CondID, visit func(string, hazard.Verdict)) {
	if l := j.leaves[id]; l != nil {
		for name, v := range l {
			visit(name, v)
		}
		return
	}
	visit(fmt.Sprintf("c%d@dev", id), j.v[id])
}

// Verdicts as the engine gives them.
var (
	no       = hazard.Verdict{Is: hazard.False}
	unknown  = hazard.Verdict{Is: hazard.Unknown}
	blinded  = hazard.Verdict{Is: hazard.Unknown, Basis: hazard.Inhibited}
	yes      = hazard.Verdict{Is: hazard.True, Settled: true, Strong: true, Firm: true}
	weak     = hazard.Verdict{Is: hazard.True, Settled: true}               // with no rise before (S3)
	wavering = hazard.Verdict{Is: hazard.True, Settled: true, Strong: true} // false on its last reading
	faults   = hazard.Verdict{Is: hazard.True, Basis: hazard.Held}          // lost members that vote (S2)
	heldTrue = hazard.Verdict{Is: hazard.True, Basis: hazard.HeldTrue, Settled: true, Strong: true, Firm: true}
	bypassed = hazard.Verdict{Is: hazard.Unknown, Basis: hazard.Bypassed}
)

// rig drives one machine through time.
type rig struct {
	t       *testing.T
	rules   *response.Rules
	m       *response.Machine
	j       *judge
	now     sensors.Mono
	wake    sensors.Mono
	log     []response.Record
	starts  []plugins.Call
	changed []string
	events  []plugins.Event
}

// plan is an armed plan with all stages and no steps.
func plan(steps ...response.Step) response.Plan {
	for i := range steps {
		s := &steps[i]
		if s.Cap == 0 {
			s.Cap = 60 * second
		}
		if s.Timeout == 0 {
			s.Timeout = 10 * second
		}
		if s.OnlyIf == 0 {
			s.OnlyIf = hazard.NoCond
		}
		s.Irreversible = s.Irreversible || s.Stage.Irreversible()
	}
	return response.Plan{Name: "evacuate", Zone: "b3", Mode: response.Armed, Ungated: "test", ExpectedMode: response.Armed,
		PowerLoss: 7 * time.Minute, ResumeMax: 15 * time.Minute, ClearTime: 10 * time.Minute, Steps: steps,
		Stages: []response.Stage{
			{Level: plugins.Notify, When: seen},
			{Level: plugins.Prepare, When: prepare},
			{Level: plugins.SwitchOver, When: switchOver},
			{Level: plugins.Shed, When: shed, Countdown: 30 * second, IfBlind: response.BlindHold},
			{Level: plugins.Isolate, When: isolate, Countdown: 60 * second, IfBlind: response.BlindProceed},
		}}
}

// newRig starts a machine on an empty journal, all quiet.
func newRig(t *testing.T, p response.Plan) *rig {
	t.Helper()
	r := &rig{t: t, rules: &response.Rules{Plans: []response.Plan{p}, Hooks: []string{"hook"}}, j: &judge{}, now: sensors.Mono(1000 * second)}
	for i := range r.j.v {
		r.j.v[i] = no
	}
	r.boot("h1")
	r.resume(response.Resumed{AgeKnown: true, EpisodeBase: 41})
	return r
}

func (r *rig) boot(hash string) {
	r.t.Helper()
	m, err := response.New(r.rules, hash)
	if err != nil {
		r.t.Fatal(err)
	}
	r.m = m
}

// restart is a new process: only the records of the old one are left.
func (r *rig) restart(hash string, re response.Resumed) {
	r.t.Helper()
	r.boot(hash)
	for _, rec := range r.log {
		if err := r.m.Apply(rec); err != nil {
			r.t.Fatal(err)
		}
	}
	r.starts = nil
	r.resume(re)
}

func (r *rig) resume(re response.Resumed) {
	r.do(func(o *response.Out) { r.m.Resume(r.now, re, o) })
}

// do makes one call and, as the core does, looks at the plans after it.
func (r *rig) do(f func(o *response.Out)) {
	var o response.Out
	f(&o)
	r.wake = r.m.Step(r.now, r.j, &o)
	r.log = append(r.log, o.Records...)
	r.events = append(r.events, o.Events...)
	r.changed = append(r.changed, o.Changed...)
	for _, e := range o.Events {
		if e.Type == "response.bug" {
			r.t.Errorf("bug: %s", e.Detail)
		}
	}
	for _, s := range o.Starts {
		r.starts = append(r.starts, s.Call)
	}
}

func (r *rig) step() { r.do(func(*response.Out) {}) }

// set gives verdicts and looks.
func (r *rig) set(v hazard.Verdict, ids ...hazard.CondID) {
	for _, id := range ids {
		r.j.v[id] = v
	}
	r.step()
}

// pass lets time go by; the machine is called when it asked to be, and at the end.
func (r *rig) pass(d time.Duration) {
	end := r.now.Add(d)
	for r.wake < end {
		if r.wake <= r.now {
			r.t.Fatalf("the machine wants to be called at %v, now is %v: it would spin", r.wake, r.now)
		}
		r.now = r.wake
		r.step()
	}
	r.now = end
	r.step()
}

// last is the newest call of a step.
func (r *rig) last(step string) plugins.Call {
	r.t.Helper()
	for _, c := range slices.Backward(r.starts) {
		if c.Key.Step == step {
			return c
		}
	}
	r.t.Fatalf("step %q was not started: %v", step, r.keys())
	return plugins.Call{}
}

func (r *rig) started(step string) {
	r.t.Helper()
	k := r.last(step).Key
	r.do(func(o *response.Out) { r.m.Started(r.now, k, true, o) })
}

// ends reports that the hook of a step was called and has ended.
func (r *rig) ends(step string, res plugins.Result) {
	r.t.Helper()
	k := r.last(step).Key
	r.do(func(o *response.Out) { r.m.Started(r.now, k, true, o) })
	r.do(func(o *response.Out) { r.m.Done(r.now, k, plugins.Outcome{Result: res, Detail: res.String()}, o) })
}

func (r *rig) evidence(step string, ok bool) {
	r.t.Helper()
	k := r.last(step).Key
	r.do(func(o *response.Out) { r.m.Seen(r.now, plugins.Evidence{Key: k, Name: "seen", OK: ok}, o) })
}

func (r *rig) keys() (ks []string) {
	for _, c := range r.starts {
		ks = append(ks, c.Key.String())
	}
	return ks
}

func (r *rig) run() *response.Run { return r.m.State()["evacuate"].Run }

func (r *rig) of(step string) response.StepRecord {
	r.t.Helper()
	if run := r.run(); run != nil && run.Steps[step] != nil {
		return *run.Steps[step]
	}
	return response.StepRecord{}
}

func (r *rig) want(step string, st response.StepState) {
	r.t.Helper()
	if got := r.of(step); got.State != st {
		r.t.Fatalf("step %q is %v (%s), want %v; started %v", step, got.State, got.Detail, st, r.keys())
	}
}

func (r *rig) wantStarts(steps ...string) {
	r.t.Helper()
	var got []string
	for _, c := range r.starts {
		got = append(got, c.Key.Step)
	}
	if !slices.Equal(got, steps) {
		r.t.Fatalf("started %v, want %v", r.keys(), steps)
	}
}

// open names the stages that are open.
func (r *rig) open() string {
	run := r.run()
	if run == nil {
		return ""
	}
	var s []string
	for i, st := range run.Stages {
		if st.Open {
			s = append(s, plugins.Stage(i).String())
		}
	}
	return strings.Join(s, " ")
}

func (r *rig) wantOpen(want string) {
	r.t.Helper()
	if got := r.open(); got != want {
		r.t.Fatalf("open stages %q, want %q", got, want)
	}
}

func (r *rig) alarms() map[string]hazard.AlarmInput {
	m := map[string]hazard.AlarmInput{}
	r.m.Alarms(func(in hazard.AlarmInput) {
		if in.Active {
			m[in.Name] = in
		}
	})
	return m
}

func (r *rig) reset() error {
	var err error
	r.do(func(o *response.Out) { err = r.m.Reset(r.now, "evacuate", "kim", r.j, o) })
	return err
}

func at(stage plugins.Stage, name string, after ...int) response.Step {
	return response.Step{Name: name, Stage: stage, After: after}
}
