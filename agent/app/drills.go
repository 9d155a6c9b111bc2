package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"firebreak/agent/config"
	"firebreak/agent/core"
	"firebreak/agent/drill"
	"firebreak/plugins"
	"firebreak/plugins/reread"
	"firebreak/sensors"
)

// drills runs one drill at a time. It is a publisher: what the real loop tells goes to the drill that
// runs, which ends when a real stage opens (S7).
type drills struct {
	config *config.Config
	hooks  []plugins.Hook
	tell   []plugins.Publisher
	clock  *sensors.Clock
	post   func(context.Context, core.Event)
	real   func() string // a plan with a real stage open, or nothing
	synced func() bool   // is the wall clock
	dir    string        // of the reports
	log    *slog.Logger

	runs    atomic.Bool // as current is: for who must not wait for mu
	mu      sync.Mutex
	current *drill.Drill
	last    *drill.Report
	closed  bool
	wg      sync.WaitGroup
}

// Listens to readings only while there is a drill to copy them to.
func (d *drills) Listens() bool { return d.runs.Load() }

// Offer never waits.
func (d *drills) Offer(u plugins.Update) {
	d.mu.Lock()
	now := d.current
	d.mu.Unlock()
	if now != nil {
		now.Offer(u)
	}
}

// seen takes late evidence of a drilled call to the drill that runs.
func (d *drills) seen(ctx context.Context, ev plugins.Evidence) {
	d.mu.Lock()
	now := d.current
	d.mu.Unlock()
	if now != nil {
		now.Seen(ctx, ev)
	}
}

// start begins a drill, or says why not.
func (d *drills) start(r Request) error {
	c := drill.Config{Rules: d.config.Rules, Plan: r.Name, Inject: r.Inject, By: r.By, Hooks: d.hooks, Publishers: d.tell,
		Clock: d.clock, Wall: time.Now(), Log: d.log, Budget: map[string]time.Duration{}}
	if r.Stage != "" {
		st, err := plugins.ParseStage(r.Stage)
		if err != nil {
			return err
		}
		c.Stage = st
	}
	for i := range d.config.Plans {
		if p := &d.config.Plans[i]; p.Name == r.Name {
			for _, s := range p.Stages {
				c.Budget[s.Stage.String()] = s.Worst.Total
			}
		}
	}
	made, err := drill.New(c)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if plan := d.real(); plan != "" {
		return fmt.Errorf("refused: a real stage of plan %s is open", plan)
	}
	switch {
	case d.closed:
		return errors.New("the agent is stopping")
	case d.current != nil:
		return errors.New("refused: another drill runs; end it first")
	}
	d.current = made
	d.runs.Store(true)
	d.wg.Go(func() { d.run(made, r.Name) })
	return nil
}

func (d *drills) run(made *drill.Drill, plan string) {
	report := made.Run(context.Background()) // it has a limit of its own, and end ends it
	d.mu.Lock()
	d.current, d.last = nil, report
	d.runs.Store(false)
	closed := d.closed
	d.mu.Unlock()
	if !closed {
		ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
		defer cancel()
		d.post(ctx, core.Event{Kind: core.DrillOver, DrillOver: core.DrillResult{Plan: plan, Good: report.Good, Why: report.Why}})
	}
	if err := d.keep(report); err != nil {
		d.log.Warn("the report of a drill could not be kept", "err", err)
	}
}

// keep writes the report beside the journal, for people and for machines.
func (d *drills) keep(r *drill.Report) error {
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return err
	}
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	name := filepath.Join(d.dir, r.Plan+"-"+r.Started.UTC().Format("20060102T150405Z"))
	return errors.Join(reread.Replace(name+".json", b), reread.Replace(name+".md", []byte(r.Markdown())))
}

// end ends the drill that runs.
func (d *drills) end(why string) error {
	d.mu.Lock()
	now := d.current
	d.mu.Unlock()
	if now == nil {
		return errors.New("no drill runs")
	}
	now.End(why)
	return nil
}

// report is that of the drill that runs, or of the last one.
func (d *drills) report() (*drill.Report, error) {
	d.mu.Lock()
	now, last := d.current, d.last
	d.mu.Unlock()
	switch {
	case now != nil:
		return now.Report(), nil
	case last != nil:
		return last, nil
	}
	return nil, errors.New("no drill has run since the agent was started; reports are kept beside the journal")
}

// close ends the drill that runs, and lets no other begin.
func (d *drills) close(ctx context.Context) error {
	d.mu.Lock()
	d.closed = true
	now := d.current
	d.mu.Unlock()
	if now != nil {
		now.End("the agent stops")
	}
	done := make(chan struct{})
	go func() { d.wg.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// When a scheduled drill may begin.
const (
	scheduleLook  = time.Minute
	scheduleAfter = 10 * time.Minute // of running: a start is no time to exercise
	scheduleAgain = time.Hour        // after one that was not good
)

// schedule begins the drills that are due, one at a time, until ctx ends. A plan that was never drilled
// is due at once. While the clock is not synchronised nothing is.
func (d *drills) schedule(ctx context.Context, last func(plan string) (unix int64, known bool)) error {
	begun, next := time.Now(), map[string]time.Time{}
	tick := time.NewTicker(scheduleLook)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := time.Now()
		for i := range d.config.Drills {
			s := &d.config.Drills[i]
			unix, known := last(s.Plan)
			if !known || !d.synced() || now.Sub(begun) < scheduleAfter || now.Before(next[s.Plan]) || now.Sub(time.Unix(unix, 0)) < s.Every {
				continue
			}
			next[s.Plan] = now.Add(scheduleAgain)
			if err := d.start(Request{Name: s.Plan, By: "the schedule", Stage: s.Stage, Inject: s.Inject}); err != nil {
				d.log.Warn("a scheduled drill did not begin", "plan", s.Plan, "err", err)
			}
		}
	}
}
