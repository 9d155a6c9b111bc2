package replay

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"firebreak/agent/core"
	"firebreak/agent/response"
	"firebreak/sensors"
)

const (
	never = sensors.Mono(math.MaxInt64)
	// base is the instant of the start: a machine that has been up for an hour.
	base     = sensors.Mono(time.Hour)
	maxSpins = 100 // of the core at one instant
)

// player is the shell around the core, as the guard is in a running agent; its time is that of the
// readings.
type player struct {
	rules *core.Rules
	core  *core.Core
	works *works
	tl    *timeline
	now   sensors.Mono
	fx    []core.Effect
	queue []item
	count int          // readings of the feed
	end   sensors.Mono // it is over then
}

// item is something that happens at an instant.
type item struct {
	at sensors.Mono
	do func()
}

func newPlayer(r *core.Rules, w *works, tl *timeline) (*player, error) {
	c, err := core.New(r, nil)
	if err != nil {
		return nil, err
	}
	p := &player{rules: r, core: c, works: w, tl: tl, now: base}
	tl.init()
	w.play = p
	return p, nil
}

// at is an instant since the start.
func at(d time.Duration) sensors.Mono { return base.Add(d) }

// later lets something happen, behind what was to happen at the same instant.
func (p *player) later(when sensors.Mono, do func()) {
	i, _ := slices.BinarySearchFunc(p.queue, when, func(x item, t sensors.Mono) int {
		if x.at > t {
			return 1
		}
		return -1
	})
	p.queue = slices.Insert(p.queue, i, item{when, do})
}

// run plays for so long.
func (p *player) run(ctx context.Context, f feed, lasts time.Duration) error {
	p.end = at(lasts)
	p.step(core.Event{Kind: core.Resumed, Resumed: core.ResumeInfo{Resumed: response.Resumed{SameBoot: true, AgeKnown: true, EpisodeBase: 1}}})
	judge := func(r []sensors.Reading) { p.step(core.Event{Kind: core.Readings, Readings: r}) }
	put := func(r []sensors.Reading) {
		p.count += len(r)
		judge(r)
	}
	for n, spins := 0, 0; ; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		p.due()
		next := min(f.poll(p.now, put), p.works.poll(p.now, judge))
		p.due()
		wake := p.step(core.Event{Kind: core.Tick})
		if len(p.queue) > 0 {
			next = min(next, p.queue[0].at)
		}
		if spins++; wake > p.now {
			spins = 0
		}
		if spins > maxSpins {
			return fmt.Errorf("at %v the core asks to be called again at once, without end: please report this", p.now.Sub(base))
		}
		if p.now >= p.end {
			return nil
		}
		p.now = max(p.now+1, min(next, wake, p.end))
	}
}

// due lets happen what is to happen by now.
func (p *player) due() {
	for len(p.queue) > 0 && p.queue[0].at <= p.now {
		do := p.queue[0].do
		p.queue = p.queue[1:]
		do()
	}
}

func (p *player) step(ev core.Event) (wake sensors.Mono) {
	p.fx, wake = p.core.Step(p.now, ev, p.fx[:0])
	p.tl.votes(p.now, p.core)
	for i := range p.fx {
		e := &p.fx[i]
		switch {
		case e.Kind == core.Start:
			p.works.start(p.now, e.Call)
		case e.Kind == core.Tell:
			p.tl.tell(p.now, &e.Update)
		case e.Kind == core.Reply && e.Err != nil:
			p.tl.add(p.now, Entry{Kind: "order", State: "refused", Text: e.Err.Error()})
		}
	}
	return wake
}

func (p *player) result(what, file string) *Result {
	r := &Result{Kind: "result", What: what, Config: file, Origin: p.rules.Hazard.Origin.String(), SimulateS: p.now.Sub(base).Seconds(),
		Readings: p.count, Alarms: p.tl.raised, Stages: p.tl.stages, Active: p.tl.active(p.core)}
	for i := range p.rules.Response.Plans {
		v := p.core.View(p.now, p.rules.Response.Plans[i].Name)
		r.Plans = append(r.Plans, PlanEnd{v.Plan, v.Stage, v.Asking})
	}
	return r
}
