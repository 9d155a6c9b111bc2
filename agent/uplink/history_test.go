package uplink

import (
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"firebreak/agent/wire"
	"firebreak/agent/wire/brokertest"
	"firebreak/plugins"
	"firebreak/sensors"
)

// What waited goes after what is of now, as history, and no faster than it may; an alarm waits for
// neither, since it has a session of its own.
func TestHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type got struct {
			topic   string
			payload string
			at      time.Time
		}
		var mu sync.Mutex
		byClient := map[string][]got{}
		all := make(chan struct{}, 1000)
		up := make(chan struct{})
		b := brokertest.Pipes(t, func(_ int, c *brokertest.Conn) {
			<-up
			if c.Accept(0) != nil {
				return
			}
			id := string(c.Connect[12 : 12+int(c.Connect[11])])
			for {
				p, err := c.Next()
				if err != nil {
					return
				}
				_ = c.Ack(p)
				if p.Type == brokertest.Publish && !strings.HasSuffix(p.Topic, wire.EchoName) {
					mu.Lock()
					byClient[id] = append(byClient[id], got{p.Topic, string(p.Payload), time.Now()})
					mu.Unlock()
					all <- struct{}{}
				}
			}
		})
		cfg := piped(config("mqtt://b"), map[string]func() net.Conn{"b": b})
		cfg.Brokers[0].Sessions, cfg.ReplayRate, cfg.HistoryAfter = 2, 50, time.Nanosecond
		u, _ := start(t, cfg)
		const n = 20
		for i := range n {
			u.Offer(state(i))
		}
		u.Offer(alarm("a", 1, 1, true))
		<-time.After(time.Millisecond) // of the fake clock: they wait
		close(up)
		awaitStats(t, u, func(s BrokerStats) bool { return s.Telemetry && s.Connected })
		u.Offer(state(n))
		for range n + 3 { // birth and alarm too
			select {
			case <-all:
			case <-time.After(patience):
				t.Fatal("not all came")
			}
		}
		mu.Lock()
		defer mu.Unlock()
		if len(byClient["agent"]) != 2 || len(byClient["agent:t"]) != n+1 {
			t.Fatalf("%d by the session of the alarms, %d by that of telemetry", len(byClient["agent"]), len(byClient["agent:t"]))
		}
		var history []got
		for _, g := range byClient["agent:t"] {
			var p struct {
				Seq      uint64
				Replayed bool
			}
			if err := json.Unmarshal([]byte(g.payload), &p); err != nil {
				t.Fatal(err)
			}
			past := strings.HasPrefix(g.topic, "firebreak/1/history/site/zone/agent/")
			if past != (p.Seq <= n) || past != p.Replayed {
				t.Errorf("%s %s", g.topic, g.payload)
			}
			if past {
				if history = append(history, g); p.Seq != uint64(len(history)) {
					t.Errorf("history came out of order: %s", g.payload)
				}
			}
		}
		// 20 at 50 a second, five in each step of 100 ms.
		if d := history[len(history)-1].at.Sub(history[0].at); d < 3*replayStep || d > 3*replayStep+4*gather {
			t.Errorf("all of the history within %v, want %v and what is gathered", d, 3*replayStep)
		}
	})
}

// What was dropped is named by ranges, and readings that are too old are dropped.
func TestGapsAreNamed(t *testing.T) {
	b := small()
	for i := range uint64(10) {
		b.put(msg(wire.State, i+1, "d"))
	}
	if s := fmt.Sprint(b.gaps); s != "[{state 0  false 1 6}]" {
		t.Errorf("gaps %s", s)
	}
	b.maxAge = time.Hour
	for i := range b.states.n {
		(*b.states.at(i)).Made = time.Now().Add(time.Duration(i-2) * time.Hour)
	}
	b.reconnected()
	if s := fmt.Sprint(b.gaps); s != "[{state 0  false 1 8}]" && s != "[{state 0  false 1 7}]" {
		t.Errorf("gaps %s", s)
	}
	for i := range uint64(100) {
		b.lost(msg(wire.Event, 2*i, "e"))
	}
	if len(b.gaps) != maxGaps || b.gaps[maxGaps-1].From != 198 {
		t.Errorf("%v", b.gaps)
	}
}

// By exception a poll is told when a value has left its band, a quality or a binary point has changed,
// or the integrity period is over; a device without a rule is told always.
func TestTelemetryByException(t *testing.T) {
	points := []sensors.Point{{ID: 0, Max: 100}, {ID: 1, Kind: sensors.Binary}, {ID: 2}}
	e := newExceptions(map[sensors.DeviceID]Exception{0: {Deadband: 0.01, Integrity: time.Minute}}, points)
	now := time.Now()
	poll := func(v, bit float64, q sensors.Quality) bool {
		now = now.Add(time.Second)
		return !e.leave(&sensors.Batch{Device: 0, Readings: []sensors.Reading{{Point: 0, Value: v, Quality: q}, {Point: 1, Value: bit, Quality: sensors.GoodQuality}}}, now)
	}
	bad := sensors.MakeQuality(sensors.Bad, sensors.Comm, sensors.Real)
	for i, c := range []struct {
		v, bit float64
		q      sensors.Quality
		told   bool
	}{
		{20, 0, sensors.GoodQuality, true}, {20.9, 0, sensors.GoodQuality, false}, {19.1, 0, sensors.GoodQuality, false},
		{21.1, 0, sensors.GoodQuality, true}, {21.1, 1, sensors.GoodQuality, true}, {21.1, 1, bad, true}, {0, 1, bad, false}, {21.1, 1, sensors.GoodQuality, true},
	} {
		if got := poll(c.v, c.bit, c.q); got != c.told {
			t.Errorf("poll %d: told %v", i, got)
		}
	}
	now = now.Add(time.Minute)
	if !poll(21.1, 1, sensors.GoodQuality) {
		t.Error("the integrity period is over, and nothing is told")
	}
	for range 3 {
		if e.leave(&sensors.Batch{Device: 1, Readings: []sensors.Reading{{Point: 2, Value: 1, Quality: sensors.GoodQuality}}}, now) {
			t.Error("a device without a rule is left out")
		}
	}
	if e.left != 3 {
		t.Errorf("%d left out", e.left)
	}
	cfg := config("mqtt://127.0.0.1:1")
	cfg.Exceptions = map[sensors.DeviceID]Exception{0: {Integrity: time.Hour}}
	u, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		u.Offer(plugins.Update{State: state(1).State})
	}
	if q := u.Stats().Brokers[0].Queued; q != 1 {
		t.Errorf("%d of five equal polls wait, want 1", q)
	}
}
