package app

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"firebreak/agent/consumer"
	"firebreak/agent/core"
	"firebreak/agent/hub"
	"firebreak/agent/uplink"
	"firebreak/agent/wire"
)

// keys makes signing keys below dir, and the file of those who trust them.
func keys(t *testing.T, dir string, who ...[2]string) (trusted string) {
	t.Helper()
	trusted = filepath.Join(dir, "trusted")
	for _, w := range who {
		s, err := NewKey(filepath.Join(dir, filepath.Base(w[1])+".key"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Trust(trusted, wire.TrustLine(wire.Role(w[0]), w[1], s.Public()), false); err != nil {
			t.Fatal(err)
		}
	}
	return trusted
}

// A whole agent, and a NOC that hears it over a broker: signed alarms, receipts, and orders that go by
// the door of the orders at the box, with the rights that S17 gives them (timeline 29: a key that may
// not is refused, and an alarm tells of it).
func TestOrdersOverTheNetwork(t *testing.T) {
	dir := t.TempDir()
	h, err := hub.Start(filepath.Join(dir, "hub"))
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	trusted := keys(t, dir, [2]string{"agent", "pangyo/b3-rack1"}, [2]string{"consumer", "noc"}, [2]string{"person", "kim"})
	c, text := room(t, append(in(dir), `"mqtts://127.0.0.1:4"`, `"`+h.URL()+`"`, `"mqtts://127.0.0.1:5"`, `"mqtt://127.0.0.1:1"`,
		`ca     = "/etc/firebreak/ca.pem"`, ``, `cert   = "/etc/firebreak/client.pem"`, ``, `key    = "/etc/firebreak/client.key"`, ``,
		"/etc/firebreak/agent.key", filepath.Join(dir, "b3-rack1.key"), "/etc/firebreak/trusted", trusted)...)
	var mu sync.Mutex
	var heard []string
	listen := func(name, key string, got func(consumer.Note)) *consumer.Consumer {
		k, err := consumer.New(consumer.Config{Name: name, Brokers: []consumer.Broker{{Name: "hub", URL: h.URL()}, {Name: "gone", URL: "mqtt://127.0.0.1:1"}},
			Trusted: trusted, SigningKey: filepath.Join(dir, key+".key"), Heard: got})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- k.Run(t.Context()) }()
		t.Cleanup(func() { <-done })
		return k
	}
	listen("noc", "noc", func(consumer.Note) {})
	life(t, c, text, func(r Running) {
		kim := listen("kim", "kim", func(n consumer.Note) {
			mu.Lock()
			defer mu.Unlock()
			if n.Event != nil && n.Event.Type == uplink.EventCommandAnswer {
				heard = append(heard, n.Event.Detail)
			}
		})
		until(t, "an alarm is heard, verified, of an agent that lives", func() bool {
			a := kim.Agents()
			return len(a) == 1 && a[0].Verdict == consumer.Live && len(a[0].Alarms) > 0 && len(a[0].Plans) == 1
		})
		answer := func(m wire.CommandMessage, want string) {
			t.Helper()
			said := func() bool {
				mu.Lock()
				defer mu.Unlock()
				return len(heard) > 0 && strings.Contains(heard[len(heard)-1], want)
			}
			until(t, want, func() bool {
				if said() {
					return true
				}
				if err := kim.Command("pangyo", "b3-rack1", m); err != nil {
					t.Fatal(err)
				}
				for range 50 { // the agent's subscription may be younger than its first hello
					if said() {
						return true
					}
					<-time.After(5 * time.Millisecond)
				}
				return false
			})
		}
		name := kim.Agents()[0].Alarms[0].Hazard
		answer(wire.CommandMessage{Order: "ack", Name: name}, "ack "+name+" by kim: done")
		answer(wire.CommandMessage{Order: "trip", Name: "evacuate", Stage: "4"}, "needs two persons, or one at the box")
		answer(wire.CommandMessage{Order: "energise", Name: "drain"}, "is done at the box only")
		answer(wire.CommandMessage{Order: "status"}, "status is no order")
		until(t, "an alarm of the refusal", func() bool {
			for _, a := range r.Board.Status().Alarms {
				if a.Name == "orders/refused" && strings.Contains(a.Cause, `"kim" (remote)`) {
					return true
				}
			}
			return false
		})
		until(t, "the NOC has answered all", func() bool { return r.Uplink.Unanswered() == 0 })
		a, err := Ask(c.Control, Request{Order: "status"})
		if err != nil || len(a.Status.Telling.Brokers) != 2 || !a.Status.Telling.Brokers[0].Connected || a.Status.Telling.Commands < 4 {
			t.Errorf("status %+v %v", a.Status.Telling, err)
		}
		if o := (&Request{Order: string(core.AckAlarm)}).order(); o.Channel != core.Remote {
			t.Error("an order of which nobody says how it came is one at the box")
		}
	})
}

// Trust refuses a file with a fault and leaves it as it was.
func TestTrustKeepsAFaultyFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "trusted")
	if err := os.WriteFile(file, []byte("nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := NewKey(filepath.Join(dir, "k"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Trust(file, wire.TrustLine(wire.RolePerson, "kim", s.Public()), false); err == nil || !strings.Contains(err.Error(), "trusted:1:") {
		t.Errorf("%v", err)
	}
	if b, _ := os.ReadFile(file); string(b) != "nonsense\n" {
		t.Errorf("it was written: %q", b)
	}
}

// A consumer's receipt goes to the loop as what it is, and not each of a thousand.
func TestReceiptsReachTheGate(t *testing.T) {
	h := make(heard, 8)
	a := newAnswerers(h.receipt)
	for range 1000 {
		a.answered(wire.ReceiptMessage{Consumer: "noc", Answer: wire.AnswerReceipt})
		a.answered(wire.ReceiptMessage{Consumer: "failover", Answer: wire.AnswerDone})
	}
	if len(h) != 2 {
		t.Fatalf("%d events", len(h))
	}
	for _, name := range []string{"noc", "failover"} {
		if ev := <-h; ev.Kind != core.Receipt || ev.Part != name {
			t.Errorf("%+v, want the receipt of %s", ev, name)
		}
	}
}
