package guard

import (
	"context"
	"slices"
	"time"

	"pgregory.net/rapid"

	"firebreak/agent/core"
	"firebreak/agent/response"
	"firebreak/plugins"
	"firebreak/sensors"
)

// plot is one run of the model test, drawn before it begins: a plan, how its targets behave, what the
// sensors say, what people order, when the machine dies.
type plot struct {
	Steps      []response.Step
	Countdown3 time.Duration
	Countdown4 time.Duration
	Blind      [2]response.BlindPolicy // of stages 3 and 4
	Acts       [][]act                 // by step, then by call
	Says       []say
	Deaths     []death
	Holds      []holding
	Trip       plugins.Stage // 0: nobody does
	TripAt     time.Duration
	Synced     bool
}

// act is what a target does at one call.
type act struct {
	Hangs    bool // and heeds nothing
	After    time.Duration
	Says     plugins.Result
	Evidence time.Duration // after the call; 0: never. It may be long after the answer, and come twice.
	Proves   bool          // else the evidence says that the work went wrong
}

// say is what a point reads from an instant on.
type say struct {
	At     time.Duration
	Point  sensors.PointID
	High   bool
	Silent bool
}

type death struct {
	At, Down time.Duration
	Power    bool
}

type holding struct{ At, For time.Duration }

const maxHold = 15 * time.Second

func drawPlot(t *rapid.T) plot {
	ms := func(name string, lo, hi int) time.Duration {
		return time.Duration(rapid.IntRange(lo, hi).Draw(t, name)) * time.Millisecond
	}
	chance := func(name string, percent int) bool { return rapid.IntRange(1, 100).Draw(t, name) <= percent }
	p := plot{Countdown3: ms("countdown 3", 0, 20000), Countdown4: ms("countdown 4", 0, 40000), Synced: rapid.Bool().Draw(t, "synced")}
	for i := range p.Blind {
		p.Blind[i] = rapid.SampledFrom([]response.BlindPolicy{response.BlindHold, response.BlindProceed}).Draw(t, "blind")
	}
	levels := make([]plugins.Stage, rapid.IntRange(2, 6).Draw(t, "steps"))
	for i := range levels {
		levels[i] = rapid.SampledFrom([]plugins.Stage{plugins.Prepare, plugins.SwitchOver, plugins.Shed, plugins.Isolate}).Draw(t, "stage")
	}
	slices.Sort(levels)
	for k, level := range levels {
		s := response.Step{Stage: level, Timeout: ms("timeout", 500, 10000), Cap: ms("cap", 2000, 60000), Backoff: ms("backoff", 100, 3000),
			Retries: rapid.IntRange(0, 3).Draw(t, "retries"), OnFailure: response.OnFailure(rapid.IntRange(0, 3).Draw(t, "on failure")),
			Evidence: rapid.SampledFrom([]response.EvidenceKind{response.ByOutcome, response.ByHook}).Draw(t, "evidence")}
		for a := range k {
			if chance("after", 35) {
				s.After = append(s.After, a)
			}
		}
		s.Proof = len(s.After) > 0 && chance("proof", 20)
		if chance("only if", 20) {
			s.OnlyIf = isMains
		}
		p.Steps = append(p.Steps, s)
		acts := make([]act, rapid.IntRange(1, 4).Draw(t, "acts"))
		for i := range acts {
			acts[i] = act{Hangs: chance("hangs", 15), After: ms("answers", 0, 12000),
				Says: plugins.Result(rapid.SampledFrom([]int{0, 1, 1, 1, 2}).Draw(t, "says")), Proves: !chance("lies", 20)}
			if chance("proves", 70) {
				acts[i].Evidence = ms("evidence after", 1, 30000)
			}
		}
		p.Acts = append(p.Acts, acts)
	}
	p.Says = []say{{At: 10 * time.Second, Point: smoke, High: true}}
	if chance("both", 75) {
		p.Says = append(p.Says, say{At: 10*time.Second + ms("heat", 0, 30000), Point: heat, High: true})
	}
	for range rapid.IntRange(0, 6).Draw(t, "turns") {
		p.Says = append(p.Says, say{At: 10*time.Second + ms("turn", 0, 100000), Point: rapid.SampledFrom([]sensors.PointID{smoke, heat, mains}).Draw(t, "point"),
			High: rapid.Bool().Draw(t, "high"), Silent: chance("silent", 35)})
	}
	slices.SortStableFunc(p.Says, func(a, b say) int { return int(a.At - b.At) })
	at := 5 * time.Second
	for range rapid.IntRange(0, 3).Draw(t, "deaths") {
		d := death{At: at + ms("lives", 0, 40000), Down: ms("down", 100, 20000), Power: chance("power", 30)}
		at = d.At + d.Down + 6*time.Second
		p.Deaths = append(p.Deaths, d)
	}
	for range rapid.IntRange(0, 2).Draw(t, "holds") {
		p.Holds = append(p.Holds, holding{10*time.Second + ms("hold", 0, 60000), ms("hold for", 0, 20000)})
	}
	if chance("trip", 25) {
		p.Trip = rapid.SampledFrom([]plugins.Stage{plugins.SwitchOver, plugins.Shed, plugins.Isolate}).Draw(t, "trip to")
		p.TripAt = 5*time.Second + ms("trip at", 0, 100000)
	}
	return p
}

// rules compiles the plan. rules() fills in what a plot leaves to it.
func (p *plot) rules() *core.Rules {
	r := rules(slices.Clone(p.Steps)...)
	addLoad(r)
	plan := &r.Response.Plans[0]
	plan.MaxHold = maxHold
	plan.Stages[3].Countdown, plan.Stages[4].Countdown = p.Countdown3, p.Countdown4
	plan.Stages[3].IfBlind, plan.Stages[4].IfBlind = p.Blind[0], p.Blind[1]
	for k := range plan.Steps {
		if p.Steps[k].OnlyIf == isMains {
			plan.Steps[k].OnlyIf = isMains
		}
	}
	return r
}

// reads is what a point says at an instant.
func (p *plot) reads(point sensors.PointID, now time.Duration) (high, silent bool) {
	high = point == mains
	for _, s := range p.Says {
		if s.Point == point && s.At <= now {
			high, silent = s.High, s.Silent
		}
	}
	return high, silent
}

// calm is the instant after which nothing happens to the plan any more but what it does itself.
func (p *plot) calm() time.Duration {
	last := p.TripAt
	for _, s := range p.Says {
		last = max(last, s.At)
	}
	for _, d := range p.Deaths {
		last = max(last, d.At+d.Down+5*time.Second)
	}
	for _, h := range p.Holds {
		last = max(last, h.At+h.For+5*time.Second)
	}
	return last + staleAfter // what fell silent is known to be
}

// actor is the hook of one life, with targets that hang, fail, lie and are late.
type actor struct {
	m    *model
	life int
}

func (h *actor) Probe(context.Context) error { return nil }

func (h *actor) Do(ctx context.Context, c plugins.Call, seen func(plugins.Evidence)) plugins.Outcome {
	w, asked := h.m.out.call(h.life, c)
	if w == nil {
		return plugins.Outcome{}
	}
	k := h.m.index(c.Key.Step)
	acts := h.m.plot.Acts[k]
	a := acts[min(int(c.Key.Attempt)+asked-1, len(acts)-1)]
	if a.Evidence > 0 {
		h.m.wg.Go(func() { h.m.prove(c.Key, k, a) })
	}
	switch {
	case a.Hangs:
		<-time.After(c.Timeout + 8*time.Second) // by then the agent has given it up, or soon will
		h.m.answered(h.life, w, k, plugins.Unknown)
		<-time.After(12 * time.Second)
		return plugins.Outcome{Result: plugins.Done, Detail: "nobody listens any more"}
	case a.After > c.Timeout+5*time.Second:
		<-time.After(c.Timeout)
		return h.m.answered(h.life, w, k, plugins.Unknown)
	}
	select {
	case <-time.After(a.After):
		return h.m.answered(h.life, w, k, a.Says)
	case <-ctx.Done():
		return plugins.Outcome{}
	}
}
