// Package sim is a battery room with its devices: the physics of package room behind real Modbus
// TCP and RTU servers and an I2C bus, so that the agent reads it exactly as it would read a real
// room.
//
// Concurrency: a World may be used from any goroutine. It advances to the present of its clock
// whenever a device is read, and by itself every few milliseconds once it is served; the same
// scenario and seed give the same room however often that happens. Failure: New and Serve return
// errors; a World that runs does not fail.
package sim

import (
	"fmt"
	"io/fs"
	"sync"
	"time"

	"firebreak/sensors"
	"firebreak/sensors/profile"
	"firebreak/sensors/sim/chips"
	"firebreak/sensors/sim/room"
	"firebreak/sensors/sim/slave"
)

// World is one simulated room with its devices.
type World struct {
	sc     Scenario
	clock  *sensors.Clock
	loadIs *profile.Profile
	banks  map[string]*slave.Bank // by device
	bus    *chips.Bus
	tmp    [2]*chips.TMP117

	mu    sync.Mutex
	start sensors.Mono
	now   time.Duration // since start
	room  *room.Room
	ups   *ups
	work  work

	onCommand func(work string)
}

// New returns the world of a scenario, standing at its first instant. clock decides how time goes
// and may be scaled; with a nil clock only AdvanceTo moves it. profiles holds load-controller.toml,
// which says where the simulated load controller keeps its registers.
func New(sc Scenario, clock *sensors.Clock, profiles fs.FS) (*World, error) {
	p := sc.params()
	w := &World{
		sc: sc, clock: clock, bus: chips.NewBus("sim-i2c-1"), work: work{},
		room: room.New(p, sc.Seed), ups: newUPS(sc.Seed, p.SetPoint),
		banks: map[string]*slave.Bank{
			UPSName: upsBank(), BMSName: bmsBank(p), ASDName: faastBank(), SmokeName: calectroBank(), LoadName: slave.NewBank(),
		},
	}
	var err error
	if w.loadIs, err = profile.Load(profiles, "load-controller"); err != nil {
		return nil, fmt.Errorf("simulated load controller: %w", err)
	}
	w.banks[LoadName].OnWrite(w.command)
	shows := new(Load).channels()
	for _, c := range w.loadIs.Channels {
		if _, ok := shows[c.Name]; !ok {
			return nil, fmt.Errorf("profile load-controller has channel %q, which the simulation does not know", c.Name)
		}
		w.banks[LoadName].Define(slave.Table(c.Func), c.Address, uint16(c.Type.Words()))
	}
	for _, c := range w.loadIs.Identity {
		w.banks[LoadName].Set(slave.Table(c.Func), c.First, c.Want...)
	}
	if clock != nil {
		w.start = clock.Now()
	}
	for i := range w.tmp {
		w.tmp[i] = chips.NewTMP117(w.elapsed, func() float64 { return w.chip(i) })
		w.bus.Attach(tmpAddress[i], w.tmp[i])
	}
	w.bus.OnTx(w.Sync)
	for _, b := range w.banks {
		b.OnRead(w.Sync)
	}
	w.mu.Lock()
	w.stepUPSLocked()
	w.refreshLocked()
	w.mu.Unlock()
	return w, nil
}

// Scenario returns the scenario of the world.
func (w *World) Scenario() Scenario { return w.sc }

// SparkAt is T+0 on the clock of the world.
func (w *World) SparkAt() sensors.Mono { return w.start.Add(w.sc.SparkAt()) }

// PowerLostAt is the first loss of power on the clock of the world; false if it never comes.
func (w *World) PowerLostAt() (sensors.Mono, bool) {
	at := w.sc.after(w.sc.PowerLossAfter)
	return w.start.Add(at), at > 0
}

// after turns a duration after T+0 into one since the start; 0 stays 0, never.
func (s *Scenario) after(d time.Duration) time.Duration {
	if d <= 0 || s.NoSpark {
		return 0
	}
	return s.SparkAt() + d
}

// Sync advances the world to the present of its clock.
func (w *World) Sync() {
	if w.clock == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.advanceLocked(w.clock.Now().Sub(w.start))
}

// AdvanceTo moves a world without a clock to an instant since its start; it never goes back.
func (w *World) AdvanceTo(t time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.advanceLocked(t)
}

func (w *World) advanceLocked(t time.Duration) {
	if t <= w.now {
		return
	}
	for w.room.Advance(min(t, w.room.At()+room.Step)) > 0 {
		w.stepUPSLocked()
	}
	w.now = t
	w.refreshLocked()
}

func (w *World) stepUPSLocked() {
	l := w.loadLocked(w.room.At())
	w.ups.step(w.room.At(), w.sc.after(w.sc.MainsLossAfter), w.sc.after(w.sc.PowerLossAfter), w.room.Air(), l)
}

func (w *World) loadLocked(at time.Duration) Load {
	return w.work.load(at, w.sc.after(w.sc.PowerLossAfter), w.sc.BreakerWelded)
}

// refreshLocked writes what the devices show into their registers, each device at once.
func (w *World) refreshLocked() {
	w.banks[UPSName].Update(w.ups.shows.write)
	w.banks[BMSName].Update(func(set slave.Setter) { writeBMS(w.room.BMS(), set) })
	w.banks[ASDName].Update(func(set slave.Setter) { writeFAAST(w.room.ASD(), w.room.Air(), w.now, set) })
	w.banks[SmokeName].Update(func(set slave.Setter) { writeCalectro(w.room.PointSmoke(), set) })
	l := w.loadLocked(w.now)
	shows := l.channels()
	w.banks[LoadName].Update(func(set slave.Setter) {
		done := map[profile.Span][]uint16{} // channels may share a register
		for i := range w.loadIs.Channels {
			c := &w.loadIs.Channels[i]
			words := done[c.Span()]
			if words == nil {
				words = make([]uint16, c.Type.Words())
				done[c.Span()] = words
			}
			c.Encode(shows[c.Name], words)
			set(slave.Table(c.Func), c.Address, words...)
		}
	})
}

// StartWork begins the work of a step at an instant of the clock; see WorkNames. Started twice it
// runs once.
func (w *World) StartWork(name string, at sensors.Mono) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.work.start(name, at.Sub(w.start)); err != nil {
		return err
	}
	w.refreshLocked()
	return nil
}

// WorkDone advances to the present and tells whether a work was started and has come to its end.
func (w *World) WorkDone(name string) bool {
	w.Sync()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.work.done(name, w.now, w.sc.after(w.sc.PowerLossAfter))
}

// OnCommand sets what hears of each write that the load controller takes, before it starts the
// work. Set it before the world is served; it must not call the world.
func (w *World) OnCommand(f func(work string)) { w.onCommand = f }

// loadCommands are the writes that the load controller takes: register, value, and the work that each
// starts (firmware-notes/load-controller.md).
var loadCommands = [...]struct {
	address, value uint16
	work           string
}{{4, 0, "outlets-off"}, {5, 0, "breaker-open"}, {8, 1, "freeze-deploys"}}

// command is a write to the load controller. One that was given already changes nothing.
func (w *World) command(t slave.Table, address, value uint16) (exception byte) {
	if t != slave.Holdings {
		return slave.IllegalFunction
	}
	code := byte(slave.IllegalAddress)
	for _, c := range loadCommands {
		if c.address != address {
			continue
		}
		if code = slave.IllegalValue; c.value == value {
			if w.onCommand != nil {
				w.onCommand(c.work)
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.work.start(c.work, w.now) != nil {
				return slave.DeviceFailure
			}
			w.refreshLocked()
			return 0
		}
	}
	return code
}

// elapsed and chip are called by the chips, which hold their own lock, never by the world with its.
func (w *World) elapsed() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *World) chip(i int) float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.room.CabinetChip(i)
}

// Snapshot is the state of everything, for displays and tests.
type Snapshot struct {
	Since      time.Duration // since the start
	AfterSpark time.Duration // negative before T+0
	Truth      room.Truth
	BMS        room.BMS
	ASD        room.ASD
	PointSmoke bool
	CabinetC   [2]float64
	UPS        UPS
	Load       Load
	Discharged bool // the extinguishing gas has been set free
	PowerLost  bool
}

// Snapshot advances to the present and returns the state.
func (w *World) Snapshot() Snapshot {
	w.Sync()
	w.mu.Lock()
	defer w.mu.Unlock()
	gone := func(d time.Duration) bool { at := w.sc.after(d); return at > 0 && w.now >= at }
	return Snapshot{
		Since: w.now, AfterSpark: w.now - w.sc.SparkAt(), Truth: w.room.Truth(),
		BMS: w.room.BMS(), ASD: w.room.ASD(), PointSmoke: w.room.PointSmoke(),
		CabinetC: [2]float64{w.room.CabinetChip(0), w.room.CabinetChip(1)},
		UPS:      w.ups.shows, Load: w.loadLocked(w.now),
		Discharged: gone(w.sc.DischargeAfter), PowerLost: gone(w.sc.PowerLossAfter),
	}
}
