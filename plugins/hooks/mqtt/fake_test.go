package mqtt

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"firebreak/plugins"
)

// fakeBroker is what one broker does to sessions: by default it acknowledges everything and hands
// each command to consume.
type fakeBroker struct {
	name    string
	consume func(b *fakeBroker, m map[string]any) // for each command, on a goroutine of its own
	publish func(ctx context.Context, topic string, payload []byte) error
	refuse  error // of connections
	deny    error // of subscriptions

	mu       sync.Mutex
	sessions []*fakeSession
	tried    []time.Time
	closed   int
	got      []sent
	wg       sync.WaitGroup
}

type sent struct {
	topic string
	body  map[string]any
	at    time.Time
}

type fakeSession struct {
	b    *fakeBroker
	mu   sync.Mutex
	subs map[string]func(string, []byte, bool)
	lost chan struct{}
	once sync.Once
}

func (b *fakeBroker) connect(context.Context) (Session, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tried = append(b.tried, time.Now())
	if b.refuse != nil {
		return nil, b.refuse
	}
	s := &fakeSession{b: b, subs: map[string]func(string, []byte, bool){}, lost: make(chan struct{})}
	b.sessions = append(b.sessions, s)
	return s, nil
}

func (s *fakeSession) Publish(ctx context.Context, topic string, payload []byte) error {
	select {
	case <-s.lost:
		return errors.New("lost")
	default:
	}
	var m map[string]any
	if err := json.Unmarshal(payload, &m); err != nil {
		return err
	}
	s.b.mu.Lock()
	s.b.got = append(s.b.got, sent{topic, m, time.Now()})
	consume := s.b.consume
	s.b.mu.Unlock()
	if s.b.publish != nil {
		return s.b.publish(ctx, topic, payload)
	}
	if consume != nil {
		s.b.wg.Go(func() { consume(s.b, m) })
	}
	return nil
}

func (s *fakeSession) Subscribe(_ context.Context, filter string, got func(string, []byte, bool)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.subs[filter] = got
	return s.b.deny
}

func (s *fakeSession) Lost() <-chan struct{} { return s.lost }
func (s *fakeSession) lose()                 { s.once.Do(func() { close(s.lost) }) }
func (s *fakeSession) Close() {
	s.lose()
	s.b.mu.Lock()
	s.b.closed++
	s.b.mu.Unlock()
}

// say brings a message to whoever has subscribed.
func (b *fakeBroker) say(topic, payload string, retained bool) {
	b.mu.Lock()
	s := b.sessions[len(b.sessions)-1]
	b.mu.Unlock()
	s.mu.Lock()
	got := s.subs[topic]
	s.mu.Unlock()
	if got != nil {
		got(topic, []byte(payload), retained)
	}
}

// answer answers a command where it says.
func (b *fakeBroker) answer(m map[string]any, consumer, answer string) {
	text, _ := json.Marshal(map[string]any{"key": m["key"], "answer": answer, "consumer": consumer, "detail": "because " + answer})
	b.say(m["reply_to"].(string), string(text), false)
}

func (b *fakeBroker) commands() []sent {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]sent(nil), b.got...)
}

func (b *fakeBroker) attempts() []time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]time.Time(nil), b.tried...)
}

// answering gives what consumers say to each command, "failover-1 receipt".
func answering(says ...string) func(*fakeBroker, map[string]any) {
	return func(b *fakeBroker, m map[string]any) {
		for _, s := range says {
			who, what, _ := strings.Cut(s, " ")
			b.answer(m, who, what)
		}
	}
}

type sightings struct {
	mu  sync.Mutex
	all []plugins.Evidence
}

func (s *sightings) seen(ev plugins.Evidence) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, ev)
}

// names are the evidence so far, "accept+ decline-".
func (s *sightings) names() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, ev := range s.all {
		out = append(out, ev.Name+map[bool]string{true: "+", false: "-"}[ev.OK])
	}
	return strings.Join(out, " ")
}

// newHook makes a hook on fake brokers and runs it until the test, or stop, ends it.
func newHook(t testing.TB, log *slog.Logger, brokers []*fakeBroker, change ...func(*Config)) (h *Hook, late *sightings, stop func()) {
	t.Helper()
	cfg := Config{Topic: "site/failover/cmd", Consumers: []string{"failover-1"}, Site: "pangyo", Agent: "rack1", Levels: "pangyo/b3/rack1/failover", Epoch: 7, Instance: "ab"}
	var bs []Broker
	for _, b := range brokers {
		cfg.Brokers = append(cfg.Brokers, b.name)
		bs = append(bs, Broker{Name: b.name, Connect: b.connect})
	}
	for _, f := range change {
		f(&cfg)
	}
	h, err := New("failover", cfg, bs, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	late = &sightings{}
	go func() {
		defer close(done)
		if err := h.Run(ctx, late.seen); err != nil {
			t.Errorf("run: %v", err)
		}
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		<-done
		for _, b := range brokers {
			b.wg.Wait()
		}
	})
	return h, late, stop
}

const (
	id      = "evacuate/b3/2b/move/41/do/0"
	replyTo = "firebreak/1/receipt/pangyo/b3/rack1/failover"
)

func callOf(timeout time.Duration) plugins.Call {
	return plugins.Call{
		Key:     plugins.Key{Plan: "evacuate", Zone: "b3", Stage: plugins.SwitchOver, Step: "move", Episode: 41},
		Timeout: timeout, Why: []byte(`{"votes":["any-high"]}`), Journaled: true,
	}
}
