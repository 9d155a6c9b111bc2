package consumer_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"firebreak/agent/consumer"
	"firebreak/agent/hub"
	"firebreak/agent/uplink"
	"firebreak/agent/wire"
	"firebreak/plugins"
)

const patience = 20 * time.Second

// ear collects what a consumer is told.
type ear struct {
	mu  sync.Mutex
	got []consumer.Note
	new chan struct{}
}

func newEar() *ear { return &ear{new: make(chan struct{}, 1)} }

func (e *ear) heard(n consumer.Note) {
	e.mu.Lock()
	e.got = append(e.got, n)
	e.mu.Unlock()
	select {
	case e.new <- struct{}{}:
	default:
	}
}

func (e *ear) await(t testing.TB, what string, ok func(consumer.Note) bool) consumer.Note {
	t.Helper()
	for late := time.After(patience); ; {
		e.mu.Lock()
		for _, n := range e.got {
			if ok(n) {
				e.mu.Unlock()
				return n
			}
		}
		all := fmt.Sprintf("%+v", e.got)
		e.mu.Unlock()
		select {
		case <-e.new:
		case <-late:
			t.Fatalf("%s: did not come; came: %s", what, all)
		}
	}
}

// site is an agent with two hubs, and the keys of all.
type site struct {
	hubs     [2]*hub.Hub
	up       *uplink.Uplink
	trusted  string
	answers  chan wire.ReceiptMessage
	receipts sync.Map // names of those who sent one
	key      func(name string) string
}

func newSite(t *testing.T) *site {
	t.Helper()
	dir := t.TempDir()
	s := &site{answers: make(chan wire.ReceiptMessage, 100), trusted: filepath.Join(dir, "trusted"), key: func(name string) string { return filepath.Join(dir, name) }}
	var lines []string
	for name, role := range map[string]wire.Role{"site/rack1": wire.RoleAgent, "noc": wire.RoleConsumer, "failover-1": wire.RoleConsumer} {
		text, k, err := wire.NewKey()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(s.key(filepath.Base(name)), text, 0o600); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, wire.TrustLine(role, name, k.Public()))
	}
	if err := os.WriteFile(s.trusted, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := uplink.Config{Site: "site", Zone: "b3", Agent: "rack1", Epoch: 41, Instance: "i1", HelloEvery: 100 * time.Millisecond,
		SigningKey: s.key("rack1"), TrustedKeys: s.trusted, Consumers: []string{"noc", "failover-1"}, Answered: func(m wire.ReceiptMessage) {
			if m.Answer == wire.AnswerReceipt {
				s.receipts.Store(m.Consumer, true)
				return
			}
			s.answers <- m
		}}
	for i := range s.hubs {
		h, err := hub.Start(filepath.Join(dir, fmt.Sprint("hub", i)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(h.Close)
		s.hubs[i] = h
		cfg.Brokers = append(cfg.Brokers, uplink.Broker{Name: fmt.Sprint("b", i), URL: h.URL()})
	}
	u, err := uplink.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.up = u
	run(t, u.Run)
	return s
}

func run(t *testing.T, f func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Error("it does not end")
		}
	})
}

func (s *site) listen(t *testing.T, name string, hubs ...int) (*consumer.Consumer, *ear) {
	t.Helper()
	e := newEar()
	cfg := consumer.Config{Name: name, Trusted: s.trusted, SigningKey: s.key(name), Heard: e.heard}
	for _, i := range hubs {
		cfg.Brokers = append(cfg.Brokers, consumer.Broker{Name: fmt.Sprint("b", i), URL: s.hubs[i].URL()})
	}
	c, err := consumer.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	run(t, c.Run)
	return c, e
}

func (s *site) plan(stage string) {
	s.up.Offer(plugins.Update{Plan: &plugins.PlanState{Plan: "evacuate", Zone: "b3", Stage: stage, Episode: 7, Protects: []string{"b3"}, Origin: "real"}})
}

// Timeline 11. The NOC sees only the broker on site, the failover system only the one elsewhere: both
// hear the same decision, and both are answered for. Then one broker dies: the other brings the next.
func TestTwoConsumersOnTwoBrokers(t *testing.T) {
	s := newSite(t)
	noc, nocEar := s.listen(t, "noc", 0)
	failover, failEar := s.listen(t, "failover-1", 1)
	s.plan("2a")
	at := func(stage string) func(consumer.Note) bool {
		return func(n consumer.Note) bool { return n.Plan != nil && n.Plan.Stage == stage && n.Act() }
	}
	a, b := nocEar.await(t, "stage 2a at the NOC", at("2a")), failEar.await(t, "stage 2a at the failover system", at("2a"))
	if a.Plan.DecisionID == "" || a.Plan.DecisionID != b.Plan.DecisionID || a.Broker == b.Broker {
		t.Errorf("%s over %s, %s over %s", a.Plan.DecisionID, a.Broker, b.Plan.DecisionID, b.Broker)
	}
	if err := failover.Answer(b, wire.AnswerAccept, "moving"); err != nil {
		t.Error(err)
	}
	select {
	case m := <-s.answers:
		if m.Consumer != "failover-1" || m.Answer != wire.AnswerAccept || m.ID != b.Plan.ID || m.Reason != "moving" {
			t.Errorf("%+v", m)
		}
	case <-time.After(patience):
		t.Error("the agent does not hear the answer")
	}
	s.hubs[0].Close()
	s.plan("2b")
	failEar.await(t, "stage 2b over the broker that lives", at("2b"))
	for late := time.After(patience); s.up.Unanswered() > 0; {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-late:
			t.Fatalf("%d are not answered", s.up.Unanswered())
		}
	}
	for late := time.After(patience); ; { // stage 2b has no other answer than a receipt, and that counts for arming (S18)
		if _, ok := s.receipts.Load("failover-1"); ok {
			break
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-late:
			t.Fatal("whoever counts answers hears no receipt")
		}
	}
	if cs := failover.Compartments(); len(cs) != 1 || cs[0].Zone != "b3" || cs[0].Stage != plugins.SwitchOver || !cs[0].Leave {
		t.Errorf("%+v", cs)
	}
	nocEar.await(t, "the NOC hears nothing any more, and knows it", func(n consumer.Note) bool {
		return n.Kind == consumer.VerdictNow && n.Verdict == consumer.SilentAfterAlarm
	})
	if len(noc.Connected()) != 0 {
		t.Error("it is connected")
	}
}

// One broker brings everything twice as slowly: each thing is told once, and the quicker counts.
func TestSlowestBrokerDelaysNothing(t *testing.T) {
	s := newSite(t)
	_, e := s.listen(t, "noc", 0, 1)
	e.await(t, "it lives", func(n consumer.Note) bool { return n.Kind == consumer.VerdictNow && n.Verdict == consumer.Live })
	for i := range 100 {
		s.up.Offer(plugins.Update{Event: &plugins.Event{Type: "x", Detail: fmt.Sprint(i)}})
	}
	e.await(t, "the last", func(n consumer.Note) bool { return n.Event != nil && n.Event.Detail == "99" })
	e.mu.Lock()
	defer e.mu.Unlock()
	seen := map[string]int{}
	for _, n := range e.got {
		if n.Event != nil {
			seen[n.Event.Detail]++
		}
		if n.Kind == consumer.Gap || n.Kind == consumer.Refused {
			t.Errorf("%+v", n)
		}
	}
	for d, n := range seen {
		if n != 1 {
			t.Errorf("event %s was told %d times", d, n)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	_, err := consumer.New(consumer.Config{Name: "a/b", Brokers: []consumer.Broker{{Name: "x", URL: "mqtt://hub.example"}, {Name: "x", URL: "http://y"}}, SigningKey: "/nonexistent"})
	for _, want := range []string{"name", "used twice", "plain text", "scheme", "no key is trusted", "signing key"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
	if _, err := consumer.New(consumer.Config{Name: "a"}); err == nil {
		t.Error("no broker is taken")
	}
}

// More sites than a session of nats-server may subscribe to one by one are heard, and no others.
func TestManySites(t *testing.T) {
	s := newSite(t)
	e := newEar()
	cfg := consumer.Config{Name: "noc", Trusted: s.trusted, Heard: e.heard, Brokers: []consumer.Broker{{Name: "b0", URL: s.hubs[0].URL()}}}
	for i := range 30 {
		cfg.Sites = append(cfg.Sites, fmt.Sprint("site", i))
	}
	others, err := consumer.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	run(t, others.Run)
	cfg.Name, cfg.Sites = "failover-1", append(cfg.Sites, "site")
	with := newEar()
	cfg.Heard = with.heard
	c, err := consumer.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	run(t, c.Run)
	with.await(t, "it lives", func(n consumer.Note) bool { return n.Kind == consumer.VerdictNow && n.Verdict == consumer.Live })
	for late := time.After(patience); len(others.Connected()) == 0; {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-late:
			t.Fatal("30 other sites: no session")
		}
	}
	s.plan("2a")
	with.await(t, "the plan", func(n consumer.Note) bool { return n.Plan != nil && n.Plan.Stage == "2a" })
	if as := others.Agents(); len(as) > 0 {
		t.Errorf("agents of a site that was not asked for: %+v", as)
	}
}

// Who answers from within Heard can: what stands retained comes while the consumer still subscribes.
func TestAnswersWhatComesFirst(t *testing.T) {
	s := newSite(t)
	s.plan("2a")
	first := make(chan error, 64)
	var c *consumer.Consumer
	made := make(chan struct{})
	cfg := consumer.Config{Name: "failover-1", Trusted: s.trusted, SigningKey: s.key("failover-1"), Brokers: []consumer.Broker{{Name: "b0", URL: s.hubs[0].URL()}},
		Heard: func(n consumer.Note) {
			<-made
			if n.Plan != nil {
				first <- c.Answer(n, wire.AnswerAccept, "moving")
			}
		}}
	var err error
	if c, err = consumer.New(cfg); err != nil {
		t.Fatal(err)
	}
	close(made)
	run(t, c.Run)
	select {
	case err := <-first:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Error("the plan is not heard")
	}
}
