package uplink

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"firebreak/agent/wire"
	"firebreak/agent/wire/brokertest"
)

// Where the keys of agents are trusted, a peer's word counts with its own signature only.
func TestForgedPeer(t *testing.T) {
	room, line := signer(t, wire.RoleAgent, "site/room")
	other, otherLine := signer(t, wire.RoleAgent, "site/other")
	_, kim := signer(t, wire.RolePerson, "kim")
	ring := func(lines ...string) *wire.Ring {
		r, err := wire.ParseRing(strings.NewReader(strings.Join(lines, "\n")))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	payload, err := json.Marshal(wire.PlanMessage{Head: wire.Head{Schema: wire.SchemaPlan, Site: "site", Zone: "z", Agent: "room", Instance: "i", Epoch: 1, Seq: 1}, Plan: "p"})
	if err != nil {
		t.Fatal(err)
	}
	const topic = "firebreak/1/plan/site/z/room/p"
	for _, c := range []struct {
		what string
		ring *wire.Ring
		by   *wire.Signer
		want bool
	}{
		{"no keys", nil, nil, true}, {"no agent's key", ring(kim), nil, true}, {"its own", ring(line, otherLine), room, true},
		{"nobody's", ring(line), nil, false}, {"another agent's", ring(line, otherLine), other, false}, {"a stranger's", ring(line), other, false},
	} {
		if got := believed(c.ring, topic, c.by.Sign(topic, payload)); got != c.want {
			t.Errorf("%s: believed %v", c.what, got)
		}
	}
}

// A thousand alarms that were raised while the broker was away are all there after it, by priority, and
// behind the plan.
func TestThousandAlarmsInAnOutage(t *testing.T) {
	in := newInbox()
	up := make(chan struct{})
	b := brokertest.Start(t, func(i int, c *brokertest.Conn) {
		<-up
		take(i, c, in, -1)
	})
	cfg := config(b.URL())
	cfg.MaxQueued = 100 // most transitions have no room: the present states have
	u, _ := start(t, cfg)
	for i := range 1000 {
		u.Offer(alarm(fmt.Sprintf("a%04d", i), 1, 1+i%4, true))
	}
	for i := range 60000 { // telemetry in plenty, which takes no place from them
		u.Offer(state(i))
	}
	close(up)
	got := in.await(t, "all of them", func(got []received) bool { return len(distinct(got, "alarm")) == 1000 })
	if d := u.Stats().Brokers[0].Dropped; d.Alarm != 0 {
		t.Errorf("%d alarms were dropped", d.Alarm)
	}
	if len(got) < 1001 || count(got[:1001], "state")+count(got[:1001], "history") > 0 {
		t.Error("readings came before alarms")
	}
}

// FuzzCommand: whatever comes as a command or a receipt, only what a trusted person has signed, of now,
// becomes an order.
func FuzzCommand(f *testing.F) {
	kim, kimLine := signer(f, wire.RolePerson, "kim")
	noc, nocLine := signer(f, wire.RoleConsumer, "noc")
	ring, err := wire.ParseRing(strings.NewReader(kimLine + "\n" + nocLine))
	if err != nil {
		f.Fatal(err)
	}
	h := wire.HelloRef{Instance: "i1", Epoch: 41, Seq: 7, Challenge: "c7"}
	good := signed(f, kim, cmdTopic, command("ack", 1, h))
	f.Add(good, false)
	f.Add(good, true)
	f.Add(signed(f, kim, cmdTopic, wire.CosignedMessage{Schema: wire.SchemaCosigned, Command: string(good)}), false)
	f.Add(signed(f, noc, "x", wire.ReceiptMessage{Schema: wire.SchemaReceipt, Consumer: "noc"}), false)
	f.Add([]byte(`{"key_id":"","sig":""}`), false)
	f.Fuzz(func(t *testing.T, payload []byte, retained bool) {
		o := newOrders("")
		o.ring = ring
		o.said(7, "c7")
		c, err := o.take(&me, cmdTopic, payload, retained)
		if err == nil {
			if _, bad := ring.Verify(cmdTopic, payload); bad != nil || retained || c.By != "kim" {
				t.Errorf("%q is an order of %q", payload, c.By)
			}
		}
		o.drop(errors.Join(err, errStale))
		_, _ = newReceipts([]string{"noc"}, nil).answer(&me, ring, "x", payload, time.Now())
		u := &Uplink{cfg: config(), orders: o}
		u.cfg.defaults()
		l := newLink(u, Broker{Name: "b"}, whole)
		fl := &flight{link: l, signer: kim}
		fl.own("firebreak/1/alarm/site/zone/agent/a", payload, retained)
		l.ownHello("firebreak/1/hello/site/zone/agent", payload, retained)
	})
}
