// Package guard is the safety loop: the one goroutine that owns the core, feeds it events and is the
// sole executor of its effects.
//
// Concurrency: Run is the loop; everything else reaches it through bounded channels. Hooks and
// publishers run on goroutines of their own that Run ends and waits for. Failure: a hook that
// hangs is given up at its time-out and a margin, a publisher that hangs loses its own messages,
// a journal that hangs costs each hook the stated bound and no more (S9). Nothing here waits for
// a disk, a broker, a name server or a person.
package guard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"firebreak/agent/core"
	"firebreak/agent/journal"
	"firebreak/plugins"
	"firebreak/sensors"
)

// Journal is what the guard needs of one. Append never waits, and takes all or none; 0 means refused.
type Journal interface {
	Append(payloads ...[]byte) (last uint64)
	DurableSeq() uint64
	Durable() <-chan journal.Durable
	Snapshot(payload []byte, covers uint64) error
}

// Mailbox is where the buses put what they read: newest batch per device.
type Mailbox interface {
	Ready() <-chan struct{}
	Take(dst []sensors.Batch) []sensors.Batch
}

// Config of a guard.
type Config struct {
	Core       *core.Core
	Clock      *sensors.Clock
	Resume     core.ResumeInfo // from Recover
	Journal    Journal         // nil: there is none; hooks start at once, marked journaled: false
	JournalErr error           // why there is none
	Behind     bool            // the journal lacks some of the state: it is written whole first
	Boot       Boot
	Synced     func() bool    // is the wall clock synchronised
	Hooks      []plugins.Hook // by the index of core.Rules.Response.Hooks
	Publishers []plugins.Publisher
	Inbox      Mailbox
	Alive      func()                                         // fed by the loop only: the supervisor's watchdog
	Mirror     func(state []byte)                             // takes the newest essence of the state; must not wait
	Sample     func(d sensors.DeviceID, period time.Duration) // polls a device faster, 0: as configured; must not wait; nil: nobody does
	Ended      func(hook int, o plugins.Outcome)              // hears of each call's end, on the hook's goroutine; must not wait; nil: nobody does
	Starting   func()                                         // hooks are to start, and again: they do; keeps others off the processors; on the loop, must not wait; nil: nobody does
	Mark       plugins.Mark                                   // of a drill: every call and update bears it, and nothing is journaled (S7)
	Log        *slog.Logger
}

// Limits of the loop. The margin is what a hook gets after its time-out to end what it started
// and to say so.
const (
	hookMargin    = 8 * time.Second
	stopMargin    = 2 * time.Second
	journalLag    = 2 * time.Second
	healPause     = time.Second
	snapshotEvery = 2000 // records
	eventQueue    = 256
	maxIdle       = 1100 * time.Millisecond // the loop turns at least so often, for the watchdog; polls of a second wake it in any case
	sideQueue     = 64                      // posted from beside the loop: who posts more waits
	calendarEvery = time.Minute
	mirrorPause   = 100 * time.Millisecond
	mirrorBehind  = 10 * time.Millisecond // a start that waits for a disk that answers comes before the mirror
	orderBound    = time.Second           // a person waits so long for the journal
	groupRecords  = 256                   // are appended together at most
)

// Guard runs the safety loop.
type Guard struct {
	c       Config
	fx      []core.Effect
	wake    sensors.Mono
	batches []sensors.Batch
	untold  []sensors.Batch // judged; they belong to the publishers
	tellAt  time.Time       // when they are told, if there are any
	in      chan core.Event // from hooks
	side    chan core.Event // from all else: a flood of it delays no hook's outcome
	orders  chan order
	loads   [][]byte // records of the step at hand
	pending []pendingStart
	replies map[uint64]chan error
	answers []answer
	fans    []*fan
	hooks   sync.WaitGroup
	stopped chan struct{}
	orderID uint64
	lastSeq uint64 // of the last record handed to the journal
	gap     bool   // the journal has refused a record: what follows it does not fit until the state is written whole
	healAt  time.Time
	records int    // since the last snapshot
	markSeq uint64 // a record that is waited for, and since when: the measure of a slow disk
	markAt  time.Time
	jerr    string // what was told of the journal; empty: it is well
	jdisk   bool   // that is the disk's own word
	stats   statsBox

	calendarAt time.Time    // when the core heard of the wall clock last
	mirrorAt   time.Time    // when the state was mirrored last
	mirrorMono sensors.Mono // of the newest record that the mirror is to hold
	unmirrored bool         // a plan has moved since
}

// pendingStart is a hook that waits for its record.
type pendingStart struct {
	hook int
	call plugins.Call
	seq  uint64
	lost bool // its record was refused, or follows one that was
	at   time.Time
	due  time.Time

	leave *leave // the hook has the call ready; nil: it has not been called
}

// New builds a guard. Run starts it.
func New(c Config) (*Guard, error) {
	if want := len(c.Core.Rules().Response.Hooks); want != len(c.Hooks) {
		return nil, fmt.Errorf("the rules name %d hooks, %d were given", want, len(c.Hooks))
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Alive == nil {
		c.Alive = func() {}
	}
	if c.Synced == nil {
		c.Synced = func() bool { return false }
	}
	g := &Guard{c: c, in: make(chan core.Event, eventQueue), side: make(chan core.Event, sideQueue), orders: make(chan order), stopped: make(chan struct{}),
		replies: map[uint64]chan error{}}
	for i, p := range c.Publishers {
		g.fans = append(g.fans, newFan(p, fmt.Sprintf("publisher %d", i), c.Log))
	}
	return g, nil
}

// Run is the loop. It returns when ctx has ended and everything that it started has ended, or has
// been given up after a margin.
func (g *Guard) Run(ctx context.Context) error {
	hookCtx, endHooks := context.WithCancel(context.WithoutCancel(ctx))
	defer endHooks()
	for _, f := range g.fans {
		f.start()
	}
	orderly := false
	defer func() { // a panic of the loop ends the process, but for a drill's: nothing of that is left behind
		if !orderly {
			close(g.stopped)
			g.endFans()
		}
	}()
	if g.c.Journal == nil && g.c.Mark == plugins.MarkReal {
		err := g.c.JournalErr
		if err == nil {
			err = errors.New("there is none")
		}
		g.tellJournal(hookCtx, err)
	}
	g.writeBoot()
	g.step(hookCtx, core.Event{Kind: core.Resumed, Resumed: g.c.Resume})
	timer := time.NewTimer(0)
	defer timer.Stop()
	var durable <-chan journal.Durable
	if g.c.Journal != nil {
		durable = g.c.Journal.Durable()
	}
	for {
		g.watchJournal(hookCtx)
		g.launchDue(hookCtx)
		g.answerDue()
		g.calendar(hookCtx)
		g.mirror()
		if len(g.untold) > 0 && !time.Now().Before(g.tellAt) {
			g.tellReadings()
		}
		timer.Reset(g.untilNext())
		g.c.Alive()
		select {
		case <-ctx.Done():
			orderly = true
			return g.stop(endHooks)
		case <-g.c.Inbox.Ready():
			g.read(hookCtx)
		case ev := <-g.in:
			g.step(hookCtx, ev)
		case ev := <-g.side:
			g.step(hookCtx, ev)
		case o := <-g.orders:
			g.order(hookCtx, o)
		case d := <-durable:
			g.diskSays(hookCtx, d.Err)
		case <-timer.C:
			if g.c.Clock.Now() >= g.wake {
				g.step(hookCtx, core.Event{Kind: core.Tick})
			}
		}
	}
}

// step feeds one event and executes its effects: first what is written, as one group, so that a hook waits for one
// sync and not for one of each record; then the rest in order, while the disk works.
func (g *Guard) step(ctx context.Context, ev core.Event) {
	now := g.c.Clock.Now()
	g.fx, g.wake = g.c.Core.Step(now, ev, g.fx[:0])
	g.stats.step()
	if slices.ContainsFunc(g.fx, func(e core.Effect) bool { return e.Kind == core.Start }) {
		g.starting() // before the disk is asked for anything
	}
	behind := uint64(0) // records behind the effect at hand
	for i := range g.fx {
		if e := &g.fx[i]; e.Kind == core.Write {
			g.write(now, e.Record)
			behind++
		}
	}
	g.flush()
	for i := range g.fx {
		e := &g.fx[i]
		switch e.Kind {
		case core.Write:
			behind--
		case core.Start:
			e.Call.Mark = g.c.Mark
			asked := time.Now()
			p := pendingStart{hook: e.Hook, call: e.Call, seq: g.lastSeq - behind, lost: g.gap || g.c.Journal == nil, at: asked, due: asked.Add(e.Wait)}
			g.poise(ctx, &p)
			g.pending = append(g.pending, p)
		case core.Tell:
			e.Update.Wall = time.Now()
			g.tell(e.Update)
		case core.Reply:
			g.reply(e)
		case core.Sample:
			if g.c.Sample != nil {
				g.c.Sample(e.Device, e.Period)
			}
		}
	}
	g.maybeSnapshot(now)
}

// untilNext is the real time until something is due.
func (g *Guard) untilNext() time.Duration {
	d := maxIdle
	if g.unmirrored && g.c.Mirror != nil {
		d = max(0, min(d, time.Until(g.mirrorDue())))
	}
	if g.wake != 0 {
		until := g.c.Clock.Until(g.wake)
		if g.wake > g.c.Clock.Now() {
			until = max(until, 1) // of a scaled clock it is rounded down: a zero would spin
		}
		d = min(d, until)
	}
	if len(g.untold) > 0 {
		d = min(d, time.Until(g.tellAt))
	}
	for i := range g.pending {
		if start, _ := g.ready(&g.pending[i]); start {
			return 0
		}
		d = min(d, time.Until(g.pending[i].due))
	}
	for i := range g.answers {
		d = min(d, time.Until(g.answers[i].due))
	}
	return max(d, 0)
}

// Post hands in what was learned beside the loop: evidence of a hook that runs between its calls, how
// a probe has ended, what a peer said. It waits while the loop is behind, until ctx ends or the loop.
func (g *Guard) Post(ctx context.Context, ev core.Event) {
	if ev.Kind == core.Seen && ev.Evidence.Mark != g.c.Mark {
		return // of a drill, for the real plan, or the other way: it is no evidence here (S7)
	}
	select {
	case g.side <- ev:
	case <-g.stopped:
	case <-ctx.Done():
	}
}

// calendar tells the core the wall clock, which only warnings look at (S14).
func (g *Guard) calendar(ctx context.Context) {
	if now := time.Now(); now.Sub(g.calendarAt) >= calendarEvery {
		g.calendarAt = now
		g.step(ctx, core.Event{Kind: core.Calendar, Wall: now, Synced: g.c.Synced()})
	}
}

func (g *Guard) endFans() {
	for _, f := range g.fans {
		close(f.end)
	}
}

// stop ends what the loop started, in at most twice stopMargin. Hooks are told to let go: exec hooks
// run on without us (S10). What a hook says from here on is not heard, because it may say "failed"
// only for having been told to let go; its key stands, and the next start asks again.
func (g *Guard) stop(endHooks func()) error {
	close(g.stopped)
	endHooks()
	for i := range g.pending {
		g.pending[i].leave.drop()
	}
	var errs []error
	done := make(chan struct{})
	go func() { g.hooks.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(stopMargin):
		errs = append(errs, errors.New("a hook did not let go in time; it is left behind"))
	}
	if g.c.Journal != nil {
		if err := g.snapshot(g.whole(g.c.Clock.Now())); err != nil {
			errs = append(errs, err)
		}
	}
	g.tellReadings()
	g.endFans()
	limit, cancel := context.WithTimeout(context.Background(), stopMargin) // one for all
	defer cancel()
	for _, f := range g.fans {
		select {
		case <-f.ended:
		case <-limit.Done():
			if f.over() {
				continue
			}
			errs = append(errs, fmt.Errorf("%s did not return in time; it is left behind", f.name))
		}
	}
	return errors.Join(errs...)
}
