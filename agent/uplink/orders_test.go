package uplink

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"firebreak/agent/wire"
)

// signer makes a key and its line of trust.
func signer(t testing.TB, role wire.Role, name string) (*wire.Signer, string) {
	t.Helper()
	_, s, err := wire.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return s, wire.TrustLine(role, name, s.Public())
}

func trustFile(t testing.TB, lines ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "trusted")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

const cmdTopic = "firebreak/1/cmd/site/zone/agent"

var me = wire.Identity{Site: "site", Zone: "zone", Agent: "agent", Instance: "i1", Epoch: 41}

func nonce(n int) string { return fmt.Sprintf("%016d", n) }

func command(order string, n int, h wire.HelloRef) wire.CommandMessage {
	return wire.CommandMessage{Schema: wire.SchemaCommand, Order: order, Name: "evacuate", Nonce: nonce(n), Hello: h}
}

func signed(t testing.TB, s *wire.Signer, topic string, m any) []byte {
	t.Helper()
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return s.Sign(topic, b)
}

// What passes is a command of a person, of now, for the first time; everything else is dropped, for the
// reason that it has (S14, S17).
func TestCommandsThatCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kim, kimLine := signer(t, wire.RolePerson, "kim")
		lee, leeLine := signer(t, wire.RolePerson, "lee")
		noc, nocLine := signer(t, wire.RoleConsumer, "noc")
		agent, agentLine := signer(t, wire.RoleAgent, "site/agent")
		thief, _ := signer(t, wire.RolePerson, "kim")
		o := newOrders(trustFile(t, kimLine, leeLine, nocLine, agentLine))
		o.said(7, "c7")
		now := wire.HelloRef{Instance: "i1", Epoch: 41, Seq: 7, Challenge: "c7"}
		take := func(payload []byte) (Order, error) { return o.take(&me, cmdTopic, payload, false) }

		got, err := take(signed(t, kim, cmdTopic, command("ack", 1, now)))
		if err != nil || got.By != "kim" || got.Second != "" || got.Name != "evacuate" {
			t.Errorf("%+v %v", got, err)
		}
		inner := signed(t, kim, cmdTopic, command("disarm", 2, now))
		got, err = take(signed(t, lee, cmdTopic, wire.CosignedMessage{Schema: wire.SchemaCosigned, Command: string(inner)}))
		if err != nil || got.By != "kim" || got.Second != "lee" {
			t.Errorf("two keys: %+v %v", got, err)
		}
		if _, err = take(signed(t, noc, cmdTopic, command(wire.OrderResync, 3, now))); err != nil {
			t.Errorf("a consumer asks again: %v", err)
		}
		ref := func(change func(*wire.HelloRef)) wire.HelloRef { h := now; change(&h); return h }
		for what, c := range map[string]struct {
			payload []byte
			want    error
		}{
			"again":                  {signed(t, kim, cmdTopic, command("ack", 1, now)), errTwice},
			"the first of two again": {inner, errTwice},
			"unsigned":               {signed(t, nil, cmdTopic, command("ack", 4, now)), wire.ErrUnsigned},
			"a stranger":             {signed(t, thief, cmdTopic, command("ack", 4, now)), wire.ErrUnknownKey},
			"of another topic":       {signed(t, kim, cmdTopic+"2", command("ack", 4, now)), wire.ErrForged},
			"by a consumer":          {signed(t, noc, cmdTopic, command("ack", 4, now)), errNoPerson},
			"by an agent":            {signed(t, agent, cmdTopic, command(wire.OrderResync, 4, now)), errNoPerson},
			"and a consumer":         {signed(t, noc, cmdTopic, wire.CosignedMessage{Schema: wire.SchemaCosigned, Command: string(signed(t, kim, cmdTopic, command("disarm", 5, now)))}), errNoPerson},
			"another instance":       {signed(t, kim, cmdTopic, command("ack", 4, ref(func(h *wire.HelloRef) { h.Instance = "i2" }))), errStale},
			"another epoch":          {signed(t, kim, cmdTopic, command("ack", 4, ref(func(h *wire.HelloRef) { h.Epoch = 40 }))), errStale},
			"another hello":          {signed(t, kim, cmdTopic, command("ack", 4, ref(func(h *wire.HelloRef) { h.Seq = 8 }))), errStale},
			"another challenge":      {signed(t, kim, cmdTopic, command("ack", 4, ref(func(h *wire.HelloRef) { h.Challenge = "c8" }))), errStale},
			"no nonce":               {signed(t, kim, cmdTopic, wire.CommandMessage{Schema: wire.SchemaCommand, Order: "ack", Hello: now}), errStale},
			"too long":               {make([]byte, wire.MaxInbound+1), errTooLong},
		} {
			if _, err := take(c.payload); !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", what, err, c.want)
			}
			time.Sleep(time.Second) // tokens
			o.said(7, "c7")
		}
		for what, payload := range map[string][]byte{"garbage": kim.Sign(cmdTopic, []byte("{{}")), "more than there is": kim.Sign(cmdTopic, []byte(`{"schema":"firebreak.command/1","sudo":true}`)),
			"an alarm": kim.Sign(cmdTopic, []byte(`{"schema":"firebreak.alarm/1"}`))} {
			if _, err := take(payload); err == nil {
				t.Errorf("%s is taken", what)
			}
		}
		if _, err := o.take(&me, cmdTopic, signed(t, kim, cmdTopic, command("ack", 6, now)), true); !errors.Is(err, errRetained) {
			t.Errorf("retained: %v", err)
		}
		time.Sleep(helloAge)
		if _, err := take(signed(t, kim, cmdTopic, command("ack", 7, now))); err != nil {
			t.Errorf("30 s old: %v", err)
		}
		time.Sleep(time.Second)
		if _, err := take(signed(t, kim, cmdTopic, command("ack", 8, now))); !errors.Is(err, errStale) {
			t.Errorf("31 s old: %v", err)
		}
		storms := 0
		for range 10 * cmdBurst {
			if _, err := take([]byte("{}")); errors.Is(err, errStorm) {
				storms++
			}
		}
		if storms < 9*cmdBurst-1 {
			t.Errorf("%d of %d commands at once were looked at", 10*cmdBurst-storms, 10*cmdBurst)
		}
		if len(o.nonces) > 10 || len(o.beats) > beatsKept {
			t.Errorf("%d nonces, %d hellos are kept", len(o.nonces), len(o.beats))
		}
	})
}

// Trusted keys can be changed while the agent runs; a file with a fault changes nothing.
func TestTrustedKeysChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kim, line := signer(t, wire.RolePerson, "kim")
		file := trustFile(t, "# nobody")
		o := newOrders(file)
		trusts := func() bool {
			time.Sleep(ringLook)
			_, err := o.keys().Verify("t", kim.Sign("t", []byte("{}")))
			return err == nil
		}
		write := func(text string, at int64) {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(file, time.Unix(at, 0), time.Unix(at, 0)); err != nil {
				t.Fatal(err)
			}
		}
		if trusts() {
			t.Error("trusted from the start")
		}
		write(line, 1)
		if !trusts() {
			t.Error("not trusted")
		}
		write(line+"\nnonsense", 2)
		if !trusts() || o.ringErr == nil {
			t.Error("a fault has changed something, or was not told")
		}
		write("", 3)
		if trusts() || o.ringErr != nil {
			t.Error("still trusted")
		}
	})
}

// testCommands sends orders through a broker: a person's is carried out once, though it comes twice, and
// is answered; a forged one, one that was recorded and one that is retained are not, and an alarm comes of
// it. Then a resync has everything told again.
func testCommands(t *testing.T, url string) {
	kim, line := signer(t, wire.RolePerson, "kim")
	thief, _ := signer(t, wire.RolePerson, "kim")
	cfg := config(url)
	cfg.Brokers[0].Sessions = 2
	cfg.HelloEvery = 50 * time.Millisecond
	cfg.TrustedKeys = trustFile(t, line)
	var mu sync.Mutex
	var given []string
	cfg.Order = func(_ context.Context, o Order) error {
		mu.Lock()
		defer mu.Unlock()
		given = append(given, o.CommandMessage.Order+" by "+o.By)
		if o.CommandMessage.Order == "disarm" {
			return errors.New("refused: disarm while stage 2b is open is done at the box only")
		}
		return nil
	}
	alarmed := make(chan error, 10)
	cfg.Tamper = func(err error) { alarmed <- err }
	u, _ := start(t, cfg)
	u.Offer(alarm("smoke", 1, 1, true))
	in := newInbox()
	hellos := make(chan wire.HelloRef, 1)
	listen(t, url, "watcher", "firebreak/1/+/site/zone/agent/#", func(topic string, payload []byte, retained bool) {
		var h wire.HelloMessage
		if strings.Contains(topic, "/hello/") && json.Unmarshal(payload, &h) == nil {
			select {
			case <-hellos:
			default:
			}
			hellos <- wire.HelloRef{Instance: h.Instance, Epoch: h.Epoch, Seq: h.Seq, Challenge: h.Challenge}
			return
		}
		in.add(1, topic, retained, payload)
	})
	engineer := connect(t, url, "engineer")
	send := func(b []byte, retained bool) {
		if err := engineer.Publish(cmdTopic, 1, retained, b).Err(); err != nil {
			t.Fatal(err)
		}
	}
	// The subscription may come later than the first hello: the order is given until it is answered.
	first := command("ack", 1, <-hellos)
	ack := signed(t, kim, cmdTopic, first)
	answered := func(n int) func([]received) bool {
		return func(got []received) bool {
			count := 0
			for _, r := range got {
				if strings.Contains(r.payload, EventCommandAnswer) {
					count++
				}
			}
			return count >= n
		}
	}
	for u.Stats().Commands == 0 {
		send(ack, false)
		<-time.After(20 * time.Millisecond)
	}
	send(ack, false)
	got := in.await(t, "an answer", answered(1))
	if last := lastAnswer(got); !strings.Contains(last, `"nonce":"`+nonce(1)+`"`) || !strings.Contains(last, "ack evacuate by kim: done") {
		t.Errorf("answer %s", last)
	}
	send(signed(t, thief, cmdTopic, command("trip", 2, <-hellos)), false)
	send(signed(t, kim, cmdTopic, command("trip", 3, wire.HelloRef{Instance: "i1", Epoch: 41, Seq: 1, Challenge: "guess"})), false)
	send([]byte(`{`), false)
	send(signed(t, kim, cmdTopic, command("disarm", 4, <-hellos)), false)
	got = in.await(t, "the refusal", answered(2))
	if last := lastAnswer(got); !strings.Contains(last, "at the box only") || !strings.Contains(last, nonce(4)) {
		t.Errorf("answer %s", last)
	}
	mu.Lock()
	if s := fmt.Sprint(given); s != "[ack by kim disarm by kim]" {
		t.Errorf("given: %s", s)
	}
	mu.Unlock()
	for what, n := range map[string]uint64{wire.ErrUnknownKey.Error(): 1, errStale.Error(): 1, wire.ErrUnsigned.Error(): 1} {
		if d := u.Stats().Dropped[what]; d != n {
			t.Errorf("%s: %d dropped, want %d", what, d, n)
		}
	}
	if err := <-alarmed; err == nil || !strings.Contains(err.Error(), "was not obeyed") {
		t.Errorf("alarmed %v", err)
	}
	mark := len(got)
	send(signed(t, kim, cmdTopic, command(wire.OrderResync, 5, <-hellos)), false)
	in.await(t, "the alarm again", func(got []received) bool { return count(got[mark:], "alarm") > 0 })
}

func lastAnswer(got []received) (last string) {
	for _, r := range got {
		if strings.Contains(r.payload, EventCommandAnswer) {
			last = r.payload
		}
	}
	return last
}
