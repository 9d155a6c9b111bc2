package guard

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

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
	got, err := Recover(rules(response.Step{}), rec, 100, "boot", false, time.Now())
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
