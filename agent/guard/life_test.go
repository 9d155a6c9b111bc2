package guard

import (
	"context"
	"fmt"
	"sync"
	"time"

	"firebreak/agent/core"
	"firebreak/agent/journal"
	"firebreak/agent/journal/faultfs"
	"firebreak/plugins"
	"firebreak/sensors"
)

// machine is the box that an agent runs on: a disk, memory that outlives a process, a clock since boot.
type machine struct {
	rules  *core.Rules
	out    *outside
	disk   *disk
	hook   func(life int) plugins.Hook
	found  func(*life) // looks at what a start has found, before it goes on; may be nil
	synced bool        // the wall clock is

	mu     sync.Mutex
	boot   int
	clock  *sensors.Clock // since that boot
	mirror []byte         // in the run directory: gone with the power
	cur    *life          // nil: the agent is down
	wg     sync.WaitGroup
}

// life is one process of the agent.
type life struct {
	m      *machine
	n      int
	g      *Guard
	in     *inbox
	j      *journal.Journal
	got    *Recovered
	begun  time.Time
	clock  *sensors.Clock
	boot   string
	cancel context.CancelFunc
	done   chan error

	mu   sync.Mutex
	plan plugins.PlanState
}

func newMachine(rules *core.Rules, out *outside, d *disk) *machine {
	return &machine{rules: rules, out: out, disk: d, hook: func(n int) plugins.Hook { return &wire{out, n} }, clock: sensors.NewScaledClock(sensors.Mono(1000*time.Second), 1)}
}

// start begins a process as package app does: a journal that does not open in 5 s is none.
func (m *machine) start() (*life, error) {
	l := &life{m: m, n: m.out.present(), in: newInbox(), begun: time.Now(), done: make(chan error, 1)}
	fs := m.disk.present()
	ctx, ok := context.WithTimeout(context.Background(), 5*time.Second)
	defer ok()
	j, rec, jerr := journal.Open(ctx, fs, journal.Options{SegmentBytes: 16 << 10})
	l.j = j
	if !m.out.lives(l.n) {
		return l, nil // killed while it was starting
	}
	m.mu.Lock()
	mirror := m.mirror
	l.clock, l.boot = m.clock, fmt.Sprintf("boot-%d", m.boot)
	m.mu.Unlock()
	got, err := Recover(m.rules, rec, mirror, l.clock.Now(), l.boot, m.synced, time.Now())
	if err != nil {
		return nil, err
	}
	l.got = got
	c := Config{Core: got.Core, Clock: l.clock, Resume: got.Resume, JournalErr: jerr, Behind: got.Behind, Boot: Boot{ID: l.boot, Epoch: got.Epoch + 1},
		Synced: func() bool { return m.synced }, Hooks: []plugins.Hook{m.hook(l.n)}, Inbox: l.in, Alive: l.look, Mirror: l.keep}
	if jerr == nil {
		c.Journal = j
	}
	if l.g, err = New(c); err != nil {
		return nil, err
	}
	m.out.found(got.Core.View(l.clock.Now(), "evacuate").Steps)
	if m.found != nil {
		m.found(l)
	}
	run, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	m.mu.Lock()
	m.cur = l
	m.mu.Unlock()
	go func() { l.done <- l.g.Run(run) }()
	return l, nil
}

func (l *life) look() {
	v := l.g.c.Core.View(l.clock.Now(), "evacuate")
	l.mu.Lock()
	defer l.mu.Unlock()
	l.plan = v
}

// view is the plan as it stood at the end of the loop's last turn.
func (l *life) view() plugins.PlanState {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.plan
}

func (l *life) keep(b []byte) {
	if l.m.out.lives(l.n) {
		l.m.mu.Lock()
		l.m.mirror = b
		l.m.mu.Unlock()
	}
}

// end lets go of a process. One that was killed or lost its power is deaf and mute already; its
// goroutines are ended here only because a test cannot kill them.
func (l *life) end(killed bool) error {
	l.m.mu.Lock()
	l.m.cur = nil
	l.m.mu.Unlock()
	var err error
	if l.cancel != nil {
		l.cancel()
		err = <-l.done
	}
	if l.j != nil {
		closed := make(chan struct{})
		l.m.wg.Go(func() {
			defer close(closed)
			ctx, ok := context.WithTimeout(context.Background(), 4*time.Second)
			defer ok()
			_ = l.j.Close(ctx)
		})
		if !killed {
			<-closed
		}
	}
	l.m.out.die(l.n)
	return err
}

// living is the process that runs now, if one does.
func (m *machine) living() *life {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cur == nil || !m.out.lives(m.cur.n) {
		return nil
	}
	return m.cur
}

// give puts readings of one device before the agent, if it lives.
func (m *machine) give(dev sensors.DeviceID, values map[sensors.PointID]float64) {
	l := m.living()
	if l == nil || len(values) == 0 {
		return
	}
	b := sensors.Batch{Device: dev, Wall: time.Now()}
	for p, v := range values {
		b.Readings = append(b.Readings, sensors.Reading{Point: p, Value: v, Quality: sensors.GoodQuality, At: l.clock.Now()})
		m.out.gave(p, v >= map[sensors.PointID]float64{smoke: 1, heat: 60, sessions: 0.5, mains: 0.5}[p])
	}
	l.in.put(b)
}

// order is a person at the box.
func (m *machine) order(o core.Order) error {
	l := m.living()
	if l == nil {
		return fmt.Errorf("nobody answers")
	}
	ctx, ok := context.WithTimeout(context.Background(), 3*time.Second)
	defer ok()
	o.Name, o.By, o.Channel = "evacuate", "kim", core.AtTheBox
	return l.g.Order(ctx, o)
}

// reboot is what the power that comes back finds: a new boot, an empty memory, an early clock.
func (m *machine) reboot() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.boot++
	m.mirror = nil
	m.clock = sensors.NewScaledClock(sensors.Mono(20*time.Second), 1)
}

// syncTakes is time enough for what should wait for it to go wrong.
const syncTakes = 2 * time.Millisecond

// disk is a faultfs that counts its operations over all lives and strikes at those that it was told.
type disk struct {
	mu     sync.Mutex
	fs     *faultfs.FS
	n      int
	strike func(n int, op faultfs.Op, name string) error // with no lock held; may wait
}

func newDisk() *disk {
	d := &disk{}
	d.use(faultfs.New())
	return d
}

func (d *disk) present() *faultfs.FS {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.fs
}

func (d *disk) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.n
}

// use makes fs the disk from now on.
func (d *disk) use(fs *faultfs.FS) {
	for op := faultfs.List; op <= faultfs.Sync; op++ {
		fs.Fault(op, func(name string) error { return d.enter(fs, op, name) })
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fs = fs
}

func (d *disk) enter(fs *faultfs.FS, op faultfs.Op, name string) error {
	d.mu.Lock()
	if fs != d.fs { // of a process that is dead
		d.mu.Unlock()
		return nil
	}
	d.n++
	n, strike := d.n, d.strike
	d.mu.Unlock()
	if op == faultfs.Sync {
		<-time.After(syncTakes)
	}
	if strike == nil {
		return nil
	}
	return strike(n, op, name)
}
