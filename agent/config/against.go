package config

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"firebreak/agent/hazard"
	"firebreak/agent/response"
)

// Weaker compares a configuration with the one that runs, and says in what it protects later, by
// fewer means or more weakly (S24). Each line begins with one of these words. What is merely
// different, or stronger, is not named.
func Weaker(running, next *Config) []string {
	d := &difference{old: running, new: next}
	for i := range running.Plans {
		d.plan(&running.Plans[i])
	}
	for i := range running.Rules.Hazard.Conds {
		d.cond(&running.Rules.Hazard.Conds[i])
	}
	d.house()
	slices.Sort(d.lines)
	return slices.Compact(d.lines)
}

type difference struct {
	old, new *Config
	lines    []string
}

func (d *difference) say(format string, args ...any) {
	d.lines = append(d.lines, fmt.Sprintf(format, args...))
}

// later says so when a time has grown.
func (d *difference) later(what string, was, is time.Duration) {
	if is > was {
		d.say("later: %s %s, was %s", what, short(is), short(was))
	}
}

func (d *difference) plan(was *PlanReport) {
	i := slices.IndexFunc(d.new.Plans, func(p PlanReport) bool { return p.Name == was.Name })
	if i < 0 {
		d.say("fewer: plan %s is gone", was.Name)
		return
	}
	is, at := &d.new.Plans[i], "plan "+was.Name
	for _, z := range was.Protects {
		if !slices.Contains(is.Protects, z) {
			d.say("fewer: %s no longer protects %s", at, z)
		}
	}
	if was.Mode == response.Armed && is.Mode != response.Armed {
		d.say("weaker: %s only observes", at)
	}
	d.later(at+": deadline", was.Deadline, is.Deadline)
	d.later(at+": time to power loss", was.PowerLoss, is.PowerLoss)
	d.later(at+": max_hold", was.MaxHold, is.MaxHold)
	for k := range was.Stages {
		s := &was.Stages[k]
		j := slices.IndexFunc(is.Stages, func(o StageReport) bool { return o.Stage == s.Stage })
		if j < 0 {
			d.say("fewer: %s has no stage %s", at, s.Stage)
			continue
		}
		d.stage(at+", stage "+s.Stage.String(), s, &is.Stages[j])
	}
	if a, b := planOf(d.old, was.Name), planOf(d.new, was.Name); a != nil && b != nil {
		d.rules(at, a, b)
	}
}

func (d *difference) stage(at string, was, is *StageReport) {
	if is.Worst.Never && !was.Worst.Never {
		d.say("weaker: %s cannot open any more once %s has failed", at, is.Worst.Lost)
	} else if !was.Worst.Never {
		d.later(at+": worst case to the first hook", was.Worst.Total, is.Worst.Total)
	}
	d.later(at+": countdown", was.Worst.Countdown, is.Worst.Countdown)
	for _, s := range was.Sensors {
		if !slices.Contains(is.Sensors, s) {
			d.say("fewer: %s is not opened by %s", at, s)
		}
	}
	for _, s := range was.Steps {
		if !slices.Contains(is.Steps, s) {
			d.say("fewer: %s has no step %s", at, s)
		}
	}
	if was.IfBlind == response.BlindProceed && is.IfBlind != response.BlindProceed {
		d.say("weaker: %s waits for a person when all of its sensors have burnt", at)
	}
	if blocks(is) < blocks(was) {
		d.say("weaker: %s can be blocked by %d failures, was %s", at, blocks(is), blockText(was))
	}
}

// never found: more failures than were searched for.
const neverBlocked = 1 << 10

func blocks(s *StageReport) int {
	if len(s.Blocks) == 0 {
		return neverBlocked
	}
	return len(s.Blocks[0])
}

func blockText(s *StageReport) string {
	if n := blocks(s); n < neverBlocked {
		return fmt.Sprint(n)
	}
	return "more than were searched for"
}

// cond compares a detector or vote of the same name. Evidence and only_if have no alarm and belong
// to steps: a changed one is a different step, not a weaker sensor.
func (d *difference) cond(was *hazard.Cond) {
	if strings.Contains(was.Name, "/") {
		return
	}
	conds := d.new.Rules.Hazard.Conds
	i := slices.IndexFunc(conds, func(c hazard.Cond) bool { return c.Name == was.Name })
	if i < 0 {
		d.say("fewer: %s is gone", was.Name)
		return
	}
	d.weaker(was.Name, was, &conds[i])
}

// weaker compares two conditions, whatever their members are.
func (d *difference) weaker(at string, was, is *hazard.Cond) {
	d.later(at+": on_delay", was.OnDelay, is.OnDelay)
	if was.Kind == is.Kind {
		d.later(at+": window", was.Window, is.Window)
		if harder(was, is) {
			d.say("weaker: %s: threshold %g, was %g", at, is.Threshold, was.Threshold)
		}
		d.kind(at, was, is)
	} else {
		d.say("weaker: %s is another kind of condition: look at it", at)
	}
	if is.Need > was.Need {
		d.say("weaker: %s needs %d members, was %d", at, is.Need, was.Need)
	}
	if was.HeldTrue != 0 && is.HeldTrue != 0 {
		d.shorter(at+": held_true", was.HeldTrue, is.HeldTrue)
	}
	if was.Latching && !is.Latching {
		d.say("weaker: %s: its alarm does not latch any more", at)
	}
	if is.Independent && !was.Independent {
		d.say("weaker: %s asks for independent members now", at)
	}
	if was.OnFault == hazard.FaultVotes && is.OnFault != hazard.FaultVotes {
		d.say("weaker: %s does not vote by a fault any more", at)
	}
	if was.Priority > 0 && (is.Priority == 0 || is.Priority > was.Priority) {
		d.say("weaker: %s: priority of its alarm %d, was %d", at, is.Priority, was.Priority)
	}
}

// harder: it takes more for it to be true.
func harder(was, is *hazard.Cond) bool {
	switch was.Kind {
	case hazard.Above, hazard.Jump:
		return is.Threshold > was.Threshold
	case hazard.Below:
		return is.Threshold < was.Threshold
	case hazard.Rate, hazard.Runaway:
		return abs(is.Threshold) > abs(was.Threshold)
	case hazard.Deviation:
		if is.Ratio && is.Side == hazard.Down {
			return is.Threshold < was.Threshold
		}
		return is.Threshold > was.Threshold
	}
	return false
}

// kind compares what only some kinds have.
func (d *difference) kind(at string, was, is *hazard.Cond) {
	switch {
	case was.Kind == hazard.Deviation && (was.From != is.From || was.Ratio != is.Ratio) || was.Side != is.Side && is.Side != hazard.Either:
		d.say("weaker: %s is measured from something else, or the other way: look at it", at)
	case was.Floor < is.Floor:
		d.say("weaker: %s: floor %g, was %g", at, is.Floor, was.Floor)
	case was.HasLimit && (!is.HasLimit || is.Limit > was.Limit):
		d.say("weaker: %s: limit %g, was %g", at, is.Limit, was.Limit)
	case was.Drop > 0 && (is.Drop == 0 || is.Drop > was.Drop || is.DropOver < was.DropOver):
		d.say("weaker: %s: voltage_drop %g %% over %s, was %g %% over %s", at, 100*is.Drop, short(is.DropOver), 100*was.Drop, short(was.DropOver))
	}
}

func abs(v float64) float64 { return max(v, -v) }
