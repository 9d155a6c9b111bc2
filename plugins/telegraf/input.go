//go:build telegraf

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"firebreak/plugins/telegraf/pipe"

	"github.com/influxdata/telegraf"
	"github.com/influxdata/telegraf/config"
	"github.com/influxdata/telegraf/models"
)

const (
	maxErrors   = 8                      // of one gather that are told
	settleLimit = 500 * time.Millisecond // for its metrics to go through the chain
)

// input runs one input: it is started once if it has a start, and gathered every interval. A gather that
// lasts longer than the interval takes the place of those that it covers.
type input struct {
	*models.RunningInput
	name     string // "upsd" or "upsd::alias"
	interval time.Duration
	offset   time.Duration
	jitter   time.Duration
	acc      *accumulator // of gathers
	service  *accumulator // of what comes by itself
	report   func(pipe.Gathered)
	settle   func(time.Duration)
	begun    atomic.Int64 // of the present gather, Unix nanoseconds; 0: none
	metrics  atomic.Int64

	mu     sync.Mutex
	errors []string
	stops  sync.Once
}

func newInput(in *models.RunningInput, a *config.AgentConfig, k *chain, report func(pipe.Gathered)) *input {
	i := &input{RunningInput: in, name: named(in.Config.Name, in.Config.Alias), interval: own(in.Config.Interval, a.Interval), offset: own(in.Config.CollectionOffset, a.CollectionOffset),
		jitter: own(in.Config.CollectionJitter, a.CollectionJitter), report: report, settle: k.drained}
	counted := func(m telegraf.Metric) {
		i.metrics.Add(1)
		k.put(m)
	}
	i.acc = &accumulator{maker: in, put: counted, failed: i.failed, precision: own(in.Config.Precision, a.Precision)}
	i.service = &accumulator{maker: in, put: counted, failed: i.failed}
	return i
}

// named is how a plugin is called in messages and mappings.
func named(name, alias string) string {
	if alias != "" {
		return name + "::" + alias
	}
	return name
}

func own(d time.Duration, general config.Duration) time.Duration {
	if d != 0 {
		return d
	}
	return time.Duration(general)
}

func (i *input) failed(err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.errors) < maxErrors {
		i.errors = append(i.errors, fmt.Sprintf("%.500s", err))
	}
}

// run starts and gathers until ctx ends; an error means that the input cannot be started.
func (i *input) run(ctx context.Context) error {
	if err := i.Start(i.service); err != nil {
		return fmt.Errorf("%s cannot be started: %w", i.LogName(), err)
	}
	if i.offset > 0 && !pause(ctx, i.offset) {
		return nil
	}
	t := time.NewTicker(i.interval)
	defer t.Stop()
	for {
		if i.jitter > 0 && !pause(ctx, rand.N(i.jitter)) {
			return nil
		}
		i.once()
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// once gathers, and reports the end.
func (i *input) once() {
	began := pipe.Now()
	i.begun.Store(time.Now().UnixNano())
	i.metrics.Store(0)
	err := i.gather()
	i.begun.Store(0)
	if err != nil {
		i.acc.AddError(err)
	}
	i.mu.Lock()
	g := pipe.Gathered{Input: i.name, Begun: began, Errors: i.errors, Metrics: int(i.metrics.Load())}
	i.errors = nil
	i.mu.Unlock()
	if len(g.Errors) > 0 {
		i.settle(settleLimit) // else the agent would take for missing what is still in the chain
	}
	i.report(g)
}

func (i *input) gather() (err error) {
	defer func() {
		if p := recover(); p != nil { // one in a goroutine of the plugin's own ends the process
			err = fmt.Errorf("the plugin panicked: %v", p)
			i.Log().Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return i.Gather(i.acc)
}

// lasts tells how long the present gather has lasted; 0: there is none.
func (i *input) lasts(now time.Time) time.Duration {
	if b := i.begun.Load(); b != 0 {
		return now.Sub(time.Unix(0, b))
	}
	return 0
}

func (i *input) stop() { i.stops.Do(i.Stop) }
