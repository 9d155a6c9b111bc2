package guard

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"firebreak/agent/core"
	"firebreak/agent/journal"
	"firebreak/agent/response"
	"firebreak/plugins"
	"firebreak/sensors"
)

// S8: what counts as age, by boot and clock.
func TestResumeInfo(t *testing.T) {
	const last = sensors.Mono(5000 * time.Second)
	wall := time.UnixMilli(1_700_000_000_000)
	for _, c := range []struct {
		name            string
		boot, bootNow   string
		now             sensors.Mono
		later           time.Duration // by the wall clock
		wasSync, isSync bool
		same, known     bool
		age             time.Duration
		lastIs          time.Duration // before now, after the shift
	}{
		{"same boot", "a", "a", last + sensors.Mono(time.Minute), 0, false, false, true, true, time.Minute, time.Minute},
		{"same boot, wall clock off", "a", "a", last + sensors.Mono(time.Minute), -99 * time.Hour, true, true, true, true, time.Minute, time.Minute},
		{"other boot, synced", "a", "b", sensors.Mono(9 * time.Second), 2 * time.Minute, true, true, false, true, 2 * time.Minute, 2 * time.Minute},
		{"other boot that runs longer", "a", "b", last * 2, 2 * time.Minute, true, true, false, true, 2 * time.Minute, 2 * time.Minute},
		{"not synced before", "a", "b", sensors.Mono(9 * time.Second), 2 * time.Minute, false, true, false, false, 0, 0},
		{"not synced now", "a", "b", sensors.Mono(9 * time.Second), 2 * time.Minute, true, false, false, false, 0, 0},
		{"clock behind", "a", "b", sensors.Mono(9 * time.Second), -time.Second, true, true, false, false, 0, 0},
		{"boot id unknown", "", "", last + sensors.Mono(time.Minute), 2 * time.Minute, false, false, false, false, 0, 0},
		{"same id, but before its last record", "a", "a", last - 1, 2 * time.Minute, false, false, false, false, 0, 0},
	} {
		e := entry{Mono: last, Wall: wall.UnixMilli(), Synced: c.wasSync}
		got := resumeInfo(e, Boot{ID: c.boot}, c.now, c.bootNow, c.isSync, wall.Add(c.later))
		if got.SameBoot != c.same || got.AgeKnown != c.known || got.Age != c.age || got.Last != last {
			t.Errorf("%s: same boot %v, age %v known %v", c.name, got.SameBoot, got.Age, got.AgeKnown)
		}
		if d := c.now.Sub(last.Add(got.Shift)); d != c.lastIs {
			t.Errorf("%s: the last record stands %v before now, want %v", c.name, d, c.lastIs)
		}
	}
	// A reboot always shows as a shift, in the journal too: without one, what ends with a boot (a bypass) would go on.
	for _, synced := range []bool{false, true} {
		e := entry{Mono: last, Wall: wall.UnixMilli(), Synced: synced}
		if got := resumeInfo(e, Boot{ID: "a"}, last, "b", synced, wall); got.SameBoot || got.Shift == 0 || got.Shift > time.Microsecond {
			t.Errorf("another boot whose clock happens to agree, synced %v: %+v", synced, got)
		}
	}
	got := resumeInfo(entry{}, Boot{}, last, "a", false, wall)
	if !got.AgeKnown || got.EpisodeBase != 1_700_000_000 {
		t.Errorf("an empty journal: %+v", got)
	}
	if got := resumeInfo(entry{}, Boot{}, last, "a", false, time.Time{}); got.EpisodeBase != 1 {
		t.Errorf("a clock before 1970: first episode %d", got.EpisodeBase)
	}
}

// A run is recorded, then damaged in every record in turn: Recover always gives a core that
// protects, and names what it could not take.
func TestRecoverDamaged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := rules(response.Step{Name: "drain"}, response.Step{Name: "hosts", Stage: plugins.Shed})
		j := newFakeJournal(0)
		w := begin(t, r, nil, func(c *Config) { c.Journal = j })
		w.read(smoke, 5)
		w.read(heat, 80)
		pass(40 * time.Second)
		w.want("hosts", "done")
		w.end()
		whole := j.recovered().Records
		for i := range whole {
			for _, damage := range [][]byte{nil, []byte("{}"), []byte("\x00\xff"), []byte(`{"m":1,"r":{"plan":{"kind":"x"}}}`), []byte(`{"snap":{"v":9}}`),
				whole[i].Payload[:len(whole[i].Payload)/2], bytes.ReplaceAll(whole[i].Payload, []byte("9"), []byte("8"))} {
				recs := slices.Clone(whole)
				recs[i].Payload = damage
				hook := &fakeHook{}
				next := begin(t, r, &journal.Recovered{Records: recs}, func(c *Config) { c.Hooks = []plugins.Hook{hook} })
				next.read(smoke, 5)
				next.read(heat, 80)
				pass(40 * time.Second)
				for name, s := range next.view() {
					if s.State != "done" {
						t.Errorf("record %d as %.40q: step %s is %s (%s)", i, damage, name, s.State, s.Detail)
					}
				}
				next.end()
			}
		}
	})
}

// What cannot be read is named, and does not hide the rest.
func TestRecoverNotes(t *testing.T) {
	boot, _ := json.Marshal(entry{Mono: 5, Boot: &Boot{ID: "boot", Epoch: 9}})
	rec := &journal.Recovered{Snapshot: []byte("{"), Repaired: "segment 1 is torn",
		Records: []journal.Record{{Seq: 1, Payload: []byte("nonsense")}, {Seq: 2, Payload: boot}, {Seq: 3, Payload: []byte(`{"snap":{"v":9}}`)}}}
	got, err := Recover(rules(response.Step{}), rec, nil, 100, "boot", false, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	notes := strings.Join(got.Notes, "\n")
	for _, want := range []string{"snapshot cannot be read", "segment 1 is torn", "record 1 ", "record 3"} {
		if !strings.Contains(notes, want) {
			t.Errorf("notes do not speak of %q:\n%s", want, notes)
		}
	}
	if got.Core == nil || got.Epoch != 9 {
		t.Errorf("core %v, epoch %d", got.Core, got.Epoch)
	}
}

// The snapshot of a stop leads to the same plan as the records do.
func TestRecoverSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := rules(response.Step{Name: "drain"}, response.Step{Name: "hosts", Stage: plugins.Shed})
		j := newFakeJournal(0)
		w := begin(t, r, nil, func(c *Config) { c.Journal = j })
		w.read(smoke, 5)
		w.read(heat, 80)
		pass(10 * time.Second)
		w.end()
		rec := &journal.Recovered{Snapshot: j.snap, SnapshotSeq: j.covers}
		next := begin(t, r, rec, func(c *Config) { c.Clock = w.c.Clock })
		next.read(smoke, 5)
		next.read(heat, 80)
		pass(30 * time.Second)
		next.want("drain", "done")
		next.want("hosts", "done")
		if c := next.hook.seen(); len(c) != 1 || c[0].Key.Step != "hosts" {
			t.Errorf("calls after the restart: %+v, want hosts alone", c)
		}
		next.end()
	})
}

// Long runs keep the journal short.
func TestSnapshotEvery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newFakeJournal(0)
		w := begin(t, rules(response.Step{Name: "drain"}), nil, func(c *Config) { c.Journal = j })
		for i := range 2 * snapshotEvery / 3 { // at least three records each
			w.read(heat, float64(20+60*(i%2)))
			synctest.Wait()
		}
		if j.snaps == 0 || j.snaps > 4 {
			t.Errorf("%d snapshots after %d records", j.snaps, j.last())
		}
		w.end()
	})
}

// S9: the journal did not open, or had refused records. The process of the same boot that follows knows
// modes, runs and keys from memory; one of another boot does not believe it.
func TestMirrorStandsInForTheJournal(t *testing.T) {
	r := rules(response.Step{Name: "drain", Stage: plugins.SwitchOver})
	made, err := Recover(r, nil, nil, 100, "boot", false, time.Unix(5000, 0))
	if err != nil {
		t.Fatal(err)
	}
	for _, rec := range []response.Record{
		{Kind: "mode", Plan: r.Response.Plans[0].Name, Mode: "armed", By: "kim"},
		{Kind: "open", Plan: r.Response.Plans[0].Name, At: 200, Episode: 77, Hash: r.Hash},
	} {
		if err := made.Core.Apply(core.Record{Plan: &rec}); err != nil {
			t.Fatal(err)
		}
	}
	mirror, err := json.Marshal(entry{Mono: 300, Boot: &Boot{ID: "boot", Epoch: 9}, Snap: made.Core.Essence(nil)})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, boot string
		mirror     []byte
		episode    uint64
		epoch      uint64
	}{
		{"same boot", "boot", mirror, 77, 9},
		{"another boot", "later", mirror, 0, 0},
		{"torn", "boot", mirror[:len(mirror)/2], 0, 0},
		{"empty", "boot", nil, 0, 0},
	} {
		got, err := Recover(r, nil, c.mirror, 400, c.boot, false, time.Unix(5000, 0))
		if err != nil {
			t.Fatal(err)
		}
		v := got.Core.View(400, r.Response.Plans[0].Name)
		if v.Episode != c.episode || got.Epoch != c.epoch || got.Behind != (c.episode != 0) {
			t.Errorf("%s: episode %d, epoch %d, behind %v", c.name, v.Episode, got.Epoch, got.Behind)
		}
	}
}

// S9: what a start took from memory stands in the journal before all that builds on it: a power loss at
// any record later finds it.
func TestWhatWasInMemoryIsWrittenFirst(t *testing.T) {
	r := rules(response.Step{Name: "drain"}, response.Step{Name: "hosts", Stage: plugins.Shed})
	made, err := Recover(r, nil, nil, 100, "boot", false, time.Unix(5000, 0))
	if err != nil {
		t.Fatal(err)
	}
	if err := made.Core.Apply(core.Record{Plan: &response.Record{Kind: "open", Plan: "evacuate", At: 200, Episode: 77, Hash: r.Hash}}); err != nil {
		t.Fatal(err)
	}
	mirror, err := json.Marshal(entry{Mono: 300, Boot: &Boot{ID: "boot", Epoch: 9}, Snap: made.Core.Essence(nil)})
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		clock, j, in := sensors.NewScaledClock(sensors.Mono(1000*time.Second), 1), newFakeJournal(0), newInbox()
		got, err := Recover(r, nil, mirror, clock.Now(), "boot", false, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		g, err := New(Config{Core: got.Core, Clock: clock, Resume: got.Resume, Journal: j, Behind: got.Behind, Boot: Boot{ID: "boot", Epoch: 10},
			Hooks: []plugins.Hook{&fakeHook{}}, Inbox: in})
		if err != nil {
			t.Fatal(err)
		}
		ctx, kill := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- g.Run(ctx) }()
		in.put(sensors.Batch{Device: sensors.DeviceID(smoke), Readings: []sensors.Reading{{Point: smoke, Value: 5, Quality: sensors.GoodQuality, At: clock.Now()}}})
		pass(5 * time.Second)
		kill()
		<-done
		all := j.recovered().Records
		for n := 1; n <= len(all); n++ {
			next, err := Recover(r, &journal.Recovered{Records: all[:n]}, nil, 100, "another", true, time.Now())
			if err != nil || len(next.Notes) > 0 {
				t.Fatal(err, next.Notes)
			}
			if v := next.Core.View(100, "evacuate"); v.Episode != 77 || next.Epoch != 10 {
				t.Errorf("after %d of %d records: episode %d, epoch %d", n, len(all), v.Episode, next.Epoch)
			}
		}
	})
}

// S8: the instants of a run are carried from boot to boot, however many there are, and whether or not
// a snapshot was taken in between.
func TestInstantsOverTwoReboots(t *testing.T) {
	for _, ids := range [][]string{{"a", "b", "b"}, {"a", "b", "c"}} {
		synctest.Test(t, func(t *testing.T) {
			r := rules(response.Step{Name: "drain"}, response.Step{Name: "hosts", Stage: plugins.Shed, Cap: time.Minute})
			j, hook := newFakeJournal(0), &fakeHook{}
			hook.do = func(ctx context.Context, _ plugins.Call, _ func(plugins.Evidence)) plugins.Outcome {
				<-ctx.Done()
				return plugins.Outcome{}
			}
			clock := sensors.NewScaledClock(sensors.Mono(1000*time.Second), 1)
			for i, id := range ids {
				if i > 0 && id != ids[i-1] {
					clock = sensors.NewScaledClock(sensors.Mono(20*time.Second), 1)
				}
				rec := j.recovered()
				got, err := Recover(r, rec, nil, clock.Now(), id, true, time.Now())
				if err != nil {
					t.Fatal(err)
				}
				if i == len(ids)-1 {
					if left := got.Core.View(clock.Now().Add(-got.Resume.Shift), "evacuate").Countdown["3"]; left < 15 || left > 25 {
						t.Errorf("boots %v: %d s of the countdown are left, want some 20", ids, left)
					}
				}
				in := newInbox()
				g, err := New(Config{Core: got.Core, Clock: clock, Resume: got.Resume, Journal: j, Boot: Boot{ID: id, Epoch: uint64(i + 1)},
					Synced: func() bool { return true }, Hooks: []plugins.Hook{hook}, Inbox: in})
				if err != nil {
					t.Fatal(err)
				}
				ctx, kill := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() { done <- g.Run(ctx) }()
				for p, v := range map[sensors.PointID]float64{smoke: 5, heat: 90} {
					in.put(sensors.Batch{Device: sensors.DeviceID(p), Readings: []sensors.Reading{{Point: p, Value: v, Quality: sensors.GoodQuality, At: clock.Now()}}})
				}
				pass(5 * time.Second)
				kill()
				<-done
			}
		})
	}
}
