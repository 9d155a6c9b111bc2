package uplink

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"firebreak/agent/wire"
	"firebreak/plugins"
)

// A PUBACK says that a broker has a message. That somebody has it, a named consumer says by a receipt.
const (
	resendEvery   = 5 * time.Second
	escalateEvery = 15 * time.Second // then the next consumer of the configuration's list is asked
	resendAtOnce  = 64
	receiptUrgent = 2               // lowest priority of which receipts are missed
	unheardAlarm  = "agent/unheard" // whose own receipt is not missed: it would never end
)

// EventReceiptMissing is the type of the event that asks the next contact.
const EventReceiptMissing = "receipt.missing"

// receipts keeps what no named consumer has answered yet. All methods may be called from any goroutine.
type receipts struct {
	consumers []string
	tell      func(error) // must not wait; nil: nobody asks

	mu    sync.Mutex
	open  map[string]*unanswered // by topic
	heard map[string]time.Time   // consumers, when they answered last
	known bool
}

type unanswered struct {
	topic    string
	class    string
	seq      uint64
	id       string
	priority int
	since    time.Time
	sent     time.Time
	level    int
}

func newReceipts(consumers []string, tell func(error)) *receipts {
	return &receipts{consumers: consumers, tell: tell, open: map[string]*unanswered{}, heard: map[string]time.Time{}}
}

// told takes note of what somebody should answer, and of what needs no answer any more.
func (r *receipts) told(up *plugins.Update, m *wire.Message) {
	if len(r.consumers) == 0 || m.Drill {
		return
	}
	u := &unanswered{topic: m.Topic, class: m.Class.String(), seq: m.Seq, since: m.Made, sent: m.Made}
	wanted := false
	switch {
	case up.Alarm != nil:
		u.id, u.priority = up.Alarm.Name, up.Alarm.Priority
		wanted = up.Alarm.Active && up.Alarm.Priority <= receiptUrgent && up.Alarm.Name != unheardAlarm
	case up.Plan != nil:
		u.id = up.Plan.Plan
		wanted = up.Plan.Episode != 0
	default:
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !wanted {
		delete(r.open, m.Topic)
		return
	}
	if was := r.open[m.Topic]; was != nil { // a newer state: nobody has heard of the alarm for as long as before
		u.since, u.level = was.since, was.level
	}
	r.open[m.Topic] = u
}

var errNoConsumer = errors.New("a receipt of nobody who is named a consumer")

// answer takes a receipt of a consumer whose key is trusted.
func (r *receipts) answer(id *wire.Identity, ring *wire.Ring, topic string, payload []byte, now time.Time) (wire.ReceiptMessage, error) {
	var m wire.ReceiptMessage
	if len(payload) > wire.MaxInbound {
		return m, errTooLong
	}
	k, err := ring.Verify(topic, payload)
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(payload, &m); err != nil || m.Schema != wire.SchemaReceipt {
		return m, errors.New("a receipt that cannot be read")
	}
	if k.Role != wire.RoleConsumer || k.Name != m.Consumer || !slices.Contains(r.consumers, m.Consumer) {
		return m, errNoConsumer
	}
	if m.Of.Instance != id.Instance || m.Of.Epoch != id.Epoch {
		return m, errStale
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.heard[m.Consumer] = now
	for t, u := range r.open {
		if u.class == m.Of.Class && u.seq == m.Of.Seq {
			delete(r.open, t)
		}
	}
	return m, nil
}

// due is what is to be sent again now, and whom to ask next.
func (r *receipts) due(now time.Time) (again []string, ask []*unanswered) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []*unanswered
	for _, u := range r.open {
		if now.Sub(u.sent) >= resendEvery {
			list = append(list, u)
		}
	}
	slices.SortFunc(list, func(x, y *unanswered) int {
		return cmp.Or(cmp.Compare(x.priority, y.priority), x.sent.Compare(y.sent))
	})
	for _, u := range list[:min(len(list), resendAtOnce)] {
		u.sent = now
		again = append(again, u.topic)
		if level := int(now.Sub(u.since) / escalateEvery); level > u.level {
			u.level = level
			c := *u
			ask = append(ask, &c)
		}
	}
	worst := ""
	for _, u := range r.open {
		if u.level > 0 && (worst == "" || u.id < worst) {
			worst = u.id
		}
	}
	if known := worst != ""; known != r.known {
		r.known = known
		if r.tell != nil && known {
			r.tell(fmt.Errorf("no consumer has answered %s for %v: see whether %v listen, with trusted keys", worst, escalateEvery, r.consumers))
		} else if r.tell != nil {
			r.tell(nil)
		}
	}
	return again, ask
}

// contact is whom to ask at a level: one after the other, and the last from then on.
func (r *receipts) contact(level int) string { return r.consumers[min(level, len(r.consumers)-1)] }

// missing sends again what nobody has answered.
func (u *Uplink) missing(now time.Time) {
	if len(u.cfg.Consumers) == 0 {
		return
	}
	again, ask := u.receipts.due(now)
	if len(again) > 0 {
		for _, l := range u.links {
			l.mu.Lock()
			for _, topic := range again {
				l.backlog.again(topic)
			}
			l.mu.Unlock()
			l.awake()
		}
	}
	for _, a := range ask {
		who := u.receipts.contact(a.level)
		data, _ := json.Marshal(map[string]any{"contact": who, "class": a.class, "seq": a.seq, "name": a.id})
		u.Offer(plugins.Update{Wall: u.cfg.Now(), Event: &plugins.Event{Type: EventReceiptMissing, Data: data,
			Detail: fmt.Sprintf("%s %s has no receipt for %v: %s is asked", a.class, a.id, now.Sub(a.since).Round(time.Second), who)}})
	}
}

// receipt takes one message of the receipts' topics.
func (l *link) receipt(topic string, payload []byte, retained bool) {
	if retained {
		return // a receipt is never retained: nobody has sent it now
	}
	id := l.u.identity()
	m, err := l.u.receipts.answer(&id, l.u.orders.keys(), topic, payload, time.Now())
	if err != nil {
		l.u.orders.drop(err)
		return
	}
	if l.u.cfg.Answered != nil {
		l.u.cfg.Answered(m)
	}
}

// Unanswered counts what no named consumer has answered yet.
func (u *Uplink) Unanswered() int {
	u.receipts.mu.Lock()
	defer u.receipts.mu.Unlock()
	return len(u.receipts.open)
}
