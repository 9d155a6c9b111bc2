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
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"syscall"
	"time"

	"firebreak/agent/config"
	"firebreak/agent/core"
	"firebreak/agent/guard"
	"firebreak/agent/journal"
	"firebreak/agent/uplink"
	"firebreak/plugins"
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
}

// Running is what a caller may look at while the process runs.
type Running struct {
	Uplink *uplink.Uplink
	Guard  *guard.Guard
	Buses  []*bus.Bus
	Board  *Board
}

// Limits of starting and stopping.
const (
	journalOpen = 5 * time.Second
	stopLimit   = 3 * time.Second
	uplinkLimit = 5 * time.Second
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

// Run runs the agent until ctx ends.
func Run(ctx context.Context, o Options) (err error) {
	o.defaults()
	ends := &cleanups{log: o.Log}
	defer func() { err = errors.Join(err, ends.run()) }()

	bootID, synced := sensors.BootID(), clockSynced()
	jr := openJournal(ctx, &o, ends)
	if errors.Is(jr.err, syscall.EWOULDBLOCK) && answers(o.Config.Control) {
		// Two agents of one configuration would give each hook two keys (S10). One that holds the lock
		// and does not answer protects nothing: then this one goes on, without a journal.
		return fmt.Errorf("another agent runs with the journal %s and answers on %s: stop that one first", o.Config.Journal, o.Config.Control)
	}
	o.Config.Rules.Hazard.Origin = o.Origin
	rec, err := guard.Recover(o.Config.Rules, jr.rec, o.Clock.Now(), bootID, synced, time.Now())
	if err != nil {
		return fmt.Errorf("the configuration cannot be built: %w", err)
	}
	for _, n := range rec.Notes {
		o.Log.Warn("journal", "note", n)
	}
	if h := rec.Core.RunHash(); h != "" && h != o.Config.Rules.Hash {
		if rec, err = o.pinned(h, jr.rec, rec, bootID, synced); err != nil {
			o.Log.Error("an open run is pinned to a configuration that is no longer here; it starts no step until it is, or until a reset", "hash", h, "err", err)
		}
	}
	boot := guard.Boot{ID: bootID, Epoch: max(rec.Epoch+1, uint64(max(time.Now().Unix(), 1))), Instance: instance(), Version: Version()}
	up, err := buildUplink(&o, boot)
	if err != nil {
		return err
	}
	hooks, err := buildHooks(o.Config, o.Self, o.Config.Run, o.Log)
	if err != nil {
		return err
	}
	inbox := bus.NewLatest(len(o.Config.Devices))
	buses, err := buildBuses(o.Config, o.Clock, o.Origin, o.I2C, o.Probe, o.Log)
	if err != nil {
		return err
	}
	board, note := NewBoard(), newNotifier()
	g, err := guard.New(guard.Config{Core: rec.Core, Clock: o.Clock, Resume: rec.Resume, Journal: jr.guard(), JournalErr: jr.err,
		Boot: boot, Synced: clockSynced, Hooks: hooks, Publishers: append([]plugins.Publisher{board, up}, o.Publishers...), Inbox: inbox,
		Alive: note.alive, Log: o.Log})
	if err != nil {
		return err
	}

	// Buses, brokers and the control socket start beside the loop; it waits for none of them.
	ends.task("uplink", uplinkLimit, up.Run)
	for _, b := range buses {
		ends.task("bus "+b.Name(), stopLimit, runBus(b, inbox.Put, o.Log))
	}
	startControl(&o, board, g, ends)
	ends.task("probes", stopLimit, func(ctx context.Context) error { return probeHooks(ctx, o.Config, hooks, o.Log) })
	sweeps := &sweeper{o.Config.Run, openEpisodes(rec.Core, o.Config.Rules, o.Clock.Now(), board), o.Log}
	ends.task("sweeps", stopLimit, sweeps.run)
	ends.task("kept configuration", stopLimit, func(context.Context) error { keepSource(&o); return nil })
	if o.Ready != nil {
		o.Ready(Running{up, g, buses, board})
	}
	note.send("READY=1")
	defer note.send("STOPPING=1")
	o.Log.Info("firebreak runs", "agent", o.Config.Agent, "config", o.Config.Rules.Hash, "epoch", boot.Epoch, "version", boot.Version)
	return g.Run(ctx)
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

func buildUplink(o *Options, boot guard.Boot) (*uplink.Uplink, error) {
	c := uplink.Config{Site: o.Config.Site, Zone: o.Config.Zone, Agent: o.Config.Agent, Epoch: boot.Epoch, Instance: boot.Instance,
		Boot: boot.ID, Version: boot.Version, Started: time.Now(), Devices: o.Config.Rules.Hazard.Devices,
		Points: o.Config.Rules.Hazard.Points, Drill: o.Drill, Log: o.Log,
		Clock: newClockState(clockSynced, time.Now).state}
	for _, b := range o.Config.Brokers {
		c.Brokers = append(c.Brokers, uplink.Broker{Name: b.Name, URL: b.URL, UsernameFile: b.UsernameFile, PasswordFile: b.PasswordFile,
			CAFile: b.CA, CertFile: b.Cert, KeyFile: b.Key})
	}
	return uplink.New(c)
}

func startControl(o *Options, board *Board, g *guard.Guard, ends *cleanups) {
	if o.Config.Control == "" {
		return
	}
	ends.task("control socket", stopLimit, func(ctx context.Context) error { // its directory may hang
		c, err := listenControl(o.Config.Control, board, g.Order)
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

// probeHooks exercises every hook at the start: a broken one is told before it is needed.
func probeHooks(ctx context.Context, c *config.Config, hooks []plugins.Hook, log *slog.Logger) error {
	for i, h := range hooks {
		pctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		if err := h.Probe(pctx); err != nil && ctx.Err() == nil {
			log.Error("a hook would not work now", "hook", c.Hooks[i].Name, "err", err)
		}
		cancel()
	}
	return nil
}

// opened is the journal, or why there is none.
type opened struct {
	dir *journal.Dir
	j   *journal.Journal
	rec *journal.Recovered
	err error
}

// guard returns a nil interface when there is no journal.
func (o *opened) guard() guard.Journal {
	if o.j == nil {
		return nil
	}
	return o.j
}

// openJournal waits for the disk at most so long: one that hangs must not keep the agent from
// protecting.
func openJournal(ctx context.Context, o *Options, ends *cleanups) *opened {
	ctx, cancel := context.WithTimeout(ctx, journalOpen)
	defer cancel()
	ch := make(chan *opened, 1)
	go func() { ch <- openDir(ctx, o.Config.Journal) }()
	var out *opened
	select {
	case out = <-ch:
	case <-ctx.Done():
		out = &opened{err: fmt.Errorf("the disk under %s has not answered for %v", o.Config.Journal, journalOpen)}
	}
	if out.err != nil {
		o.Log.Error("there is no journal: the agent protects without one, and hooks are marked journaled: false", "err", out.err)
		return out
	}
	ends.push("journal directory", stopLimit, func(context.Context) error { return out.dir.Close() })
	ends.push("journal", stopLimit, out.j.Close)
	return out
}

func openDir(ctx context.Context, path string) *opened {
	out := &opened{}
	if out.err = os.MkdirAll(path, 0o700); out.err != nil {
		return out
	}
	if out.dir, out.err = journal.OS(path); out.err != nil {
		return out
	}
	if out.j, out.rec, out.err = journal.Open(ctx, out.dir, journal.Options{}); out.err != nil {
		_ = out.dir.Close()
	}
	return out
}
