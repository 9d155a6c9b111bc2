package uplink

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"firebreak/agent/wire"
	"firebreak/agent/wire/brokertest"
	"firebreak/plugins"
	"firebreak/sensors"
)

const patience = 20 * time.Second

func config(urls ...string) Config {
	c := Config{Site: "site", Zone: "zone", Agent: "agent", Epoch: 41, Instance: "i1", Version: "test", HelloEvery: time.Hour,
		BackoffMin: 5 * time.Millisecond, BackoffMax: 20 * time.Millisecond, StopTimeout: 500 * time.Millisecond,
		Devices: []sensors.Device{{ID: 0, Name: "ups-a"}},
		Points: []sensors.Point{{ID: 0, Name: "ups-a.battery.temperature", Unit: sensors.Celsius, Physics: sensors.Temperature},
			{ID: 1, Name: "ups-a.input.ok", Kind: sensors.Binary}}}
	for i, u := range urls {
		c.Brokers = append(c.Brokers, Broker{Name: fmt.Sprint("b", i), URL: u, Sessions: 1})
	}
	return c
}

// piped has the brokers of a test in a bubble: what dials a name gets its pipe, or nothing.
func piped(c Config, brokers map[string]func() net.Conn) Config {
	c.Dial = func(_ context.Context, _, address string) (net.Conn, error) {
		name, _, _ := net.SplitHostPort(address)
		if dial := brokers[name]; dial != nil {
			return dial(), nil
		}
		return nil, errors.New("nobody there")
	}
	return c
}

// start runs an uplink until stop is called, at the latest when the test ends.
func start(t testing.TB, cfg Config) (u *Uplink, stop func()) {
	t.Helper()
	u, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- u.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("run: %v", err)
			}
		case <-time.After(patience):
			t.Error("run does not end")
		}
	})
	t.Cleanup(stop)
	return u, stop
}

func state(i int) plugins.Update {
	return plugins.Update{Wall: time.UnixMilli(int64(i)), State: &sensors.Batch{Readings: []sensors.Reading{{Point: 0, Value: 20 + float64(i), Quality: sensors.GoodQuality}}}}
}

func alarm(name string, occ uint64, prio int, active bool) plugins.Update {
	st := "unacknowledged"
	if !active {
		st = "normal"
	}
	return plugins.Update{Alarm: &plugins.AlarmState{Name: name, Occurrence: occ, State: st, Active: active, Priority: prio, Origin: "real"}}
}

// inbox collects what brokers receive.
type inbox struct {
	mu  sync.Mutex
	got []received
	new chan struct{}
}

type received struct {
	conn    int
	topic   string
	retain  bool
	payload string
	head    wire.Head
	online  bool
	state   string
}

func newInbox() *inbox { return &inbox{new: make(chan struct{}, 1)} }

func (b *inbox) add(conn int, topic string, retain bool, payload []byte) {
	if strings.HasSuffix(topic, "/"+wire.EchoName) {
		return // TestGrants looks at these
	}
	topic = strings.Replace(topic, "/history/", "/state/", 1) // numbered as one; TestHistory tells them apart
	r := received{conn: conn, topic: topic, retain: retain, payload: string(payload)}
	var p struct {
		wire.Head
		Online bool   `json:"online"`
		State  string `json:"state"`
	}
	_ = json.Unmarshal(payload, &p)
	r.head, r.online, r.state = p.Head, p.Online, p.State
	b.mu.Lock()
	b.got = append(b.got, r)
	b.mu.Unlock()
	select {
	case b.new <- struct{}{}:
	default:
	}
}

// await returns all that came, as soon as ok is true of it.
func (b *inbox) await(t testing.TB, what string, ok func([]received) bool) []received {
	t.Helper()
	deadline := time.After(patience)
	for {
		b.mu.Lock()
		got := slices.Clone(b.got)
		b.mu.Unlock()
		if ok(got) {
			return got
		}
		select {
		case <-b.new:
		case <-deadline:
			for _, r := range got[max(0, len(got)-20):] {
				t.Logf("%d %s %s", r.conn, r.topic, r.payload)
			}
			t.Fatalf("%s: did not come (%d messages did)", what, len(got))
		}
	}
}

func count(got []received, class string) (n int) {
	for _, r := range got {
		if strings.HasPrefix(r.topic, "firebreak/1/"+class+"/") {
			n++
		}
	}
	return n
}

// distinct returns the sequence numbers of a class in the order in which each came first.
func distinct(got []received, class string) (seqs []uint64) {
	seen := map[uint64]bool{}
	for _, r := range got {
		if strings.HasPrefix(r.topic, "firebreak/1/"+class+"/") && !seen[r.head.Seq] {
			seen[r.head.Seq] = true
			seqs = append(seqs, r.head.Seq)
		}
	}
	return seqs
}

func upTo(n int) (s []uint64) {
	for i := 1; i <= n; i++ {
		s = append(s, uint64(i))
	}
	return s
}

// acker is a script that takes and acknowledges all.
func acker(in *inbox) func(int, *brokertest.Conn) {
	return func(n int, c *brokertest.Conn) { take(n, c, in, -1) }
}

// take accepts a connection and acknowledges so many publishes; without an end when acks < 0.
func take(n int, c *brokertest.Conn, in *inbox, acks int) {
	_ = c.Accept(0)
	takeOn(n, c, in, acks)
}

// takeOn goes on with a connection that is accepted.
func takeOn(n int, c *brokertest.Conn, in *inbox, acks int) {
	for i := 0; i != acks; i++ {
		p, err := c.Next()
		if err != nil {
			return
		}
		if p.Type == brokertest.Publish {
			in.add(n, p.Topic, p.Retained, p.Payload)
			_ = c.Ack(p)
		}
	}
}
