package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"firebreak/agent/wire"
	"firebreak/agent/wire/secret"
	"firebreak/agent/wire/session"
	"firebreak/sensors"
)

// Broker is one of the brokers that the agents tell. The files are read at each connection; each may be
// credential:NAME, as systemd hands it in.
type Broker struct {
	Name, URL string // mqtts://host:8883; mqtt:// on this host only, but for PlainText
	ClientID  string // empty: the consumer's name
	Files     session.Files
	PlainText bool // plain text over a network is meant
}

// Config of a Consumer.
type Config struct {
	Name    string   // of this consumer, as in the agents' configuration
	Brokers []Broker // two at least, for an alarm must survive one
	Sites   []string // empty: all

	Trusted  string     // file of trusted keys, read again when it changes
	Keys     *wire.Ring // in place of the file
	Unsigned bool       // believe what is not signed, where there are no keys at all: for a bench

	SigningKey string // file of this consumer's key; empty: it answers nothing
	Readings   bool   // listen to readings too
	Drills     bool   // and to drills, which are never to be acted on

	Heard func(Note) // called one at a time
	Log   *slog.Logger

	// Dial replaces the network.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Limits of the connections.
const (
	inbox      = 8192
	look       = 250 * time.Millisecond
	backoffMin = 250 * time.Millisecond
	backoffMax = 10 * time.Second
	sayEvery   = time.Minute // that a broker is still not reached
	subLimit   = 5 * time.Second
	ringLook   = 10 * time.Second
)

// ErrNoKey is the error of an answer of a consumer that has no key to sign it with.
var ErrNoKey = errors.New("this consumer has no signing key, so nobody would believe its answer")

// Consumer listens on several brokers at once.
type Consumer struct {
	cfg    Config
	signer *wire.Signer
	in     chan incoming

	mu       sync.Mutex
	book     *Book
	sessions map[string]*session.Session // by broker: those that hear
	speaks   map[string]*session.Session // those that stand: what is retained comes, and may be answered, before all is subscribed
	again    map[string]chan struct{}    // by broker: ask once more for what is retained
	overrun  uint64
	ringAt   time.Time // when the file of trusted keys was last changed
	begun    time.Time
	blind    bool
	pulsed   time.Time // when the process ran last: see pulse
	boot     sensors.Mono
	paused   time.Duration // not told to the book yet
	slept    time.Duration
	uptime   func() sensors.Mono
}

type incoming struct {
	at            time.Time
	broker, topic string
	payload       []byte
	retained      bool
}

// New checks a configuration and reads its keys. It opens nothing.
func New(cfg Config) (*Consumer, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Heard == nil {
		cfg.Heard = func(Note) {}
	}
	c := &Consumer{cfg: cfg, in: make(chan incoming, inbox), sessions: map[string]*session.Session{}, speaks: map[string]*session.Session{}, again: map[string]chan struct{}{}}
	var errs []error
	if cfg.Name == "" || wire.TopicName(cfg.Name) != cfg.Name {
		errs = append(errs, fmt.Errorf("consumer: name %q: use up to 48 letters, digits, - and _", cfg.Name))
	}
	if len(cfg.Brokers) == 0 {
		errs = append(errs, errors.New("consumer: no broker is named"))
	}
	seen := map[string]bool{}
	for _, b := range cfg.Brokers {
		if b.Name == "" || seen[b.Name] {
			errs = append(errs, fmt.Errorf("consumer: broker name %q is empty or used twice", b.Name))
		}
		seen[b.Name] = true
		if err := session.CheckURL(b.URL); err != nil {
			errs = append(errs, fmt.Errorf("consumer: broker %s: %w", b.Name, err))
		} else if !b.PlainText && session.PlainText(b.URL) {
			errs = append(errs, fmt.Errorf("consumer: broker %s: %s would be plain text over a network: use mqtts://, or say that it is meant", b.Name, b.URL))
		}
	}
	keys := cfg.Keys
	if keys == nil && cfg.Trusted != "" {
		var err error
		if keys, err = wire.ReadRing(cfg.Trusted); err != nil {
			errs = append(errs, err)
		}
		c.ringAt = modified(cfg.Trusted)
	}
	if keys.Len() == 0 && !cfg.Unsigned {
		errs = append(errs, errors.New("consumer: no key is trusted, so no message would be believed: name a file of trusted keys, or say that unsigned messages are to be believed"))
	}
	if cfg.SigningKey != "" {
		var err error
		if c.signer, err = wire.ReadSigner(cfg.SigningKey); err != nil {
			errs = append(errs, err)
		}
	}
	c.book, c.uptime = NewBook(keys, cfg.Unsigned), uptime
	return c, errors.Join(errs...)
}

func modified(file string) time.Time {
	fi, err := os.Stat(secret.Path(file))
	if err != nil {
		return time.Time{}
	}
	return fi.ModTime()
}

// Run listens until the context ends, and waits for all that it has started.
func (c *Consumer) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, b := range c.cfg.Brokers {
		wg.Go(func() { c.keep(ctx, b) })
	}
	c.begun = time.Now()
	c.pulsed, c.boot = c.begun, c.uptime()
	wg.Go(func() { c.pulse(ctx) })
	tick := time.NewTicker(look)
	defer tick.Stop()
	ring := time.NewTicker(ringLook)
	defer ring.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case m := <-c.in:
			c.take(m)
		case <-tick.C:
			c.tick()
			c.sight(ctx)
		case <-ring.C:
			c.readRing()
		}
	}
}

func (c *Consumer) take(m incoming) {
	c.hear(func() []Note { return c.book.Take(m.at, m.broker, m.topic, m.payload, m.retained) })
}

// hear lets the book take something, answers, and passes on what it says.
func (c *Consumer) hear(take func() []Note) {
	c.mu.Lock()
	notes := append([]Note(nil), take()...)
	repeats := append([]Note(nil), c.book.repeats...)
	c.book.repeats = c.book.repeats[:0]
	c.mu.Unlock()
	for _, n := range repeats {
		if c.signer != nil && n.Act() {
			_ = c.Answer(n, wire.AnswerReceipt, "")
		}
	}
	for _, n := range notes {
		if n.Kind == Incomplete {
			c.askAgain()
		}
		if c.signer != nil {
			switch {
			case n.Act() && (n.Kind == AlarmTold || n.Kind == PlanTold):
				_ = c.Answer(n, wire.AnswerReceipt, "")
			case n.Kind == Incomplete:
				c.resync(n)
			}
		}
		c.cfg.Heard(n)
	}
}

// askAgain subscribes once more to what is retained: nats-server may acknowledge an alarm before it hands
// it to new subscribers, and who subscribes in between gets neither.
func (c *Consumer) askAgain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, ch := range c.again {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

// sight tells once when no broker is reached, and once that one is again.
func (c *Consumer) sight(ctx context.Context) {
	c.mu.Lock()
	now := len(c.sessions) == 0 && time.Since(c.begun) > silentAfter && ctx.Err() == nil // at the end it leaves them by itself
	was := c.blind
	c.blind = now
	c.mu.Unlock()
	switch {
	case now && !was:
		c.cfg.Heard(Note{Kind: BlindNow, At: time.Now(), Text: "no broker is reached: what is said of agents is what was known"})
	case was && !now && ctx.Err() == nil:
		c.cfg.Heard(Note{Kind: SightedNow, At: time.Now(), Text: "a broker is reached again"})
	}
}

// readRing takes the keys anew when their file has changed; a file with a fault changes nothing.
func (c *Consumer) readRing() {
	if c.cfg.Trusted == "" || c.cfg.Keys != nil {
		return
	}
	at := modified(c.cfg.Trusted)
	if at.IsZero() || at.Equal(c.ringAt) {
		return
	}
	keys, err := wire.ReadRing(c.cfg.Trusted)
	if err != nil {
		c.cfg.Log.Error("the trusted keys have a fault: the last good ones are used", "error", err)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ringAt = at
	c.book.Trust(keys)
}

// Agents lists what is known of all agents.
func (c *Consumer) Agents() []Agent {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.book.Agents()
}

// Compartments groups it by what burns together.
func (c *Consumer) Compartments() []Compartment {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.book.Compartments()
}

// Counts of what was not taken: messages refused, by reason, and those that came faster than Heard
// returned.
func (c *Consumer) Counts() (refused map[string]uint64, overrun uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.book.Refusals(), c.overrun
}

// Connected names the brokers that are reached.
func (c *Consumer) Connected() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []string
	for b := range c.sessions {
		out = append(out, b)
	}
	return out
}
