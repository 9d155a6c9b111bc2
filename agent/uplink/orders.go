package uplink

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"sync"
	"time"

	"firebreak/agent/wire"
	"firebreak/agent/wire/secret"
	"firebreak/plugins"
)

// Order is a command that was verified: whose it is, is known, and that it is of now.
type Order struct {
	wire.CommandMessage
	By, Second string // persons; Second is empty where one has signed
}

// Limits of what anybody may send (S14, S17).
const (
	helloAge   = 30 * time.Second // a command names a hello no older than this, on the agent's own clock
	beatsKept  = 64
	noncesKept = 1024
	ordersWait = 16
	orderLimit = 5 * time.Second
	cmdBurst   = 40 // commands looked at in one go; then cmdRate a second
	cmdRate    = 10
	resyncRest = 5 * time.Second
	ringLook   = 10 * time.Second
)

// orders takes what comes in on the agent's command topic, from all brokers. A command counts when a
// person whose key is trusted has signed it, when it names a hello of this life that is at most 30 s
// old, and once. All else is dropped and counted, and nothing that is retained counts. What passes goes
// to the core, by the door that orders at the box take; what it may do there S17 says. All methods may be
// called from any goroutine.
type orders struct {
	file  string
	queue chan Order
	now   func() time.Time // monotonic

	mu      sync.Mutex
	ring    *wire.Ring
	ringErr error
	ringAt  time.Time // of the file
	looked  time.Time
	beats   []beat
	nonces  map[string]time.Time
	tokens  float64
	filled  time.Time
	resync  time.Time
	taken   uint64
	dropped map[string]uint64
}

type beat struct {
	seq       uint64
	challenge string
	at        time.Time
}

func newOrders(file string) *orders {
	return &orders{file: file, queue: make(chan Order, ordersWait), now: time.Now, nonces: map[string]time.Time{}, dropped: map[string]uint64{}, tokens: cmdBurst}
}

// said keeps a hello that commands may name.
func (o *orders) said(seq uint64, challenge string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.beats) == beatsKept {
		o.beats = append(o.beats[:0], o.beats[1:]...)
	}
	o.beats = append(o.beats, beat{seq, challenge, o.now()})
}

// keys reads the file of trusted keys when it has changed; the last good ones stay.
func (o *orders) keys() *wire.Ring {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.now()
	if o.file == "" || !o.looked.IsZero() && now.Sub(o.looked) < ringLook {
		return o.ring
	}
	o.looked = now
	fi, err := os.Stat(secret.Path(o.file))
	if err != nil {
		o.ringErr = err
		return o.ring
	}
	if o.ring != nil && fi.ModTime().Equal(o.ringAt) {
		return o.ring
	}
	r, err := wire.ReadRing(o.file)
	if o.ringErr = err; err == nil {
		o.ring, o.ringAt = r, fi.ModTime()
	}
	return o.ring
}

// Why a command was dropped.
var (
	errRetained = errors.New("a retained command")
	errTooLong  = errors.New("a command that is too long")
	errStorm    = errors.New("more commands than are looked at")
	errNoPerson = errors.New("a command that no person has signed")
	errStale    = errors.New("a command that names no hello of the last 30 s")
	errTwice    = errors.New("a command that was given before")
	errBusy     = errors.New("more commands than are carried out")
)

// take looks at one message and returns an order, or why there is none.
func (o *orders) take(id *wire.Identity, topic string, payload []byte, retained bool) (Order, error) {
	switch {
	case retained:
		return Order{}, errRetained
	case len(payload) > wire.MaxInbound:
		return Order{}, errTooLong
	case !o.room():
		return Order{}, errStorm
	}
	c, by, err := o.keys().Signers(topic, payload)
	if err != nil {
		return Order{}, err
	}
	out := Order{CommandMessage: c, By: by[0].Name}
	if len(by) > 1 {
		out.Second = by[1].Name
	}
	for _, k := range by {
		if k.Role != wire.RolePerson && (k.Role != wire.RoleConsumer || c.Order != wire.OrderResync) {
			return Order{}, errNoPerson
		}
	}
	return out, o.fresh(id, &c)
}

// room is a bucket of tokens: what costs a signature's check is bounded.
func (o *orders) room() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.now()
	o.tokens = min(cmdBurst, o.tokens+now.Sub(o.filled).Seconds()*cmdRate)
	o.filled = now
	if o.tokens < 1 {
		return false
	}
	o.tokens--
	return true
}

// fresh holds a command to a hello of this life, and lets it count once.
func (o *orders) fresh(id *wire.Identity, c *wire.CommandMessage) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.now()
	ok := false
	for _, b := range o.beats {
		ok = ok || b.seq == c.Hello.Seq && b.challenge == c.Hello.Challenge && now.Sub(b.at) <= helloAge
	}
	if !ok || c.Hello.Instance != id.Instance || c.Hello.Epoch != id.Epoch || len(c.Nonce) < 16 || len(c.Nonce) > 64 {
		return errStale
	}
	for n, until := range o.nonces {
		if now.After(until) { // by then its hello is too old
			delete(o.nonces, n)
		}
	}
	if _, twice := o.nonces[c.Nonce]; twice {
		return errTwice
	}
	if len(o.nonces) >= noncesKept {
		return errStorm
	}
	o.nonces[c.Nonce] = now.Add(helloAge)
	return nil
}

func (o *orders) drop(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, known := range []error{errRetained, errTooLong, errStorm, errNoPerson, errStale, errTwice, errBusy, wire.ErrUnsigned, wire.ErrUnknownKey, wire.ErrForged} {
		if errors.Is(err, known) {
			o.dropped[known.Error()]++
			return
		}
	}
	o.dropped["a command that cannot be read"]++
}

func (o *orders) stats(s *Stats) {
	o.keys()
	o.mu.Lock()
	defer o.mu.Unlock()
	s.Commands, s.Dropped = o.taken, maps.Clone(o.dropped)
	if o.ringErr != nil {
		s.Trusted = o.ringErr.Error()
	}
}

// command takes one message of the command topic.
func (l *link) command(topic string, payload []byte, retained bool) {
	u := l.u
	id := u.identity()
	c, err := u.orders.take(&id, topic, payload, retained)
	if err == nil && c.Order == wire.OrderResync {
		u.resync()
		return
	}
	if err == nil {
		select {
		case u.orders.queue <- c:
			return
		default:
			err = errBusy
		}
	}
	u.orders.drop(err)
	if !errors.Is(err, errTwice) && !errors.Is(err, errBusy) { // a repeat by a second broker is none
		u.tampers.sign(fmt.Errorf("broker %s brought a command that was not obeyed: %w; see who may write on %s", l.b.Name, err, topic))
	}
}

// resync has all brokers told what stands, at most every 5 s: alarms that are over too. Who asks may hold one for
// active, on a broker that has lost what it had retained.
func (u *Uplink) resync() {
	o := u.orders
	o.mu.Lock()
	now := o.now()
	due := o.resync.IsZero() || now.Sub(o.resync) >= resyncRest
	if due {
		o.resync = now
	}
	o.mu.Unlock()
	if !due {
		return
	}
	for _, l := range u.links {
		l.mu.Lock()
		l.backlog.present(true)
		l.mu.Unlock()
		l.awake()
	}
}

// obey carries out commands, one after the other, and tells what became of each.
func (u *Uplink) obey(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case c := <-u.orders.queue:
			u.orders.mu.Lock()
			u.orders.taken++
			u.orders.mu.Unlock()
			err := errors.New("this agent takes no orders over the network")
			if u.cfg.Order != nil {
				bounded, cancel := context.WithTimeout(ctx, orderLimit)
				err = u.cfg.Order(bounded, c)
				cancel()
			}
			u.Offer(plugins.Update{Wall: u.cfg.Now(), Event: answerTo(c, err)})
		}
	}
}

// EventCommandAnswer is the type of the event that answers a command.
const EventCommandAnswer = "command.answer"

func answerTo(c Order, err error) *plugins.Event {
	out := struct {
		Nonce string `json:"nonce"`
		Error string `json:"error,omitempty"`
	}{Nonce: c.Nonce}
	e := &plugins.Event{Type: EventCommandAnswer, Detail: fmt.Sprintf("%s %s by %s: done", c.CommandMessage.Order, c.Name, c.By)}
	if err != nil {
		out.Error = err.Error()
		e.Detail = fmt.Sprintf("%s %s by %s: %v", c.CommandMessage.Order, c.Name, c.By, err)
	}
	e.Data, _ = json.Marshal(out) // strings: it cannot fail
	return e
}

func (u *Uplink) identity() wire.Identity {
	return wire.Identity{Site: u.cfg.Site, Zone: u.cfg.Zone, Agent: u.cfg.Agent, Instance: u.cfg.Instance, Epoch: u.cfg.Epoch, Drill: u.cfg.Drill}
}
