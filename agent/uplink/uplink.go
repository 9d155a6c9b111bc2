// Package uplink tells what was seen and decided to any number of MQTT brokers, each by itself.
// It is a plugins.Publisher.
//
// Each broker has two sessions: one for what somebody acts on, and one for telemetry and drills, so
// that no backlog of readings stands before an alarm.
//
// Concurrency: Offer may be called from any goroutine and never waits for a broker: it encodes an
// update once and puts it into the bounded queue of each session, under locks that are held for
// such moments only. One goroutine for each session owns its connection. Failure: a broker that is
// absent, slow, hung or lying is left and tried again, with full jitter; nobody else notices. A
// message is kept until the broker's PUBACK was seen, and sent again after a reconnect: at least
// once, in order in each class.
//
// When the memory of one session's queues is full, the oldest message goes first of: telemetry;
// events and alarm transitions of a drill; events; alarm transitions, superseded ones before
// others. The present state of every alarm and plan is never dropped, and is told again after each
// reconnect: birth, plans, active alarms by priority, then what is queued. What was dropped is
// counted, and told in birth and hello.
//
// A plan's states that follow each other faster than they can be sent are told as the newest: a
// gap in the sequence of the class plan is a superseded state. A gap in any other class is a loss.
package uplink

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"sync"
	"sync/atomic"
	"time"

	"firebreak/agent/consumer"
	"firebreak/agent/wire"
	"firebreak/plugins"
)

var _ plugins.Publisher = (*Uplink)(nil)

// Uplink is the publisher.
type Uplink struct {
	cfg   Config
	links []*link // of the alarms, one a broker
	lanes []*link // all

	mu         sync.Mutex // guards the encoder, and keeps the queues in the order of the sequences
	enc        *wire.Encoder
	peers      *peers
	twins      twins
	tampers    tampers
	voice      voice
	exceptions *exceptions // under mu
	foreigners foreigners
	orders     *orders
	receipts   *receipts
	outbox     *outbox     // nil: what waits is in memory alone
	spill      *spill      // the same of readings
	unset      atomic.Bool // the wall clock is not set
	untold     uint64      // updates that could not be encoded
	lastErr    error
}

// New checks the configuration. It opens nothing.
func New(cfg Config) (*Uplink, error) {
	cfg.defaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	u := &Uplink{cfg: cfg, peers: newPeers(cfg.Peers, cfg.Heard), twins: twins{own: cfg.Instance, tell: cfg.Twin, signs: map[string]int{}},
		tampers: tampers{tell: cfg.Tamper}, foreigners: foreigners{book: consumer.NewBook(nil, false), tell: cfg.Foreign}, exceptions: newExceptions(cfg.Exceptions, cfg.Points), orders: newOrders(cfg.TrustedKeys), receipts: newReceipts(cfg.Consumers, cfg.Unheard)}
	u.enc = wire.NewEncoder(
		wire.Identity{Site: cfg.Site, Zone: cfg.Zone, Agent: cfg.Agent, Instance: cfg.Instance, Epoch: cfg.Epoch, Drill: cfg.Drill},
		wire.Life{Boot: cfg.Boot, Version: cfg.Version, Started: cfg.Started, Clock: cfg.Clock, Buses: cfg.Buses}, cfg.Devices, cfg.Points)
	for _, b := range cfg.Brokers {
		if b.Sessions == 1 {
			u.links = append(u.links, newLink(u, b, whole))
			u.lanes = append(u.lanes, u.links[len(u.links)-1])
			continue
		}
		l := newLink(u, b, alarms)
		l.mate = newLink(u, b, telemetry)
		u.links, u.lanes = append(u.links, l), append(u.lanes, l, l.mate)
	}
	u.outbox, u.spill = newOutbox(u), newSpill(u)
	u.unset.Store(!u.clockSet())
	return u, nil
}

// Offer tells an update, and returns at once.
func (u *Uplink) Offer(up plugins.Update) {
	if len(u.links) == 0 {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if up.State != nil && u.exceptions.leave(up.State, time.Now()) {
		for _, l := range u.lanes {
			l.last(up.Goes)
		}
		return
	}
	m, err := u.enc.Encode(up)
	if err != nil {
		// Not logged here: the caller is the safety loop, and a log may block.
		u.untold++
		u.lastErr = err
		return
	}
	m.Made, m.Unset = time.Now(), u.unset.Load()
	u.outbox.put(&m)
	u.receipts.told(&up, &m)
	for _, l := range u.lanes {
		l.put(&m, up.Goes)
	}
}

// Run serves the brokers until the context ends; then it tells what is still queued, within the
// stop time-out, says that the agent has stopped, and returns when all that it started has ended.
func (u *Uplink) Run(ctx context.Context) error {
	var wg, spilling sync.WaitGroup
	ended := make(chan struct{}) // the sessions, and what goes with them
	if u.spill != nil {
		spilling.Go(func() { u.spill.run(ctx, ended) })
	}
	for _, l := range u.lanes {
		wg.Go(func() { l.run(ctx) })
	}
	wg.Go(func() { u.obey(ctx) })
	if u.outbox != nil {
		wg.Go(func() { u.outbox.run(ctx) })
	}
	t, second := time.NewTimer(u.cfg.Next(u.cfg.HelloEvery)), time.NewTimer(u.cfg.Next(time.Second))
	defer t.Stop()
	defer second.Stop()
	for {
		select {
		case <-ctx.Done():
			wg.Wait()
			close(ended)
			u.outbox.close()
			spilling.Wait()
			return nil
		case now := <-t.C:
			t.Reset(u.cfg.Next(u.cfg.HelloEvery))
			u.hello(now)
			u.twins.look(now)
			u.tampers.look(now)
		case now := <-second.C:
			second.Reset(u.cfg.Next(time.Second))
			u.unset.Store(!u.clockSet())
			u.missing(now)
			u.outbox.look(now)
		}
	}
}

// clockSet tells whether the wall clock says what time it is.
func (u *Uplink) clockSet() bool { return u.cfg.Clock != nil && u.cfg.Clock() != "unset" }

func (u *Uplink) hello(now time.Time) {
	var c [16]byte
	_, _ = rand.Read(c[:]) // never fails
	challenge := hex.EncodeToString(c[:])
	u.mu.Lock()
	b := u.enc.Beat(now, challenge)
	u.mu.Unlock()
	u.orders.said(b.Seq(), challenge)
	for _, l := range u.links {
		l.beat(b)
	}
}

// status encodes one of the messages that tell of a session.
func (u *Uplink) status(f func(*wire.Encoder) (wire.Message, error)) (wire.Message, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return f(u.enc)
}

// BrokerStats is how it stands with one broker.
type BrokerStats struct {
	Name      string
	Connected bool
	Sessions  uint64 // attempts to connect
	Published uint64 // messages handed to a connection, repeats included
	Acked     uint64 // messages that the broker has acknowledged; hellos: written
	Queued    int
	Dropped   wire.Drops
	Gaps      []wire.GapRange // the last of what was dropped
	LastError string          // empty while connected

	Telemetry      bool   // connected; false too where it has no session of its own
	TelemetryError string // of its own session
	Granted        bool   // what was tried came back, in each class
	Refused        string // what the broker does not allow; empty: nothing is known
}

// Stats is how it stands with all.
type Stats struct {
	Brokers   []BrokerStats
	Messages  uint64 // sum of Acked
	Untold    uint64 // updates that could not be made into a message
	LastError string // of those
	Signing   string // why messages are not signed, or with an old key; empty: as configured
	Tampered  uint64 // words of others, or wiped, on topics that are this agent's

	Kept *KeptStats // of the log of what waits; nil: there is none

	Commands uint64            // taken
	Dropped  map[string]uint64 // commands and receipts that were not, by reason
	Trusted  string            // why the trusted keys cannot be read; empty: they can, or none are named
}

// Stats takes a snapshot.
func (u *Uplink) Stats() Stats {
	var s Stats
	u.mu.Lock()
	s.Untold = u.untold
	if u.lastErr != nil {
		s.LastError = u.lastErr.Error()
	}
	u.mu.Unlock()
	s.Kept = u.outbox.stats()
	s.Signing, s.Tampered = u.voice.problem(), u.tampers.count()
	u.orders.stats(&s)
	for _, l := range u.links {
		b := l.both()
		s.Brokers = append(s.Brokers, b)
		s.Messages += b.Acked
	}
	return s
}

// Messages is the number of messages that arrived at brokers: acknowledged, or, for hellos, written.
func (u *Uplink) Messages() uint64 { return u.Stats().Messages }
