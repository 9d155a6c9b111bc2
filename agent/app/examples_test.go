package app

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"firebreak/agent/config"
	"firebreak/agent/hub"
	"firebreak/agent/wire/session"
	"firebreak/plugins"
	"firebreak/sensors"
	"firebreak/sensors/sim/slave"
)

// docHook is the hook that a document shows, running, with the far end that it needs.
type docHook struct {
	plugins.Hook
	cfg  config.Hook
	mu   sync.Mutex
	late []plugins.Evidence // seen between calls
}

// newDocHook takes the example of a kind from its document, adds it to the annotated example, changes the
// addresses of the world for those of the test, and builds it as the agent does.
func newDocHook(t *testing.T, doc, kind string, change ...string) *docHook {
	t.Helper()
	shown := blocks(t, doc, "toml")
	i := slices.IndexFunc(shown, func(b string) bool {
		return strings.Contains(b, "[[hook]]") && strings.Contains(strings.Join(strings.Fields(b), " "), `kind = "`+kind+`"`)
	})
	if i < 0 {
		t.Fatalf("%s shows no hook of kind %q", doc, kind)
	}
	_, text := room(t, in(memory(t))...)
	shownHook := strings.NewReplacer(`"drain"`, `"shown"`, `"power"`+"\n"+`kind`, `"shown"`+"\n"+`kind`).Replace(shown[i])
	all := strings.Replace(string(text), "[[plan]]\n", shownHook+"\n\n[[plan]]\n", 1)
	for k := 0; k+1 < len(change); k += 2 {
		if !strings.Contains(all, change[k]) {
			t.Fatalf("neither %s nor the annotated example has %q any more", doc, change[k])
		}
		all = strings.ReplaceAll(all, change[k], change[k+1])
	}
	c, faults := config.Parse("f", []byte(all), Kinds())
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	at := slices.IndexFunc(c.Hooks, func(h config.Hook) bool {
		return h.Kind == kind && (h.Kind != "webhook" && h.Kind != "exec" || h.Name == "shown")
	})
	way := &devicesByName{}
	hooks, err := buildHooks(c, way, "/nonexistent", c.Run, time.Now, discard())
	if err != nil {
		t.Fatal(err)
	}
	buses, err := buildBuses(c, sensors.NewClock(), sensors.Real, openAdapter, 0, &busLoads{}, time.Now, discard())
	if err != nil {
		t.Fatal(err)
	}
	way.fill(c, buses)
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, b := range buses {
		if b.Name() == "dcim" {
			wg.Go(func() { _ = b.Run(ctx, func(sensors.Batch) {}) })
		}
	}
	t.Cleanup(func() { stop(); wg.Wait() })
	h := &docHook{Hook: hooks[at], cfg: c.Hooks[at]}
	if r, ok := h.Hook.(plugins.Runner); ok {
		runHook(t, r, func(ev plugins.Evidence) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.late = append(h.late, ev)
		})
	}
	return h
}

func (h *docHook) saw(name string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.ContainsFunc(h.late, func(ev plugins.Evidence) bool { return ev.Name == name && ev.OK })
}

// call is one of stage 3 with the mark.
func (h *docHook) call(t *testing.T, target string, mark plugins.Mark) (o plugins.Outcome, seen string) {
	t.Helper()
	var mu sync.Mutex
	c := plugins.Call{Key: plugins.Key{Plan: "evacuate", Zone: "b3-battery", Stage: plugins.Shed, Step: "hosts-off", Episode: 41}, Mark: mark, Target: target,
		Timeout: 20 * time.Second, Why: []byte("{}")}
	o = h.Do(t.Context(), c, func(ev plugins.Evidence) {
		mu.Lock()
		defer mu.Unlock()
		seen += ev.Name + " "
	})
	mu.Lock()
	defer mu.Unlock()
	return o, seen
}

// dry holds a hook to what every kind owes: its probe finds it well, a dry call does nothing and says what
// it would do, and so does a drill unless the hook declares that it takes part.
func (h *docHook) dry(t *testing.T, target, would string) {
	t.Helper()
	works(t, h)
	tr, err := h.cfg.Config.(plugins.Declarer).Traits(target)
	if err != nil {
		t.Fatal(err)
	}
	marks := []plugins.Mark{plugins.MarkDry}
	if tr.Drill != "native" {
		marks = append(marks, plugins.MarkDrill)
	}
	for _, m := range marks {
		if o, seen := h.call(t, target, m); o.Result != plugins.Skipped || !strings.Contains(o.Detail, would) || seen != "" {
			t.Errorf("%v: %+v, seen %q, want %q", m, o, seen, would)
		}
	}
}

// once calls for real, twice under one key: the second learns what the first did.
func (h *docHook) once(t *testing.T, target string, result plugins.Result, detail, seen string) {
	t.Helper()
	for i := range 2 {
		o, got := h.call(t, target, plugins.MarkReal)
		if o.Result != result || !strings.Contains(o.Detail+o.Output, detail) || !strings.Contains(got, seen) {
			t.Errorf("call %d: %+v, seen %q; want %v, %q, %q", i, o, got, result, detail, seen)
		}
	}
}

func TestDocExec(t *testing.T) {
	program := filepath.Join(t.TempDir(), "power")
	sample, err := os.ReadFile("../../configs/hooks/power.sh")
	if err == nil {
		err = os.WriteFile(program, sample, 0o700)
	}
	if err != nil {
		t.Fatal(err)
	}
	list := strings.NewReplacer("/usr/local/libexec/firebreak/power", program, `"firebreak"`, fmt.Sprintf(`"%d"`, os.Geteuid())).Replace(
		blocks(t, "hooks.md", "toml")[1]) + "\ndrill = \"native\"\n"
	socket := startHelper(t, list)
	h := newDocHook(t, "hooks.md", "exec", `drill  = "native" #`, fmt.Sprintf("helper = %q\nhelper_uid = %d\ndrill = \"native\" #", socket, os.Geteuid()))
	h.dry(t, "", "would run the action power")
	if o, _ := h.call(t, "", plugins.MarkDrill); o.Result != plugins.Done { // the sample looks at the mark
		t.Errorf("a drill: %+v", o)
	}
	h.once(t, "", plugins.Failed, "", "") // as it is shipped no command is written in it
}

func TestDocWebhook(t *testing.T) {
	var mu sync.Mutex
	posts := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		switch signed := strings.HasPrefix(r.Header.Get("Webhook-Signature"), "v1,"); {
		case r.URL.Path == "/health":
			_, _ = io.WriteString(w, `{"version":"2.4"}`)
		case r.URL.Path == "/state" && strings.Contains(r.URL.RawQuery, "evacuate"):
			_, _ = io.WriteString(w, `{"server":{"state":"drained"}}`)
		case r.URL.Path == "/drain" && r.Method == http.MethodPost && signed:
			posts++
			w.WriteHeader(http.StatusAccepted)
		default:
			w.WriteHeader(http.StatusBadRequest)
		}
	}))
	t.Cleanup(srv.Close)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h := newDocHook(t, "hooks.md", "webhook", "https://lb.example", srv.URL, "/etc/firebreak/drain.secret", secret)
	h.dry(t, "", "would")
	h.once(t, "", plugins.Done, "Accepted", plugins.SeenAccept)
	until(t, "verify_url is evidence", func() bool { return h.saw(plugins.SeenVerified) })
	mu.Lock()
	defer mu.Unlock()
	if posts != 1 {
		t.Errorf("%d posts under one key", posts)
	}
}

func TestDocMQTT(t *testing.T) {
	var change []string
	var mu sync.Mutex
	commands := map[string]int{} // by broker
	for _, was := range []string{"mqtts://hub-b.example:8883", "mqtts://hub-noc.example:8883"} {
		b, err := hub.Start(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.Close)
		change = append(change, was, b.URL())
		s, err := session.Connect(t.Context(), session.Config{URL: b.URL(), ClientID: "failover-1"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close(context.Background()) })
		err = s.Subscribe(t.Context(), "site/failover/cmd", 1, func(_ string, payload []byte, _ bool) {
			var m struct {
				Key     string
				Probe   bool
				ReplyTo string `json:"reply_to"`
			}
			_ = json.Unmarshal(payload, &m)
			answer := "probe"
			if !m.Probe {
				mu.Lock()
				commands[was]++
				mu.Unlock()
				answer = "accept"
			}
			s.Publish(m.ReplyTo, 1, false, fmt.Appendf(nil, `{"key":%q,"consumer":"failover-1","answer":%q}`, m.Key, answer))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	h := newDocHook(t, "hooks-mqtt.md", "mqtt", change...)
	h.dry(t, "", "would publish to ")
	h.once(t, "", plugins.Done, "failover-1 says accept", plugins.SeenAccept)
	mu.Lock()
	defer mu.Unlock()
	for broker, n := range commands {
		if n > 1 {
			t.Errorf("%d commands under one key at %s", n, broker)
		}
	}
}

func TestDocModbus(t *testing.T) {
	bank := slave.NewBank()
	bank.Set(slave.Holdings, 0, 420, 37, 12, 16, 48, 1, 812, 2304, 0)
	bank.Set(slave.Holdings, 16, 0x4642, 1)
	var writes atomic.Int32
	bank.OnWrite(func(table slave.Table, address, value uint16) byte {
		writes.Add(1)
		bank.Set(table, address, value)
		return 0
	})
	srv, err := slave.ListenTCP("127.0.0.1:0", map[byte]*slave.Bank{1: bank})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Close() })
	h := newDocHook(t, "hooks.md", "modbus", "127.0.0.1:3", srv.Addr())
	h.dry(t, "breaker", "would send battery-breaker-open")
	if writes.Load() != 0 {
		t.Error("a dry call has written")
	}
	h.once(t, "breaker", plugins.Done, "", plugins.SeenVerified)
	if w, _ := bank.Words(slave.Holdings, 5, 1); writes.Load() != 1 || w[0] != 0 {
		t.Errorf("%d writes, breaker %v", writes.Load(), w)
	}
}

func TestDocNUT(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := ln.Addr().String()
	_ = ln.Close()
	users := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(users, []byte("hosts \"a long password\" secondary rack12,row3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h := newDocHook(t, "hooks-nut.md", "nut", `["127.0.0.1:3493", "[::1]:3493"]`, `["`+at+`"]`, "/etc/firebreak/nut.users", users,
		`cert       = "/etc/firebreak/nut.crt"`, "", `key        = "/etc/firebreak/nut.key"`, "", `["10.0.0.5", "10.0.0.6"]`, `["127.0.0.1"]`,
		`"127.0.0.1:3494"`, `"127.0.0.1:0"`, "min_clients = 4", "min_clients = 1")
	hosts := map[string]func(string) string{}
	for _, ups := range []string{"rack12", "row3"} {
		ask := nutClient(t, at)
		hosts[ups] = ask
		for _, line := range []string{"USERNAME hosts", `PASSWORD "a long password"`, "LOGIN " + ups} {
			if got := ask(line); got != "OK" {
				t.Fatalf("%s: %q", line, got)
			}
		}
	}
	h.dry(t, "rack12", "would set FSD on UPS rack12")
	if got := hosts["rack12"]("GET VAR rack12 ups.status"); !strings.Contains(got, `"OL"`) {
		t.Errorf("after a dry call: %s", got)
	}
	asking, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { // as upsmon does
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for asking.Err() == nil {
			hosts["rack12"]("GET VAR rack12 ups.status")
			<-tick.C
		}
	})
	h.once(t, "rack12", plugins.Done, "127.0.0.1", "")
	stop()
	wg.Wait()
	if got := hosts["rack12"]("GET VAR rack12 ups.status"); !strings.Contains(got, `"FSD OL"`) {
		t.Errorf("after the call: %s", got)
	}
	if got := hosts["row3"]("GET VAR row3 ups.status"); !strings.Contains(got, `"OL"`) {
		t.Errorf("another zone: %s", got)
	}
}

// nutClient asks a NUT server line by line.
func nutClient(t *testing.T, at string) func(string) string {
	t.Helper()
	var conn net.Conn
	until(t, "the port is open", func() bool {
		var err error
		conn, err = net.Dial("tcp", at)
		return err == nil
	})
	t.Cleanup(func() { _ = conn.Close() })
	return func(line string) string {
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.WriteString(conn, line+"\n"); err != nil {
			return err.Error()
		}
		var b [512]byte
		n, err := conn.Read(b[:])
		if err != nil {
			return err.Error()
		}
		return strings.TrimSpace(string(b[:n]))
	}
}
