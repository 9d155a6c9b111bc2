//go:build telegraf

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/influxdata/telegraf/config"
	"github.com/influxdata/telegraf/models"
)

// Pauses between two tries to connect.
const (
	firstPause = time.Second
	mostPause  = time.Minute
)

// output runs one output: it connects, tries again while it cannot, and writes what its buffer has, every
// flush interval and whenever a batch is full. Its buffer is bounded, and drops the oldest.
type output struct {
	*models.RunningOutput
	name   string
	flush  time.Duration
	jitter time.Duration

	writing sync.Mutex // one write at a time, the last one too
	mu      sync.Mutex
	failing string
	up      bool
}

func newOutput(o *models.RunningOutput, a *config.AgentConfig) *output {
	if o.Config.MetricBatchSize == 0 && a.MetricBatchSize > 0 {
		o.MetricBatchSize = a.MetricBatchSize
	}
	return &output{RunningOutput: o, name: named(o.Config.Name, o.Config.Alias), flush: max(own(o.Config.FlushInterval, a.FlushInterval), 10*time.Millisecond), jitter: own(o.Config.FlushJitter, a.FlushJitter)}
}

// state is why the output cannot write; empty: it can.
func (o *output) state() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.failing
}

func (o *output) note(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err == nil {
		o.failing = ""
		return
	}
	if text := fmt.Sprintf("%.300s", err); text != o.failing {
		o.Log().Error(err)
		o.failing = text
	}
}

// run connects and writes until ctx ends.
func (o *output) run(ctx context.Context) {
	for d := firstPause; ; d = min(2*d, mostPause) {
		err := o.safely(o.Connect)
		o.note(err)
		if err == nil {
			break
		}
		if !pause(ctx, d/2+rand.N(d/2)) {
			return
		}
	}
	o.mu.Lock()
	o.up = true
	o.mu.Unlock()
	t := time.NewTicker(o.flush)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-o.BatchReady:
			o.note(o.safely(o.WriteBatch))
		case <-t.C:
			if o.jitter > 0 && !pause(ctx, rand.N(o.jitter)) {
				return
			}
			o.note(o.safely(o.Write))
		}
	}
}

// safely does one thing at a time with the output, and makes an error of its panic.
func (o *output) safely(do func() error) (err error) {
	o.writing.Lock()
	defer o.writing.Unlock()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the plugin panicked: %v", p)
		}
	}()
	return do()
}

// close writes what waits, once, and closes.
func (o *output) close() {
	o.mu.Lock()
	up := o.up
	o.mu.Unlock()
	if up {
		o.note(o.safely(o.Write))
		_ = o.safely(func() error { o.Close(); return nil })
	}
}
