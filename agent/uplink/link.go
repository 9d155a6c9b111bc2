package uplink

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"firebreak/agent/wire"
	"firebreak/agent/wire/session"
	"firebreak/plugins"
	"firebreak/plugins/reread"
)

// lane is what goes by one session with a broker.
type lane uint8

const (
	whole     lane = iota // all, where a broker grants one session
	alarms                // all that somebody acts on
	telemetry             // readings, and all that is not real
)

// telemetryWindows: so many times as much flies on the session of telemetry, where nothing waits behind it. A busy
// processor takes milliseconds from an acknowledgement to the next message.
const telemetryWindows = 4

// takes tells whether a message goes by the lane.
func (n lane) takes(m *wire.Message, drill bool) bool {
	return n == whole || (n == telemetry) == (m.Class == wire.State || m.Drill && !drill)
}

// link is one lane to one broker. Its goroutine alone touches the connection; put and beat only
// leave something for it.
type link struct {
	u    *Uplink
	b    Broker
	lane lane
	mate *link // of the alarms: the telemetry's; nil: there is none
	log  *slog.Logger
	wake chan struct{} // capacity 1: something was left
	wg   sync.WaitGroup

	files *reread.File[session.Config] // of the broker

	// Of the link's goroutine; see twins.
	short                   int
	suffixed, suffixRefused bool

	mu        sync.Mutex
	backlog   *backlog
	gathering bool            // telemetry waits for more of it: see flight.gathers
	together  bool            // the last of those that were to go together is there
	hello     *wire.Beat      // the newest that was not sent
	rebirth   bool            // the broker says that we are offline
	echoAt    time.Time       // the last own hello that the broker passed on, or the begin of the session
	echoed    bool            // it has, ever
	again     map[string]bool // topics on which another than our word stands
	st        BrokerStats
}

func newLink(u *Uplink, b Broker, n lane) *link {
	l := &link{u: u, b: b, lane: n, log: u.cfg.Log.With("component", "uplink", "broker", b.Name),
		wake: make(chan struct{}, 1), backlog: newBacklog(&u.cfg), st: BrokerStats{Name: b.Name}, again: map[string]bool{}}
	if n == telemetry && b.TelemetryCertFile != "" {
		b.CertFile, b.KeyFile = b.TelemetryCertFile, b.TelemetryKeyFile
	}
	if n == telemetry {
		l.backlog.window *= telemetryWindows
	}
	l.files = reread.New(func() (session.Config, error) { return b.Session("", u.cfg.CertTime) })
	return l
}

// credentials are what the broker's files say now. What is broken or hangs leaves what was read last in force.
func (l *link) credentials() (session.Config, error) {
	sc, have, err := l.files.Get()
	switch {
	case !have:
		return sc, fmt.Errorf("credentials of broker %s: %w", l.b.Name, err)
	case err != nil:
		l.log.Warn("credentials cannot be read anew: those read last are used", "error", err)
	}
	return sc, nil
}

func (l *link) put(m *wire.Message, goes plugins.Goes) {
	if !l.lane.takes(m, l.u.cfg.Drill) {
		return
	}
	l.mu.Lock()
	l.backlog.put(m)
	l.together = l.together || goes == plugins.Last
	waits := goes != plugins.Last && (l.gathering || goes == plugins.Before) && l.backlog.unsentStates() < gatherMost
	l.mu.Unlock()
	if !waits {
		l.awake()
	}
}

// last notes that no more follow at once, where the last itself need not be told.
func (l *link) last(goes plugins.Goes) {
	if goes != plugins.Last || l.lane == alarms {
		return
	}
	l.mu.Lock()
	l.together = true
	l.mu.Unlock()
	l.awake()
}

func (l *link) beat(b wire.Beat) {
	l.mu.Lock()
	l.hello = &b
	for topic := range l.again {
		l.backlog.again(topic)
	}
	clear(l.again)
	l.mu.Unlock()
	l.awake()
}

func (l *link) awake() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *link) stats() BrokerStats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.st
	s.Queued, s.Dropped, s.Gaps = l.backlog.waiting(), l.backlog.dropped, slices.Clone(l.backlog.gaps)
	return s
}

// both is how it stands with the broker over all lanes.
func (l *link) both() BrokerStats {
	s := l.stats()
	if l.mate == nil {
		return s
	}
	t := l.mate.stats()
	s.Telemetry, s.TelemetryError = t.Connected, t.LastError
	s.Granted = s.Granted && t.Granted
	if s.Refused == "" {
		s.Refused = t.Refused
	}
	s.Published, s.Acked, s.Queued = s.Published+t.Published, s.Acked+t.Acked, s.Queued+t.Queued
	s.Dropped, s.Gaps = s.Dropped.Add(t.Dropped), append(s.Gaps, t.Gaps...)
	return s
}

// run connects and serves, again and again, until the context ends. Each attempt has a number of
// its own, since a broker may have accepted one whose answer was lost, and then tells its will.
func (l *link) run(ctx context.Context) {
	defer l.wg.Wait()
	pause := l.u.cfg.BackoffMin
	for n := uint64(1); ctx.Err() == nil; n++ {
		begin := time.Now()
		good, err := l.attempt(ctx, n)
		l.ended(err, good)
		l.over(good, time.Since(begin))
		if good {
			pause = l.u.cfg.BackoffMin
		}
		// Full jitter: agents that lost a broker together do not come back together.
		t := time.NewTimer(time.Duration(rand.Int64N(int64(pause))) + time.Millisecond)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
		pause = min(2*pause, l.u.cfg.BackoffMax)
	}
}

// ended notes the end of an attempt. Only changes are logged above debug: a broker that is away
// for a day is one line.
func (l *link) ended(err error, good bool) {
	l.mu.Lock()
	first := good || l.st.LastError == ""
	l.st.Connected = false
	if err != nil {
		l.st.LastError = err.Error()
	}
	l.mu.Unlock()
	if err == nil {
		return
	}
	level := slog.LevelDebug
	if first {
		level = slog.LevelWarn
	}
	l.log.Log(context.Background(), level, "broker not reachable: trying again, alarms are kept", "error", err)
}

// attempt is one session from connect to end; good when the broker acknowledged anything.
func (l *link) attempt(ctx context.Context, n uint64) (good bool, err error) {
	l.mu.Lock()
	l.st.Sessions = n
	l.mu.Unlock()
	if l.u.cfg.Attempt != nil {
		l.u.cfg.Attempt()
	}
	signer := l.u.voice.signer(l.u.cfg.SigningKey)
	sc, err := l.credentials()
	if err != nil {
		return false, err
	}
	sc.ClientID, sc.MaxInFlight, sc.Dial = l.clientID(), l.backlog.window+64, l.u.cfg.Dial
	if l.lane != telemetry {
		will, err := l.u.status(func(e *wire.Encoder) (wire.Message, error) { return e.Will(n) })
		if err != nil {
			return false, err
		}
		sc.Will = &session.Will{Topic: will.Topic, Payload: signer.Sign(will.Topic, will.Payload), QoS: will.QoS(), Retained: will.Retained()}
	}
	s, err := session.Connect(ctx, sc)
	if err != nil {
		return false, err
	}
	// After a loss the session's goroutines take up to the write time-out to end; the next attempt
	// does not wait for them, run does.
	defer l.wg.Go(s.Wait)
	f := &flight{link: l, s: s, session: n, signer: signer}
	err = f.serve(ctx)
	return f.good, err
}

// watch follows the agent's own status topic: when another message than the birth of this session
// stands there, a will of an earlier one that was told late, the birth is told again. The will of another life may
// have a later epoch than this one, which has lost its journal and its clock. A broker
// that does not allow it is served all the same.
//
// It is called when this one has told a birth on this broker: what another instance says there after it
// is a sign of a twin.
func (l *link) watch(ctx context.Context, s *session.Session, n uint64, topic string) {
	err := s.Subscribe(ctx, topic, 0, func(_ string, payload []byte, _ bool) {
		var p wire.StatusMessage
		if json.Unmarshal(payload, &p) != nil {
			return
		}
		id := &l.u.cfg
		l.u.twins.sign(p.Instance, topic, time.Now())
		other := p.Instance != id.Instance
		if other && (p.Epoch < id.Epoch || !p.Online) || !other && p.Seq < 2*n-1 {
			l.mu.Lock()
			l.rebirth = true
			l.mu.Unlock()
			l.awake()
		}
	})
	if err == nil {
		hello := strings.Replace(topic, "/"+wire.Status.String()+"/", "/"+wire.Hello.String()+"/", 1)
		err = s.Subscribe(ctx, hello, 0, l.ownHello)
	}
	if err != nil && !errors.Is(err, session.ErrLost) {
		l.log.Debug("own status topic cannot be watched", "error", err)
	}
}

var errSilent = errors.New("broker does not acknowledge")

func silent(d time.Duration) error {
	return fmt.Errorf("%w: oldest message unacknowledged for %v", errSilent, d.Round(time.Millisecond))
}
