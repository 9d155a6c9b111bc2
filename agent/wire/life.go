package wire

import (
	"encoding/json"
	"fmt"
	"time"

	"firebreak/plugins"
)

// Birth is told, retained, after each connection to a broker; session counts these from 1.
func (e *Encoder) Birth(session uint64, now time.Time, d Drops) (Message, error) {
	p := e.status(2*session-1, now)
	p.Online, p.Boot, p.Version, p.Drill, p.Dropped = true, e.life.Boot, e.life.Version, e.id.Drill, &d
	if !e.life.Started.IsZero() {
		p.Started = e.life.Started.UnixMilli()
	}
	size := 0
	for i := range e.points {
		t := &e.points[i]
		dev := ""
		if int(t.Device) < len(e.names) {
			dev = e.names[t.Device]
		}
		sp := StatusPoint{Name: t.Name, Device: dev, Channel: Channel(dev, t.Name), Unit: string(t.Unit), Kind: t.Kind.String(), Physics: t.Physics.String()}
		// An upper bound without marshalling: keys and punctuation take under 80 bytes.
		size += 80 + len(sp.Name) + len(sp.Device) + len(sp.Channel) + len(sp.Unit) + len(sp.Kind) + len(sp.Physics)
		if size > MaxPayload-4096 {
			p.PointsLeftOut = len(e.points) - i
			break
		}
		p.Points = append(p.Points, sp)
	}
	return e.finish(e.statusMessage(p), &p, func() { p.Points, p.PointsLeftOut = nil, len(e.points) })
}

// Will is handed to the broker with the connection: what it says when the session is lost. It
// holds no time, because it is written before the loss.
func (e *Encoder) Will(session uint64) (Message, error) {
	p := e.status(2*session, time.Time{})
	p.Reason = "lost"
	return e.finish(e.statusMessage(p), &p, func() {})
}

// Offline is told, retained, when a session ends in order.
func (e *Encoder) Offline(session uint64, now time.Time, reason string, d Drops) (Message, error) {
	p := e.status(2*session, now)
	p.Reason, p.Dropped = reason, &d
	return e.finish(e.statusMessage(p), &p, func() {})
}

func (e *Encoder) status(seq uint64, now time.Time) StatusMessage {
	return StatusMessage{Head: e.head(SchemaStatus, seq, now)}
}

func (e *Encoder) statusMessage(p StatusMessage) Message {
	return Message{Class: Status, Drill: e.id.Drill, Seq: p.Seq, Topic: e.topic(Status, e.id.Drill, "")}
}

// Beat is what one hello says to all brokers alike.
type Beat struct {
	head      Head
	drill     bool
	topic     string
	last      Sequences
	drillLast *Sequences
	active    ActiveAlarms
	plans     *ToldPlans
	challenge string
	buses     map[string]BusLoad
}

// Beat takes the present sequences and alarms.
func (e *Encoder) Beat(now time.Time, challenge string) Beat {
	tree := index(e.id.Drill)
	b := Beat{head: e.head(SchemaHello, e.next(Hello, e.id.Drill), now), drill: e.id.Drill,
		topic: e.topic(Hello, e.id.Drill, ""), last: e.sequences(tree), challenge: challenge}
	if s := e.sequences(1); tree == 0 && s != (Sequences{}) {
		b.drillLast = &s
	}
	active := make([]plugins.AlarmState, 0, len(e.active))
	for _, a := range e.active {
		active = append(active, a)
	}
	if e.life.Buses != nil {
		b.buses = e.life.Buses()
	}
	b.active = ActiveAlarms{Count: len(active), Hash: AlarmHash(active)}
	if len(e.plans) > 0 {
		b.plans = &ToldPlans{Count: len(e.plans), Hash: PlanHash(e.plans)}
	}
	return b
}

// Seq is the number of the hello, the same to all brokers.
func (b *Beat) Seq() uint64 { return b.head.Seq }

func (e *Encoder) sequences(tree int) Sequences {
	s := &e.seq[tree]
	return Sequences{Alarm: s[Alarm], Plan: s[Plan], Event: s[Event], State: s[State]}
}

// Hello encodes a beat for one broker. It needs no Encoder, so each link does it for itself.
func (b Beat) Hello(session uint64, queued int, d Drops, gaps []GapRange) (Message, error) {
	p := HelloMessage{Head: b.head, Last: b.last, DrillLast: b.drillLast, Active: b.active, Plans: b.plans, Queued: queued, Dropped: d, Gaps: gaps, Challenge: b.challenge, Buses: b.buses}
	p.Last.Status = 2*session - 1
	m := Message{Class: Hello, Drill: b.drill, Seq: p.Seq, Topic: b.topic}
	var err error
	if m.Payload, err = json.Marshal(&p); err != nil {
		return m, fmt.Errorf("hello: %w", err)
	}
	return m, nil
}
