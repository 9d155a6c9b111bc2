package app

import (
	"context"
	"fmt"
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

const example = `[[broker]]
name   = "hub-b"
url    = "mqtt://127.0.0.1:4"
stands = { zone = "b9", feed = "B" }
[[broker]]
name   = "hub-here"
url    = "mqtt://127.0.0.1:5"
stands = { zone = "b3-battery", feed = "B" }
[[hook]]
name      = "failover"
kind      = "mqtt"
topic     = "site/failover/cmd"
brokers   = ["hub-b", "hub-here"]
consumers = ["failover-1"]
stands    = { zone = "b9", feed = "B" }
[[plan]]
`

// kindFaults gives the faults of the example with an mqtt hook, changed.
func kindFaults(t *testing.T, change ...string) (*config.Config, string) {
	t.Helper()
	_, text := room(t)
	all := strings.Replace(string(text), "[[plan]]\n", example, 1)
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
	hooks, err := buildHooks(c, "/nonexistent", t.TempDir(), discard())
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
		{append(used, `["hub-b", "hub-here"]`, `["hub-here"]`), []string{`hook "failover" has no broker outside of what plan "evacuate" gives up (b3-battery)`}},
		{[]string{`["hub-b", "hub-here"]`, `["hub-b", "hub-x"]`}, []string{`there is no broker "hub-x"`}},
		{[]string{`topic     = "site/failover/cmd"`, ``}, []string{`needs the key "topic"`}},
		{[]string{`topic     = "site/failover/cmd"`, "topic = \"a/#\"\nwait = \"done\"\nresend = \"1ms\"\nprobe_version = \"2\""},
			[]string{`"wait" cannot be "done"`, "holds a wildcard", "resend 1ms", "probe_version has no effect"}},
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

// The keys of a webhook reach the hook.
func TestWebhookKind(t *testing.T) {
	const url = `url    = "https://lb.invalid/drain"`
	c, _ := room(t, url, url+`
secret_files  = ["/s/1", "/s/2"]
keep_open     = true
verify_url    = "https://lb.invalid/state?key={key}"
verify_field  = "state"
verify_value  = "drained"
verify_every  = "2s"
verify_for    = "3m"
probe_url     = "https://lb.invalid/health"
probe_field   = "version"
probe_version = "2"`)
	got := c.Hooks[slices.IndexFunc(c.Hooks, func(h config.Hook) bool { return h.Name == "drain" })].Config.(webhook.Config)
	got.Headers, got.TokenFile, got.HeadersFile, got.CAFile, got.TryTimeout, got.Drill = nil, "", "", "", 0, ""
	want := webhook.Config{URL: "https://lb.invalid/drain", SecretFiles: []string{"/s/1", "/s/2"}, KeepOpen: true,
		VerifyURL: "https://lb.invalid/state?key={key}", VerifyField: "state", VerifyValue: "drained", VerifyEvery: 2 * time.Second, VerifyFor: 3 * time.Minute,
		ProbeURL: "https://lb.invalid/health", ProbeField: "version", ProbeVersion: "2"}
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
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
	h, err := mqttHook(&config.Config{Site: "pangyo", Zone: "b3", Agent: "rack1", Brokers: brokers}, "failover", k, discard())
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
	for limit := time.Now().Add(20 * time.Second); ; {
		err := h.Probe(t.Context())
		if err == nil {
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
