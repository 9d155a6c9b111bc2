package config

import (
	"slices"
	"time"

	"firebreak/agent/hazard"
	"firebreak/agent/response"
)

// rules compares what a plan's report does not show: its bounds, its stages and its steps by name.
func (d *difference) rules(at string, was, is *response.Plan) {
	if was.MaxZones2b != is.MaxZones2b && is.MaxZones2b != 0 && (was.MaxZones2b == 0 || is.MaxZones2b < was.MaxZones2b) {
		d.say("fewer: %s: at most %d zones switch over at once", at, is.MaxZones2b)
	}
	d.shorter(at+": clear_time", was.ClearTime, is.ClearTime)
	d.shorter(at+": resume_max", was.ResumeMax, is.ResumeMax)
	d.later(at+": drill_every", was.DrillEvery, is.DrillEvery)
	if was.ExpectedMode == response.Armed && is.ExpectedMode != response.Armed {
		d.say("weaker: %s is expected to observe only: nobody is told when it does", at)
	}
	if was.Ungated == "" && is.Ungated != "" {
		d.say("weaker: %s is armed past the gate of arming (%s)", at, is.Ungated)
	}
	if was.Peer != "" && is.Peer != was.Peer {
		d.say("weaker: %s no longer shares its keys with peer %s", at, was.Peer)
	}
	for i := range was.Stages {
		w := &was.Stages[i]
		k := slices.IndexFunc(is.Stages, func(s response.Stage) bool { return s.Level == w.Level })
		if k < 0 {
			continue // said where the reports are compared
		}
		s, at := &is.Stages[k], at+", stage "+w.Level.String()
		if s.Parallel != 0 && (w.Parallel == 0 || s.Parallel < w.Parallel) {
			d.say("later: %s: at most %d steps at once", at, s.Parallel)
		}
		if w.AcceptSingle == "" && s.AcceptSingle != "" {
			d.say("weaker: %s: a single failure is accepted (%s)", at, s.AcceptSingle)
		}
	}
	for i := range was.Steps {
		w := &was.Steps[i]
		k := slices.IndexFunc(is.Steps, func(s response.Step) bool { return s.Name == w.Name })
		if k >= 0 {
			d.step(at+", step "+w.Name, was, is, w, &is.Steps[k])
		}
	}
}

// shorter says so when a time that holds the agent back from giving up has shrunk.
func (d *difference) shorter(what string, was, is time.Duration) {
	if is < was {
		d.say("weaker: %s %s, was %s", what, short(is), short(was))
	}
}

func (d *difference) step(at string, oldPlan, newPlan *response.Plan, was, is *response.Step) {
	if hook, old := d.new.Hooks[is.Hook].Name, d.old.Hooks[was.Hook].Name; hook != old || is.Target != was.Target {
		d.say("weaker: %s calls hook %s%s, was %s%s: look at it", at, hook, atTarget(is.Target), old, atTarget(was.Target))
	}
	d.later(at+": cap", was.Cap, is.Cap)
	d.shorter(at+": timeout", was.Timeout, is.Timeout)
	if is.Retries < was.Retries {
		d.say("fewer: %s: %d retries, was %d", at, is.Retries, was.Retries)
	}
	before, after := names(oldPlan, was.After), names(newPlan, is.After)
	for _, n := range after {
		if !slices.Contains(before, n) && hasStep(oldPlan, n) {
			d.say("later: %s waits for %s too", at, n)
		}
	}
	for _, n := range before {
		if !slices.Contains(after, n) && hasStep(newPlan, n) {
			d.say("weaker: %s does not wait for %s any more", at, n)
		}
	}
	d.failure(at, was.OnFailure, is.OnFailure)
	d.proof(at, was, is)
	if was.HasUndo && !is.HasUndo && !is.Irreversible {
		d.say("weaker: %s: no order takes it back any more", at)
	}
	if was.Owner != "" && is.Owner == "" && !is.Irreversible {
		d.say("weaker: %s stands in no ledger any more", at)
	} else if was.Review > 0 {
		d.later(at+": review_after", was.Review, is.Review)
	}
}

// proof compares how the end of a step is known, and what must hold before it starts.
func (d *difference) proof(at string, was, is *response.Step) {
	switch {
	case was.Evidence != response.ByOutcome && is.Evidence == response.ByOutcome:
		d.say("weaker: %s: no evidence says that it is done, but the outcome of its hook", at)
	case was.Evidence == response.ByCondition && is.Evidence == response.ByHook:
		d.say("weaker: %s: the word of the hook is its evidence, was a condition on a point", at)
	case was.Evidence == response.ByHook && is.Evidence == response.ByHook && slices.Index(evidenceNames, is.EvidenceName) < slices.Index(evidenceNames, was.EvidenceName):
		d.say("weaker: %s: its evidence is %s, was %s", at, anyOr(is.EvidenceName), was.EvidenceName)
	}
	switch {
	case was.OnlyIf != hazard.NoCond && is.OnlyIf == hazard.NoCond:
		d.say("weaker: %s starts whatever its only_if said", at)
	case was.OnlyIf == hazard.NoCond && is.OnlyIf != hazard.NoCond:
		d.say("weaker: %s starts only if a condition holds", at)
	}
	switch {
	case was.Proof && !is.Proof:
		d.say("weaker: %s starts without proof of the steps before it", at)
	case !was.Proof && is.Proof:
		d.say("weaker: %s never starts without proof of the steps before it", at)
	}
	if was.Irreversible && !is.Irreversible {
		d.say("weaker: %s counts as reversible: it starts without the vote again, and in a hold", at)
	}
}

// failure: a way to go on is weaker when it tries less, tells less, or stops what waits.
func (d *difference) failure(at string, was, is response.OnFailure) {
	switch {
	case was == is:
	case is == response.Abort:
		d.say("weaker: %s: when it fails, what waits for it never starts", at)
	case is == response.Continue || was == response.Abort:
		d.say("weaker: %s: on_failure is %s, was %s", at, onFailureName(is), onFailureName(was))
	}
}

func onFailureName(f response.OnFailure) string {
	switch f {
	case response.Retry:
		return "retry"
	case response.Escalate:
		return "escalate"
	case response.Abort:
		return "abort"
	}
	return "continue"
}

func anyOr(name string) string {
	if name == "" {
		return "any of the hook"
	}
	return name
}

func atTarget(target string) string {
	if target == "" {
		return ""
	}
	return " at " + target
}

func names(p *response.Plan, steps []int) (out []string) {
	for _, i := range steps {
		out = append(out, p.Steps[i].Name)
	}
	return out
}

func hasStep(p *response.Plan, name string) bool {
	return slices.ContainsFunc(p.Steps, func(s response.Step) bool { return s.Name == name })
}

// points compares those that have a period of their own.
func (d *difference) points(was, is *Device) {
	for i := range was.Count {
		p := &d.old.Rules.Hazard.Points[int(was.First)+i]
		for k := range is.Count {
			o := &d.new.Rules.Hazard.Points[int(is.First)+k]
			if o.Name != p.Name || p.Poll == was.Poll && o.Poll == is.Poll {
				continue // what is said of the device is said of it
			}
			d.later("point "+p.Name+": poll", p.Poll, o.Poll)
			d.later("point "+p.Name+": stale", p.Stale, o.Stale)
		}
	}
}

// house compares what stands outside of plans and conditions: sensors, brokers and bounds of the agent.
func (d *difference) house() {
	old, next := d.old, d.new
	d.later("journal_bound", old.Rules.JournalBound, next.Rules.JournalBound)
	d.later("loss_persist", old.Rules.Hazard.LossPersist, next.Rules.Hazard.LossPersist)
	d.shorter("held_true", old.Rules.Hazard.HeldTrue, next.Rules.Hazard.HeldTrue)
	d.later("proof_max", old.Rules.ProofMax, next.Rules.ProofMax)
	for i := range old.Devices {
		was := &old.Devices[i]
		k := slices.IndexFunc(next.Devices, func(o Device) bool { return o.Name == was.Name })
		if k < 0 {
			d.say("fewer: device %s is gone", was.Name)
			continue
		}
		d.later("device "+was.Name+": poll", was.Poll, next.Devices[k].Poll)
		d.later("device "+was.Name+": stale", was.Stale, next.Devices[k].Stale)
		d.points(was, &next.Devices[k])
	}
	if old.SigningKey != "" && next.SigningKey == "" {
		d.say("weaker: messages are not signed any more")
	}
	for _, b := range old.Brokers {
		if !slices.ContainsFunc(next.Brokers, func(o Broker) bool { return o.Name == b.Name }) {
			d.say("fewer: broker %s is not told any more", b.Name)
		}
	}
}
