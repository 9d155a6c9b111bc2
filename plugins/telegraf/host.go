//go:build telegraf

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"firebreak/plugins/telegraf/companion"
	"firebreak/plugins/telegraf/line"
	"firebreak/plugins/telegraf/pipe"

	"github.com/influxdata/telegraf"
	"github.com/influxdata/telegraf/config"
)

// Bounds of a life.
const (
	defaultHang = time.Minute            // a gather that lasts longer, and six intervals, cannot be ended but with the process
	stopService = 200 * time.Millisecond // for inputs to stop
	drain       = 200 * time.Millisecond // for metrics to reach the outputs at the end
	lastWrite   = 700 * time.Millisecond // for outputs to write what they have at the end
)

// host is the plugins of one Setup.
type host struct {
	setup   pipe.Setup
	cfg     *config.Config
	want    map[string]bool
	hang    time.Duration
	speaker *speaker
	inputs  []*input
	outputs []*output
	chain   *chain
	fed     atomic.Uint64 // metrics of the agent that found no room
}

// newHost builds and initialises all plugins of a Setup; nothing runs yet.
func newHost(setup pipe.Setup, s *speaker) (h *host, err error) {
	defer func() {
		if p := recover(); p != nil { // such as NewRunningOutput on a torn buffer
			h, err = nil, fmt.Errorf("a plugin panicked while it was set up: %v", p)
		}
	}()
	h = &host{setup: setup, want: map[string]bool{}, hang: defaultHang, speaker: s, cfg: config.NewConfig()}
	for _, name := range setup.Want {
		h.want[name] = true
	}
	if setup.Cache > 0 {
		s.cache = setup.Cache
	}
	if setup.HangMs > 0 {
		h.hang = time.Duration(setup.HangMs) * time.Millisecond
	}
	h.cfg.Agent.SnmpTranslator = "gosmi" // the other one runs programs of net-snmp
	if err := h.cfg.LoadConfigData([]byte(setup.Text), setup.Name); err != nil {
		return nil, fmt.Errorf("the plugins in the configuration of firebreak: %w", err)
	}
	if setup.File != "" {
		data, err := os.ReadFile(setup.File)
		if err != nil {
			return nil, fmt.Errorf("the Telegraf configuration: %w", err)
		}
		if err := h.cfg.LoadConfigData(data, setup.File); err != nil {
			return nil, fmt.Errorf("%s: %w", setup.File, err)
		}
	}
	if err := h.cfg.LoadAll(); err != nil { // sorts and links what is loaded
		return nil, err
	}
	return h, h.build()
}

// build joins the plugins from the end to the beginning, since each stage is given where it puts.
func (h *host) build() error {
	for _, o := range h.cfg.Outputs {
		if o.Config.BufferStrategy != "" && o.Config.BufferStrategy != "memory" || h.cfg.Agent.BufferStrategy != "" && h.cfg.Agent.BufferStrategy != "memory" {
			return fmt.Errorf("%s: buffer_strategy: only \"memory\" is supported: a buffer on disk has no bound and does not survive a torn write", o.LogName())
		}
		if err := o.Init(); err != nil {
			return fmt.Errorf("%s: %w", o.LogName(), err)
		}
		h.outputs = append(h.outputs, newOutput(o, h.cfg.Agent))
	}
	var err error
	if h.chain, err = newChain(h.cfg, h.tell); err != nil {
		return err
	}
	for _, in := range h.cfg.Inputs {
		if tp, ok := in.Input.(interface{ SetTranslator(string) }); ok {
			tp.SetTranslator(h.cfg.Agent.SnmpTranslator)
		}
		in.SetDefaultTags(h.cfg.Tags)
		if err := in.Init(); err != nil {
			return fmt.Errorf("%s: %w", in.LogName(), err)
		}
		h.inputs = append(h.inputs, newInput(in, h.cfg.Agent, h.chain, h.speaker.gathered))
	}
	return nil
}

// tell is the end of the chain: outputs, and the agent for what it has points for.
func (h *host) tell(m telegraf.Metric) {
	if h.want[m.Name()] {
		h.speaker.put(toLine(m))
	}
	for _, o := range h.outputs {
		o.AddMetric(m)
	}
	m.Accept()
}

func (h *host) hello() pipe.Hello {
	out := pipe.Hello{V: pipe.Version, Version: telegrafVersion()}
	for _, in := range h.inputs {
		out.Inputs = append(out.Inputs, in.name)
	}
	for _, o := range h.outputs {
		out.Outputs = append(out.Outputs, o.name)
	}
	return out
}

// run works until Quit, the end of the pipe, a hung gather, or the end of ctx.
func (h *host) run(ctx context.Context, r *pipe.Reader) int {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	hello := h.hello()
	hello.Tied = companion.Tie()
	if err := h.speaker.say(func(w *pipe.Writer) error { return w.JSON(pipe.HelloKind, hello) }); err != nil {
		return 1
	}
	ends := make(chan error, 4)
	h.chain.start(ctx)
	for _, o := range h.outputs {
		go o.run(ctx)
	}
	for _, in := range h.inputs {
		go func() {
			if err := in.run(ctx); err != nil {
				ends <- err
			}
		}()
	}
	go func() { ends <- h.speaker.run(ctx, h.beat) }()
	go func() { ends <- h.listen(r) }()
	go func() { ends <- h.watch(ctx) }()
	err := <-ends
	cancel()
	if errors.Is(err, errQuit) {
		h.quit()
		return 0
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		h.speaker.fatal(err)
	}
	return 1
}

var errQuit = errors.New("the agent ends the companion")

// listen takes what the agent sends. It waits for nobody, so that the end of the agent is always seen.
func (h *host) listen(r *pipe.Reader) error {
	for {
		kind, body, err := r.Next()
		if err != nil {
			return nil // the agent is gone: there is nobody to tell
		}
		switch kind {
		case pipe.QuitKind:
			return errQuit
		case pipe.MetricsKind:
			ms, err := pipe.DecodeMetrics(body)
			if err != nil {
				return err
			}
			_ = ms.Each(func(m line.Metric) {
				if !h.chain.offer(fromLine(m)) {
					h.fed.Add(1)
				}
			})
		}
	}
}

// beat says what is wrong now.
func (h *host) beat() pipe.Beat {
	b := pipe.Beat{Lost: h.fed.Load()}
	now := time.Now()
	for _, in := range h.inputs {
		if in.lasts(now) > in.interval {
			b.Hung = append(b.Hung, in.name)
		}
	}
	for _, o := range h.outputs {
		if failing := o.state(); failing != "" {
			b.Failing = append(b.Failing, o.name+": "+failing)
		}
	}
	slices.Sort(b.Hung)
	return b
}

// watch ends the life when a gather does not return: nothing else ends it.
func (h *host) watch(ctx context.Context) error {
	t := time.NewTicker(min(time.Second, h.hang/4))
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-t.C:
			for _, in := range h.inputs {
				if d := in.lasts(now); d > max(h.hang, 6*in.interval) {
					return fmt.Errorf("%s has not returned from a gather for %v, and cannot be ended but with the companion", in.name, d.Round(time.Second))
				}
			}
		}
	}
}

// quit stops the inputs and writes what waits, each within its bound: what does not end, the process ends.
func (h *host) quit() {
	all(stopService, len(h.inputs), func(i int) { h.inputs[i].stop() })
	h.chain.drained(drain)
	all(lastWrite, len(h.outputs), func(i int) { h.outputs[i].close() })
}

// all runs do for each of n at once, and waits so long at most.
func all(limit time.Duration, n int, do func(int)) {
	done := make(chan struct{}, n)
	for i := range n {
		go func() {
			defer func() { _ = recover(); done <- struct{}{} }()
			do(i)
		}()
	}
	late := time.After(limit)
	for range n {
		select {
		case <-done:
		case <-late:
			return
		}
	}
}
