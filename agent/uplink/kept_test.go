package uplink

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"firebreak/agent/journal/faultfs"
	"firebreak/agent/wire"
	"firebreak/sensors"
)

// The clock of what waits: within a boot the monotonic one tells how long; after another boot the wall clock
// does, if it was set; else nobody knows.
func TestAgeOfWhatIsKept(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	// The clock of boot c was set 50 s after its start, a day ago.
	clocks := []clockMark{{"x", 1, 1}, {"c", now.Add(-24 * time.Hour).UnixMilli(), sensors.Mono(50 * time.Second)}}
	for _, c := range []struct {
		boot       string
		mono       sensors.Mono
		wall       time.Time
		unset, set bool
		held       time.Duration // < 0: not known
	}{
		{"a", sensors.Mono(10 * time.Second), now, true, true, 90 * time.Second},
		{"a", sensors.Mono(10 * time.Second), now.Add(-time.Hour), false, true, 90 * time.Second},
		{"b", sensors.Mono(10 * time.Second), now.Add(-time.Hour), false, true, time.Hour},
		{"b", sensors.Mono(10 * time.Second), now.Add(-time.Hour), true, true, -1},
		{"b", sensors.Mono(10 * time.Second), now.Add(-time.Hour), false, false, -1},
		{"b", sensors.Mono(10 * time.Second), now.Add(time.Hour), false, true, -1},
		{"c", sensors.Mono(10 * time.Second), time.UnixMilli(0), true, true, 24*time.Hour + 40*time.Second},
		{"c", sensors.Mono(10 * time.Second), time.UnixMilli(0), true, false, -1},
		{"c", sensors.Mono(60 * time.Second), now.Add(time.Hour), false, true, 24*time.Hour - 10*time.Second},
		{"", sensors.Mono(10 * time.Second), now.Add(time.Hour), false, true, -1},
	} {
		k := kept{boot: c.boot, wall: c.wall.UnixMilli(), mono: c.mono, m: wire.Message{Unset: c.unset}}
		boot := "a"
		if c.boot == "" {
			boot = ""
		}
		k.age(instant{boot, sensors.Mono(100 * time.Second), now, c.set, time.Now()}, clocks)
		held := time.Duration(-1)
		if !k.m.Made.IsZero() {
			held = time.Since(k.m.Made).Round(time.Second)
		}
		if held != c.held {
			t.Errorf("%+v: held %v", c, held)
		}
	}
}

// logOf is a log of one life with n events and as many alarms, and the payloads in it.
func logOf(t testing.TB, n int) (fs *faultfs.FS, payloads map[string]bool) {
	fs = faultfs.New()
	cfg := lifeOf(1, fs, "mqtt://127.0.0.1:1")
	cfg.MaxLogBytes = 8 << 10
	u, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	u.outbox.run(context.Background())
	for i := range n {
		u.Offer(event(i))
		u.Offer(alarm("smoke", uint64(i), 1, true))
	}
	written(t, u)
	payloads = map[string]bool{}
	tr := &u.links[0].backlog.trees[0]
	for _, q := range []*queue{&tr.events, &tr.alarms} {
		for i := range q.n {
			payloads[string((*q.at(i)).Payload)] = true
		}
	}
	u.outbox.close()
	return fs, payloads
}

// FuzzOutbox: a log that was cut, flipped, grown, or stands under another name yields only what was told, in
// order, and never stops the agent.
func FuzzOutbox(f *testing.F) {
	fs, payloads := logOf(f, 12)
	names := fs.Names()
	for i := range uint8(6) {
		f.Add(i, i, uint16(1+100*int(i)), []byte{i, 0xff})
	}
	f.Fuzz(func(t *testing.T, file, how uint8, at uint16, with []byte) {
		c := fs.Clone()
		name := names[int(file)%len(names)]
		b := c.Get(name)
		i := int(at) % (len(b) + 1)
		switch how % 6 {
		case 0:
			c.Put(name, b[:i])
		case 1:
			for k, w := range with {
				if i+k < len(b) {
					b[i+k] ^= w
				}
			}
			c.Put(name, b)
		case 2:
			c.Put(name, append(b, with...))
		case 3:
			c.Put(name, slices.Concat(b[:i], with, b[i:]))
		case 4:
			c.Put(fmt.Sprintf("%016x%s", at, name[16:]), b)
		case 5:
			c.Put(names[int(at)%len(names)], b)
		}
		u, err := New(lifeOf(2, c, "mqtt://127.0.0.1:1"))
		if err != nil {
			t.Fatal(err)
		}
		u.outbox.run(context.Background())
		defer u.outbox.close()
		last := map[wire.Class]uint64{}
		q := &u.links[0].backlog.older
		for i := range q.n {
			m := *q.at(i)
			if !payloads[string(m.Payload)] || m.Seq <= last[m.Class] || m.Epoch != 41 {
				t.Fatalf("message %d of class %s, epoch %d: %s", m.Seq, m.Class, m.Epoch, m.Payload)
			}
			last[m.Class] = m.Seq
		}
		u.Offer(event(1)) // and it is taken into use
		if s := u.outbox.stats(); s.Unkept > 0 {
			t.Fatalf("%+v", s)
		}
	})
}

// FuzzKept: a record reads back as what was written, and anything else is refused or could have been told.
func FuzzKept(f *testing.F) {
	k := kept{place: place{41, 7, 3, 4}, boot: "boot", wall: 5, mono: 6, m: wire.Message{Class: wire.Event, Seq: 4, Instance: "i1", Unset: true,
		Topic: "firebreak/1/event/site/zone/agent", Payload: []byte(`{"age_s":1}`)}}
	f.Add(k.append(nil))
	k.m.Class, k.m.Seq, k.m.Topic, k.m.Active, k.m.Priority = wire.Alarm, 3, "firebreak/1/alarm/site/zone/agent/smoke", true, 2
	f.Add(k.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := readKept(b)
		if err != nil {
			return
		}
		back, err := readKept(k.append(nil))
		if err != nil || back.place != k.place || back.m.Topic != k.m.Topic || !bytes.Equal(back.m.Payload, k.m.Payload) || back.m.Unset != k.m.Unset {
			t.Fatalf("%+v reads back as %+v: %v", k, back, err)
		}
		if !keeps(k.m.Class) || k.m.Retained() && k.m.Topic == "" {
			t.Fatalf("%+v", k)
		}
	})
}
