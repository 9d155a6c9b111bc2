// Package consumer is what a failover system, a dashboard or another agent imports to hear Firebreak
// agents: it verifies, sorts out repeats over several brokers, finds what is missing, stale or silent,
// and answers. What it says of an agent is never "well" by default: an agent is unknown until it has
// been heard alive.
//
//	c, err := consumer.New(consumer.Config{Name: "failover-1", Brokers: ..., Trusted: "/etc/failover/trusted",
//		Heard: func(n consumer.Note) {
//			if n.Act() && n.Plan != nil && n.Plan.Stage == "2b" { ... }
//		}})
//	err = c.Run(ctx)
//
// Book is the part that judges; it has no clock, no connection and no goroutine. Consumer feeds it
// from any number of brokers.
//
// Concurrency: a Book belongs to one goroutine at a time. A Consumer may be used from any; it calls
// Heard from one goroutine, one note after the other, and what Heard takes long over delays the next
// note and no broker. Failure: a message that is not what it says it is counts as refused and changes
// nothing; a broker that is away is tried again; silence is told at most 12 s after the last word.
package consumer

import (
	"errors"
	"fmt"
	"time"

	"firebreak/agent/wire"
	"firebreak/plugins"
)

// Verdict is how an agent stands. The zero value is Unknown, and none means that all is well: look at
// Agent.Alarms and Agent.Stage for that, and only while it is Live.
type Verdict uint8

const (
	Unknown          Verdict = iota // never heard alive
	Live                            // a live hello came in the last 12 s
	Silent                          // a fault, for a ticket
	SilentAfterAlarm                // it fell silent within 30 min after stage 1 or higher: take it as stage 2 (S11)
)

var verdictNames = [...]string{"unknown", "live", "silent", "silent-after-alarm"}

func (v Verdict) String() string { return verdictNames[v] }

// Kind says what a note is about.
type Kind uint8

const (
	AlarmTold  Kind = iota // Alarm: its newest state
	PlanTold               // Plan: its newest state
	EventTold              // Event
	StateTold              // State: one poll of a device
	VerdictNow             // Verdict has changed
	NewLife                // another instance of the agent counts from now on
	Gap                    // Class, From, To: messages that have not come; Text: of which life, if not the present one
	Incomplete             // what is known of its alarms or plans is not what its hello says
	Wiped                  // an empty message stood on a topic: the alarm is kept
	Refused                // Text: a message that is not what it says it is
	BlindNow               // this consumer itself reaches no broker: all that it says of agents is old
	SightedNow             // it reaches one again
)

var kindNames = [...]string{"alarm", "plan", "event", "state", "verdict", "new-life", "gap", "incomplete", "wiped", "refused", "blind", "sighted"}

func (k Kind) String() string { return kindNames[k] }

// Note is one thing that a consumer is told.
type Note struct {
	Kind    Kind
	At      time.Time // of its arrival
	Broker  string    // that brought it; empty: it was concluded
	Site    string
	Agent   string
	Verdict Verdict // of the agent, after this note
	Alarm   *wire.AlarmMessage
	Plan    *wire.PlanMessage
	Event   *wire.EventMessage
	State   *wire.StateMessage

	Class    wire.Class
	From, To uint64 // Gap
	Past     bool   // it waited for its broker, and newer ones may have come before it; of alarms, plans and events: a life before this one told it
	Text     string

	of    wire.Ref
	place wire.Place
	real  bool
}

// Act tells whether the note may be acted on: the present state of a real alarm or plan, of an agent
// that is known to live, or the silence of one that had an alarm. Events, repeats of what is past, drills
// and simulations may be shown and never acted on.
func (n *Note) Act() bool {
	switch n.Kind {
	case AlarmTold, PlanTold:
		return n.real && n.Verdict == Live
	case VerdictNow:
		return n.Verdict == SilentAfterAlarm
	}
	return false
}

// Limits. What anybody may send is bounded before it is kept.
const (
	silentAfter = wire.TTL - 500*time.Millisecond // and at most one look later it is told
	alarmMemory = 30 * time.Minute
	gapGrace    = 6 * time.Second // one broker may be slower than the other, and the agent sends again after 5 s
	maxAgents   = 20000
	maxLives    = 4
	maxPast     = 64
	maxTopics   = 4096
)

// Book is what is known of all agents.
type Book struct {
	keys     *wire.Ring
	unsigned bool
	agents   map[string]*agent
	refused  map[string]uint64
	noted    map[string]time.Time // refusals, so that a storm is a few notes
	out      []Note
	repeats  []Note // told before: their receipts may be lost
}

// NewBook makes an empty book. Without keys nothing is believed, unless unsigned is true.
func NewBook(keys *wire.Ring, unsigned bool) *Book {
	return &Book{keys: keys, unsigned: unsigned, agents: map[string]*agent{}, refused: map[string]uint64{}, noted: map[string]time.Time{}}
}

// Trust replaces the keys.
func (b *Book) Trust(keys *wire.Ring) { b.keys = keys }

// Refusals counts by reason.
func (b *Book) Refusals() map[string]uint64 {
	out := make(map[string]uint64, len(b.refused))
	for k, n := range b.refused {
		out[k] = n
	}
	return out
}

// agent is one agent of a site.
type agent struct {
	site, name string // as in its messages
	zone       string
	lives      map[string]*life     // by instance
	cur        *life                // nil: none was heard alive
	past       []*life              // those that another took over from: none of them comes back
	older      map[uint64]*sequence // of readings that waited, by the epoch of a life before
	verdict    Verdict
	heardAt    time.Time // the last word of the present life, or the first of any
	stageAt    time.Time // the last time that a stage of 1 or more was said
	since      time.Time // verdict
}

// life is one process of an agent.
type life struct {
	instance  string
	epoch     uint64
	topics    map[string]*topic
	seqs      [wire.Classes]sequence
	hellos    int       // live ones, in order
	waited    int       // of them, in the silence of the life that counts
	waitedFor time.Time // the last word before that silence
	hello     wire.HelloMessage
	helloAt   time.Time
	differsAt time.Time // since when the alarms known are not those of its hello; zero: they are
	differed  int       // how often that was told
}

type topic struct {
	seq   uint64
	alarm *wire.AlarmMessage
	plan  *wire.PlanMessage
	place wire.Place
	real  bool
	at    time.Time
	told  bool // to whoever listens, while the life counts
}

// Take takes one message and returns what is to be told; the slice is good until the next call.
func (b *Book) Take(now time.Time, broker, topicName string, payload []byte, retained bool) []Note {
	b.out, b.repeats = b.out[:0], b.repeats[:0]
	p, ok := wire.ParseTopic(topicName)
	past := p.Class == wire.History
	if past {
		p.Class = wire.State // numbered among them
	}
	if !ok || p.Class > wire.State {
		b.refuse(now, broker, p, "no topic of an agent", topicName)
		return b.out
	}
	if p.Sub == wire.EchoName {
		return b.out // an agent tries what it may write
	}
	if len(payload) == 0 {
		b.wiped(now, broker, p)
		return b.out
	}
	if len(payload) > wire.MaxPayload+1024 {
		b.refuse(now, broker, p, "too long", fmt.Sprint(len(payload), " bytes"))
		return b.out
	}
	k, err := b.keys.Verify(topicName, payload)
	if err != nil && !(b.unsigned && b.keys.Len() == 0) {
		b.refuse(now, broker, p, reason(err), "")
		return b.out
	}
	m := &message{past: past, now: now, broker: broker, Place: p, retained: retained, signed: err == nil, key: k}
	if why := m.read(payload); why != "" {
		b.refuse(now, broker, p, why, "")
		return b.out
	}
	b.take(m)
	return b.out
}

// reason is one of a few texts: refusals are counted by it, and anybody may cause them.
func reason(err error) string {
	for _, known := range []error{wire.ErrUnsigned, wire.ErrUnknownKey} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return wire.ErrForged.Error()
}

// message is one that has been read.
type message struct {
	wire.Place
	now      time.Time
	broker   string
	past     bool // readings that waited
	retained bool
	signed   bool
	key      wire.Key
	head     wire.Head
	alarm    *wire.AlarmMessage
	plan     *wire.PlanMessage
	event    *wire.EventMessage
	hello    *wire.HelloMessage
	status   *wire.StatusMessage
	state    *wire.StateMessage
}

func (b *Book) refuse(now time.Time, broker string, p wire.Place, why, detail string) {
	b.refused[why]++
	key := p.Site + "/" + p.Agent + " " + why
	if t, ok := b.noted[key]; ok && now.Sub(t) < time.Minute {
		return
	}
	if len(b.noted) > maxTopics {
		clear(b.noted)
	}
	b.noted[key] = now
	if detail != "" {
		why += ": " + detail
	}
	b.out = append(b.out, Note{Kind: Refused, At: now, Broker: broker, Site: p.Site, Agent: p.Agent, Class: p.Class, Text: why, place: p})
}

// wiped keeps what stood there: a clear is a normal state, in the agent's own words.
func (b *Book) wiped(now time.Time, broker string, p wire.Place) {
	text := "an empty message, of which nothing is known"
	if a := b.agents[key(p)]; a != nil && a.cur != nil {
		if t := a.cur.topics[topicKey(p)]; t != nil {
			text = "kept as it was"
		}
	}
	b.out = append(b.out, Note{Kind: Wiped, At: now, Broker: broker, Site: p.Site, Agent: p.Agent, Class: p.Class, Text: p.Class.String() + " " + p.Sub + ": " + text, place: p})
}

// key of an agent: its zone may change, its name in a site does not. Drills are another world.
func key(p wire.Place) string {
	k := p.Site + "/" + p.Agent
	if p.Drill {
		k += "/drill"
	}
	return k
}

func topicKey(p wire.Place) string { return p.Class.String() + "/" + p.Sub }

// stage is the highest that a life's plans say.
func (l *life) stage() plugins.Stage {
	highest := plugins.Watch
	for _, t := range l.topics {
		if t.plan == nil || !t.real {
			continue
		}
		if s, err := plugins.ParseStage(t.plan.Stage); err == nil && s > highest {
			highest = s
		}
	}
	return highest
}
