package hub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"firebreak/agent/wire/session"
)

const patience = 20 * time.Second

// users are those of the tests: each agent may write its own topics, and the noc reads all.
func users(cn string) (Rights, bool) {
	switch cn {
	case "rack1", "rack2", "rack1-0123abcd":
		return Rights{Write: []string{"firebreak/1/alarm/s/z/" + cn + "/#", "firebreak/1/event/s/z/" + cn}, Read: []string{"firebreak/1/alarm/s/z/" + cn + "/#"}}, true
	case "noc":
		return Rights{Read: []string{"firebreak/1/#"}}, true
	}
	return Rights{}, false
}

func open(t testing.TB, c Config) *Hub {
	t.Helper()
	h, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

// secured is a hub with TLS, and the authority of all that may connect to it.
func secured(t testing.TB, change func(*Config)) (*Hub, *authority) {
	t.Helper()
	a := newAuthority(t)
	for _, cn := range []string{"hub", "rack1", "rack2", "noc", "stranger"} {
		a.issue(cn)
	}
	c := Config{Name: "hub", Listen: "127.0.0.1:0", Dir: t.TempDir(), TLS: a.tls("hub"), Users: users}
	if change != nil {
		change(&c)
	}
	return open(t, c), a
}

// connect opens a session with the certificate of cn.
func connect(t testing.TB, h *Hub, a *authority, id, cn string) (*session.Session, error) {
	t.Helper()
	sc := session.Config{URL: fmt.Sprintf("mqtts://127.0.0.1:%d", h.Port()), ClientID: id}
	f := session.Files{CA: a.file("ca.pem")}
	if cn != "" {
		f.Cert, f.Key = a.file(cn+".pem"), a.file(cn+".key")
	}
	if err := f.Apply(&sc, time.Now); err != nil {
		t.Fatal(err)
	}
	s, err := session.Connect(t.Context(), sc)
	if err == nil {
		t.Cleanup(func() { s.Abort(errors.New("over")); s.Wait() })
	}
	return s, err
}

func must(t testing.TB, h *Hub, a *authority, id, cn string) *session.Session {
	t.Helper()
	s, err := connect(t, h, a, id, cn)
	if err != nil {
		t.Fatalf("%s with the certificate of %s: %v", id, cn, err)
	}
	return s
}

func publish(t testing.TB, s *session.Session, topic, text string, retained bool) {
	t.Helper()
	a := s.Publish(topic, 1, retained, []byte(text))
	select {
	case <-a.Done():
	case <-time.After(patience):
		t.Fatalf("no answer to %s", topic)
	}
}

// A client id is bound to the certificate: whoever uses another's has no session, and takes none over.
func TestClientIDIsThatOfTheCertificate(t *testing.T) {
	h, a := secured(t, nil)
	victim := must(t, h, a, "rack1", "rack1")
	for _, c := range []struct{ id, cn string }{{"rack1", "rack2"}, {"rack1", "noc"}, {"rack1:t", "rack2"}, {"rack1-deadbeef", "rack2"}, {"stranger", "stranger"},
		{"rack1", "stranger"}, {"rack2x", "rack2"}, {"rack1-0123abcd", "rack1"}, {"rack1-deadbee", "rack1"}, {"x", "noc"}, {"rack1", ""}} {
		if _, err := connect(t, h, a, c.id, c.cn); err == nil {
			t.Errorf("%q is let in with the certificate of %q", c.id, c.cn)
		}
	}
	other := newAuthority(t)
	other.issue("rack1")
	sc := session.Config{URL: fmt.Sprintf("mqtts://127.0.0.1:%d", h.Port()), ClientID: "rack1"}
	if err := (&session.Files{CA: a.file("ca.pem"), Cert: other.file("rack1.pem"), Key: other.file("rack1.key")}).Apply(&sc, time.Now); err != nil {
		t.Fatal(err)
	}
	if _, err := session.Connect(t.Context(), sc); err == nil {
		t.Error("the certificate of another authority is let in")
	}
	if _, err := session.Connect(t.Context(), session.Config{URL: h.URL(), ClientID: "rack1"}); err == nil {
		t.Error("plain text is let in")
	}
	select {
	case <-victim.Lost():
		t.Error("the session was taken over")
	default:
	}
	for _, id := range []string{"rack2", "rack2:t", "rack2:h:lb", "rack2-deadbeef"} {
		must(t, h, a, id, "rack2")
	}
}

// What a user may not write is acknowledged, as MQTT 3.1.1 wants it, and reaches nobody; what it may not read
// is refused.
func TestRights(t *testing.T) {
	h, a := secured(t, nil)
	noc, rack1, rack2 := must(t, h, a, "noc", "noc"), must(t, h, a, "rack1", "rack1"), must(t, h, a, "rack2", "rack2")
	got := make(chan string, 100)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := noc.Subscribe(ctx, "firebreak/1/#", 1, func(topic string, b []byte, _ bool) { got <- topic + " " + string(b) }); err != nil {
		t.Fatal(err)
	}
	if err := rack2.Subscribe(ctx, "firebreak/1/alarm/s/z/rack1/#", 1, func(string, []byte, bool) {}); err == nil {
		t.Error("rack2 may read what is rack1's")
	}
	publish(t, rack2, "firebreak/1/alarm/s/z/rack1/smoke", "forged", true)
	publish(t, rack2, "$JS/API/STREAM/DELETE/firebreak", "", false)
	publish(t, rack1, "firebreak/1/alarm/s/z/rack1/smoke", "real", true)
	publish(t, rack2, "firebreak/1/event/s/z/rack2", "last", false)
	for seen := []string{}; !slices.Contains(seen, "firebreak/1/event/s/z/rack2 last") || !slices.Contains(seen, "firebreak/1/alarm/s/z/rack1/smoke real"); {
		select {
		case m := <-got:
			seen = append(seen, m)
			if strings.Contains(m, "forged") {
				t.Fatalf("passed on: %s", m)
			}
		case <-ctx.Done():
			t.Fatalf("only %q", seen)
		}
	}
}

// More subscriptions with QoS 1 than the server's own limit of 1000 consumers: a site has them.
func TestManySubscriptions(t *testing.T) {
	h := open(t, Config{Name: "hub", Listen: "127.0.0.1:0", Dir: t.TempDir()})
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	const sessions, each = 21, 50 // a session has 63 at most: each may have 1024 messages in flight, and all together 65,535
	errs := make(chan error, sessions)
	for i := range sessions {
		s, err := session.Connect(ctx, session.Config{URL: h.URL(), ClientID: fmt.Sprint("c", i)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Abort(errors.New("over")); s.Wait() })
		go func() {
			for n := range each {
				if err := s.Subscribe(ctx, fmt.Sprintf("firebreak/1/alarm/s/z/a%d-%d", i, n), 1, func(string, []byte, bool) {}); err != nil {
					errs <- fmt.Errorf("subscription %d of session %d: %w", n, i, err)
					return
				}
			}
			errs <- nil
		}()
	}
	for range sessions {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

// The history has each alarm in the order in which it came, over a restart of the hub, and no readings.
func TestHistory(t *testing.T) {
	dir := t.TempDir()
	c := Config{Name: "hub", Listen: "127.0.0.1:0", Dir: dir, HistoryAge: time.Hour}
	began := time.Now()
	h, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	read := func(h *Hub, since time.Time) (out []string) {
		t.Helper()
		if err := h.History(t.Context(), since, func(r Record) error {
			out = append(out, r.Topic+" "+string(r.Message))
			return nil
		}); err != nil {
			return nil
		}
		return out
	}
	s, err := session.Connect(t.Context(), session.Config{URL: h.URL(), ClientID: "rack1"})
	if err != nil {
		t.Fatal(err)
	}
	await := func(h *Hub, what string, ok func([]string) bool) {
		t.Helper()
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for limit := time.After(patience); ; {
			got := read(h, began)
			if ok(got) {
				return
			}
			select {
			case <-tick.C:
			case <-limit:
				t.Fatalf("never: %s; the history is %q", what, got)
			}
		}
	}
	n := 0
	await(h, "the stream is there", func(got []string) bool {
		n++
		publish(t, s, "firebreak/1/alarm/s/z/rack1/first", fmt.Sprint(n), true)
		return len(got) > 0
	})
	publish(t, s, "firebreak/1/state/s/z/rack1/ups", `{"a":1}`, false)
	publish(t, s, "firebreak/1/alarm/s/z/rack1/smoke", `{"active":true}`, true)
	publish(t, s, "firebreak/1/alarm/s/z/rack1/smoke", `no JSON`, true)
	publish(t, s, "firebreak/1/alarm/s/z/rack1/smoke", "", true)
	want := []string{`firebreak/1/alarm/s/z/rack1/smoke {"active":true}`, `firebreak/1/alarm/s/z/rack1/smoke "no JSON"`, `firebreak/1/alarm/s/z/rack1/smoke null`}
	whole := func(got []string) bool { return len(got) >= 3 && slices.Equal(got[len(got)-3:], want) }
	await(h, "all three at its end", whole)
	for _, m := range read(h, began) {
		if strings.Contains(m, "/state/") {
			t.Errorf("readings are in it: %s", m)
		}
	}
	if later := read(h, time.Now().Add(time.Minute)); len(later) != 0 {
		t.Errorf("of the future: %q", later)
	}
	s.Abort(errors.New("over"))
	s.Wait()
	h.Close()
	await(open(t, c), "all three after a restart", whole)
}

// An address that is taken, a directory that cannot be written or is another hub's and files that are none are faults of Open, with
// words, and end nothing.
func TestOpenSaysWhy(t *testing.T) {
	dir := t.TempDir()
	h := open(t, Config{Name: "hub", Listen: "127.0.0.1:0", Dir: dir})
	for what, c := range map[string]Config{
		"listen":      {Name: "b", Listen: fmt.Sprintf("127.0.0.1:%d", h.Port()), Dir: t.TempDir()},
		"directory":   {Name: "b", Listen: "127.0.0.1:0", Dir: "/dev/null/x"},
		"another hub": {Name: "b", Listen: "127.0.0.1:0", Dir: dir},
		"certificate": {Name: "b", Listen: "127.0.0.1:0", Dir: t.TempDir(), TLS: &TLS{Cert: "/nonexistent", Key: "/nonexistent", CA: "/nonexistent"}},
	} {
		began := time.Now()
		other, err := Open(c)
		if err == nil {
			other.Close()
		}
		if err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
		if took := time.Since(began); took > startLimit/2 {
			t.Errorf("%s: said after %v", what, took)
		}
	}
}
