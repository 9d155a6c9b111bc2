package uplink

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"firebreak/agent/wire"
	"firebreak/agent/wire/brokertest"
	"firebreak/plugins"
)

// An alarm that no consumer answers is sent again after 5 s, and after 15 s the next contact is asked;
// a receipt ends it, and only that of a named consumer whose key is trusted does.
func TestReceipts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		noc, nocLine := signer(t, wire.RoleConsumer, "noc")
		other, otherLine := signer(t, wire.RoleConsumer, "other")
		kim, kimLine := signer(t, wire.RolePerson, "noc")
		ring, err := wire.ParseRing(strings.NewReader(nocLine + "\n" + otherLine + "\n" + kimLine))
		if err != nil {
			t.Fatal(err)
		}
		var said []error
		r := newReceipts([]string{"noc", "duty"}, func(err error) { said = append(said, err) })
		tell := func(up plugins.Update, class wire.Class, topic string, seq uint64) {
			r.told(&up, &wire.Message{Class: class, Topic: topic, Seq: seq, Made: time.Now()})
		}
		tell(alarm("smoke", 1, 1, true), wire.Alarm, "t/smoke", 7)
		tell(alarm("low", 1, 3, true), wire.Alarm, "t/low", 8)
		tell(alarm(unheardAlarm, 1, 2, true), wire.Alarm, "t/unheard", 9)
		tell(plugins.Update{Plan: &plugins.PlanState{Plan: "p", Stage: "1", Episode: 3}}, wire.Plan, "t/p", 4)
		var log []string
		begin := time.Now()
		pass := func(d time.Duration) {
			for end := time.Now().Add(d); time.Now().Before(end); {
				time.Sleep(time.Second)
				again, ask := r.due(time.Now())
				for _, a := range again {
					log = append(log, fmt.Sprintf("%v %s", time.Since(begin), a))
				}
				for _, a := range ask {
					log = append(log, fmt.Sprintf("%v %s: ask %s", time.Since(begin), a.id, r.contact(a.level)))
				}
			}
		}
		answer := func(s *wire.Signer, consumer string, of wire.Ref) error {
			m := wire.ReceiptMessage{Schema: wire.SchemaReceipt, Consumer: consumer, Of: of, Answer: wire.AnswerReceipt}
			_, err := r.answer(&me, ring, "x", signed(t, s, "x", m), time.Now())
			return err
		}
		plan := wire.Ref{Instance: "i1", Epoch: 41, Class: "plan", Seq: 4}
		if err := answer(noc, "noc", plan); err != nil {
			t.Error(err)
		}
		pass(16 * time.Second)
		if s := strings.Join(log, ", "); s != "5s t/smoke, 10s t/smoke, 15s t/smoke, 15s smoke: ask duty" {
			t.Errorf("sent again: %s", s)
		}
		if len(said) != 1 || said[0] == nil || !strings.Contains(said[0].Error(), "smoke") {
			t.Errorf("said %v", said)
		}
		smoke := wire.Ref{Instance: "i1", Epoch: 41, Class: "alarm", Seq: 7}
		for what, err := range map[string]error{"not named": answer(other, "other", smoke), "another's name": answer(other, "noc", smoke), "a person": answer(kim, "noc", smoke),
			"another life": answer(noc, "noc", wire.Ref{Instance: "i0", Epoch: 41, Class: "alarm", Seq: 7})} {
			if err == nil {
				t.Errorf("%s: taken", what)
			}
		}
		if err := answer(noc, "noc", wire.Ref{Instance: "i1", Epoch: 41, Class: "plan", Seq: 7}); err != nil || len(r.open) != 1 {
			t.Errorf("a receipt of something else: %v, %d open", err, len(r.open))
		}
		tell(alarm("smoke", 1, 1, true), wire.Alarm, "t/smoke", 10) // a newer state of it
		_ = answer(noc, "noc", smoke)
		log = nil
		pass(6 * time.Second)
		if len(log) == 0 || len(r.open) != 1 {
			t.Error("the receipt of an older state ends the wait for a newer one")
		}
		smoke.Seq = 10
		if err := answer(noc, "noc", smoke); err != nil {
			t.Error(err)
		}
		log = nil
		pass(time.Minute)
		if len(log) != 0 || len(said) != 2 || said[1] != nil || len(r.open) != 0 {
			t.Errorf("after the receipt: %v, said %v, %d open", log, said, len(r.open))
		}
		tell(alarm("smoke", 2, 1, true), wire.Alarm, "t/smoke", 11)
		tell(alarm("smoke", 2, 1, false), wire.Alarm, "t/smoke", 12)
		if len(r.open) != 0 {
			t.Error("an alarm that is over waits for a receipt")
		}
	})
}

// A session that takes everything and passes nothing on is given up, on a broker that has passed on
// hellos before, and a new one is made.
func TestMute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		again := make(chan struct{})
		b := brokertest.Pipes(t, func(i int, c *brokertest.Conn) {
			if c.Accept(0) != nil {
				return
			}
			hellos := 0
			for {
				p, err := c.Next()
				if err != nil {
					return
				}
				_ = c.Ack(p)
				if p.Type == brokertest.Publish && strings.Contains(p.Topic, "/hello/") {
					if hellos++; i == 1 && hellos > 3 {
						continue // goes mute
					}
					if c.Pass(p) != nil {
						return
					}
					if i == 2 && hellos == 10 {
						close(again)
					}
				}
			}
		})
		cfg := piped(config("mqtt://b"), map[string]func() net.Conn{"b": b})
		cfg.HelloEvery, cfg.AckTimeout = 50*time.Millisecond, 200*time.Millisecond
		u, _ := start(t, cfg)
		select {
		case <-again:
		case <-time.After(patience):
			t.Fatalf("no second session: %+v", u.Stats())
		}
		if n := u.Stats().Brokers[0].Sessions; n != 2 {
			t.Errorf("%d sessions, want 2: the second one is heard", n)
		}
	})
}

// A broker that acknowledges what its access list forbids is found out, and so is one that refuses a
// subscription; one that never passes on anything is used all the same.
func TestGrants(t *testing.T) {
	b := brokertest.Start(t, func(_ int, c *brokertest.Conn) {
		if c.Accept(0) != nil {
			return
		}
		for {
			p, err := c.Next()
			if err != nil {
				return
			}
			_ = c.Ack(p)
			if p.Type == brokertest.Publish && strings.HasSuffix(p.Topic, "/"+wire.EchoName) && !strings.Contains(p.Topic, "/plan/") {
				_ = c.Pass(p)
			}
		}
	})
	u, _ := start(t, config(b.URL()))
	awaitStats(t, u, func(s BrokerStats) bool {
		return strings.Contains(s.Refused, "firebreak/1/plan/site/zone/agent/_echo") && !strings.Contains(s.Refused, "alarm") && s.Connected
	})
	url, _, _ := hub(t, t.TempDir(), -1)
	cfg := config(url)
	cfg.Brokers[0].Sessions = 2
	well, _ := start(t, cfg)
	awaitStats(t, well, func(s BrokerStats) bool { return s.Granted && s.Refused == "" })
}
