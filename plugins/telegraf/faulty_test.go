//go:build telegraf

package main

import (
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"firebreak/plugins/telegraf/companion"

	"github.com/influxdata/telegraf"
	"github.com/influxdata/telegraf/metric"
	"github.com/influxdata/telegraf/plugins/aggregators"
	"github.com/influxdata/telegraf/plugins/inputs"
	"github.com/influxdata/telegraf/plugins/outputs"
	"github.com/influxdata/telegraf/plugins/processors"
)

// TestMain makes this test binary what the agent would start, with plugins that misbehave.
func TestMain(m *testing.M) {
	for how, gather := range faults {
		inputs.Add("test_"+how, func() telegraf.Input { return &faulty{gather: gather} })
	}
	inputs.Add("test_service", func() telegraf.Input { return &service{} })
	outputs.Add("test_file", func() telegraf.Output { return &file{} })
	processors.Add("test_tag", func() telegraf.Processor { return &tagger{} })
	aggregators.Add("test_count", func() telegraf.Aggregator { return &counter{} })
	switch {
	case len(os.Args) > 1 && os.Args[1] == companion.StartCommand:
		os.Exit(companion.StartMain(os.Args[2:]))
	case os.Getenv("FIREBREAK_COMPANION") != "":
		os.Exit(serveAgent())
	}
	os.Exit(m.Run())
}

// faults are gathers, each wrong in one way.
var faults = map[string]func(*faulty, telegraf.Accumulator) error{
	"good": func(f *faulty, acc telegraf.Accumulator) error {
		acc.AddGauge("good", map[string]any{"v": 31.5, "n": int64(3), "on": true, "text": "OL"}, map[string]string{"dev": "a b"})
		return nil
	},
	"old": func(f *faulty, acc telegraf.Accumulator) error {
		acc.AddFields("good", map[string]any{"v": 1.0}, nil, time.Now().Add(-time.Minute))
		return nil
	},
	"failing": func(f *faulty, acc telegraf.Accumulator) error {
		acc.AddError(errors.New("one of two is gone"))
		return errors.New("no answer")
	},
	"block": func(f *faulty, acc telegraf.Accumulator) error {
		<-make(chan struct{})
		return nil
	},
	"panic": func(f *faulty, acc telegraf.Accumulator) error { panic("in Gather") },
	"panic_goroutine": func(f *faulty, acc telegraf.Accumulator) error {
		if f.n++; f.n == 5 { // the others have gathered by then
			go func() { panic("in a goroutine of its own") }()
		}
		return nil
	},
	"leak": func(f *faulty, acc telegraf.Accumulator) error {
		for range 64 { // 1 GiB
			b := make([]byte, 16<<20)
			for i := range b {
				b[i] = 1
			}
			f.kept = append(f.kept, b)
		}
		return nil
	},
	"flood": func(f *faulty, acc telegraf.Accumulator) error {
		for {
			acc.AddFields("flood", map[string]any{"v": 1.0}, nil)
		}
	},
}

type faulty struct {
	gather func(*faulty, telegraf.Accumulator) error
	kept   [][]byte
	n      int
}

func (*faulty) SampleConfig() string                    { return "" }
func (f *faulty) Gather(acc telegraf.Accumulator) error { return f.gather(f, acc) }

// service adds by itself, with tracking, and says in a file of its own when it was stopped.
type service struct {
	Stopped string `toml:"stopped"`
	end     chan struct{}
	wg      sync.WaitGroup
}

func (*service) SampleConfig() string              { return "" }
func (*service) Gather(telegraf.Accumulator) error { return nil }

func (s *service) Start(acc telegraf.Accumulator) error {
	s.end = make(chan struct{})
	tracked := acc.WithTracking(10)
	s.wg.Go(func() {
		m := metric.New("tracked", nil, map[string]any{"v": 1.0}, time.Now())
		id := tracked.AddTrackingMetric(m)
		select {
		case d := <-tracked.Delivered():
			acc.AddFields("delivered", map[string]any{"ok": d.ID() == id && d.Delivered()}, nil)
		case <-s.end:
		}
	})
	return nil
}

func (s *service) Stop() {
	close(s.end)
	s.wg.Wait()
	_ = os.WriteFile(s.Stopped, []byte("stopped"), 0o600)
}

// file is an output that appends lines to a file, or fails.
type file struct {
	Path string `toml:"path"`
	Fail bool   `toml:"fail"`
}

func (*file) SampleConfig() string { return "" }
func (*file) Connect() error       { return nil }
func (*file) Close() error         { return nil }

func (f *file) Write(ms []telegraf.Metric) error {
	if f.Fail {
		return errors.New("no room")
	}
	out, err := os.OpenFile(f.Path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	for _, m := range ms {
		l := toLine(m)
		b, err := l.Append(nil)
		if err != nil {
			return err
		}
		if _, err := out.Write(append(b, '\n')); err != nil {
			return err
		}
	}
	return nil
}

type tagger struct{}

func (*tagger) SampleConfig() string { return "" }

func (*tagger) Apply(in ...telegraf.Metric) []telegraf.Metric {
	for _, m := range in {
		m.AddTag("seen", "yes")
	}
	return in
}

type counter struct{ n int64 }

func (*counter) SampleConfig() string  { return "" }
func (c *counter) Add(telegraf.Metric) { c.n++ }
func (c *counter) Reset()              { c.n = 0 }
func (c *counter) Push(acc telegraf.Accumulator) {
	acc.AddFields("counted", map[string]any{"n": c.n}, nil)
}
