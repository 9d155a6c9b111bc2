package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Schemas of what the agent hears.
const (
	SchemaReceipt  = "firebreak.receipt/1"
	SchemaCommand  = "firebreak.command/1"
	SchemaCosigned = "firebreak.cosigned/1"
)

// MaxInbound bounds what an agent or a consumer reads of one message before it knows whose it is.
const MaxInbound = 16 << 10

// Answers of a consumer. Receipt says that a machine has the message, and nothing of a person; the
// others are of a system that fails over.
const (
	AnswerReceipt = "receipt"
	AnswerAccept  = "accept"
	AnswerDecline = "decline"
	AnswerDone    = "done"
)

// Ref names one message of one agent.
type Ref struct {
	Instance string `json:"instance"`
	Epoch    uint64 `json:"epoch"`
	Class    string `json:"class"`
	Seq      uint64 `json:"seq"`
}

// ReceiptMessage is the payload of class receipt: a named consumer answers an alarm or a plan.
type ReceiptMessage struct {
	Schema   string `json:"schema"`
	Consumer string `json:"consumer"`
	Of       Ref    `json:"of"`
	ID       string `json:"id"` // of the alarm or plan
	Answer   string `json:"answer"`
	Reason   string `json:"reason,omitempty"`
	Ts       int64  `json:"ts,omitempty"`
}

// HelloRef is the hello that a command answers: it shows that the command is of now (S14).
type HelloRef struct {
	Instance  string `json:"instance"`
	Epoch     uint64 `json:"epoch"`
	Seq       uint64 `json:"seq"`
	Challenge string `json:"challenge"`
}

// CommandMessage is the payload of class cmd. Who gives it is whose key has signed it.
type CommandMessage struct {
	Schema string   `json:"schema"`
	Order  string   `json:"order"`
	Name   string   `json:"name,omitempty"`
	Stage  string   `json:"stage,omitempty"`
	For    string   `json:"for,omitempty"`
	Reason string   `json:"reason,omitempty"`
	Nonce  string   `json:"nonce"`
	Hello  HelloRef `json:"hello"`
}

// CosignedMessage is a command with its signature, signed once more by a second person (S17).
type CosignedMessage struct {
	Schema  string `json:"schema"`
	Command string `json:"command"` // a whole signed CommandMessage
}

// EchoName is the last level of the topics on which an agent tries what it may write. No alarm, plan or
// device has this name, and nobody else listens to it.
const EchoName = "_echo"

// OrderResync asks an agent to tell all that stands, once more. It is no order to the core.
const OrderResync = "resync"

// ReceiptTopic is where a consumer answers the agent.
func (p *Place) ReceiptTopic(consumer string) string {
	return p.tree(Receipt) + "/" + TopicName(consumer)
}

// CommandTopic is where the agent takes orders.
func (p *Place) CommandTopic() string {
	return p.tree(Cmd)
}

func (p *Place) tree(c Class) string {
	root := Root
	if p.Drill {
		root += "/drill"
	}
	return strings.Join([]string{root, c.String(), p.Site, p.Zone, p.Agent}, "/")
}

// Signers reads a command: what is asked, and whose keys have signed it, one or two.
func (r *Ring) Signers(topic string, payload []byte) (c CommandMessage, by []Key, err error) {
	k, err := r.Verify(topic, payload)
	if err != nil {
		return c, nil, err
	}
	by = []Key{k}
	var both CosignedMessage
	if json.Unmarshal(payload, &both) == nil && both.Schema == SchemaCosigned {
		payload = []byte(both.Command)
		first, err := r.Verify(topic, payload)
		if err != nil {
			return c, nil, fmt.Errorf("the first of two signatures: %w", err)
		}
		by = []Key{first, k}
	}
	d := json.NewDecoder(bytes.NewReader(payload))
	d.DisallowUnknownFields()
	var in struct {
		CommandMessage
		Signature
	}
	if err := d.Decode(&in); err != nil {
		return c, nil, fmt.Errorf("a command that cannot be read: %w", err)
	}
	if in.Schema != SchemaCommand {
		return c, nil, fmt.Errorf("schema %.40q is not %s", in.Schema, SchemaCommand)
	}
	return in.CommandMessage, by, nil
}

// StateMessage is one poll as a reader of it sees it.
type StateMessage struct {
	Device     string
	Epoch, Seq uint64
	Ts         int64
	Corrected  int64               // what Ts would be, had the clock been set by then; 0: it was
	Origin     string              // empty: real
	Values     map[string]*float64 // by channel; nil: bad
	Bad        map[string]string   // reasons, by channel
	Uncertain  map[string]string
}

// ParseState reads a message of class state.
func ParseState(payload []byte) (*StateMessage, error) {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(payload, &raw); err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	m := &StateMessage{Values: map[string]*float64{}}
	var bad, uncertain string
	for key, to := range map[string]any{"device": &m.Device, "epoch": &m.Epoch, "seq": &m.Seq, "ts": &m.Ts, "corrected_ts": &m.Corrected, "origin": &m.Origin, "bad": &bad, "uncertain": &uncertain} {
		if v, ok := raw[key]; ok {
			if err := json.Unmarshal(v, to); err != nil {
				return nil, fmt.Errorf("state: %s: %w", key, err)
			}
		}
		delete(raw, key)
	}
	delete(raw, "replayed") // a mark, and no point
	if m.Device == "" || m.Seq == 0 {
		return nil, errors.New("state: device and seq are missing")
	}
	m.Bad, m.Uncertain = notes(bad), notes(uncertain)
	for ch, v := range raw {
		var x any
		if err := json.Unmarshal(v, &x); err != nil {
			return nil, fmt.Errorf("state: %s: %w", ch, err)
		}
		switch x := x.(type) {
		case nil:
			m.Values[ch] = nil
		case float64:
			m.Values[ch] = &x
		case bool:
			var one float64
			if x {
				one = 1
			}
			m.Values[ch] = &one
		}
	}
	return m, nil
}

// notes reads channel:reason,channel:reason.
func notes(s string) map[string]string {
	out := map[string]string{}
	for _, n := range strings.Split(s, ",") {
		if i := strings.LastIndexByte(n, ':'); i > 0 {
			out[n[:i]] = n[i+1:]
		}
	}
	return out
}
