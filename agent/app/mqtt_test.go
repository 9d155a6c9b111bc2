package app

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"firebreak/agent/config"
	"firebreak/agent/wire/brokertest"
	"firebreak/plugins"
	"firebreak/plugins/hooks/mqtt"
	"firebreak/plugins/hooks/webhook"
)

// blocks are the code blocks of one language in a document.
func blocks(t *testing.T, doc, language string) (out []string) {
	t.Helper()
	b, err := os.ReadFile("../../docs/" + doc)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range strings.Split(string(b), "```"+language+"\n")[1:] {
		text, _, _ := strings.Cut(part, "\n```")
		out = append(out, text)
	}
	if len(out) == 0 {
		t.Fatalf("%s has no block of %s", doc, language)
	}
	return out
}

// kindFaults gives the faults of the example with the hook of docs/hooks-mqtt.md, changed.
func kindFaults(t *testing.T, change ...string) (*config.Config, string) {
	t.Helper()
	_, text := room(t)
	all := strings.Replace(string(text), "[[plan]]\n", blocks(t, "hooks-mqtt.md", "toml")[0]+"\n[[plan]]\n", 1)
	for i := 0; i+1 < len(change); i += 2 {
		if !strings.Contains(all, change[i]) {
			t.Fatalf("there is no %q", change[i])
		}
		all = strings.ReplaceAll(all, change[i], change[i+1])
	}
	c, faults := config.Parse("f", []byte(all), Kinds())
	return c, fmt.Sprint(faults)
}

// An mqtt hook is read, built with the topics and the brokers that it names, and all that is wrong
// with one is told with its place.
func TestMQTTKind(t *testing.T) {
	c, faults := kindFaults(t)
	if c == nil {
		t.Fatal(faults)
	}
	h := c.Hooks[slices.IndexFunc(c.Hooks, func(h config.Hook) bool { return h.Name == "failover" })]
	if d, ok := h.Config.(plugins.Declarer); !ok {
		t.Error("the kind declares no traits")
	} else if tr, err := d.Traits(""); err != nil || tr != (plugins.Traits{}) {
		t.Errorf("%+v %v", tr, err)
	}
	hooks, err := buildHooks(c, &devicesByName{}, "/nonexistent", t.TempDir(), time.Now, discard())
	if err != nil {
		t.Fatal(err)
	}
	runners := 0
	for i := range hooks {
		if _, ok := hooks[i].(plugins.Runner); ok != (c.Hooks[i].Kind != "exec") {
			t.Errorf("hook %s of kind %s runs between its calls: %v", c.Hooks[i].Name, c.Hooks[i].Kind, ok)
		} else if ok {
			runners++
		}
	}
	if runners < 2 {
		t.Errorf("%d runners", runners)
	}
	used := []string{`hook     = "drain"`, `hook = "failover"`}
	for _, tc := range []struct {
		change []string
		want   []string
	}{
		{used, nil},
		{append(used, `{ zone = "noc", feed = "N" }`, `{ zone = "b3-battery", feed = "N" }`, `["hub-b", "hub-noc"]`, `["hub-noc"]`), []string{`every broker of hook "failover" stands in a zone that plan "evacuate" gives up`}},
		{[]string{`["hub-b", "hub-noc"]`, `["hub-b", "hub-x"]`}, []string{`there is no broker "hub-x"`}},
		{[]string{`topic     = "site/failover/cmd"`, ``}, []string{`needs the key "topic"`}},
		{[]string{`topic     = "site/failover/cmd"`, "topic = \"a/#\"\nwait = \"done\"\nresend = \"1ms\""},
			[]string{`"wait" cannot be "done"`, "holds a wildcard", "resend 1ms"}},
	} {
		c, faults := kindFaults(t, tc.change...)
		if (c != nil) != (tc.want == nil) {
			t.Errorf("%v: %s", tc.change, faults)
		}
		for _, w := range tc.want {
			if !strings.Contains(faults, w) {
				t.Errorf("no %q in %s", w, faults)
			}
		}
	}
}

// The example of docs/hooks.md reaches the hook.
func TestWebhookKind(t *testing.T) {
	_, text := room(t)
	shown := blocks(t, "hooks.md", "toml")
	given := strings.Replace(shown[slices.IndexFunc(shown, func(b string) bool { return strings.Contains(b, `"webhook"`) })], `"drain"`, `"drain-too"`, 1)
	c, faults := config.Parse("f", []byte(strings.Replace(string(text), "[[plan]]\n", given+"\n[[plan]]\n", 1)), Kinds())
	if c == nil {
		t.Fatal(faults)
	}
	got := c.Hooks[slices.IndexFunc(c.Hooks, func(h config.Hook) bool { return h.Name == "drain-too" })].Config.(webhook.Config)
	want := webhook.Config{URL: "https://lb.example/drain", SecretFiles: []string{"/etc/firebreak/drain.secret"}, KeepOpen: true,
		VerifyURL: "https://lb.example/state?call={key}", VerifyField: "server.state", VerifyValue: "drained",
		ProbeURL: "https://lb.example/health", ProbeField: "version", ProbeVersion: "2"}
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// keysOf are the fields of a JSON object.
func keysOf(t *testing.T, text string) []string {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return slices.Sorted(maps.Keys(m))
}

// What is sent has the fields that docs/hooks-mqtt.md shows, and its answers are understood.
func TestMQTTMessagesAreThoseOfTheDocs(t *testing.T) {
	shown := blocks(t, "hooks-mqtt.md", "json")
	if len(shown) != 4 {
		t.Fatalf("%d blocks of JSON, want command, answer, probe and its answer", len(shown))
	}
	keys := strings.NewReplacer("evacuate/b3-battery/2b/move/41/do/0", "KEY", "probe/5b0c6f2d9e814a37", "KEY")
	sent := make(chan string, 10)
	broker := brokertest.Start(t, func(_ int, c *brokertest.Conn) {
		_ = c.Accept(0)
		for {
			p, err := c.Next()
			if err != nil {
				return
			}
			if p.Type != brokertest.Publish {
				continue
			}
			_ = c.Ack(p)
			sent <- string(p.Payload)
			var m struct {
				Key     string
				ReplyTo string `json:"reply_to"`
			}
			_ = json.Unmarshal(p.Payload, &m)
			answer := shown[1]
			if strings.HasPrefix(m.Key, "probe/") {
				answer = shown[3]
			}
			answer = strings.Replace(keys.Replace(answer), "KEY", m.Key, 1)
			packet := append([]byte{0x30}, binary.AppendUvarint(nil, uint64(2+len(m.ReplyTo)+len(answer)))...)
			packet = append(binary.BigEndian.AppendUint16(packet, uint16(len(m.ReplyTo))), m.ReplyTo+answer...)
			_, _ = c.Write(packet)
		}
	})
	h := commander(t, []config.Broker{{Name: "site", URL: broker.URL()}}, func(c *mqtt.Config) { c.AskConsumers, c.ProbeVersion = true, "1" })
	runHook(t, h, func(plugins.Evidence) {})
	works(t, h)
	probe := <-sent
	call := plugins.Call{Key: plugins.Key{Plan: "evacuate", Zone: "b3", Stage: plugins.SwitchOver, Step: "move", Episode: 41}, Timeout: 20 * time.Second, Why: []byte("{}")}
	if o := h.Do(t.Context(), call, nil); o.Result != plugins.Done || o.Detail != "failover-1 says accept: moving 14 machines" {
		t.Errorf("%+v", o)
	}
	for text, doc := range map[string]string{probe: shown[2], <-sent: shown[0]} {
		if got, want := keysOf(t, text), keysOf(t, doc); !slices.Equal(got, want) {
			t.Errorf("sent %v, the document shows %v", got, want)
		}
	}
}

// commander makes the hook on brokers of a test, as the app would.
func commander(t testing.TB, brokers []config.Broker, change ...func(*mqtt.Config)) *mqtt.Hook {
	t.Helper()
	k := mqtt.Config{Topic: "site/failover/cmd", Consumers: []string{"failover-1"}}
	for _, b := range brokers {
		k.Brokers = append(k.Brokers, b.Name)
	}
	for _, f := range change {
		f(&k)
	}
	h, err := mqttHook(&config.Config{Site: "pangyo", Zone: "b3", Agent: "rack1", Brokers: brokers}, "failover", k, time.Now, discard())
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// runHook runs the part of a hook between its calls, until the test ends or stops it.
func runHook(t testing.TB, r plugins.Runner, seen func(plugins.Evidence)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx, seen) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// works waits until a probe finds that the hook would work.
func works(t testing.TB, h plugins.Hook) {
	t.Helper()
	probes(t, h, func(err error) bool { return err == nil })
}

// worksWithoutStandby waits until a call would work, with one of its ways lost, and that is told.
func worksWithoutStandby(t testing.TB, h plugins.Hook) {
	t.Helper()
	probes(t, h, func(err error) bool {
		var standby *plugins.StandbyError
		return errors.As(err, &standby)
	})
}

func probes(t testing.TB, h plugins.Hook, good func(error) bool) {
	t.Helper()
	for limit := time.Now().Add(patience); ; {
		err := h.Probe(t.Context())
		if good(err) {
			return
		}
		if time.Now().After(limit) {
			t.Fatal(err)
		}
	}
}

func quantiles(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	b.ReportMetric(ms(took[len(took)/2]), "p50-ms")
	b.ReportMetric(ms(took[len(took)*99/100]), "p99-ms")
	b.ReportMetric(ms(took[len(took)-1]), "max-ms")
}

// BenchmarkDecisionToBroker: from the call of Do to the arrival of the PUBLISH at a broker, on a
// session that stands, over loopback.
func BenchmarkDecisionToBroker(b *testing.B) {
	arrived := make(chan time.Time, 1)
	broker := brokertest.Start(b, func(_ int, c *brokertest.Conn) {
		_ = c.Accept(0)
		for {
			p, err := c.Next()
			if err != nil {
				return
			}
			if p.Type == brokertest.Publish {
				arrived <- time.Now()
				_ = c.Ack(p)
			}
		}
	})
	h := commander(b, []config.Broker{{Name: "site", URL: broker.URL()}})
	runHook(b, h, func(plugins.Evidence) {})
	works(b, h)
	var took []time.Duration
	c := plugins.Call{Key: plugins.Key{Plan: "p", Zone: "z", Stage: plugins.Prepare, Step: "s"}, Timeout: time.Minute}
	for b.Loop() {
		c.Key.Episode++
		ctx, cancel := context.WithCancel(b.Context())
		done, begin := make(chan struct{}), time.Now()
		go func() { h.Do(ctx, c, nil); close(done) }()
		took = append(took, (<-arrived).Sub(begin))
		cancel()
		<-done
	}
	quantiles(b, took)
}
