package wire

import (
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

// Past is the topic and payload of readings that waited for their broker: of class history, marked, and
// numbered among the states.
func (m *Message) Past() (topic string, payload []byte) {
	topic = strings.Replace(m.Topic, "/"+State.String()+"/", "/"+History.String()+"/", 1)
	payload = append(make([]byte, 0, len(m.Payload)+16), m.Payload[:len(m.Payload)-1]...)
	return topic, append(payload, `,"replayed":true}`...)
}
