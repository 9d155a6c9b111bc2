package uplink

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	fhub "firebreak/agent/hub"
	"firebreak/agent/wire"
	"firebreak/agent/wire/session"
	"firebreak/plugins"
	"firebreak/sensors"
)

// hub runs firebreak's own broker; port -1 takes any.
func hub(t testing.TB, dir string, port int) (url string, chosen int, stop func()) {
	t.Helper()
	h, err := fhub.Open(fhub.Config{Name: "hub", Listen: fmt.Sprintf("127.0.0.1:%d", max(port, 0)), Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(h.Close)
	t.Cleanup(stop)
	return h.URL(), h.Port(), stop
}

// listen subscribes with QoS 0: it is delivered in order, and the hub loses none of it on loopback.
func listen(t testing.TB, url, id, filter string, got func(topic string, payload []byte, retained bool)) *session.Session {
	t.Helper()
	s, err := session.Connect(context.Background(), session.Config{URL: url, ClientID: id})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.Subscribe(ctx, filter, 0, got); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Abort(errors.New("test over")); s.Wait() })
	return s
}

// stands waits until the hub hands what is retained, of the given number or a later one, to new
// subscribers: that is some time after its PUBACK. Who subscribes before gets an older one, and the newer
// one never.
func stands(t testing.TB, url, filter string, seq uint64) {
	t.Helper()
	late := time.After(patience)
	for n := 0; ; n++ {
		s, err := session.Connect(context.Background(), session.Config{URL: url, ClientID: fmt.Sprint("looker-", n)})
		if err != nil {
			t.Fatal(err)
		}
		seen := make(chan bool, 1)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		err = s.Subscribe(ctx, filter, 0, func(_ string, payload []byte, retained bool) {
			var head wire.Head
			if retained && json.Unmarshal(payload, &head) == nil && head.Seq >= seq {
				select {
				case seen <- true:
				default:
				}
			}
		})
		cancel()
		again := time.After(100 * time.Millisecond)
		found := false
		select {
		case found = <-seen:
		case <-again:
		case <-late:
			err = fmt.Errorf("nothing of %d or later is retained on %s", seq, filter)
		}
		s.Abort(errors.New("looked"))
		s.Wait()
		if err != nil {
			t.Fatal(err)
		}
		if found {
			return
		}
	}
}

func TestEmbeddedHub(t *testing.T) {
	dir := t.TempDir()
	url, port, stopHub := hub(t, dir, -1)
	const n = 200
	cfg := config(url)
	cfg.HelloEvery = 20 * time.Millisecond
	u, stop := start(t, cfg)
	u.Offer(alarm("early", 1, 2, true))
	awaitStats(t, u, func(s BrokerStats) bool { return s.Queued == 0 && s.Connected })

	stands(t, url, "firebreak/1/status/#", 0)
	stands(t, url, "firebreak/1/alarm/#", 1)
	in := newInbox()
	listen(t, url, "watcher", "firebreak/1/#", func(topic string, payload []byte, retained bool) { in.add(1, topic, retained, payload) })
	in.await(t, "retained birth and alarm, and a hello", func(got []received) bool {
		return count(got, "status") == 1 && count(got, "alarm") == 1 && count(got, "hello") > 0
	})
	for i := range n {
		u.Offer(state(i))
	}
	got := in.await(t, "telemetry", func(got []received) bool { return len(distinct(got, "state")) == n })
	// The client's handlers may overtake each other, so the order is looked at on the other tests'
	// wire; here it is the set that counts.
	if s := distinct(got, "state"); slices.Max(s) != n {
		t.Errorf("sequences up to %d, want %d", slices.Max(s), n)
	}

	stopHub()
	awaitStats(t, u, func(s BrokerStats) bool { return !s.Connected })
	for i := range n {
		u.Offer(state(n + i))
		u.Offer(alarm("late", uint64(i), 1, true))
	}
	hub(t, dir, port)
	awaitStats(t, u, func(s BrokerStats) bool { return s.Queued == 0 && s.Connected })
	stands(t, url, "firebreak/1/status/#", 0)
	stands(t, url, "firebreak/1/alarm/+/+/+/late", n+1)
	back := newInbox()
	listen(t, url, "watcher-2", "firebreak/1/#", func(topic string, payload []byte, retained bool) { back.add(2, topic, retained, payload) })
	back.await(t, "present state", func(got []received) bool {
		last := uint64(0)
		for _, r := range got {
			if strings.HasSuffix(r.topic, "/late") {
				last = max(last, r.head.Seq)
			}
		}
		return last == n+1 && count(got, "status") > 0
	})
	if d := u.Stats().Brokers[0].Dropped; d != (wire.Drops{}) {
		t.Errorf("dropped %+v", d)
	}
	stop()
	back.await(t, "farewell", func(got []received) bool {
		return slices.ContainsFunc(got, func(r received) bool { return strings.Contains(r.payload, `"reason":"stopped"`) })
	})
}

// BenchmarkOffer is what a poll costs the loop of the agent, with three brokers that are not there.
func BenchmarkOffer(b *testing.B) {
	u, err := New(config("mqtt://127.0.0.1:1", "mqtt://127.0.0.1:2", "mqtt://127.0.0.1:3"))
	if err != nil {
		b.Fatal(err)
	}
	for i := 0; b.Loop(); i++ {
		u.Offer(state(i))
	}
}

// BenchmarkTelemetry measures the whole way from Offer to PUBACK, against the embedded hub in the
// same process, with polls of 100 readings.
func BenchmarkTelemetry(b *testing.B) {
	url, _, _ := hub(b, b.TempDir(), -1)
	const n = 100
	cfg := config(url)
	cfg.Points = nil
	rs := make([]sensors.Reading, n)
	for i := range rs {
		cfg.Points = append(cfg.Points, sensors.Point{ID: sensors.PointID(i), Name: fmt.Sprintf("ups-a.module.%d.temperature", i)})
		rs[i] = sensors.Reading{Point: sensors.PointID(i), Value: 20 + float64(i)*0.1, Quality: sensors.GoodQuality}
	}
	u, err := New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- u.Run(ctx) }()
	awaitStats(b, u, func(s BrokerStats) bool { return s.Connected }) // what waits for it is told more slowly
	b.ReportAllocs()
	up := plugins.Update{State: &sensors.Batch{Readings: rs}}
	for b.Loop() {
		u.Offer(up)
		for u.Stats().Brokers[0].Queued > 1000 {
			<-time.After(time.Millisecond)
		}
	}
	for u.Stats().Brokers[0].Queued > 0 {
		<-time.After(time.Millisecond)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/reading")
	cancel()
	<-done
}

// BenchmarkLatency measures from Offer to the subscriber's handler, one message at a time.
func BenchmarkLatency(b *testing.B) {
	url, _, _ := hub(b, b.TempDir(), -1)
	u, _ := start(b, config(url))
	got := make(chan uint64, 16)
	listen(b, url, "watcher", "firebreak/1/alarm/#", func(_ string, payload []byte, _ bool) {
		var h wire.Head
		_ = json.Unmarshal(payload, &h)
		got <- h.Seq
	})
	u.Offer(alarm("a", 0, 1, true))
	<-got
	var all []time.Duration
	for b.Loop() {
		at := time.Now()
		u.Offer(alarm("a", 1, 1, true))
		<-got
		all = append(all, time.Since(at))
	}
	slices.Sort(all)
	b.ReportMetric(float64(all[len(all)/2].Microseconds()), "p50-us")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds()), "p99-us")
}
