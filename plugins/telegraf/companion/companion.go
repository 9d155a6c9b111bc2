// Package companion is the agent's side of the process that hosts Telegraf plugins: it starts it, feeds it,
// takes what it brings, limits it and ends it.
//
// The companion is not trusted: it may hang, stop, panic, leak or flood. It runs in the idle classes of processor and
// disk, first in line for the kernel's OOM killer, in a session of its own that weighs next to nothing; what it and its children hold in
// memory is watched; what it says is taken at a bounded rate; what is not taken waits at its side; while hooks start it stands still. A life
// that is not as it should be is ended with SIGKILL and followed by another one, after a growing pause.
//
// Concurrency: Run owns all goroutines and waits for them; Offer and StandStill may be called from any goroutine and never
// block. Failure: no error of the companion is one of the agent; Health is told, and its points go stale.
package companion

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"firebreak/plugins"
	"firebreak/plugins/telegraf/line"
	"firebreak/plugins/telegraf/pipe"
)

// Limits and defaults.
const (
	DefaultMemory = 256 << 20
	DefaultRate   = 5000 // metrics a second that are taken; the companion keeps or drops the rest

	queueRoom = 4096 // updates that wait for the companion; when full, the oldest goes, counted

	helloLimit = 60 * time.Second // from the start until the companion has built its plugins
	beatLimit  = 15 * time.Second // without a word
	writeLimit = 10 * time.Second // for it to take one frame
	quitLimit  = 1500 * time.Millisecond
	killLimit  = 500 * time.Millisecond
	lookEvery  = 200 * time.Millisecond // at its memory

	firstPause = time.Second
	mostPause  = time.Minute
	steady     = time.Minute // a life that lasts so long makes the next pause short again
)

// EndLimit is within what Run returns when its context has ended.
const EndLimit = quitLimit + 2*killLimit

// Config of a companion. Path, Take and Gathered are needed; without Self no life begins.
type Config struct {
	Path   string // of the companion's binary
	Self   string // of this program: it starts itself first, since a disk may hang under Path
	Env    []string
	Setup  pipe.Setup
	Memory int64         // bytes that it may hold, with its children; 0: DefaultMemory
	Rate   int           // 0: DefaultRate
	Still  time.Duration // it stands still for starts, in any ten seconds at most; 0: DefaultStill

	Take     func(pipe.Metrics)  // called by one goroutine, with Gathered; lines are its own until it returns
	Gathered func(pipe.Gathered) //
	Render   func(plugins.Update) []line.Metric

	// Health is told when what is wrong changes, once at the beginning of the first life too; nil: nothing is.
	// It may wait.
	Health func(context.Context, error)
	Log    *slog.Logger

	// Times of tests; 0: the constants.
	Pause, Beat, Hold time.Duration
}

// Companion runs one companion process after the other.
type Companion struct {
	c     Config
	still still

	mu      sync.Mutex
	queue   []plugins.Update
	dropped uint64
	wrong   error
	ready   chan struct{} // the queue has something
	changed chan struct{} // wrong has
	lives   int
}

// New checks the configuration; nothing runs yet.
func New(c Config) (*Companion, error) {
	if c.Path == "" || c.Take == nil || c.Gathered == nil {
		return nil, errors.New("a companion needs a path, and who takes what it brings")
	}
	if c.Memory <= 0 {
		c.Memory = DefaultMemory
	}
	if c.Rate <= 0 {
		c.Rate = DefaultRate
	}
	if c.Pause <= 0 {
		c.Pause = firstPause
	}
	if c.Beat <= 0 {
		c.Beat = beatLimit
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Still <= 0 {
		c.Still = DefaultStill
	}
	if c.Hold <= 0 {
		c.Hold = stillFor
	}
	c.Setup.V = pipe.Version
	return &Companion{c: c, still: still{each: c.Hold, most: c.Still, from: time.Now(), begun: make(chan struct{}, 1)},
		ready: make(chan struct{}, 1), changed: make(chan struct{}, 1)}, nil
}

// StandStill is for the moment in which hooks start: the companion stops at once, and goes on 20 ms after the last call.
// It may be called from any goroutine and never waits; it does nothing where Still is used up, and to a companion that has not
// greeted, that would not end with this process, or that somebody else has stopped.
func (c *Companion) StandStill() { c.still.ask() }

// Offer leaves an update for the outputs of the companion. It never waits.
func (c *Companion) Offer(u plugins.Update) {
	if c.c.Render == nil {
		return
	}
	c.mu.Lock()
	if len(c.queue) >= queueRoom {
		c.queue = c.queue[1:]
		c.dropped++
	}
	c.queue = append(c.queue, u)
	c.mu.Unlock()
	notify(c.ready)
}

func notify(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// take removes what waits, so much at most that one frame after the other stays short.
func (c *Companion) take() []plugins.Update {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := min(len(c.queue), 256)
	out := c.queue[:n:n]
	if c.queue = c.queue[n:]; len(c.queue) == 0 {
		c.queue = nil
	}
	return out
}

// Stats of a companion.
type Stats struct {
	Lives   int    // processes started
	Dropped uint64 // updates that found no room
	Holds   int    // how often it was made to stand still
}

// Stats returns what was counted so far.
func (c *Companion) Stats() Stats {
	c.still.mu.Lock()
	holds := c.still.holds
	c.still.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	return Stats{c.lives, c.dropped, holds}
}

// judge notes what is wrong with the companion now; nil: nothing is.
func (c *Companion) judge(err error) {
	c.mu.Lock()
	same := c.wrong != nil && err != nil && c.wrong.Error() == err.Error() || c.wrong == nil && err == nil && c.lives > 1
	c.wrong = err
	c.mu.Unlock()
	if !same {
		notify(c.changed)
	}
}

// tell hands changes to Health, which may wait: nobody else waits for it. There is a pause after each, since the companion
// may change what it says with each frame, and what is told is kept and signed; the newest is told then.
func (c *Companion) tell(ctx context.Context) {
	last, first := "", true
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.changed:
		}
		c.mu.Lock()
		err := c.wrong
		c.mu.Unlock()
		text := ""
		if err != nil {
			text = err.Error()
		}
		if c.c.Health != nil && (first || text != last) {
			c.c.Health(ctx, err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(c.c.Pause):
			}
		}
		last, first = text, false
	}
}

// Run starts companions until ctx ends, and then ends the last one. It returns within EndLimit; a process that not even SIGKILL ends by then is named in the error and left to the kernel.
func (c *Companion) Run(ctx context.Context) error {
	telling, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { c.tell(telling) })
	defer wg.Wait()
	defer stop()
	for pause := c.c.Pause; ; pause = min(2*pause, mostPause) {
		began := time.Now()
		c.mu.Lock()
		c.lives++
		c.mu.Unlock()
		err := c.life(ctx)
		if ctx.Err() != nil {
			return err
		}
		if time.Since(began) > steady {
			pause = c.c.Pause
		}
		wait := pause/2 + rand.N(pause/2+1)
		c.c.Log.Warn("the Telegraf companion has ended", "err", err, "again_in", wait.Round(time.Millisecond))
		c.judge(fmt.Errorf("the Telegraf companion does not run, and its points go bad; it is started again: %w", err))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}
