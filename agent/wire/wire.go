// Package wire is what firebreak says over MQTT: the tree of topics, the payloads, and their
// encoding. It holds no connection; agent/uplink and the consumers of the messages share it.
//
//	firebreak/1/<class>/<site>/<zone>/<agent>[/<device, alarm or plan>]
//	firebreak/1/drill/<class>/...   the same for everything that is not real (S7)
//
// Each message carries the epoch of its agent and a sequence number of its class; a consumer
// keeps the highest (epoch, seq) of a topic and drops what is older, because brokers repeat,
// delay and resurrect messages. Live and drill messages are counted apart, so that a drill leaves
// no gap in the live tree.
//
// Concurrency: an Encoder belongs to one goroutine at a time; everything else is plain values.
// Failure: an update that cannot be told whole is told shortened, and one that cannot be told at
// all is an error; neither ever panics.
package wire

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
)

// Root is the first part of every topic: the name and the version of the tree.
const Root = "firebreak/1"

// Class is the kind of a message, and stands before the site in its topic, so that an ACL, a
// bridge rule or a filter for it is one line.
type Class uint8

const (
	Status  Class = iota // birth, will, orderly stop
	Alarm                // present state of one alarm
	Plan                 // present state of one plan
	Event                // something that happened once
	Hello                // sign of life
	State                // one poll of one device
	Receipt              // a consumer answers an alarm or a plan
	Cmd                  // an order to the agent
	History              // one poll of a device that waited for its broker
	Echo                 // the agent tries whether it may write and read
	Classes
)

var classNames = [Classes]string{"status", "alarm", "plan", "event", "hello", "state", "receipt", "cmd", "history"}

func (c Class) String() string {
	if c < Classes {
		return classNames[c]
	}
	return fmt.Sprintf("unknown(%d)", uint8(c))
}

// QoS is 1 for all but the sign of life, which is worthless when late.
func (c Class) QoS() byte {
	if c == Hello {
		return 0
	}
	return 1
}

// Retained is true for the classes whose last message is a state. Nothing of a drill is retained:
// it must not outlive the drill.
func (c Class) Retained(drill bool) bool {
	return !drill && (c == Status || c == Alarm || c == Plan)
}

// Identity names the agent and this life of it.
type Identity struct {
	Site, Zone, Agent string
	Instance          string // random, of this process
	Epoch             uint64 // greater than that of any earlier process (S14)
	Drill             bool   // everything goes below drill, whatever its mark
}

// Topic returns the topic of a class, with sub (a device, an alarm, a plan; may be empty) as last
// level.
func (id Identity) Topic(c Class, drill bool, sub string) string {
	var b strings.Builder
	b.WriteString(Root)
	if drill || id.Drill {
		b.WriteString("/drill")
	}
	b.WriteByte('/')
	b.WriteString(c.String())
	for _, level := range []string{id.Site, id.Zone, id.Agent} {
		b.WriteByte('/')
		b.WriteString(TopicName(level))
	}
	if sub != "" {
		b.WriteByte('/')
		b.WriteString(TopicName(sub))
	}
	return b.String()
}

// Place is what a topic says of its message.
type Place struct {
	Class             Class
	Drill             bool
	Site, Zone, Agent string // as levels: see TopicName
	Sub               string // empty: there is none
}

// ParseTopic reads a topic of the tree, also behind the prefix of a bridge.
func ParseTopic(topic string) (p Place, ok bool) {
	i := strings.Index(topic, Root+"/")
	if i < 0 || i > 0 && topic[i-1] != '/' {
		return p, false
	}
	levels := strings.Split(topic[i+len(Root)+1:], "/")
	if levels[0] == "drill" {
		p.Drill, levels = true, levels[1:]
	}
	if len(levels) < 4 || len(levels) > 5 {
		return p, false
	}
	for _, l := range levels {
		if l == "" {
			return p, false
		}
	}
	c := slices.Index(classNames[:], levels[0])
	if c < 0 {
		return p, false
	}
	p.Class, p.Site, p.Zone, p.Agent = Class(c), levels[1], levels[2], levels[3]
	if len(levels) == 5 {
		p.Sub = levels[4]
	}
	return p, true
}

// Holds tells whether a message with this head belongs there; sub is the name of its alarm or plan.
func (p *Place) Holds(h *Head, sub string) bool {
	return TopicName(h.Site) == p.Site && TopicName(h.Zone) == p.Zone && TopicName(h.Agent) == p.Agent &&
		(sub == "" && p.Sub == "" || sub != "" && TopicName(sub) == p.Sub)
}

// Filter is the subscription to a class of an agent of a site, in whichever zone it stands. What it
// tells of drills is not in it.
func Filter(c Class, site, agent string) string {
	return Root + "/" + c.String() + "/" + TopicName(site) + "/+/" + TopicName(agent)
}

const maxLevel = 48

// TopicName turns a name into one level of a topic. Letters, digits, - and _ stay; anything else
// (a space ends a connection to some brokers, a dot is a separator to others) becomes -, and a
// hash of the whole name follows, so that two names never share a topic.
func TopicName(s string) string {
	ok := s != "" && len(s) <= maxLevel
	for i := 0; ok && i < len(s); i++ {
		ok = topicByte(s[i])
	}
	if ok {
		return s
	}
	h := fnv.New32a()
	h.Write([]byte(s))
	b := []byte(s)
	if len(b) > maxLevel-9 {
		b = b[:maxLevel-9]
	}
	for i, c := range b {
		if !topicByte(c) {
			b[i] = '-'
		}
	}
	return fmt.Sprintf("%s-%08x", b, h.Sum32())
}

func topicByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}
