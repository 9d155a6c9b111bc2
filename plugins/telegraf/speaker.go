//go:build telegraf

package main

import (
	"context"
	"io"
	"sync"
	"time"

	"firebreak/plugins/telegraf/line"
	"firebreak/plugins/telegraf/pipe"
)

const (
	defaultCache = 10000         // metrics that wait for the agent; when full, the oldest goes
	maxReports   = 256           // ends of gathers that wait; when full, the oldest goes
	batch        = pipe.MaxBatch // metrics between two looks at what else is to be said
	beatEvery    = time.Second
)

// speaker writes to the agent. Only its run waits for the pipe; everybody else leaves what is to be said.
type speaker struct {
	mu      sync.Mutex // of the queues below
	ready   chan struct{}
	cache   int
	metrics []line.Metric
	reports []pipe.Gathered
	dropped uint64

	writing sync.Mutex // of w; never taken with mu held
	w       *pipe.Writer
}

func newSpeaker(out io.Writer) *speaker {
	return &speaker{ready: make(chan struct{}, 1), cache: defaultCache, w: pipe.NewWriter(out)}
}

// put leaves a metric for the agent. It never waits for the pipe.
func (s *speaker) put(m line.Metric) {
	s.mu.Lock()
	if len(s.metrics) >= s.cache {
		s.metrics = s.metrics[1:]
		s.dropped++
	}
	s.metrics = append(s.metrics, m)
	s.mu.Unlock()
	s.wake()
}

// gathered leaves the end of a gather.
func (s *speaker) gathered(g pipe.Gathered) {
	s.mu.Lock()
	if len(s.reports) >= maxReports {
		s.reports = s.reports[1:]
	}
	s.reports = append(s.reports, g)
	s.mu.Unlock()
	s.wake()
}

func (s *speaker) wake() {
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

// take removes what is to be said now: metrics before the ends of gathers that came after them.
func (s *speaker) take() (ms []line.Metric, gs []pipe.Gathered, dropped uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(len(s.metrics), batch)
	ms, s.metrics = s.metrics[:n:n], s.metrics[n:]
	if len(s.metrics) == 0 {
		gs, s.reports, s.metrics = s.reports, nil, nil
	}
	return ms, gs, s.dropped
}

// run writes until ctx ends or the pipe does. beat says what is wrong.
func (s *speaker) run(ctx context.Context, beat func() pipe.Beat) error {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for first := true; ; first = false {
		ms, gs, dropped := s.take()
		if len(ms) == 0 && len(gs) == 0 && !first {
			select {
			case <-ctx.Done():
				return nil
			case <-s.ready:
				continue
			case <-tick.C:
			}
			b := beat()
			b.Dropped = dropped
			if err := s.say(func(w *pipe.Writer) error { return w.JSON(pipe.BeatKind, b) }); err != nil {
				return err
			}
			continue
		}
		err := s.say(func(w *pipe.Writer) error {
			if _, err := w.Metrics(ms); err != nil {
				return err
			}
			for _, g := range gs {
				if err := w.JSON(pipe.GatheredKind, g); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		select {
		case <-tick.C: // in a flood too
			b := beat()
			b.Dropped = dropped
			if err := s.say(func(w *pipe.Writer) error { return w.JSON(pipe.BeatKind, b) }); err != nil {
				return err
			}
		default:
		}
	}
}

func (s *speaker) say(what func(*pipe.Writer) error) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	return what(s.w)
}

// fatal says why this process ends; the pipe may be gone.
func (s *speaker) fatal(err error) {
	_ = s.say(func(w *pipe.Writer) error {
		return w.JSON(pipe.FatalKind, pipe.Fatal{V: pipe.Version, Error: err.Error()})
	})
}
