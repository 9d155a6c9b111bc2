package uplink

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"firebreak/agent/wire"
	"firebreak/agent/wire/session"
	"firebreak/plugins"
)

// keyFile makes a signing key, and the ring that trusts it.
func keyFile(t testing.TB) (file string, ring *wire.Ring) {
	t.Helper()
	text, s, err := wire.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "agent.key")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	k := s.Key()
	k.Name = "site/agent"
	return file, wire.NewRing(k)
}

func connect(t testing.TB, url, id string) *session.Session {
	t.Helper()
	s, err := session.Connect(context.Background(), session.Config{URL: url, ClientID: id})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Abort(errors.New("test over")); s.Wait() })
	return s
}

func publish(t testing.TB, s *session.Session, topic string, payload string) {
	t.Helper()
	if err := s.Publish(topic, 1, true, []byte(payload)).Err(); err != nil {
		t.Fatal(err)
	}
}

// testTamper is timeline 28: a retained alarm and a retained plan are wiped, and one is written over;
// each is told again, signed, with the next hello, and it is said that somebody tampers.
func testTamper(t *testing.T, url string) {
	cfg := config(url)
	cfg.Brokers[0].Sessions = 2
	cfg.HelloEvery = 50 * time.Millisecond
	said := make(chan error, 10)
	cfg.Tamper = func(err error) { said <- err }
	var ring *wire.Ring
	cfg.SigningKey, ring = keyFile(t)
	in := newInbox()
	listen(t, url, "watcher", "firebreak/1/+/site/zone/agent/+", func(topic string, payload []byte, retained bool) { in.add(1, topic, retained, payload) })
	u, _ := start(t, cfg)
	u.Offer(alarm("smoke", 1, 1, true))
	u.Offer(plugins.Update{Plan: &plugins.PlanState{Plan: "evacuate", Zone: "zone", Stage: "1", Episode: 3}})
	awaitStats(t, u, func(s BrokerStats) bool { return s.Queued == 0 && s.Connected && s.Telemetry })

	in.await(t, "alarm and plan", func(got []received) bool { return count(got, "alarm") == 1 && count(got, "plan") == 1 })
	forger := connect(t, url, "forger")
	const smoke, plan = "firebreak/1/alarm/site/zone/agent/smoke", "firebreak/1/plan/site/zone/agent/evacuate"
	// The agent's own subscription comes after its birth: until it stands nobody sees a wipe.
	for u.Stats().Tampered == 0 {
		publish(t, forger, smoke, "")
		<-time.After(20 * time.Millisecond)
	}
	publish(t, forger, plan, "")
	last := func(got []received, topic string) string {
		for i := len(got) - 1; i >= 0; i-- {
			if got[i].topic == topic {
				return got[i].payload
			}
		}
		return ""
	}
	wiped := func(got []received, topic string) bool {
		n := 0
		for _, r := range got {
			if r.topic == topic && r.payload == "" {
				n++
			}
		}
		return n > 0
	}
	good := func(got []received, topic string) bool {
		_, err := ring.Verify(topic, []byte(last(got, topic)))
		return err == nil
	}
	in.await(t, "alarm and plan again", func(got []received) bool {
		return wiped(got, smoke) && wiped(got, plan) && good(got, smoke) && good(got, plan)
	})
	const forged = `{"schema":"firebreak.alarm/1","instance":"i1","epoch":41,"seq":99,"active":false}`
	publish(t, forger, smoke, forged)
	seen := false
	in.await(t, "the forged one written over", func(got []received) bool {
		seen = seen || last(got, smoke) == forged
		for _, r := range got {
			seen = seen || r.payload == forged
		}
		return seen && good(got, smoke)
	})
	select {
	case err := <-said:
		if err == nil || !strings.Contains(err.Error(), smoke) || !strings.Contains(err.Error(), "wiped") {
			t.Errorf("said %v", err)
		}
	case <-time.After(patience):
		t.Error("nobody was told")
	}
}

// A key that cannot be read leaves the agent telling: unsigned at first, with the last key later; and
// a new one counts from the next session.
func TestKeyOfTheAgent(t *testing.T) {
	var v voice
	if v.signer("") != nil || v.problem() != "" {
		t.Error("no key is asked for")
	}
	file, _ := keyFile(t)
	if v.signer(file+".gone") != nil || !strings.Contains(v.problem(), "no such file") {
		t.Errorf("no file: %s", v.problem())
	}
	a := v.signer(file)
	if a == nil || v.problem() != "" {
		t.Fatal(v.problem())
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if v.signer(file) != a || v.problem() == "" {
		t.Error("the last key is not kept")
	}
	next, _ := keyFile(t)
	if b := v.signer(next); b == nil || b.KeyID() == a.KeyID() {
		t.Error("the new key does not count")
	}
}

func TestTampersForget(t *testing.T) {
	var said []error
	w := tampers{tell: func(err error) { said = append(said, err) }}
	w.sign(errors.New("a"))
	w.sign(errors.New("b"))
	w.look(time.Now())
	w.look(time.Now().Add(tamperForget + time.Second))
	w.look(time.Now().Add(2 * tamperForget))
	if len(said) != 2 || said[0] == nil || said[1] != nil || w.count() != 2 {
		t.Errorf("%v, %d", said, w.count())
	}
}
