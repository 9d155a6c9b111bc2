package app

import (
	"context"
	"os"
	"runtime"
	"syscall"
	"time"

	"firebreak/plugins"
	"firebreak/sensors"
)

// Times of the gear.
const (
	gearLook  = 2 * time.Second
	calmFor   = 10 * time.Second // all was quiet for so long before one processor will do
	calmShare = 0.5              // of one processor, at most, is used then
)

// gear lets the runtime use one processor while nothing is wrong and there is little to do, and all of them as soon as
// anything is told of an alarm or a plan, somebody asks for something, or a broker is away. With one, a goroutine that is
// made ready wakes no other thread to look for it: of an agent that only reads, judges and tells that is a fifth of the
// cost. What hooks, alarms and people bring with them, many things at once that wait for disks and processes, is done
// with all.
//
// It is a publisher, and hears all that the loop tells but readings. Nothing waits for it: a decision is carried out
// while the other processors come.
type gear struct {
	clock *sensors.Clock
	calm  func() bool // nothing stands, nothing is missing
	set   func(all bool)
	used  func() time.Duration // processor time so far

	up  chan struct{} // has room for one
	low bool          // one will do; of run
}

func newGear(clock *sensors.Clock, calm func() bool) *gear {
	return &gear{clock: clock, calm: calm, set: setProcessors, used: processorTime, up: make(chan struct{}, 1)}
}

func setProcessors(all bool) {
	if all {
		runtime.SetDefaultGOMAXPROCS() // as many as the machine and the control group give, now and later
		return
	}
	runtime.GOMAXPROCS(1)
}

func processorTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Listens is false: readings are nothing to shift for.
func (g *gear) Listens() bool { return false }

// Offer never blocks.
func (g *gear) Offer(u plugins.Update) { g.raise() }

// raise asks for all processors, and does not wait for them. There may be no gear.
func (g *gear) raise() {
	if g == nil {
		return
	}
	select {
	case g.up <- struct{}{}:
	default: // it is asked for already
	}
}

// calm tells whether no plan is open and no drill runs, no broker is away, and nothing is at work that may use a processor for itself.
func (p *parts) calm() bool {
	if p.tele != nil || p.board.open() != "" || p.drills.Listens() {
		return false
	}
	for _, b := range p.up.Stats().Brokers {
		if !b.Connected || b.TelemetryError != "" {
			return false
		}
	}
	return true
}

// run shifts until ctx ends. Who has set GOMAXPROCS knows better.
func (g *gear) run(ctx context.Context) error {
	if os.Getenv("GOMAXPROCS") != "" {
		<-ctx.Done()
		return nil
	}
	look := time.NewTimer(g.clock.Next(gearLook))
	defer look.Stop()
	shift := func(low bool) {
		if g.low != low {
			g.low = low
			g.set(!low)
		}
	}
	defer shift(false)
	quiet, looked, used := time.Now(), time.Now(), g.used()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-g.up:
			shift(false)
			quiet = time.Now()
		case now := <-look.C:
			look.Reset(g.clock.Next(gearLook))
			is := g.used()
			busy := float64(is-used) > calmShare*float64(now.Sub(looked))
			looked, used = now, is
			if busy || !g.calm() {
				quiet = now
			}
			shift(now.Sub(quiet) >= calmFor)
		}
	}
}
