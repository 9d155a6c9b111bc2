package demo

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"

	"firebreak/agent/config"
	"firebreak/agent/response"
	"firebreak/plugins"
)

// stepRule is what the configuration says of a step.
type stepRule struct {
	kind     string // of its hook
	cap      time.Duration
	after    []string
	evidence string // what must be seen, short: "mqtt done", "measured load-1.vms_running"
	short    string // the same where there is little room
	byHook   bool   // it has a name, which begins the detail of the step's end
}

func stepRules(cfg *config.Config) map[string]stepRule {
	out := map[string]stepRule{}
	for _, p := range cfg.Rules.Response.Plans {
		for _, s := range p.Steps {
			r := stepRule{kind: cfg.Hooks[s.Hook].Kind, cap: s.Cap, evidence: "outcome of the call"}
			for _, k := range s.After {
				r.after = append(r.after, p.Steps[k].Name)
			}
			switch s.Evidence {
			case response.ByHook:
				r.byHook, r.evidence = true, strings.TrimSpace(r.kind+" "+s.EvidenceName)
			case response.ByCondition:
				h := cfg.Rules.Hazard
				r.evidence, r.short = "measured "+h.Points[h.Conds[s.EvidenceCond].Members[0].Points[0]].Name, "measured"
			}
			r.short = cmp.Or(r.short, r.evidence)
			out[s.Name] = r
		}
	}
	return out
}

// ending is how a step has ended.
type ending struct {
	at       time.Time
	state    string
	evidence bool
	capped   bool   // the plan went on without it first: evidence that came later is no evacuation in time
	detail   string // of the evidence, by the hook's own word
}

// seen tells that the step was done, and known to be, before its cap.
func (e ending) seen() bool { return e.state == "done" && e.evidence && !e.capped }

// ends tells the states that a step does not leave by itself.
func ends(state string) bool {
	switch state {
	case "done", "capped", "failed", "skipped", "observed", "blocked":
		return true
	}
	return false
}

// What follows is called with the recorder's lock held.

// beforeCap is how long before the step's cap it ended, in simulated time.
func (c *recorder) beforeCap(step string) time.Duration {
	return c.rules[step].cap - c.r.at(c.ended[step].at) + c.r.at(c.decided[step])
}

// how says by what a step has ended: the evidence and the time that was left, or what else happened.
func (c *recorder) how(step string) string {
	e := c.ended[step]
	if !e.seen() {
		return strings.TrimSpace(e.state + ": " + e.detail)
	}
	return fmt.Sprintf("done: %s, %.0f s before its cap", c.rules[step].short, c.beforeCap(step).Seconds())
}

// words are those of the hook of what was seen; its name stands in the rule's evidence already.
func (c *recorder) words(step string) string {
	e := c.ended[step]
	if !c.rules[step].byHook || !e.seen() {
		return e.detail
	}
	_, words, _ := strings.Cut(e.detail, " ")
	return words
}

// stepLine is one step on the screen.
func (c *recorder) stepLine(st plugins.StepState, now time.Time) string {
	mark, say := " ", st.Detail
	rule := c.rules[st.Step]
	switch {
	case ends(st.State):
		mark, say = "!", c.how(st.Step)
		if c.ended[st.Step].seen() {
			mark = "*"
		}
		say = strings.TrimPrefix(say, st.State+": ")
	case !c.decided[st.Step].IsZero():
		mark = ">"
		gone := c.r.at(now) - c.r.at(c.decided[st.Step])
		say = fmt.Sprintf("for %.0f s, cap %.0f s; goes on with: %s", gone.Seconds(), rule.cap.Seconds(), rule.evidence)
	case st.State == "idle" && len(rule.after) > 0:
		say = "after " + strings.Join(rule.after, ", ")
	}
	return strings.TrimRight(fmt.Sprintf("  %s %-3s %-15s %-8s %-9s %s", mark, st.Stage, st.Step, rule.kind, st.State, say), " ")
}

// byCaps is when a step would have ended, had it and all before it been waited for until their caps.
func (c *recorder) byCaps(step string) time.Duration {
	rule := c.rules[step]
	begin := time.Duration(0)
	if len(rule.after) == 0 {
		begin = c.r.at(c.decided[step])
	}
	for _, a := range rule.after {
		begin = max(begin, c.byCaps(a))
	}
	return begin + rule.cap
}

// printSteps shows what ended each step, and what it was worth to look for it.
func printSteps(w io.Writer, res Result, r *run) {
	fmt.Fprintf(w, "\n%-15s %-5s %-8s %-6s %-6s %-15s %s\n", "step", "stage", "hook", "began", "ended", "left of its cap", "ended by")
	for _, s := range res.Steps {
		left, by := "none", s.State+" "+s.Detail
		if s.BeforeCap != nil {
			left, by = fmt.Sprintf("%3.0f of %3.0f s", *s.BeforeCap, s.Cap), s.Evidence
			if s.Detail != "" {
				by += ": " + s.Detail
			}
		}
		fmt.Fprintf(w, "%-15s %-5s %-8s %-6s %-6s %-15s %s\n", s.Step, s.Stage, s.Hook, instant(s.Started), instant(s.Ended), left, shorten(strings.TrimSpace(by), rightWidth))
	}
	r.rec.mu.Lock()
	defer r.rec.mu.Unlock()
	last := time.Duration(0)
	for _, s := range res.Steps {
		if s.Started == nil {
			return // then nothing can be said of the whole
		}
		last = max(last, r.rec.byCaps(s.Step))
	}
	fmt.Fprintf(w, "The plan goes on when the work is seen to be done. Waiting for every cap it would have ended at T+%s.\n", clockText(last))
}

func atMost(cap time.Duration) string { return fmt.Sprintf("cap %.0f s", cap.Seconds()) }

func instant(s *float64) string {
	if s == nil {
		return "never"
	}
	return clockText(time.Duration(*s * float64(time.Second)))
}
