package wire

import (
	"bytes"
	"strconv"
	"strings"
	"time"
)

// TTL is how long, from its receipt, a message may be taken as the present state when neither a
// newer one nor a hello of the same instance has come: six hellos. It is the silence after which
// the agent counts as gone, since two limits would leave a time in which a gone agent is current.
const TTL = 12 * time.Second

// Trust is the tail of every message that somebody acts on. AgeS must stay its first field: what
// is sent late is aged from there on (see Message.Aged).
type Trust struct {
	AgeS     int64  `json:"age_s"`              // of the condition or the episode
	HeldS    int64  `json:"held_s,omitempty"`   // for so long the message has waited to be sent
	Replayed bool   `json:"replayed,omitempty"` // a newer state follows
	TTLS     int    `json:"ttl_s,omitempty"`    // counted by the consumer from receipt
	Clock    string `json:"clock"`              // synced, holdover, unset

	CorrectedTs int64 `json:"corrected_ts,omitempty"` // what ts would be, had the clock been set by then
}

var ageKey = []byte(`"age_s":`)

// trust is the tail of a message that is made now.
func (e *Encoder) trust(age int64, ttl time.Duration) Trust {
	t := Trust{AgeS: age, TTLS: int(ttl / time.Second), Clock: "unset"}
	if e.life.Clock != nil {
		t.Clock = e.life.Clock()
	}
	return t
}

// Aged is the payload of a message that is sent so long after it was made, and behind which a newer
// state of the same alarm follows if replayed. Its other times stay as they were; held_s tells a
// consumer what to take off or add.
func (m *Message) Aged(held time.Duration, replayed bool) []byte {
	s := int64(held / time.Second)
	if m.age == 0 || s <= 0 && !replayed {
		return m.Payload
	}
	end := m.age
	for m.Payload[end] == '-' || m.Payload[end] >= '0' && m.Payload[end] <= '9' {
		end++
	}
	age, err := strconv.ParseInt(string(m.Payload[m.age:end]), 10, 64)
	if err != nil {
		return m.Payload // it was encoded here: it is a number
	}
	b := append(make([]byte, 0, len(m.Payload)+64), m.Payload[:m.age]...)
	b = strconv.AppendInt(b, age+max(s, 0), 10)
	if s > 0 {
		b = strconv.AppendInt(append(b, `,"held_s":`...), s, 10)
	}
	if replayed {
		b = append(b, `,"replayed":true`...)
	}
	return append(b, m.Payload[end:]...)
}

// Reread is a message that was encoded by a life before this one.
func Reread(m Message) *Message {
	m.findAge()
	return &m
}

// findAge looks for the number that grows while the message waits. Trust is its tail, so it is the last.
func (m *Message) findAge() {
	if i := bytes.LastIndex(m.Payload, ageKey); i >= 0 && (m.Class == Alarm || m.Class == Plan || m.Class == Event) {
		m.age = i + len(ageKey)
	}
}

// Corrected adds to a payload when it was made, in Unix milliseconds: the clock was set since (S14).
func Corrected(payload []byte, ms int64) []byte {
	if len(payload) < 2 || payload[len(payload)-1] != '}' {
		return payload
	}
	b := append(make([]byte, 0, len(payload)+32), payload[:len(payload)-1]...)
	b = strconv.AppendInt(append(b, `,"corrected_ts":`...), ms, 10)
	return append(b, '}')
}

// Past is the topic and payload of readings that waited for their broker: of class history, marked, and
// numbered among the states.
func (m *Message) Past() (topic string, payload []byte) {
	topic = strings.Replace(m.Topic, "/"+State.String()+"/", "/"+History.String()+"/", 1)
	payload = append(make([]byte, 0, len(m.Payload)+16), m.Payload[:len(m.Payload)-1]...)
	return topic, append(payload, `,"replayed":true}`...)
}
