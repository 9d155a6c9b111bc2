package uplink

import (
	"encoding/json"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"firebreak/agent/journal"
	"firebreak/agent/journal/faultfs"
	"firebreak/agent/wire"
	"firebreak/agent/wire/brokertest"
	"firebreak/sensors"
)

// slack is what a busy machine may put between the readings of two clocks, in milliseconds. A mistake is of hours.
const slack = 1000

// A board without a battery for its clock begins in 1970. What it raises before a time service answers, and sends
// after, says when that was; what was made with a clock that was set does not, nor what is sent while it is not.
func TestCorrectedTimes(t *testing.T) {
	in, up := newInbox(), make(chan struct{})
	b := brokertest.Start(t, func(n int, c *brokertest.Conn) {
		<-up
		take(n, c, in, -1)
	})
	fs := faultfs.New()
	var set atomic.Bool
	clock := func(c *Config) {
		c.Clock = func() string {
			if set.Load() {
				return "synced"
			}
			return "unset"
		}
		c.Now = func() time.Time {
			if set.Load() {
				return time.Now()
			}
			return time.UnixMilli(1000)
		}
		begin := time.Now().Add(-time.Hour)
		c.Mono = func() sensors.Mono { return sensors.Mono(time.Since(begin)) }
		c.HistoryAfter = time.Nanosecond
	}
	from := time.Now().UnixMilli()
	cfg := lifeOf(1, fs, brokertest.Start(t, away).URL())
	clock(&cfg)
	u, stop := start(t, cfg)
	u.Offer(event(1))
	written(t, u)
	left := fs.Kill() // it never learned what time it was
	stop()
	mono := cfg.Mono

	cfg = lifeOf(2, left, b.URL())
	clock(&cfg)
	cfg.Mono = mono // the same boot
	u, _ = start(t, cfg)
	u.Offer(alarm("smoke", 1, 1, true))
	u.Offer(event(2))
	u.Offer(state(3))
	set.Store(true)
	to := time.Now().UnixMilli()
	u.unset.Store(false) // as the next second does
	u.Offer(event(4))
	close(up)
	got := in.await(t, "all of both lives", func(got []received) bool {
		return len(of(got, "i1", "event")) == 1 && len(of(got, "i2", "event")) == 2 && count(got, "state") == 1
	})
	corrected := 0
	for _, r := range got {
		var p struct {
			Corrected int64  `json:"corrected_ts"`
			Detail    string `json:"detail"`
		}
		if err := json.Unmarshal([]byte(r.payload), &p); err != nil {
			t.Fatalf("%v: %s", err, r.payload)
		}
		switch {
		case strings.Contains(r.topic, "/status/"), p.Detail == "4":
			if p.Corrected != 0 {
				t.Errorf("corrected, and its clock was set: %s", r.payload)
			}
		case p.Corrected < from-slack || p.Corrected > to+slack:
			t.Errorf("%d, want %d to %d: %s", p.Corrected, from, to, r.payload)
		default:
			corrected++
		}
		if strings.Contains(r.topic, "/state/") {
			if m, err := wire.ParseState([]byte(r.payload)); err != nil || m.Corrected != p.Corrected || len(m.Values) != 1 {
				t.Errorf("%+v %v", m, err)
			}
		}
	}
	if corrected != 4 {
		t.Errorf("%d were corrected, of 4", corrected)
	}
}

// The clock is set after an event, and the power lost before a broker was there: the next boot knows when that event was,
// by what the log says of the clocks of the boot before.
func TestCorrectedAfterAReboot(t *testing.T) {
	var set atomic.Bool
	clock := func(c *Config, boot string) {
		begin := time.Now()
		c.Boot, c.Mono = boot, func() sensors.Mono { return sensors.Mono(time.Since(begin)) }
		c.Clock = func() string { return map[bool]string{true: "synced", false: "unset"}[set.Load()] }
		c.Now = func() time.Time {
			if set.Load() {
				return time.Now()
			}
			return time.UnixMilli(1000)
		}
	}
	fs, readings := faultfs.New(), faultfs.New()
	cfg := spilling(1, readings, brokertest.Start(t, away).URL())
	cfg.Store = func() (journal.FS, func() error, error) { return fs, func() error { return nil }, nil }
	clock(&cfg, "a")
	u, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	u.outbox.run(t.Context())
	u.spill.open(t.Context(), u.spill.resume)
	from := time.Now().UnixMilli()
	u.Offer(event(1))
	u.Offer(state(1))
	to := time.Now().UnixMilli()
	later := time.Now().Add(time.Hour)
	u.spill.keep(later)
	set.Store(true)
	u.unset.Store(false) // as the next second does
	u.outbox.look(later)
	u.spill.look(later)
	u.outbox.end()
	u.spill.end()

	in := newInbox()
	next := spilling(2, readings.Kill(), brokertest.Start(t, acker(in)).URL())
	left := fs.Kill()
	next.Store = func() (journal.FS, func() error, error) { return left, func() error { return nil }, nil }
	clock(&next, "b")
	start(t, next)
	got := in.await(t, "both", func(got []received) bool { return count(got, "event") == 1 && count(got, "state") == 1 })
	for _, r := range got {
		var p struct {
			Corrected int64 `json:"corrected_ts"`
		}
		if err := json.Unmarshal([]byte(r.payload), &p); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(r.topic, "/status/") && (p.Corrected < from-slack || p.Corrected > to+slack) {
			t.Errorf("%d, want %d to %d: %s", p.Corrected, from, to, r.payload)
		}
	}
}
