// Package drill runs a plan as an exercise: in a core of its own, on a copy of the readings, with
// every call and message marked (S7). The real core goes on untouched, and when a real stage opens the
// drill ends at once.
//
// Concurrency: a Drill is a publisher of the real loop (Offer never waits) and runs a second guard on
// goroutines of its own, which Run ends and waits for. Failure: whatever a drill does, hang or fail, is
// its own report's affair; a restart of the agent ends it.
package drill

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"firebreak/agent/core"
	"firebreak/agent/guard"
	"firebreak/agent/hazard"
	"firebreak/agent/near"
	"firebreak/agent/response"
	"firebreak/plugins"
	"firebreak/sensors"
)

// Config of one drill.
type Config struct {
	Rules      *core.Rules
	Plan       string
	Stage      plugins.Stage      // tripped at the start; 0: the injected values must open it
	Inject     map[string]float64 // by point: what its sensor is made to say, over Ramp
	By         string
	Budget     map[string]time.Duration // by stage: from the condition to the first hook, as check computes it
	Hooks      []plugins.Hook           // by the index of the rules
	Publishers []plugins.Publisher
	Clock      *sensors.Clock
	Wall       time.Time
	Log        *slog.Logger
}

const (
	ramp     = 6 * time.Second // an injected value rises: one that jumps would be weak (S3)
	injectAt = 500 * time.Millisecond
	look     = 100 * time.Millisecond
	spare    = 2 * time.Minute // beyond countdowns and caps
	maxDrill = 2 * time.Hour
)

// Drill is one exercise.
type Drill struct {
	c     Config
	plan  response.Plan
	rules *core.Rules
	box   *mailbox
	rec   *recorder
	stop  context.CancelCauseFunc
	ctx   context.Context
	now   sync.Mutex // guards inject and loop
	from  map[sensors.PointID]float64
	to    map[sensors.PointID]float64
	loop  *guard.Guard // nil: it has not begun
}

// New makes a drill, or says what it would need.
func New(c Config) (*Drill, error) {
	i := slices.IndexFunc(c.Rules.Response.Plans, func(p response.Plan) bool { return p.Name == c.Plan })
	if i < 0 {
		return nil, c.Rules.Response.NoPlan(c.Plan)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	d := &Drill{c: c, plan: c.Rules.Response.Plans[i], box: newMailbox(), from: map[sensors.PointID]float64{}, to: map[sensors.PointID]float64{}}
	d.plan.Mode, d.plan.ExpectedMode, d.plan.Ungated, d.plan.Peer = response.Armed, response.Armed, "a drill", ""
	if c.Stage == plugins.Watch && len(c.Inject) == 0 {
		return nil, errors.New("say what to exercise: a stage to trip, or a value to inject")
	}
	for name, v := range c.Inject {
		k := slices.IndexFunc(c.Rules.Hazard.Points, func(p sensors.Point) bool { return p.Name == name })
		if k < 0 {
			return nil, fmt.Errorf("no point %q to inject%s", name, cmp.Or(near.Hint(name, pointNames(c.Rules.Hazard)), ": firebreak watch shows them"))
		}
		d.to[sensors.PointID(k)] = v
	}
	hz, rs := *c.Rules.Hazard, *c.Rules.Response
	hz.Origin = sensors.Injected // of all that this core sees: the real one counts none of it (S7)
	rs.Plans = []response.Plan{d.plan}
	rs.Energise = nil
	r := *c.Rules
	r.Hazard, r.Response = &hz, &rs
	d.rules, d.rec = &r, newRecorder(&d.plan, c, &hz)
	d.ctx, d.stop = context.WithCancelCause(context.Background())
	return d, nil
}

func pointNames(r *hazard.Rules) (names []string) {
	for i := range r.Points {
		names = append(names, r.Points[i].Name)
	}
	return names
}

// Offer takes what the real loop tells: a copy of each reading goes to the drill, and a real stage
// ends it. It never waits.
func (d *Drill) Offer(u plugins.Update) {
	switch {
	case u.Mark != plugins.MarkReal:
	case u.Plan != nil && u.Plan.Stage != plugins.Watch.String():
		d.End(fmt.Sprintf("a real stage %s of plan %s has opened", u.Plan.Stage, u.Plan.Plan))
	case u.State != nil:
		d.copy(u.State)
	}
}

// Seen takes evidence that a hook gives after its call has ended. It waits while the drill's loop is
// behind, until ctx ends or the loop.
func (d *Drill) Seen(ctx context.Context, ev plugins.Evidence) {
	d.now.Lock()
	g := d.loop
	d.now.Unlock()
	if g != nil && ev.Mark == plugins.MarkDrill {
		d.rec.came(ev)
		g.Post(ctx, core.Event{Kind: core.Seen, Evidence: ev})
	}
}

// End ends the drill, and says why; it is no good drill then.
func (d *Drill) End(why string) { d.stop(errors.New(why)) }

// copy hands a poll on, as injected readings, but for those points that the drill speaks for.
func (d *Drill) copy(b *sensors.Batch) {
	d.now.Lock()
	defer d.now.Unlock()
	out := *b
	out.Readings = make([]sensors.Reading, 0, len(b.Readings))
	for _, r := range b.Readings {
		if _, ours := d.to[r.Point]; ours {
			if _, known := d.from[r.Point]; !known && r.Quality.Usable() {
				d.from[r.Point] = r.Value
			}
			continue
		}
		r.Quality = r.Quality.WithOrigin(sensors.Injected)
		out.Readings = append(out.Readings, r)
	}
	d.box.put(out)
}

// inject says the injected values until ctx ends: from what the sensor said last, rising to what it is
// made to say, and then on.
func (d *Drill) inject(ctx context.Context) {
	tick := time.NewTicker(injectAt)
	defer tick.Stop()
	begin := time.Now()
	for {
		part := min(1, float64(time.Since(begin))/float64(ramp))
		d.now.Lock()
		for id, to := range d.to {
			p := &d.rules.Hazard.Points[id]
			v := to
			if p.Kind == sensors.Measurement {
				from, known := d.from[id]
				if !known {
					from = min(max(0, p.Min), p.Max)
				}
				v = from + part*(to-from)
			} else if part < 0.3 { // a contact and a state have no way between
				v = d.from[id]
			}
			// The device number is that of nobody: the copies of its other points come on their own.
			d.box.put(sensors.Batch{Device: ^sensors.DeviceID(0) - sensors.DeviceID(id), Wall: time.Now(),
				Readings: []sensors.Reading{{Point: id, Value: v, Quality: sensors.GoodQuality.WithOrigin(sensors.Injected), At: d.c.Clock.Now()}}})
		}
		d.now.Unlock()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// Run exercises the plan and reports. It returns when every step of the stages that opened has
// ended, when the drill is ended, or when it has lasted too long.
func (d *Drill) Run(ctx context.Context) *Report {
	ctx, cancel := context.WithTimeoutCause(ctx, d.limit(), errors.New("it did not come to its end in time"))
	defer cancel()
	unlink := context.AfterFunc(d.ctx, cancel)
	defer unlink()
	made, err := core.New(d.rules, nil)
	if err != nil {
		return d.rec.report(fmt.Errorf("the drill could not begin: %w", err))
	}
	g, err := guard.New(guard.Config{Core: made, Clock: d.c.Clock, Mark: plugins.MarkDrill, Hooks: d.rec.watch(d.c.Hooks), Inbox: d.box, Log: d.c.Log,
		Publishers: append([]plugins.Publisher{d.rec}, d.c.Publishers...),
		Resume:     core.ResumeInfo{Resumed: response.Resumed{AgeKnown: true, EpisodeBase: uint64(max(1, d.c.Wall.Unix()))}}})
	if err != nil {
		return d.rec.report(fmt.Errorf("the drill could not begin: %w", err))
	}
	d.now.Lock()
	d.loop = g
	d.now.Unlock()
	parts, ctx := plugins.NewParts(ctx)
	parts.Go(func() { _ = g.Run(ctx) }) // what it leaves behind, its hooks' own end takes care of
	parts.Go(func() { d.inject(ctx) })
	if d.c.Stage > plugins.Watch {
		err = g.Order(ctx, core.Order{Kind: core.TripPlan, Name: d.c.Plan, Stage: d.c.Stage, By: d.c.By, Channel: core.AtTheBox})
	}
	if err == nil {
		err = d.wait(ctx)
	}
	cancel()
	if broken := parts.Wait(); broken != nil { // a fault in the exercise is no fault of the real loop (S7)
		d.c.Log.Error("the drill broke off", "plan", d.c.Plan, "err", broken)
		err = errors.New("the drill broke off by a fault of firebreak: see the log, and report it")
	}
	return d.rec.report(err)
}

// wait is for the end of every step that can run.
func (d *Drill) wait(ctx context.Context) error {
	tick := time.NewTicker(look)
	defer tick.Stop()
	settled := time.Now().Add(d.settle())
	for {
		select {
		case <-tick.C:
			if time.Now().After(settled) && d.rec.over() {
				return nil
			}
		case <-ctx.Done():
			if why := context.Cause(d.ctx); why != nil {
				return why
			}
			return context.Cause(ctx)
		}
	}
}

// settle is how long injected values need to open all that they will: the rise, and what check counts
// from a condition to the first hook of the slowest stage.
func (d *Drill) settle() time.Duration {
	if len(d.to) == 0 {
		return 0
	}
	slowest := time.Duration(0)
	for _, b := range d.c.Budget {
		slowest = max(slowest, b)
	}
	return ramp + slowest + 4*injectAt
}

// limit is as long as the plan may take by its own countdowns and caps.
func (d *Drill) limit() time.Duration {
	sum := d.settle() + spare
	for i := range d.plan.Stages {
		sum += d.plan.Stages[i].Countdown
	}
	for i := range d.plan.Steps {
		sum += d.plan.Steps[i].Cap
	}
	return min(sum, maxDrill)
}

// Report is how the drill stands, or has ended.
func (d *Drill) Report() *Report { return d.rec.now() }
