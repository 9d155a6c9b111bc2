package mqtt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	backoffMin   = 250 * time.Millisecond
	backoffMax   = 10 * time.Second
	subscribeFor = 5 * time.Second
)

// link is the way to one broker. Its goroutine alone connects; calls only use the session that
// stands.
type link struct {
	h    *Hook
	b    Broker
	log  *slog.Logger
	kick chan struct{}  // capacity 1: a call wants to be sent now
	gone sync.WaitGroup // closing sessions

	mu      sync.Mutex
	session Session       // nil: none, or its subscription is not granted
	err     error         // why
	changed chan struct{} // closed when the session changes
}

func newLink(h *Hook, b Broker) *link {
	return &link{h: h, b: b, log: h.log.With("broker", b.Name), changed: make(chan struct{}), kick: make(chan struct{}, 1), err: errors.New("not connected yet")}
}

// now gives the session, or why there is none, and what is closed when that changes.
func (l *link) now() (s Session, changed <-chan struct{}, why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.session, l.changed, l.err
}

func (l *link) set(s Session, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s == nil && l.session == nil {
		l.err = err // nobody waits for another reason
		return
	}
	l.session, l.err = s, err
	close(l.changed)
	l.changed = make(chan struct{})
}

// run connects, again and again, until ctx ends. Only a change is told: a broker that is away for a
// day is one line.
func (l *link) run(ctx context.Context) {
	defer l.gone.Wait()
	pause, told := backoffMin, false
	for ctx.Err() == nil {
		begin := time.Now()
		good, err := l.serve(ctx)
		if ctx.Err() != nil {
			return
		}
		if good {
			told = false
			if time.Since(begin) > backoffMax { // not one that is thrown out again and again, as by another of its name
				pause = backoffMin
			}
		}
		if !told {
			told = true
			l.log.Warn("no session for commands: trying again", "err", err)
		}
		// Full jitter: agents that lost a broker together do not come back together.
		t := time.NewTimer(rand.N(pause) + time.Millisecond)
		select {
		case <-ctx.Done():
			t.Stop()
		case <-l.kick:
			t.Stop()
		case <-t.C:
		}
		pause = min(2*pause, backoffMax)
	}
}

// serve is one session from its connection to its end; good when it stood. Without the
// subscription an answer could not be heard, so there is no session without it.
func (l *link) serve(ctx context.Context) (good bool, err error) {
	s, err := l.b.Connect(ctx)
	if err != nil {
		l.set(nil, err)
		return false, err
	}
	defer l.gone.Go(s.Close) // the next attempt does not wait for it, run does
	drills := []bool{false}
	if l.h.cfg.Drill == "native" && !l.h.cfg.Simulated { // else they have one topic
		drills = append(drills, true)
	}
	for _, drill := range drills {
		if err := l.subscribe(ctx, s, drill); err != nil {
			l.set(nil, err)
			return false, err
		}
	}
	l.set(s, nil)
	l.log.Info("session for commands stands")
	select {
	case <-ctx.Done():
		err = ctx.Err()
	case <-s.Lost():
		err = errors.New("the connection was lost")
	}
	l.set(nil, err)
	return true, err
}

func (l *link) subscribe(ctx context.Context, s Session, drill bool) error {
	ctx, cancel := context.WithTimeout(ctx, subscribeFor)
	defer cancel()
	filter := l.h.cfg.topics(drill).reply
	err := s.Subscribe(ctx, filter, func(_ string, payload []byte, retained bool) { l.h.got(payload, retained, drill) })
	if err != nil {
		return fmt.Errorf("the answers on %s cannot be heard: %w", filter, err)
	}
	return nil
}

// send publishes what body gives to this broker, at once and then every resend while again says so,
// until ctx ends. A session that comes in between is used at once. sent hears of each sending.
func (l *link) send(ctx context.Context, topic string, body func() []byte, again func() bool, sent func(error)) {
	if s, _, _ := l.now(); s == nil {
		select {
		case l.kick <- struct{}{}: // a fire does not wait for the end of a pause
		default:
		}
	}
	pause := minResend
	for ctx.Err() == nil {
		s, changed, _ := l.now()
		var wait <-chan time.Time
		switch {
		case s == nil:
		case !again():
			wait = time.After(l.h.cfg.Resend) // an answer may be taken back
		default:
			// A session that does not acknowledge is waited for until the next sending and no longer.
			pctx, cancel := context.WithTimeout(ctx, l.h.cfg.Resend)
			err := s.Publish(pctx, topic, body())
			late := pctx.Err() != nil
			cancel()
			if late {
				err = fmt.Errorf("not acknowledged: %w", err)
			}
			sent(err)
			switch {
			case late:
				continue
			case err == nil:
				wait, pause = time.After(l.h.cfg.Resend), minResend
			default: // lost, or full; one that stands all the same is tried again soon
				wait = time.After(pause/2 + rand.N(pause))
				pause = min(2*pause, l.h.cfg.Resend)
			}
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-wait:
		}
	}
}
