package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"firebreak/plugins"
	"firebreak/sensors"
)

// MaxPayload bounds a message. Brokers end the connection of a client that sends more than they
// take (1 MiB by default in some), which would make it a message that is resent for ever.
const MaxPayload = 512 << 10

// ErrNothing is the error of an update that holds nothing to tell.
var ErrNothing = errors.New("update holds no state, alarm, plan or event")

// Life is what is told of this process, beside its identity.
type Life struct {
	Boot, Version string
	Started       time.Time
	Clock         func() string             // synced, holdover or unset; must not wait. nil: unset
	Buses         func() map[string]BusLoad // must not wait; nil: none are told
}

// Message is one encoded message.
type Message struct {
	Class    Class
	Drill    bool
	Topic    string
	Payload  []byte
	Seq      uint64
	Active   bool // an alarm that is active
	Priority int  // of an alarm

	Made  time.Time // by the monotonic clock; zero: it does not age
	Unset bool      // made before the wall clock was set

	Log      uint64 // its number among what its life keeps until each broker has it; 0: it is not kept
	Epoch    uint64 // of the life before this one that made it; 0: this one did
	Instance string // of that life

	age int // where the number of "age_s" stands in the payload; 0: nowhere
}

// QoS and Retained are those of the class.
func (m *Message) QoS() byte      { return m.Class.QoS() }
func (m *Message) Retained() bool { return m.Class.Retained(m.Drill) }

// Encoder turns updates into messages and counts them.
type Encoder struct {
	id     Identity
	life   Life
	names  []string // of devices, by DeviceID; for the birth
	points []sensors.Point
	states *states
	buf    []byte
	seq    [2][Classes]uint64 // live, drill
	topics map[topicKey]string
	active map[string]plugins.AlarmState // in the tree of the hello
	plans  map[string]uint64             // the newest number of each, there
}

type topicKey struct {
	class Class
	drill bool
	name  string
}

// NewEncoder returns the encoder of one process.
func NewEncoder(id Identity, life Life, devices []sensors.Device, points []sensors.Point) *Encoder {
	e := &Encoder{id: id, life: life, points: points, states: newStates(id, devices, points),
		topics: map[topicKey]string{}, active: map[string]plugins.AlarmState{}, plans: map[string]uint64{}}
	for _, d := range devices {
		for int(d.ID) >= len(e.names) {
			e.names = append(e.names, "")
		}
		e.names[d.ID] = d.Name
	}
	return e
}

// Encode turns an update into a message. What is not real by its mark or by its origin goes below
// drill (S7).
func (e *Encoder) Encode(u plugins.Update) (Message, error) {
	drill := e.id.Drill || u.Mark != plugins.MarkReal
	switch {
	case u.State != nil:
		return e.state(u, drill)
	case u.Alarm != nil:
		return e.alarm(u, drill || notReal(u.Alarm.Origin))
	case u.Plan != nil:
		return e.plan(u, drill || notReal(u.Plan.Origin))
	case u.Event != nil:
		return e.event(u, drill)
	}
	return Message{}, ErrNothing
}

func notReal(origin string) bool { return origin != "" && origin != sensors.Real.String() }

func (e *Encoder) state(u plugins.Update, drill bool) (Message, error) {
	b := u.State
	if int(b.Device) >= len(e.states.devices) || e.states.devices[b.Device].head == nil {
		return Message{}, fmt.Errorf("batch of device %d, which is not configured", b.Device)
	}
	origin := sensors.Real
	for i := range b.Readings {
		if o := b.Readings[i].Quality.Origin(); o != sensors.Real {
			origin, drill = o, true
			break
		}
	}
	wall := b.Wall
	if wall.IsZero() {
		wall = u.Wall
	}
	seq := e.next(State, drill)
	e.buf = e.states.append(e.buf[:0], b, seq, wall, origin)
	m := Message{Class: State, Drill: drill, Seq: seq, Topic: e.states.devices[b.Device].topic[index(drill)]}
	if len(e.buf) > MaxPayload {
		return m, fmt.Errorf("state of device %s is %d bytes, more than %d: split the device", e.names[b.Device], len(e.buf), MaxPayload)
	}
	m.Payload = append(make([]byte, 0, len(e.buf)), e.buf...)
	return m, nil
}

func index(drill bool) int {
	if drill {
		return 1
	}
	return 0
}

func (e *Encoder) next(c Class, drill bool) uint64 {
	n := &e.seq[index(drill)][c]
	*n++
	return *n
}

func (e *Encoder) topic(c Class, drill bool, sub string) string {
	k := topicKey{c, drill, sub}
	t, ok := e.topics[k]
	if !ok {
		t = e.id.Topic(c, drill, sub)
		e.topics[k] = t
	}
	return t
}

func (e *Encoder) head(schema string, seq uint64, wall time.Time) Head {
	h := Head{Schema: schema, Agent: e.id.Agent, Instance: e.id.Instance, Epoch: e.id.Epoch, Seq: seq, Site: e.id.Site, Zone: e.id.Zone}
	if !wall.IsZero() {
		h.Ts = wall.UnixMilli()
	}
	return h
}

func (e *Encoder) alarm(u plugins.Update, drill bool) (Message, error) {
	a := u.Alarm
	seq := e.next(Alarm, drill)
	p := AlarmMessage{
		Head: e.head(SchemaAlarm, seq, u.Wall),
		ID:   e.makeID(a.Name, a.Occurrence), Hazard: a.Name, Occurrence: a.Occurrence,
		State: a.State, Active: a.Active, Priority: a.Priority, Basis: a.Basis, Mark: u.Mark.String(), Origin: a.Origin,
		FirstOut: a.FirstOut, Vote: a.Vote, Evidence: a.Evidence, Cause: a.Cause, Children: a.Children, SinceMs: a.SinceMs,
		SuppressedBy: a.SuppressedBy, Part9: a.Part9,
		Trust: e.trust(a.SinceMs/1000, TTL),
	}
	if drill == e.id.Drill {
		if a.Active {
			e.active[a.Name] = *a
		} else {
			delete(e.active, a.Name)
		}
	}
	m := Message{Class: Alarm, Drill: drill, Seq: seq, Topic: e.topic(Alarm, drill, a.Name), Active: a.Active, Priority: a.Priority}
	return e.finish(m, &p, func() {
		p.Children, p.Evidence, p.Cause, p.SuppressedBy = nil, nil, short(p.Cause), short(p.SuppressedBy)
	})
}

func (e *Encoder) plan(u plugins.Update, drill bool) (Message, error) {
	s := u.Plan
	seq := e.next(Plan, drill)
	p := PlanMessage{
		Head: e.head(SchemaPlan, seq, u.Wall),
		ID:   e.makeID(s.Plan+"/"+s.Zone, s.Episode), Plan: s.Plan, PlanZone: s.Zone, Episode: s.Episode,
		Stage: s.Stage, Mode: s.Mode, Mark: u.Mark.String(), Origin: s.Origin, Latched: s.Latched,
		Countdown: s.Countdown, HoldS: s.HoldS, HeldBy: s.HeldBy, Asking: s.Asking, Vote: s.OpenedBy, Evidence: s.Evidence,
		ActByS: s.ActByS, Steps: s.Steps, Reversible: s.Reversible, Journaled: true, Cause: s.Cause,
		NextEpisode: s.NextEpisode, TrippedBy: s.TrippedBy, Outstanding: s.Outstanding, Peer: s.Peer,
		Actions: Actions{Requested: []string{}, Done: []string{}}, Trust: e.trust(int64(s.ElapsedS), TTL),
	}
	if s.Episode != 0 {
		p.DecisionID, p.Leave = e.decisionID(s), s.Protects
	}
	if s.Steps == nil {
		p.Steps = []plugins.StepState{}
	}
	if s.Episode != 0 && s.PowerLoss > 0 {
		left := s.PowerLoss - s.ElapsedS
		p.PowerLoss = &PowerLoss{Earliest: left, Likely: left, Basis: "stated in the configuration"}
	}
	for _, t := range s.Steps {
		switch t.State {
		case "starting": // not yet: its record may become durable in time
			p.Actions.Requested = append(p.Actions.Requested, t.Step)
			continue
		case "running", "waiting", "working", "capped", "failed":
			p.Actions.Requested = append(p.Actions.Requested, t.Step)
		case "done":
			p.Actions.Requested = append(p.Actions.Requested, t.Step)
			p.Actions.Done = append(p.Actions.Done, t.Step)
		default:
			continue
		}
		p.Journaled = p.Journaled && t.Journaled
	}
	if drill == e.id.Drill {
		e.plans[s.Plan] = seq
	}
	m := Message{Class: Plan, Drill: drill, Seq: seq, Topic: e.topic(Plan, drill, s.Plan)}
	return e.finish(m, &p, func() {
		p.Outstanding = nil
		p.Evidence, p.Cause, p.Steps = nil, short(p.Cause), slices.Clone(p.Steps)
		for i := range p.Steps {
			p.Steps[i].Detail = short(p.Steps[i].Detail)
		}
	})
}

func (e *Encoder) event(u plugins.Update, drill bool) (Message, error) {
	v := u.Event
	if v.Type == plugins.EventHookEnded {
		v = shortOutput(v)
	}
	seq := e.next(Event, drill)
	p := EventMessage{Head: e.head(SchemaEvent, seq, u.Wall), ID: e.makeID("event", seq), Mark: u.Mark.String(),
		Type: v.Type, Plan: v.Plan, Stage: v.Stage, Step: v.Step, Key: v.Key, Detail: v.Detail, Data: valid(v.Data),
		Trust: e.trust(0, 0)}
	m := Message{Class: Event, Drill: drill, Seq: seq, Topic: e.topic(Event, drill, "")}
	return e.finish(m, &p, func() { p.Data, p.Detail, p.Shortened = nil, short(p.Detail), true })
}

// maxOutput bounds what a hook's target said in a message; the whole of it is in the history.
const maxOutput = 1 << 10

// shortOutput returns v with its output cut. The update is shared by all who tell: v stays as it is.
func shortOutput(v *plugins.Event) *plugins.Event {
	c := *v
	var h plugins.HookEnded
	if err := json.Unmarshal(v.Data, &h); err != nil {
		c.Data = nil
		return &c
	}
	if len(h.Output) > maxOutput {
		c.Data, _ = json.Marshal(h.Shorten(maxOutput)) // strings and numbers: it cannot fail
	}
	return &c
}

// finish marshals a payload, and once more, shortened, when it is too large.
func (e *Encoder) finish(m Message, payload any, shorten func()) (Message, error) {
	var err error
	if m.Payload, err = json.Marshal(payload); err == nil && len(m.Payload) > MaxPayload {
		shorten()
		m.Payload, err = json.Marshal(payload)
	}
	if err != nil {
		return m, fmt.Errorf("message %d of class %s: %w", m.Seq, m.Class, err)
	}
	if len(m.Payload) > MaxPayload {
		return m, fmt.Errorf("message %d of class %s is %d bytes, more than %d", m.Seq, m.Class, len(m.Payload), MaxPayload)
	}
	m.findAge()
	return m, nil
}

// decisionID names one decision of this life of the agent: that this episode of the plan stands at
// this stage. It is the same however often, and over whichever broker, it is told.
func (e *Encoder) decisionID(s *plugins.PlanState) string {
	return fmt.Sprintf("%s/%s/%d/%s/%d/%s", e.id.Site, e.id.Agent, e.id.Epoch, s.Plan, s.Episode, s.Stage)
}

// makeID is the same for all messages on one occurrence of one thing, on every broker.
func (e *Encoder) makeID(name string, n uint64) string {
	id := e.id.Site + "/" + e.id.Zone + "/" + e.id.Agent + "/" + name + "/"
	if name == "event" { // counted by this process only
		id += strconv.FormatUint(e.id.Epoch, 10) + "/"
	}
	return id + strconv.FormatUint(n, 10)
}

// valid keeps a fragment of JSON out of a message that it would spoil.
func valid(raw json.RawMessage) json.RawMessage {
	if !json.Valid(raw) {
		return nil
	}
	return raw
}

const shortLen = 512

func short(s string) string {
	if len(s) <= shortLen {
		return s
	}
	return strings.ToValidUTF8(s[:shortLen], "") + "..."
}
