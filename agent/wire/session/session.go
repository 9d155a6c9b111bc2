// Package session is one honest MQTT session over one connection: when it ends, it is never
// mended, and the caller makes another. It is the only importer of the paho client, used without
// its reconnect and its stores, which report deliveries that never happened.
//
// Concurrency: a Session may be used from any goroutine. Publish never blocks; it takes a bounded
// number of messages at a time. Failure: an acknowledgement without error means that the broker's
// PUBACK was seen on this very connection (for QoS 0: that the message was written); everything
// else, loss of the connection included, is an error. Nothing waits without an end: whoever
// waits for an Ack may wait for Lost as well; within the write time-out after it, every Ack is done.
package session

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// Errors of an Ack.
var (
	ErrLost = errors.New("mqtt connection lost before the acknowledgement")
	ErrFull = errors.New("too many messages in flight")
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
	Ordered            bool // what is subscribed to is handed over in order, one message at a time

	KeepAlive      time.Duration // 5 s; whole seconds
	PingTimeout    time.Duration // 3 s
	WriteTimeout   time.Duration // 3 s
	ConnectTimeout time.Duration // 5 s, from the dial to the CONNACK
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
	if c.MaxInFlight <= 0 {
		c.MaxInFlight = 128
	}
}

// Session is one connection to a broker.
type Session struct {
	client mqtt.Client
	conn   *conn
	pubs   chan *Ack // to the pump
	flying chan *Ack // from the pump to the reaper
	lost   chan struct{}
	once   sync.Once
	mu     sync.Mutex
	cause  error
	wg     sync.WaitGroup
}

// Ack is the fate of one message.
type Ack struct {
	topic    string
	payload  []byte
	qos      byte
	retained bool
	token    mqtt.Token
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
	s := &Session{conn: c, pubs: make(chan *Ack, cfg.MaxInFlight), flying: make(chan *Ack, 2*cfg.MaxInFlight), lost: make(chan struct{})}
	s.client = mqtt.NewClient(s.options(&cfg))
	// The handshake on an open connection ends when that is closed; so the wait below has an end.
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	token := s.client.Connect()
	<-token.Done()
	if !stop() && token.Error() == nil {
		err = ctx.Err()
	} else {
		err = token.Error()
	}
	if err != nil {
		_ = c.Close()
		s.client.Disconnect(0)
		return nil, fmt.Errorf("connect to %s as %s: %w", cfg.URL, cfg.ClientID, err)
	}
	c.ended = s.fail
	c.idle.Store(int64(3*cfg.KeepAlive + cfg.PingTimeout))
	s.wg.Add(2)
	go s.pump()
	go s.reap()
	return s, nil
}

// options are the only honest ones: see the package comment.
func (s *Session) options(cfg *Config) *mqtt.ClientOptions {
	o := mqtt.NewClientOptions().AddBroker(cfg.URL).SetClientID(cfg.ClientID).
		SetCleanSession(true).SetAutoReconnect(false).SetConnectRetry(false).
		SetProtocolVersion(4).SetOrderMatters(cfg.Ordered).
		SetKeepAlive(cfg.KeepAlive).SetPingTimeout(cfg.PingTimeout).
		SetWriteTimeout(cfg.WriteTimeout).SetConnectTimeout(cfg.ConnectTimeout).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) { s.fail(err) })
	o.SetCustomOpenConnectionFn(func(_ *url.URL, _ mqtt.ClientOptions) (net.Conn, error) { return s.conn, nil })
	if cfg.Username != "" {
		o.SetUsername(cfg.Username).SetPassword(cfg.Password)
	}
	if w := cfg.Will; w != nil {
		o.SetBinaryWill(w.Topic, w.Payload, w.QoS, w.Retained)
	}
	return o
}

// fail ends the session, once, without the farewell that would withhold the will.
func (s *Session) fail(err error) {
	s.once.Do(func() {
		s.mu.Lock()
		s.cause = err
		close(s.lost)
		s.mu.Unlock()
		_ = s.conn.Close()
	})
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
	// Under the lock that fail takes: nothing is handed to the pump after the loss, so it leaves
	// nothing behind when it ends.
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.lost:
		a.finish(ErrLost)
		return a
	default:
	}
	select {
	case s.pubs <- a:
	default:
		a.finish(ErrFull)
	}
	return a
}

func (a *Ack) finish(err error) {
	a.err = err
	a.payload = nil
	close(a.done)
}

// pump feeds the client, whose Publish may block for the write time-out when a connection ends
// under it. It is the only one that calls it, so the order is kept.
func (s *Session) pump() {
	defer s.wg.Done()
	defer close(s.flying)
	for {
		select {
		case <-s.lost:
			for { // what is still here was never sent
				select {
				case a := <-s.pubs:
					a.finish(ErrLost)
				default:
					return
				}
			}
		case a := <-s.pubs:
			a.token = s.client.Publish(a.topic, a.qos, a.retained, a.payload)
			s.flying <- a // the reaper always takes
		}
	}
}

// reap ends acknowledgements in order. A token may stay open for ever when its connection ends
// under it; so after the loss it is looked at once and not waited for.
func (s *Session) reap() {
	defer s.wg.Done()
	for a := range s.flying {
		select {
		case <-a.token.Done():
		case <-s.lost:
		}
		select {
		case <-a.token.Done():
			err := a.token.Error()
			if err != nil {
				s.fail(fmt.Errorf("publish: %w", err))
				err = fmt.Errorf("%w: %w", ErrLost, err)
			}
			a.finish(err)
		default:
			a.finish(ErrLost)
		}
	}
}

// Subscribe asks for messages; got may be called from several goroutines at once and must not
// block. A refused subscription is an error.
func (s *Session) Subscribe(ctx context.Context, filter string, qos byte, got func(topic string, payload []byte, retained bool)) error {
	t := s.client.Subscribe(filter, qos, func(_ mqtt.Client, m mqtt.Message) {
		got(m.Topic(), m.Payload(), m.Retained())
	})
	select {
	case <-t.Done():
	case <-s.lost:
		return fmt.Errorf("subscribe to %s: %w", filter, ErrLost)
	case <-ctx.Done():
		return fmt.Errorf("subscribe to %s: %w", filter, ctx.Err())
	}
	if err := t.Error(); err != nil {
		return fmt.Errorf("subscribe to %s: %w", filter, err)
	}
	if st, ok := t.(*mqtt.SubscribeToken); ok {
		for f, code := range st.Result() {
			if code > 2 {
				return fmt.Errorf("subscribe to %s: refused by the broker (0x%02x): allow it in its access list", f, code)
			}
		}
	}
	return nil
}

// Abort ends the session without a farewell: the broker publishes the will. It does not block;
// Wait must follow.
func (s *Session) Abort(cause error) { s.fail(cause) }

// Wait returns when what the session started has ended; after the loss of the connection that
// takes the write time-out at most.
func (s *Session) Wait() {
	<-s.lost
	s.client.Disconnect(0)
	s.wg.Wait()
}

// Close says farewell, which withholds the will, and ends the session. Messages still in flight
// when the context ends are reported as lost.
func (s *Session) Close(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-s.lost:
			s.client.Disconnect(0)
		default:
			s.client.Disconnect(500)
		}
		s.fail(errClosed)
		s.wg.Wait()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		_ = s.conn.Close() // unblocks the client's writer, and with it the farewell
		<-done
		return fmt.Errorf("close mqtt session: %w", ctx.Err())
	}
}

var errClosed = errors.New("closed by the agent")
