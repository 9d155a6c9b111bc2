// Package core is hazard and response as one state machine: events in, effects out. It is pure: no
// I/O, no clock, no goroutine. Running, demo, replay, drill and crash tests all use it.
//
// Concurrency: a Core belongs to one goroutine (package guard's). Failure: none of its own; equal
// events at equal instants give equal effects, byte for byte, and what lasts changes only by
// records that Apply takes back after a crash.
package core

import (
	"fmt"
	"math"
	"strings"
	"time"

	"firebreak/agent/hazard"
	"firebreak/agent/response"
	"firebreak/plugins"
	"firebreak/sensors"
)

const never = sensors.Mono(math.MaxInt64)

// A record is written so often while an on-delay runs, so that a restart knows how much of it was
// served (S8); while a member is true, so that it knows for how long to hold it (S4); and while a run is open,
// so that one in which nothing moves is not taken for an old one (S8).
const (
	aliveServing = time.Second
	aliveOpen    = 30 * time.Second
)

// DefaultJournalBound is how long a hook waits for its record at most (S9).
const DefaultJournalBound = 100 * time.Millisecond

// Core judges and responds.
type Core struct {
	r    *Rules
	eng  *hazard.Engine
	book *hazard.AlarmBook
	resp *response.Machine

	ch       hazard.Changes
	out      response.Out
	losses   []string // names of the loss alarms that are active
	lastRec  sensors.Mono
	pending  bool
	holding  bool // a member is true
	respWake sensors.Mono
	bookWake sensors.Mono
	begun    bool

	inhibited     map[string]sensors.Mono // votes that cannot trip, since when
	inhibitedWake sensors.Mono
	lossHold      sensors.Mono // after a start: no loss clears before; never: no start waits
	journalTold   bool         // by this process
	gate          gate
	bypassWhy     string       // of the order that is being carried out
	bypassWake    sensors.Mono // a bypass is to be warned of
	groups        map[string]string
	alike         []string // causes whose members turned true together
	floodSeen     uint64   // alarms raised when the flood was last looked at
	floodWake     sensors.Mono
	sampled       map[sensors.DeviceID]bool // polled faster by our order
}

// New builds a core, from nothing or from a snapshot. For a reload: New(newRules,
// old.Snapshot(nil)); everything is keyed by name.
func New(r *Rules, snapshot []byte) (*Core, error) {
	eng, err := hazard.New(r.Hazard)
	if err != nil {
		return nil, err
	}
	resp, err := response.New(r.Response, r.Hash)
	if err != nil {
		return nil, err
	}
	for i := range r.Response.Plans {
		if err := checkConds(r, &r.Response.Plans[i]); err != nil {
			return nil, err
		}
	}
	c := &Core{r: r, eng: eng, book: hazard.NewAlarmBook(), resp: resp, respWake: 0, bookWake: never,
		inhibited: map[string]sensors.Mono{}, inhibitedWake: 0, lossHold: never, gate: newGate(), bypassWake: 0, groups: groups(r),
		sampled: map[sensors.DeviceID]bool{}}
	if len(snapshot) > 0 {
		if err := c.restore(snapshot); err != nil {
			return nil, fmt.Errorf("snapshot: %w", err)
		}
	}
	return c, nil
}

func checkConds(r *Rules, p *response.Plan) error {
	ok := func(id hazard.CondID) bool { return int(id) < len(r.Hazard.Conds) }
	for _, s := range p.Stages {
		if !ok(s.When) {
			return fmt.Errorf("plan %q, stage %s: no condition %d", p.Name, s.Level, s.When)
		}
	}
	for _, s := range p.Steps {
		if s.Evidence == response.ByCondition && !ok(s.EvidenceCond) || s.OnlyIf != hazard.NoCond && !ok(s.OnlyIf) {
			return fmt.Errorf("plan %q, step %q: names a condition that does not exist", p.Name, s.Name)
		}
	}
	return nil
}

// Step takes one event at the instant now, which never goes back, and appends the effects to fx.
// The caller executes them in order and calls again by wake at the latest.
func (c *Core) Step(now sensors.Mono, ev Event, fx []Effect) (_ []Effect, wake sensors.Mono) {
	c.ch.Reset()
	c.out.Reset()
	var reply *Effect
	var readings []sensors.Reading
	switch ev.Kind {
	case Readings:
		fx = c.identify(now, ev, fx)
		readings = ev.Readings
	case HookStarted:
		c.resp.Started(now, ev.Key, ev.Journaled, &c.out)
	case HookDone:
		c.resp.Done(now, ev.Key, ev.Outcome, &c.out)
	case Seen:
		c.resp.Seen(now, ev.Evidence, &c.out)
	case Durable:
		c.journal(now, ev, &fx)
	case Resumed:
		fx = c.resume(now, ev.Resumed, fx)
	case Calendar:
		fx = c.calendar(now, ev, fx)
	case Probed:
		fx = c.probed(now, ev, fx)
	case Health:
		fx = c.health(now, ev, fx)
	case Receipt:
		fx = c.receipt(now, ev.Part, fx)
	case Peer:
		c.resp.Peer(now, ev.Peer, &c.out)
	case DrillOver:
		fx = c.drillOver(now, ev.DrillOver, fx)
	case OrderGiven:
		reply = &Effect{Kind: Reply, OrderID: ev.Order.ID, Err: c.order(now, ev.Order, &fx)}
	}
	wake = c.eng.Step(now, readings, &c.ch)
	for i := 0; i < 3 && wake <= now; i++ {
		wake = c.eng.Step(now, nil, &c.ch)
	}
	if len(c.ch.Conds) > 0 || ev.Kind != Readings && ev.Kind != Tick || now >= c.respWake || c.resp.Active() || !c.begun {
		c.respWake = c.resp.Step(now, c.eng, &c.out)
	}
	fx = c.emit(now, fx)
	if reply != nil {
		fx = append(fx, *reply)
	}
	if now >= c.bookWake {
		c.bookWake = c.book.Due(now, func(a hazard.Alarm) { fx = c.tellAlarm(now, fx, a) })
	}
	fx = c.floodAlarm(now, fx)
	fx = c.alive(now, fx)
	wake = min(wake, c.aliveDue())
	c.begun = true
	return fx, min(wake, c.respWake, c.bookWake, c.inhibitedWake, c.lossHold, c.bypassWake, c.floodWake)
}

// emit turns what engine and machine decided into effects: first what the hooks wait for.
func (c *Core) emit(now sensors.Mono, fx []Effect) []Effect {
	for i := range c.out.Records {
		rec := c.out.Records[i]
		fx = c.record(now, fx, Record{Plan: &rec})
	}
	bound := c.r.JournalBound
	if bound <= 0 {
		bound = DefaultJournalBound
	}
	for _, s := range c.out.Starts {
		fx = append(fx, Effect{Kind: Start, Hook: s.Hook, Call: s.Call, Wait: bound})
	}
	if len(c.out.Changed) > 0 || !c.begun {
		fx = c.sample(fx)
	}
	for i := range c.ch.Members {
		m := c.ch.Members[i]
		fx = c.record(now, fx, Record{Member: &m})
	}
	if len(c.ch.Members) > 0 || c.pending {
		c.pending, c.holding = c.eng.Pending(), c.eng.Active()
	}
	fx = c.condAlarms(now, fx)
	if len(c.ch.Conds) > 0 {
		fx = c.alikeAlarms(now, fx)
	}
	if c.ch.Losses || now >= c.lossHold {
		fx = c.lossAlarms(now, fx)
	}
	if len(c.ch.Conds) > 0 || c.ch.Losses || now >= c.inhibitedWake {
		fx = c.inhibitedAlarms(now, fx)
	}
	if len(c.ch.Baselines) > 0 || !c.begun {
		fx = c.baselines(now, fx)
	}
	if c.ch.Bypasses || now >= c.bypassWake {
		fx = c.bypassAlarms(now, fx)
	}
	if len(c.out.Records) > 0 || !c.begun {
		c.resp.Alarms(func(in hazard.AlarmInput) { fx = c.setAlarm(now, fx, in) })
	}
	for i := range c.out.Events {
		e := c.out.Events[i]
		fx = append(fx, Effect{Kind: Tell, Update: plugins.Update{Event: &e}})
	}
	for _, p := range c.out.Changed {
		if !c.resp.Has(p) {
			continue // what is settled of a plan that the rules have no more is told by its alarm
		}
		v := c.resp.View(now, p, c.eng)
		v.Origin = c.r.Hazard.Origin.String()
		fx = append(fx, Effect{Kind: Tell, Update: plugins.Update{Plan: &v}})
	}
	return fx
}

func (c *Core) record(now sensors.Mono, fx []Effect, r Record) []Effect {
	c.lastRec = now
	return append(fx, Effect{Kind: Write, Record: r})
}

// aliveDue is when the next sign of life is due.
func (c *Core) aliveDue() sensors.Mono {
	switch {
	case c.pending:
		return c.lastRec.Add(aliveServing)
	case c.holding || c.resp.Active():
		return c.lastRec.Add(aliveOpen)
	}
	return never
}

// alive leaves a sign of life for a restart to count from.
func (c *Core) alive(now sensors.Mono, fx []Effect) []Effect {
	if now >= c.aliveDue() {
		fx = c.record(now, fx, Record{Alive: true})
	}
	return fx
}

// journal is the journal's own alarm: a slow, full, read-only or dead one is told, and waits for
// nobody (S9).
func (c *Core) journal(now sensors.Mono, ev Event, fx *[]Effect) {
	cause := ""
	c.journalTold = c.journalTold || ev.Kind == Durable
	if ev.Err != nil {
		cause = "the journal cannot be written: " + ev.Err.Error() + "; hooks start without it, marked journaled: false"
	}
	*fx = c.setAlarm(now, *fx, hazard.AlarmInput{Name: "agent/journal", Active: ev.Err != nil, Priority: 1, Cause: cause, Newest: true})
}

// memory tells that a start has found durable records gone: the ledger of what is outstanding may lack
// a step that a hook has run, and nobody but a person can find out (S9). The next start ends it.
func (c *Core) memory(now sensors.Mono, damaged bool, fx []Effect) []Effect {
	in := hazard.AlarmInput{Name: "agent/memory", Active: damaged, Priority: 2}
	if damaged {
		in.Cause = "the journal was damaged and durable records are gone: a hook may have run that `firebreak outstanding` does not list; " +
			"look at the targets of each plan, and at the log for what was set aside"
	}
	return c.setAlarm(now, fx, in)
}

func (c *Core) resume(now sensors.Mono, r ResumeInfo, fx []Effect) []Effect {
	c.eng.Resume(now, r.Last.Add(r.Shift), r.Shift)
	c.book.Shift(r.Shift) // the machine moves its own
	if !r.SameBoot {
		c.book.EndShelves(now, func(a hazard.Alarm) { fx = c.tellAlarm(now, fx, a) })
	}
	c.resp.Resume(now, r.Resumed, &c.out)
	c.bookWake = now
	c.begun = false  // the rules may have changed since the snapshot: every alarm is looked at anew
	c.pending = true // looked at once
	c.lastRec, c.lossHold = now, now.Add(c.lossPersist())
	if !c.journalTold {
		c.journal(now, Event{}, &fx) // its failure in an earlier life is over until it is told again
	}
	fx = c.memory(now, r.Damaged, fx)
	fx = c.exchangeAlarms(now, fx)
	fx = c.clearGhosts(now, fx)
	clear(c.inhibited)
	c.losses = c.losses[:0]
	c.alike = c.alike[:0]
	for _, a := range c.book.Records() {
		c.wasAlike(&a)
		if a.Active && strings.HasPrefix(a.Name, "loss/") {
			c.losses = append(c.losses, a.Name)
		}
		if vote, ok := strings.CutPrefix(a.Name, "inhibited/"); ok && a.Active {
			c.inhibited[vote] = now // the persist time anew: nothing has been read yet
		}
		// What a broker retains may be older than this start: the present state of each is told.
		fx = append(fx, Effect{Kind: Tell, Update: plugins.Update{Alarm: c.alarmState(now, a)}})
	}
	for i := range c.r.Response.Plans {
		c.out.Changed = append(c.out.Changed, c.r.Response.Plans[i].Name)
	}
	return fx
}

// Occurrences is the newest occurrence of each alarm that there ever was. Not for use while the core steps.
func (c *Core) Occurrences() map[string]uint64 {
	out := map[string]uint64{}
	for _, a := range c.book.Records() {
		out[a.Name] = a.Occurrence
	}
	return out
}

// View returns the present state of a plan.
func (c *Core) View(now sensors.Mono, plan string) plugins.PlanState {
	v := c.resp.View(now, plan, c.eng)
	v.Origin = c.r.Hazard.Origin.String()
	return v
}

// Rules returns the rules that the core runs by.
func (c *Core) Rules() *Rules { return c.r }

// RunHash returns the hash of the configuration to which an open run is pinned; empty if none is.
func (c *Core) RunHash() string { return c.resp.RunHash() }

// Verdict returns the present verdict of a condition by name; ok is false if there is none.
func (c *Core) Verdict(name string) (v hazard.Verdict, ok bool) {
	for i := range c.r.Hazard.Conds {
		if c.r.Hazard.Conds[i].Name == name {
			return c.eng.Verdict(hazard.CondID(i)), true
		}
	}
	return hazard.Verdict{}, false
}

// Judged returns the present verdict of a condition, Why all that it rests on.
func (c *Core) Judged(id hazard.CondID) hazard.Verdict { return c.eng.Verdict(id) }

func (c *Core) Why(now sensors.Mono, id hazard.CondID) hazard.Why { return c.eng.Explain(now, id) }

// Alarms visits every alarm that is not at rest.
func (c *Core) Alarms(visit func(hazard.Alarm)) { c.book.All(visit) }
