package uplink

import (
	"encoding/json"
	"fmt"
	"math"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"firebreak/agent/wire"
	"firebreak/agent/wire/brokertest"
	"firebreak/plugins"
	"firebreak/sensors"
)

// The first connection is cut in the middle of a burst, the second never acknowledges, the third
// is refused, the fourth takes everything: nothing is missing, and alarms and events came in order.
func TestAtLeastOnceInOrder(t *testing.T) {
	const n = 300
	in := newInbox()
	b := brokertest.Start(t, func(i int, c *brokertest.Conn) {
		switch i {
		case 1:
			take(i, c, in, 100)
		case 2:
			cut(i, c, in, 0, math.MaxInt)
		case 3:
			_ = c.Accept(3)
		default:
			take(i, c, in, -1)
		}
	})
	cfg := config(b.URL())
	cfg.AckTimeout = 500 * time.Millisecond // of the second one alone
	cfg.StopTimeout = patience              // it has an answer to everything
	u, stop := start(t, cfg)
	for i := range n {
		u.Offer(alarm(fmt.Sprint("a", i%7), uint64(i), 1+i%4, i%2 == 0))
		u.Offer(state(i))
		u.Offer(plugins.Update{Event: &plugins.Event{Type: "x", Detail: fmt.Sprint(i)}})
	}
	got := in.await(t, "everything", func(got []received) bool {
		return len(distinct(got, "alarm")) == n && len(distinct(got, "event")) == n && len(distinct(got, "state")) == n
	})
	for _, class := range []string{"alarm", "event", "state"} {
		s := distinct(got, class)
		if class == "state" { // those of now go before those that waited
			slices.Sort(s)
		}
		if !slices.Equal(s, upTo(n)) {
			t.Errorf("%s out of order: %v", class, s)
		}
	}
	last := 0
	for _, r := range got {
		if r.conn != last && (count([]received{r}, "status") == 0 || !r.online || !r.retain || r.head.Seq != uint64(2*r.conn-1)) {
			t.Errorf("connection %d began with %s %s", r.conn, r.topic, r.payload)
		}
		last = r.conn
	}
	stop()
	s := u.Stats().Brokers[0]
	if s.Queued != 0 || s.Dropped != (wire.Drops{}) || s.Acked < 3*n || s.Connected {
		t.Errorf("stats at the end: %+v", s)
	}
	got = in.await(t, "stopped", func(got []received) bool { return strings.Contains(got[len(got)-1].payload, `"reason":"stopped"`) })
	if r := got[len(got)-1]; r.online || !r.retain || r.head.Seq != uint64(2*r.conn) {
		t.Errorf("farewell %+v", r)
	}
}

// While every broker hangs in its own way an Offer waits for nothing; a healthy broker beside them gets everything.
// What an Offer costs is a benchmark.
func TestOfferNeverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := newInbox()
		release := make(chan struct{})
		brokers := map[string]func() net.Conn{
			"deaf": brokertest.Pipes(t, func(_ int, c *brokertest.Conn) { _ = c.Accept(0); <-release }),
			"mute": brokertest.Pipes(t, func(_ int, c *brokertest.Conn) { <-release }),
			"well": brokertest.Pipes(t, acker(in)),
		}
		t.Cleanup(func() { close(release) }) // before the brokers' own, which wait for the scripts

		hung, stop := start(t, piped(config("mqtt://deaf", "mqtt://mute", "mqtt://gone"), brokers))
		const n = 20000
		begin := time.Now()
		for i := range n {
			hung.Offer(state(i))
			if i%1000 == 0 {
				synctest.Wait() // each link has come to where it hangs
			}
		}
		if d := time.Since(begin); d != 0 {
			t.Errorf("%d Offers to three hanging brokers have waited %v", n, d)
		}
		for i, b := range hung.Stats().Brokers {
			if b.Queued+int(b.Dropped.State) != n {
				t.Errorf("broker %d: %d queued, %d dropped of %d", i, b.Queued, b.Dropped.State, n)
			}
		}
		stop()

		u, _ := start(t, piped(config("mqtt://deaf", "mqtt://mute", "mqtt://gone", "mqtt://well"), brokers))
		for i := range 500 {
			u.Offer(alarm("a", uint64(i), 1, true))
		}
		in.await(t, "alarms at the healthy broker", func(got []received) bool { return len(distinct(got, "alarm")) == 500 })
	})
}

func TestReconnectTellsThePresentFirst(t *testing.T) {
	in := newInbox()
	cut := make(chan struct{})
	back := make(chan struct{})
	b := brokertest.Start(t, func(i int, c *brokertest.Conn) {
		if i == 1 {
			go func() { <-cut; _ = c.Close() }()
		} else {
			<-back
		}
		take(i, c, in, -1)
	})
	u, _ := start(t, config(b.URL()))
	u.Offer(plugins.Update{Plan: &plugins.PlanState{Plan: "p", Zone: "zone", Stage: "1"}})
	u.Offer(alarm("minor", 1, 3, true))
	u.Offer(alarm("major", 1, 1, true))
	u.Offer(alarm("gone", 1, 1, true))
	u.Offer(alarm("gone", 1, 1, false))
	in.await(t, "first session", func(got []received) bool { return count(got, "alarm") == 4 && count(got, "plan") == 1 })
	awaitStats(t, u, func(s BrokerStats) bool { return s.Queued == 0 })
	close(cut)
	awaitStats(t, u, func(s BrokerStats) bool { return !s.Connected })
	u.Offer(state(1))
	u.Offer(plugins.Update{Event: &plugins.Event{Type: "x"}})
	u.Offer(alarm("minor", 1, 3, false))
	close(back)
	got := in.await(t, "second session", func(got []received) bool { return count(got, "state") == 1 })
	var order []string
	for _, r := range got {
		if r.conn == 2 {
			order = append(order, strings.TrimPrefix(strings.Replace(r.topic, "/site/zone/agent", "", 1), "firebreak/1/")+"="+fmt.Sprint(r.head.Seq))
		}
	}
	want := "[status=3 plan/p=1 alarm/major=2 alarm/minor=5 event=1 state/ups-a=1]"
	if fmt.Sprint(order) != want {
		t.Errorf("got  %v\nwant %v", order, want)
	}
}

// awaitStats polls: statistics have no event of their own.
func awaitStats(t testing.TB, u *Uplink, ok func(BrokerStats) bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(patience); !ok(u.Stats().Brokers[0]); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("stats: %+v", u.Stats())
		}
	}
}

func TestHello(t *testing.T) {
	in := newInbox()
	b := brokertest.Start(t, acker(in))
	cfg := config(b.URL())
	cfg.HelloEvery = 10 * time.Millisecond
	u, _ := start(t, cfg)
	u.Offer(alarm("a", 1, 1, true))
	u.Offer(state(1))
	u.Offer(state(2))
	var h wire.HelloMessage
	got := in.await(t, "a hello that knows all", func(got []received) bool {
		if count(got, "hello") < 2 {
			return false
		}
		r := got[len(got)-1]
		return count([]received{r}, "hello") == 1 && json.Unmarshal([]byte(r.payload), &h) == nil && h.Last.State == 2
	})
	if h.Last != (wire.Sequences{Status: 1, Alarm: 1, State: 2}) || h.Active.Count != 1 || h.Epoch != 41 || len(h.Challenge) != 32 || h.DrillLast != nil {
		t.Errorf("%+v", h)
	}
	seen := map[string]bool{}
	for _, r := range got {
		if count([]received{r}, "hello") == 1 {
			_ = json.Unmarshal([]byte(r.payload), &h)
			if seen[h.Challenge] || r.retain {
				t.Errorf("challenge told twice, or hello retained: %s", r.payload)
			}
			seen[h.Challenge] = true
		}
	}
}

// The will of an earlier session, told late, stands on the status topic: the birth is told again.
func TestLateWillIsAnswered(t *testing.T) {
	in := newInbox()
	b := brokertest.Start(t, func(n int, c *brokertest.Conn) {
		_ = c.Accept(0)
		var p brokertest.Packet
		for p.Type != brokertest.Publish { // the birth
			var err error
			if p, err = c.Next(); err != nil {
				return
			}
		}
		in.add(n, p.Topic, p.Retained, p.Payload)
		_ = c.Ack(p)
		for { // the subscription to it, which waits for the birth's PUBACK
			s, err := c.Next()
			if err != nil {
				return
			}
			if s.Type == brokertest.Subscribe && strings.Contains(string(s.Payload), p.Topic) {
				break
			}
		}
		will := `{"online":false,"epoch":41,"seq":0,"instance":"i1"}`
		_, _ = c.Write(append([]byte{0x30, byte(2 + len(p.Topic) + len(will)), 0, byte(len(p.Topic))}, p.Topic+will...))
		takeOn(n, c, in, -1)
	})
	start(t, config(b.URL()))
	in.await(t, "second birth", func(got []received) bool { return count(got, "status") == 2 && got[len(got)-1].online })
}

func TestDemoGoesBelowDrill(t *testing.T) {
	in := newInbox()
	b := brokertest.Start(t, acker(in))
	cfg := config(b.URL())
	cfg.Drill = true
	cfg.HelloEvery = 10 * time.Millisecond
	u, stop := start(t, cfg)
	u.Offer(alarm("a", 1, 1, true))
	u.Offer(state(1))
	in.await(t, "all classes", func(got []received) bool {
		return count(got, "drill/alarm") > 0 && count(got, "drill/state") > 0 && count(got, "drill/hello") > 0 && count(got, "drill/status") > 0
	})
	stop()
	for _, r := range in.await(t, "end", func([]received) bool { return true }) {
		if !strings.HasPrefix(r.topic, "firebreak/1/drill/") || r.retain {
			t.Errorf("%s retained %v", r.topic, r.retain)
		}
	}
	if u.Messages() < 5 {
		t.Errorf("%d messages counted", u.Messages())
	}
}

func TestConfigFaultsComeAtOnce(t *testing.T) {
	c := config("http://x", "mqtt://y")
	c.Zone, c.Epoch = "", 0
	c.Brokers[1].Name, c.Brokers[1].CertFile = "b0", "x.pem"
	_, err := New(c)
	for _, part := range []string{"zone", "epoch", "http://x", "used twice", "cert and key"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not among the faults: %v", part, err)
		}
	}
	u, err := New(config())
	if err != nil {
		t.Fatal(err)
	}
	u.Offer(state(1)) // no broker: nothing to do
	v, _ := New(config("mqtt://127.0.0.1:1"))
	v.Offer(plugins.Update{})
	v.Offer(plugins.Update{State: &sensors.Batch{Device: 9}})
	if s := v.Stats(); s.Untold != 2 || s.LastError == "" {
		t.Errorf("%+v", s)
	}
}
