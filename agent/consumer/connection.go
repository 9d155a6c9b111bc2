package consumer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"time"

	"firebreak/agent/wire"
	"firebreak/agent/wire/session"
)

// keep holds a session with one broker, again and again.
func (c *Consumer) keep(ctx context.Context, b Broker) {
	pause, told := backoffMin, time.Time{}
	for ctx.Err() == nil {
		begin := time.Now()
		err := c.serve(ctx, b)
		if ctx.Err() != nil {
			return
		}
		if time.Since(begin) > backoffMax {
			pause, told = backoffMin, time.Time{}
		}
		if told.IsZero() || time.Since(told) >= sayEvery { // each try a line would push alarms off a screen
			c.cfg.Log.Warn("a broker is not reached: trying again", "broker", b.Name, "error", err)
			told = time.Now()
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(rand.Int64N(int64(pause))) + time.Millisecond):
		}
		pause = min(2*pause, backoffMax)
	}
}

// serve is one session: subscribed to all that is asked for, or none.
func (c *Consumer) serve(ctx context.Context, b Broker) error {
	sc := session.Config{URL: b.URL, ClientID: b.ClientID, Dial: c.cfg.Dial}
	if sc.ClientID == "" {
		sc.ClientID = c.cfg.Name
	}
	if err := b.Files.Apply(&sc, time.Now); err != nil {
		return err
	}
	s, err := session.Connect(ctx, sc)
	if err != nil {
		return err
	}
	defer s.Wait()
	defer s.Abort(context.Canceled)
	got := func(topic string, payload []byte, retained bool) {
		if !c.wants(topic) {
			return
		}
		select {
		case c.in <- incoming{time.Now(), b.Name, topic, payload, retained}:
		default: // whoever listens is too slow: the gap is told, and the present state comes again
			c.mu.Lock()
			c.overrun++
			c.mu.Unlock()
		}
	}
	c.mu.Lock()
	c.speaks[b.Name] = s
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.speaks, b.Name)
		c.mu.Unlock()
	}()
	if err := c.subscribe(ctx, s, got); err != nil {
		return err
	}
	c.mu.Lock()
	again := make(chan struct{}, 1)
	c.sessions[b.Name], c.again[b.Name] = s, again
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.sessions, b.Name)
		delete(c.again, b.Name)
		c.mu.Unlock()
	}()
	c.cfg.Log.Info("broker connected", "broker", b.Name)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.Lost():
			if err := s.Cause(); !errors.Is(err, io.EOF) {
				return err
			}
			return fmt.Errorf("the broker has ended the session of %s: does another one come with this name or certificate, or does its access list forbid what this one asks?", sc.ClientID)
		case <-again:
			if err := c.subscribe(ctx, s, got, wire.Alarm, wire.Plan); err != nil {
				return err
			}
		}
	}
}

// subscribe asks for classes; none: for all that the configuration wants.
func (c *Consumer) subscribe(ctx context.Context, s *session.Session, got func(string, []byte, bool), classes ...wire.Class) error {
	for _, f := range c.filters() {
		if len(classes) > 0 && !slices.Contains(classes, f.class) {
			continue
		}
		qos := f.class.QoS()
		if f.class == wire.State || f.class == wire.History {
			qos = 0
		}
		sub, cancel := context.WithTimeout(ctx, subLimit)
		err := s.Subscribe(sub, f.topics, qos, got)
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}

// maxSites is of how many sites each is asked for by itself. A session of nats-server has 31 subscriptions at QoS 1
// that end in #, four of which each site takes; of more sites all is asked for, and what is of others is left.
const maxSites = 7

// wants tells whether a topic is of a site that is asked for.
func (c *Consumer) wants(topic string) bool {
	if len(c.cfg.Sites) == 0 {
		return true
	}
	p, _ := wire.ParseTopic(topic)
	return slices.ContainsFunc(c.cfg.Sites, func(s string) bool { return wire.TopicName(s) == p.Site })
}

// filter is one subscription.
type filter struct {
	topics string
	class  wire.Class
}

// filters are the subscriptions in their order. The hellos come last: what a broker has retained may be of before
// an outage, and counts from the hello on; by then the broker that has the newest has handed it over.
func (c *Consumer) filters() []filter {
	var out []filter
	roots := []string{wire.Root}
	if c.cfg.Drills {
		roots = append(roots, wire.Root+"/drill")
	}
	sites := []string{"#"}
	if n := len(c.cfg.Sites); n > 0 && n <= maxSites {
		sites = nil
		for _, s := range c.cfg.Sites {
			sites = append(sites, wire.TopicName(s)+"/#")
		}
	}
	for _, root := range roots {
		for _, site := range sites {
			classes := []wire.Class{wire.Status, wire.Plan, wire.Alarm, wire.Event}
			if c.cfg.Readings {
				classes = append(classes, wire.State, wire.History)
			}
			for _, cl := range append(classes, wire.Hello) {
				out = append(out, filter{root + "/" + cl.String() + "/" + site, cl})
			}
		}
	}
	slices.SortStableFunc(out, func(x, y filter) int { return cmp.Compare(last(x), last(y)) })
	return out
}

func last(f filter) int {
	if f.class == wire.Hello {
		return 1
	}
	return 0
}
