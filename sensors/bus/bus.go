// Package bus polls the devices of one bus (serial line, TCP endpoint, I2C adapter) from one owner
// goroutine: schedule, deadlines, back-off, and the turning of every failure into readings of bad
// quality. Drivers only answer one poll; retry, staleness and health live here.
//
// Concurrency: the owner is one goroutine, which Run starts, watches and waits for; it runs one poll at a
// time. While a poll hangs, Run is the owner. Sample, Load and Stats may be called from any goroutine. put is
// called by the owner only, and gets slices that the receiver owns. A Latest may be used from any goroutine.
//
// Failure: a failed or panicking poll (S22) costs its device's points, which become bad (comm) with
// the time of the failure, and puts that device on back-off; the neighbours lose at most one probe
// per back-off step. A poll that ignores its deadline makes every point of the bus bad (comm), again
// and again, until it returns: no second poll is started beside it. At the end of its context Run
// calls Options.Close to break such a poll and returns within twice the grace; a goroutine that is
// stuck even then is counted, named in Run's error, and ends only with the process.
package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"firebreak/sensors"
)

// Limits and defaults. Transport times are of the world; periods and back-off are of the clock.
const (
	MinPeriod      = 10 * time.Millisecond
	MaxPeriod      = 24 * time.Hour
	DefaultTimeout = time.Second            // budget of a poll
	DefaultProbe   = 300 * time.Millisecond // budget of a poll of a device that failed
	DefaultGrace   = time.Second            // beyond its deadline a poll counts as hung
	MaxBackoff     = 30 * time.Second       // clock time between two probes, at most
	MaxParts       = 16                     // of a device
	hungRepeat     = 5 * time.Second        // clock time between two bad batches while hung
	alike          = time.Second            // at most: the raster that the first slots of all buses lie on
)

// Poller answers one poll of one device: it appends readings to out, whose capacity is enough for
// each point once, and returns it. It must return soon after ctx ends and must not keep out.
//
// With an error, the readings that were appended stand and each point without one becomes bad
// (comm): one lost block does not discard what another block saw. No reading and no error means
// that the device answered and has nothing new.
type Poller interface {
	Poll(ctx context.Context, now func() sensors.Mono, out []sensors.Reading) ([]sensors.Reading, error)
}

// Numbered is a Poller that knows the serial number of the unit that it has read; empty: not yet (S23). It is
// asked after a poll that succeeded.
type Numbered interface{ Serial() string }

// Part is the points of a device that are polled together.
type Part struct {
	Points   []sensors.Point
	Poller   Poller
	Period   time.Duration // clock time; 0: Dev.Poll
	Reserved bool          // a plan depends on it: it goes first when several are due
}

// Device is one unit on the bus and how it is polled. Its first part is the one that finds out
// whether it answers again, and the one that takes commands.
type Device struct {
	Dev sensors.Device
	Part
	More    []Part        // points with periods of their own
	Timeout time.Duration // budget of one poll, real time; 0: DefaultTimeout
	Probe   time.Duration // budget of a probe, real time; 0: DefaultProbe; never above Timeout
}

// parts are all parts, as one list.
func (d *Device) parts() []Part { return append([]Part{d.Part}, d.More...) }

// Options of a bus. The zero value is usable.
type Options struct {
	// Close breaks a poll that is under way, and frees the link. Run calls it exactly once: when
	// it ends, or before that to break a poll that outlives Run's context. It may block.
	Close func()

	// Idle is called by the owner when all that was due has been polled and nothing is due now: the
	// end of a round. It must not block.
	Idle func()

	// Origin, when not sensors.Real, marks every reading of this bus that is of real origin (S7).
	Origin sensors.Origin

	Grace time.Duration // real time; 0: DefaultGrace
	Log   *slog.Logger  // devices lost and found, panics, hung polls; nil: silent
}

// ErrStuck is returned by Run when a poll outlived Run's context, Options.Close and the grace.
var ErrStuck = errors.New("poll does not return")

// Bus polls the devices of one bus. It is a sensors.Source.
type Bus struct {
	name   string
	clock  *sensors.Clock
	opt    Options
	points []sensors.Point
	units  []*unit // in the order given; the slice is fixed
	slots  []*slot // of all units
	byID   map[sensors.DeviceID]*unit

	started   atomic.Bool
	wake      chan struct{} // Sample has changed a period
	jobs      chan *job     // turns of commands
	overrun   *time.Timer   // set while a driver has its turn; heard by Run
	results   chan result   // to Run, of an attempt that it has taken
	returned  chan struct{} // from Run: the bus is given back
	ended     chan struct{} // closed when Run ends
	closed    bool          // Options.Close was called; Run only
	overtaken int           // polls in a row that went before an older one; owner only

	mu       sync.Mutex // guards want and stats of the units, and what follows
	stats    Stats
	busy     usage
	now      attempt // in a driver, or the last that was
	inDriver bool
	taken    bool      // Run is the owner, until the driver has returned
	ending   bool      // no attempt begins
	cut      io.Closer // breaks the attempt when Run's context ends; nil: nothing does but the context
}

var _ sensors.Source = (*Bus)(nil)

// New checks the devices and returns a bus that is not yet running. All faults are reported at once.
func New(name string, clock *sensors.Clock, devices []Device, opt Options) (*Bus, error) {
	if opt.Grace <= 0 {
		opt.Grace = DefaultGrace
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	opt.Log = opt.Log.With("component", "bus", "bus", name)
	b := &Bus{name: name, clock: clock, opt: opt, wake: make(chan struct{}, 1),
		jobs: make(chan *job, maxCommands), results: make(chan result, 1), returned: make(chan struct{}), ended: make(chan struct{}),
		byID: make(map[sensors.DeviceID]*unit, len(devices))}
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("bus %q: "+format, append([]any{name}, args...)...))
	}
	if clock == nil {
		fault("no clock: give sensors.NewClock()")
	}
	if len(devices) == 0 {
		fault("no devices: give at least one, or leave the bus out")
	}
	owner := make(map[sensors.PointID]string)
	for i, d := range devices {
		if d.Timeout == 0 {
			d.Timeout = DefaultTimeout
		}
		if d.Probe == 0 {
			d.Probe = DefaultProbe
		}
		d.Probe = min(d.Probe, d.Timeout)
		checkDevice(d, func(format string, args ...any) {
			fault("device %q: "+format, append([]any{d.Dev.Name}, args...)...)
		}, owner)
		if u := b.byID[d.Dev.ID]; u != nil {
			fault("device %q: id %d is also that of %q: ids are unique", d.Dev.Name, d.Dev.ID, u.Dev.Name)
		}
		u := newUnit(d, i, len(devices))
		b.units = append(b.units, u)
		b.slots = append(b.slots, u.slots...)
		b.byID[d.Dev.ID] = u
		b.points = append(b.points, u.points...)
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return b, nil
}

func checkDevice(d Device, fault func(string, ...any), owner map[sensors.PointID]string) {
	if d.Timeout < 0 || d.Probe < 0 {
		fault("timeout %v, probe %v: give positive times", d.Timeout, d.Probe)
	}
	if len(d.More) >= MaxParts {
		fault("%d parts: give %d at most", 1+len(d.More), MaxParts)
	}
	for _, p := range d.parts() {
		checkPart(d, p, fault, owner)
	}
}

func checkPart(d Device, part Part, fault func(string, ...any), owner map[sensors.PointID]string) {
	period := cmp.Or(part.Period, d.Dev.Poll)
	if part.Poller == nil {
		fault("no poller: give the driver of the device")
	}
	if period < MinPeriod || period > MaxPeriod {
		fault("period %v: give %v to %v", period, MinPeriod, MaxPeriod)
	}
	if len(part.Points) == 0 {
		fault("no points: a device that measures nothing is not polled")
	}
	for _, p := range part.Points {
		if p.Device != d.Dev.ID {
			fault("point %q belongs to device %d, not to %d", p.Name, p.Device, d.Dev.ID)
		}
		if o, dup := owner[p.ID]; dup {
			fault("point %q: id %d is also that of %q: ids are unique", p.Name, p.ID, o)
		}
		owner[p.ID] = p.Name
	}
}

// Name returns the name of the bus.
func (b *Bus) Name() string { return b.name }

// Points returns the points of all devices of the bus.
func (b *Bus) Points() []sensors.Point { return append([]sensors.Point(nil), b.points...) }

// Sample polls a device, all parts of it that a plan depends on, or all if none is, every period of
// clock time from now on; zero goes back to the configured periods. It only ever makes polling faster:
// a period above the configured one counts as zero, one below MinPeriod as MinPeriod. A device of
// another bus is ignored. It never blocks.
func (b *Bus) Sample(d sensors.DeviceID, period time.Duration) {
	u := b.byID[d]
	if u == nil {
		return
	}
	b.mu.Lock()
	for _, s := range u.slots {
		s.want = s.Period
		if period > 0 && (s.Reserved || !u.reserved) {
			s.want = max(min(period, s.Period), MinPeriod)
		}
	}
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default: // a wake-up is pending already
	}
}
