// Package app builds and runs the process: the only list of concrete hooks, sources and
// publishers, and the order in which they start and end.
//
// Concurrency: Run blocks until its context ends; everything that it starts it also ends and waits
// for, in reverse, each within a bound. Failure: only a configuration that cannot be built keeps
// the agent from starting. A journal, a control socket or a broker that is not there is told and
// gone without; a bus that does not answer is silent sensors.
package app

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"firebreak/agent/config"
	"firebreak/agent/core"
	"firebreak/agent/guard"
	"firebreak/agent/history"
	"firebreak/agent/metrics"
	"firebreak/agent/uplink"
	"firebreak/plugins"
	"firebreak/plugins/service"
	"firebreak/plugins/telegraf/companion"
	"firebreak/sensors"
	"firebreak/sensors/bus"
)

// Options of a process. The demo sets more of them than `run` does.
type Options struct {
	Config     *config.Config
	Source     []byte         // of the configuration: kept beside the journal, for pinned runs (S8)
	Clock      *sensors.Clock // nil: the real one
	Origin     sensors.Origin // stamped on every reading; the core counts no other (S7)
	Drill      bool           // everything told goes to drill topics
	I2C        OpenI2C        // nil: the kernel's adapters
	Probe      time.Duration  // budget of one probe of a silent device; 0: the default
	Publishers []plugins.Publisher
	Self       string // answers exec-shim; empty: os.Executable
	Log        *slog.Logger
	Ready      func(Running) // called once the loop is about to run
	Alone      bool          // the process is the agent's alone: one processor will do while nothing is wrong

	last *next // the configuration before, while the present one has not started
	then *next // the configuration that counts when the run has ended to which the present one belongs
}

// Running is what a caller may look at while the process runs.
type Running struct {
	Uplink *uplink.Uplink
	Guard  *guard.Guard
	Buses  []*bus.Bus
	Board  *Board
	Hooks  []plugins.Hook // in the order of the configuration
}

// Limits of starting and stopping.
const (
	journalOpen = 5 * time.Second
	stopLimit   = 3 * time.Second
	uplinkLimit = 5 * time.Second

	historyLimit = 3 * time.Second
)

// Version is that of the module or the commit that was built.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return s.Value[:12]
		}
	}
	return info.Main.Version
}

// Run runs the agent until ctx ends: one life after the other, each under one configuration. A new
// configuration that cannot be built leaves the old one running.
func Run(ctx context.Context, o Options) error {
	o.defaults()
	for {
		n, started, err := o.life(ctx)
		switch {
		case n != nil:
			if err != nil {
				o.Log.Warn("not all ended as it should before the new configuration", "err", err)
			}
			o.last = n.before
			o.Config, o.Source = n.config, n.source
		case !started && o.last != nil && ctx.Err() == nil:
			o.Log.Error("the new configuration cannot be built: the old one runs on", "err", err)
			o.Config, o.Source, o.last = o.last.config, o.last.source, nil
		default:
			return err
		}
	}
}

// life runs the agent under one configuration, until ctx ends or another is to take over.
func (o Options) life(outer context.Context) (n *next, started bool, err error) {
	ctx, stop := context.WithCancel(outer)
	defer stop()
	ends := &cleanups{log: o.Log}
	defer func() { err = errors.Join(err, ends.run()) }()

	jr := openJournal(ctx, &o, ends)
	rec, err := o.recover(jr)
	if err != nil {
		return nil, false, err
	}
	p, err := o.build(jr, rec)
	if err != nil {
		return nil, false, err
	}
	p.start(ends)
	if o.Ready != nil {
		o.Ready(Running{p.up, p.guard, p.buses, p.board, p.hooks})
	}
	p.note.Send("READY=1")
	o.Log.Info("firebreak runs", "agent", o.Config.Agent, "config", o.Config.Rules.Hash, "epoch", p.boot.Epoch, "version", p.boot.Version)
	ended := make(chan error, 1)
	go func() { ended <- p.guard.Run(ctx) }()
	select {
	case n = <-p.change.change:
		if n == nil {
			p.note.Send("STOPPING=1")
		} else {
			n.before = &next{config: o.Config, source: o.Source}
		}
		stop()
		err = <-ended
	case err = <-ended:
		p.note.Send("STOPPING=1")
	}
	return n, true, err
}

// parts are what one life consists of.
type parts struct {
	o         *Options
	rec       *guard.Recovered
	boot      guard.Boot
	up        *uplink.Uplink
	hooks     []plugins.Hook
	inbox     *bus.Latest
	buses     []*bus.Bus
	board     *Board
	newest    *newest
	note      *service.Notifier
	hist      *history.History     // nil: the configuration wants none
	listeners []plugins.Publisher  // what the loop tells, in its order
	tele      *companion.Companion // nil likewise
	mem       *mirror
	jr        *opened
	drills    *drills
	guard     *guard.Guard
	change    *reloader
	desk      *desk
	heard     heard // of peers
	twins     heard
	loads     *busLoads
	tally     *metrics.Tally
	gear      *gear // nil: all processors, always
	began     time.Time
}

func (o *Options) build(jr *opened, rec *guard.Recovered) (p *parts, err error) {
	p = &parts{o: o, rec: rec, jr: jr, began: time.Now(), board: NewBoard(o.Clock), note: service.NewNotifier(), mem: newMirror(o.Config.Run, o.Log), heard: make(heard, 16), twins: make(heard, 8), loads: &busLoads{},
		inbox: bus.NewLatest(len(o.Config.Devices)),
		boot:  guard.Boot{ID: sensors.BootID(), Epoch: max(rec.Epoch+1, uint64(max(time.Now().Unix(), 1))), Instance: instance(), Version: Version()}}
	if o.Alone {
		p.gear = newGear(o.Clock, p.calm)
	}
	if p.up, err = buildUplink(o, p.boot, p); err != nil {
		return nil, err
	}
	way, certs := &devicesByName{}, certTime(rec.LastWall)
	if p.hooks, err = buildHooks(o.Config, way, o.Self, o.Config.Run, certs, o.Log); err != nil {
		return nil, err
	}
	if p.buses, err = buildBuses(o.Config, o.Clock, o.Origin, o.I2C, o.Probe, p.loads, certs, o.Log); err != nil {
		return nil, err
	}
	if p.hist, err = buildHistory(o, p.boot); err != nil {
		return nil, err
	}
	p.tally = newTally(o, rec)
	if p.tele, err = buildCompanion(o, p); err != nil {
		return nil, err
	}
	way.fill(o.Config, p.buses)
	p.loads.buses = p.buses
	p.newest = newNewest(o.Config.Rules.Hazard.Points, o.Config.Rules.Voting(), o.Clock)
	p.drills = &drills{config: o.Config, hooks: p.hooks, tell: []plugins.Publisher{p.up}, clock: o.Clock, real: p.board.open, synced: clockSynced,
		dir: filepath.Join(o.Config.Journal, "drills"), log: o.Log}
	p.listeners = p.publishers()
	p.guard, err = guard.New(guard.Config{Core: rec.Core, Clock: o.Clock, Resume: rec.Resume, Journal: jr.guard(), JournalErr: jr.err, Behind: rec.Behind,
		Boot: p.boot, Synced: clockSynced, Hooks: p.hooks, Publishers: p.listeners, Inbox: p.inbox, Alive: p.note.Alive, Mirror: p.mem.put, Sample: way.sample, Ended: p.tally.Called, Starting: starting(p.tele), Log: o.Log})
	if err != nil {
		return nil, err
	}
	p.drills.post = p.guard.Post
	p.change = &reloader{running: o.Config, idle: func() bool { return p.board.idle(len(o.Config.Rules.Response.Plans)) }, standing: func() []string { return deadMen(p.hooks) },
		order: p.guard.Order, log: o.Log, change: make(chan *next, 1), waiting: make(chan struct{}, 1), kept: p.note.Heard()}
	if o.then != nil {
		p.change.wait(o.then)
	}
	p.desk = &desk{board: p.board, newest: p.newest, loads: p.loads, order: p.guard.Order, drills: p.drills, reload: p.change, telling: p.up.Stats, gear: p.gear}
	return p, nil
}

// start starts what works beside the loop, which waits for none of it: first what senses and acts, then,
// at once or later (S22), the rest.
func (p *parts) start(ends *cleanups) {
	o := p.o
	ends.push("what hooks keep ready", stopLimit, func(context.Context) error { standDown(p.hooks...); return nil })
	ends.task("mirror", stopLimit, p.mem.run)
	for _, b := range p.buses {
		ends.task("bus "+b.Name(), stopLimit, runBus(b, p.inbox.Put, p.loads, o.Log))
	}
	for i, h := range p.hooks {
		if r, ok := h.(plugins.Runner); ok {
			ends.task("hook "+o.Config.Hooks[i].Name, stopLimit, keepRunning(o.Config.Hooks[i].Name, r, p.seen, o.Log))
		}
	}
	if p.gear != nil {
		ends.task("gear", stopLimit, p.gear.run)
	}
	ends.task("bus loads", stopLimit, p.loads.run(o.Clock, p.guard.Post))
	ends.push("drills", 2*stopLimit, p.drills.close)
	o.startRest(ends, func() {
		ends.task("uplink", uplinkLimit, p.up.Run)
		ends.task("peers", stopLimit, p.heard.run(p.guard.Post))
		ends.task("twins", stopLimit, p.twins.run(p.guard.Post))
		if p.hist != nil {
			ends.task("history", historyLimit, o.remember(p.hist))
		}
		if p.tele != nil {
			ends.task("Telegraf companion", companionLimit, o.host(p.tele))
		}
		startControl(o, p.desk, ends)
		if o.Config.Metrics != "" {
			ends.task("metrics", stopLimit, (&metrics.Server{Address: o.Config.Metrics, Fill: p.fill, Log: o.Log.With("part", "metrics")}).Run)
		}
		ends.task("probes", stopLimit, newAudit(o.Config, p.hooks, p.guard.Post, o.Log).run)
		ends.task("reload", stopLimit, p.change.run)
		ends.task("drill schedule", stopLimit, func(ctx context.Context) error { return p.drills.schedule(ctx, p.board.lastDrill) })
		sweeps := &sweeper{o.Config.Run, openEpisodes(p.rec.Core, o.Config.Rules, o.Clock.Now(), p.board), planNames(o.Config), helpersOf(o.Config), o.Log}
		ends.task("sweeps", stopLimit, sweeps.run)
		ends.task("kept configuration", stopLimit, func(context.Context) error { keepSource(o); return nil })
	})
}

// seen takes what a hook has seen between its calls to the loop that it concerns: that of the drill, or
// the real one (S7).
func (p *parts) seen(ctx context.Context, ev core.Event) {
	if ev.Evidence.Mark == plugins.MarkReal {
		p.guard.Post(ctx, ev)
		return
	}
	p.drills.seen(ctx, ev.Evidence)
}

// publishers are all that the loop tells. A hook that is one as well (the NUT server) hears of points
// and plans like any other.
func (p *parts) publishers() []plugins.Publisher {
	out := []plugins.Publisher{p.board, p.newest, p.up, p.drills, p.tally}
	if p.hist != nil {
		out = append(out, p.hist)
	}
	if p.tele != nil {
		out = append(out, p.tele)
	}
	if p.gear != nil {
		out = append(out, p.gear)
	}
	for _, h := range p.hooks {
		if also, ok := h.(plugins.Publisher); ok {
			out = append(out, also)
		}
	}
	return append(out, p.o.Publishers...)
}

// deadMen names what takes the silence of this agent for a fire (S20).
func deadMen(hooks []plugins.Hook) (names []string) {
	for _, h := range hooks {
		if d, ok := h.(interface{ DeadMan() []string }); ok {
			names = append(names, d.DeadMan()...)
		}
	}
	return names
}

func (o *Options) defaults() {
	if o.Clock == nil {
		o.Clock = sensors.NewClock()
	}
	if o.I2C == nil {
		o.I2C = openAdapter
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Self == "" {
		o.Self, _ = os.Executable() // exec hooks say what is wrong if it is empty
	}
}

func instance() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func startControl(o *Options, d *desk, ends *cleanups) {
	if o.Config.Control == "" {
		return
	}
	ends.task("control socket", stopLimit, func(ctx context.Context) error { // its directory may hang
		c, err := listenControl(o.Config.Control, d)
		if err != nil {
			o.Log.Error("the control socket is not served: orders at the box are not possible", "err", err)
			return nil
		}
		return c.run(ctx)
	})
}

// openEpisodes tells the open episode of a plan: as the journal left it, until the loop has told.
func openEpisodes(c *core.Core, r *core.Rules, now sensors.Mono, board *Board) func(string) uint64 {
	first := map[string]uint64{}
	for i := range r.Response.Plans {
		name := r.Response.Plans[i].Name
		first[name] = c.View(now, name).Episode
	}
	return func(plan string) uint64 {
		if e, told := board.episode(plan); told {
			return e
		}
		return first[plan]
	}
}
