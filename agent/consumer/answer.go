package consumer

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"firebreak/agent/wire"
)

// Answer tells the agent of an alarm or a plan what becomes of it here: wire.AnswerAccept, AnswerDecline
// or AnswerDone. That it has come, AnswerReceipt, the Consumer says by itself. It goes to all brokers
// that are reached and waits for none.
func (c *Consumer) Answer(n Note, answer, reason string) error {
	if c.signer == nil {
		return ErrNoKey
	}
	m := wire.ReceiptMessage{Schema: wire.SchemaReceipt, Consumer: c.cfg.Name, Of: n.of, Answer: answer, Reason: reason, Ts: time.Now().UnixMilli()}
	switch {
	case n.Alarm != nil:
		m.ID = n.Alarm.ID
	case n.Plan != nil:
		m.ID = n.Plan.ID
	default:
		return fmt.Errorf("a note of kind %s is not answered: alarms and plans are", n.Kind)
	}
	return c.publish(n.place.ReceiptTopic(c.cfg.Name), m)
}

// Command gives an agent an order, as S17 allows it to whoever's key this consumer signs with. What
// becomes of it, the agent tells as an event of type order.done or order.refused, and as command.answer.
func (c *Consumer) Command(site, agentName string, m wire.CommandMessage) error {
	if c.signer == nil {
		return ErrNoKey
	}
	c.mu.Lock()
	a := c.book.agents[wire.TopicName(site)+"/"+wire.TopicName(agentName)]
	if a == nil || a.cur == nil || a.verdict != Live {
		c.mu.Unlock()
		return fmt.Errorf("agent %s/%s is not heard alive, and a command answers its hello", site, agentName)
	}
	m.Hello, m.Schema = a.cur.ref(), wire.SchemaCommand
	place := a.place()
	c.mu.Unlock()
	m.Nonce = nonce()
	return c.publish(place.CommandTopic(), m)
}

func (l *life) ref() wire.HelloRef {
	return wire.HelloRef{Instance: l.instance, Epoch: l.epoch, Seq: l.hello.Seq, Challenge: l.hello.Challenge}
}

// resync asks an agent to tell all that stands once more.
func (c *Consumer) resync(n Note) {
	if err := c.Command(n.Site, n.Agent, wire.CommandMessage{Order: wire.OrderResync}); err != nil {
		c.cfg.Log.Warn("an agent could not be asked to tell its state again", "agent", n.Agent, "error", err)
	}
}

func nonce() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// publish signs a message once and hands it to all brokers.
func (c *Consumer) publish(topic string, m any) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	b = c.signer.Sign(topic, b)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.speaks) == 0 {
		return errors.New("no broker is reached")
	}
	for _, s := range c.speaks {
		s.Publish(topic, 1, false, b)
	}
	return nil
}
