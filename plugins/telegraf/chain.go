//go:build telegraf

package main

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/influxdata/telegraf"
	"github.com/influxdata/telegraf/config"
	"github.com/influxdata/telegraf/models"
)

const stageRoom = 100 // metrics before each stage, as in Telegraf

// chain is what stands between inputs and outputs, in the order of Telegraf: processors, aggregators, and
// the processors once more for what aggregators made, unless the configuration skips them. Each stage is a
// goroutine with a queue; a full one holds up the stage before.
type chain struct {
	stages []*stage
	first  func(telegraf.Metric) // the beginning
	room   chan telegraf.Metric  // that of the first stage; nil: there is none
	aggs   []*models.RunningAggregator
	accs   []*accumulator
	agent  *config.AgentConfig

	pending atomic.Int64 // metrics that are in some stage
}

type stage struct {
	in chan telegraf.Metric
	do func(telegraf.Metric)
}

// newChain builds the stages from the end, which is given, to the beginning.
func newChain(c *config.Config, end func(telegraf.Metric)) (*chain, error) {
	k := &chain{aggs: c.Aggregators, agent: c.Agent}
	// What comes to the end comes from several goroutines: one stage makes it one at a time.
	put := k.stage(end)
	if len(c.Aggregators) > 0 {
		after := put
		if skip := c.Agent.SkipProcessorsAfterAggregators; skip == nil || !*skip {
			var err error
			if after, err = k.processors(c.AggProcessors, put); err != nil {
				return nil, err
			}
		}
		for _, a := range c.Aggregators {
			if err := a.Init(); err != nil {
				return nil, fmt.Errorf("%s: %w", a.LogName(), err)
			}
			k.accs = append(k.accs, &accumulator{maker: a, put: after})
		}
		out := put
		put = k.stage(func(m telegraf.Metric) {
			drop := false
			for _, a := range c.Aggregators {
				drop = a.Add(m) || drop
			}
			if drop {
				m.Drop()
				return
			}
			out(m)
		})
	}
	put, err := k.processors(c.Processors, put)
	if err != nil {
		return nil, err
	}
	k.first = put
	k.room = k.stages[len(k.stages)-1].in
	return k, nil
}

func (k *chain) stage(do func(telegraf.Metric)) func(telegraf.Metric) {
	s := &stage{make(chan telegraf.Metric, stageRoom), do}
	k.stages = append(k.stages, s)
	return func(m telegraf.Metric) {
		k.pending.Add(1)
		s.in <- m
	}
}

// processors puts a stage for each before what is given.
func (k *chain) processors(ps models.RunningProcessors, put func(telegraf.Metric)) (func(telegraf.Metric), error) {
	for _, p := range slices.Backward(ps) {
		if err := p.Init(); err != nil {
			return nil, fmt.Errorf("%s: %w", p.LogName(), err)
		}
		acc := &accumulator{maker: p, put: put}
		if err := p.Start(acc); err != nil {
			return nil, fmt.Errorf("%s cannot be started: %w", p.LogName(), err)
		}
		put = k.stage(func(m telegraf.Metric) {
			if err := p.Add(m, acc); err != nil {
				acc.AddError(err)
				m.Drop()
			}
		})
	}
	return put, nil
}

// put takes a metric of an input. It waits when the chain is full.
func (k *chain) put(m telegraf.Metric) { k.first(m) }

// offer takes one of the agent, or refuses it when the chain is full.
func (k *chain) offer(m telegraf.Metric) bool {
	k.pending.Add(1)
	select {
	case k.room <- m:
		return true
	default:
		k.pending.Add(-1)
		m.Drop()
		return false
	}
}

// start runs the stages; they end with the process, since plugins may put to them until then.
func (k *chain) start(ctx context.Context) {
	for _, s := range k.stages {
		go func() {
			for m := range s.in {
				s.do(m)
				k.pending.Add(-1)
			}
		}()
	}
	now := time.Now()
	for i, a := range k.aggs {
		until := now.Add(a.Period())
		if k.agent.RoundInterval {
			until = now.Truncate(a.Period()).Add(a.Period())
		}
		a.UpdateWindow(until.Add(-a.Period()), until)
		go func() {
			for pause(ctx, time.Until(a.EndPeriod())) {
				a.Push(k.accs[i])
			}
		}()
	}
}

// drained waits, so long at most, until what is in the chain has gone through it.
func (k *chain) drained(limit time.Duration) {
	t := time.NewTicker(5 * time.Millisecond)
	defer t.Stop()
	for late := time.After(limit); ; {
		if k.pending.Load() == 0 {
			return
		}
		select {
		case <-t.C:
		case <-late:
			return
		}
	}
}
