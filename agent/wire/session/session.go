// Package session is one honest MQTT session over one connection: when it ends, it is never
// mended, and the caller makes another. It speaks MQTT 3.1.1 in the packets of the paho library,
// without that library's client, whose reconnect and stores report deliveries that never happened
// and whose seven goroutines a message has to pass.
//
// Concurrency: a Session may be used from any goroutine. Publish never blocks; it takes a bounded
// number of messages at a time. One goroutine writes, all that waits with one call; one reads, and
// calls whoever has subscribed, in order and one at a time. Failure: an acknowledgement without error means that the broker's
// PUBACK was seen on this very connection (for QoS 0: that the message was written); everything
// else, loss of the connection included, is an error. Nothing waits without an end: at the loss every Ack is done.
package session

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// Errors of an Ack.
var (
	ErrLost = errors.New("mqtt connection lost before the acknowledgement")
	ErrFull = errors.New("too many messages in flight")
	// ErrTooLarge is of a message that no packet holds.
	ErrTooLarge = errors.New("message too large for a packet")
)

// Will is what the broker says when the session is lost.
type Will struct {
	Topic    string
	Payload  []byte
	QoS      byte
	Retained bool
}

// Config of one session. Zero durations take the defaults.
type Config struct {
	URL                string // mqtt://host[:1883] or mqtts://host[:8883]
	ClientID           string
	Username, Password string
	TLS                *tls.Config // of mqtts; nil takes the system's roots
	Will               *Will

	KeepAlive      time.Duration // 5 s; whole seconds
	PingTimeout    time.Duration // 3 s
	WriteTimeout   time.Duration // 3 s
	ConnectTimeout time.Duration // 5 s, from the dial to the CONNACK
	CloseTimeout   time.Duration // 500 ms, from the farewell until the broker has closed
	MaxInFlight    int           // 128

	// Dial replaces the network.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

func (c *Config) defaults() {
	set := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	set(&c.KeepAlive, 5*time.Second)
	set(&c.PingTimeout, 3*time.Second)
	set(&c.WriteTimeout, 3*time.Second)
	set(&c.ConnectTimeout, 5*time.Second)
	set(&c.CloseTimeout, 500*time.Millisecond)
	if c.MaxInFlight <= 0 {
		c.MaxInFlight = 128
	}
}

// Session is one connection to a broker.
type Session struct {
	cfg  Config
	conn *conn
	wake chan struct{} // capacity 1: something is to be written
	lost chan struct{}
	wg   sync.WaitGroup

	wrote, pinged, heard atomic.Int64 // unix ns: the last write; the PINGREQ that waits for its answer, or 0; the last packet

	mu      sync.Mutex // never held across I/O
	cause   error      // of the loss
	over    bool       // it is lost
	pending []sending  // not yet written, in order
	holds   bool       // messages wait for Release
	acks    []*Ack     // not yet done, in the order of Publish
	flying  map[uint16]*Ack
	asked   map[uint16]chan byte // subscriptions that wait for their SUBACK
	lastID  uint16
	routes  []route
}

// sending is a message, or another packet.
type sending struct {
	ack *Ack
	raw []byte
}

// Ack is the fate of one message.
type Ack struct {
	topic    string
	payload  []byte
	qos      byte
	retained bool
	known    bool // its fate is; told in its turn. Session.mu
	done     chan struct{}
	err      error
}

// Done is closed when the fate is known; acknowledgements come in the order of Publish.
func (a *Ack) Done() <-chan struct{} { return a.done }

// Err tells the fate, after Done: nil means acknowledged.
func (a *Ack) Err() error {
	<-a.done
	return a.err
}

func (a *Ack) finish(err error) {
	a.err = err
	a.payload = nil
	close(a.done)
}

// Connect opens a session; it returns when the broker has accepted it, with an error, or when the
// context or the connect time-out ends.
func Connect(ctx context.Context, cfg Config) (*Session, error) {
	cfg.defaults()
	ctx, cancel := context.WithTimeout(ctx, cfg.ConnectTimeout)
	defer cancel()
	c, err := dial(ctx, &cfg)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", cfg.URL, err)
	}
	s := newSession(cfg, c)
	// The handshake on an open connection ends when that is closed; so it has an end.
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	err = handshake(c, &cfg)
	if !stop() {
		err = ctx.Err()
	}
	if err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("connect to %s as %s: %w", cfg.URL, cfg.ClientID, err)
	}
	s.begin()
	return s, nil
}

func newSession(cfg Config, c *conn) *Session {
	return &Session{cfg: cfg, conn: c, wake: make(chan struct{}, 1), lost: make(chan struct{}), flying: map[uint16]*Ack{}, asked: map[uint16]chan byte{}}
}

// begin starts both goroutines of a session that the broker has accepted.
func (s *Session) begin() {
	now := time.Now().UnixNano()
	s.wrote.Store(now)
	s.heard.Store(now)
	s.conn.ended = s.fail
	s.conn.idle.Store(int64(3*s.cfg.KeepAlive + s.cfg.PingTimeout))
	s.wg.Add(2)
	go s.write()
	go s.read()
}

// fail ends the session, once, without the farewell that would withhold the will.
func (s *Session) fail(err error) {
	s.mu.Lock()
	if s.over {
		s.mu.Unlock()
		return
	}
	s.over, s.cause = true, err
	left := s.acks
	s.acks, s.pending = nil, nil
	clear(s.flying)
	close(s.lost)
	for _, a := range left {
		a.finish(ErrLost)
	}
	s.mu.Unlock()
	_ = s.conn.Close()
}

// Lost is closed when the session has ended, for whatever reason.
func (s *Session) Lost() <-chan struct{} { return s.lost }

// Cause says why the session ended; nil while it lives.
func (s *Session) Cause() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cause
}

// Publish hands a message over. The payload must not change until the Ack is done.
func (s *Session) Publish(topic string, qos byte, retained bool, payload []byte) *Ack {
	a := &Ack{topic: topic, payload: payload, qos: qos, retained: retained, done: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.over:
		a.finish(ErrLost)
	case len(s.acks) >= s.cfg.MaxInFlight:
		a.finish(ErrFull)
	case len(topic) > maxTopic || len(payload) > maxPacket-maxTopic-8:
		a.finish(ErrTooLarge)
	default:
		s.acks = append(s.acks, a)
		s.pending = append(s.pending, sending{ack: a})
		if !s.holds {
			s.rouse()
		}
	}
	return a
}

// Hold has messages wait for Release, so that they go out in one write where they fit. Whatever else is
// sent, or asked for, ends it.
func (s *Session) Hold() {
	s.mu.Lock()
	s.holds = true
	s.mu.Unlock()
}

// Release lets go what has waited since Hold.
func (s *Session) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holds = false
	if len(s.pending) > 0 {
		s.rouse()
	}
}

// post leaves something for the writer. The lock is held.
func (s *Session) post(p sending) {
	s.pending, s.holds = append(s.pending, p), false
	s.rouse()
}

// rouse wakes the writer. The lock is held.
func (s *Session) rouse() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// settled notes the fate of a message and tells what is known of the oldest. The lock is held.
func (s *Session) settled(a *Ack) {
	a.known = true
	n := 0
	for ; n < len(s.acks) && s.acks[n].known; n++ {
		s.acks[n].finish(nil)
	}
	s.acks = append(s.acks[:0], s.acks[n:]...)
}

// newID is a packet id that is not in use. The lock is held.
func (s *Session) newID() uint16 {
	for {
		s.lastID++
		if _, asked := s.asked[s.lastID]; s.lastID != 0 && s.flying[s.lastID] == nil && !asked {
			return s.lastID
		}
	}
}

// Subscribe asks for messages; got is called by the goroutine that reads, in order, one message at a
// time: it must not block, and not subscribe. A refused subscription is an error.
func (s *Session) Subscribe(ctx context.Context, filter string, qos byte, got func(topic string, payload []byte, retained bool)) error {
	answer := make(chan byte, 1)
	s.mu.Lock()
	if s.over {
		s.mu.Unlock()
		return fmt.Errorf("subscribe to %s: %w", filter, ErrLost)
	}
	id := s.newID()
	s.asked[id] = answer
	s.routes = withRoute(s.routes, filter, got)
	s.post(sending{raw: appendSubscribe(nil, id, filter, qos)})
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.asked, id)
		s.mu.Unlock()
	}()
	select {
	case code := <-answer:
		if code > 2 {
			return fmt.Errorf("subscribe to %s: refused by the broker (0x%02x): allow it in its access list", filter, code)
		}
		return nil
	case <-s.lost:
		return fmt.Errorf("subscribe to %s: %w", filter, ErrLost)
	case <-ctx.Done():
		return fmt.Errorf("subscribe to %s: %w", filter, ctx.Err())
	}
}

// Abort ends the session without a farewell: the broker publishes the will. It does not block;
// Wait must follow.
func (s *Session) Abort(cause error) { s.fail(cause) }

// Wait returns when what the session started has ended; after the loss of the connection that
// takes the write time-out at most.
func (s *Session) Wait() {
	<-s.lost
	s.wg.Wait()
}

// Close says farewell, which withholds the will, and ends the session. Messages still in flight
// when the context ends are reported as lost. A broker closes the connection when it has read the
// farewell: to close before it could take that away from it.
func (s *Session) Close(ctx context.Context) error {
	s.mu.Lock()
	if !s.over {
		s.post(sending{raw: []byte{packets.Disconnect << 4, 0}})
	}
	s.mu.Unlock()
	t := time.NewTimer(s.cfg.CloseTimeout)
	defer t.Stop()
	var err error
	select {
	case <-s.lost:
	case <-t.C:
	case <-ctx.Done():
		err = fmt.Errorf("close mqtt session: %w", ctx.Err())
	}
	s.fail(errClosed)
	s.wg.Wait()
	return err
}

var errClosed = errors.New("closed by the agent")
