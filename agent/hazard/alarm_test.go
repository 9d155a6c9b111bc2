package hazard

import (
	"testing"
	"time"

	"firebreak/sensors"
)

// TestAlarmTable is the whole table of ISA-18.2 for the states in service: every state with every
// event, with and without a latch.
func TestAlarmTable(t *testing.T) {
	const N, B, C, D, E, F = Normal, Unacknowledged, Acknowledged, RTNUnacknowledged, LatchedUnacknowledged, LatchedAcknowledged
	table := []struct {
		from                             AlarmState
		raise, clr, clrLatch, ack, reset AlarmState
		reAlarm                          AlarmState
	}{
		{N, B, N, N, N, N, N},
		{B, B, D, E, C, B, B},
		{C, C, N, F, C, C, B},
		{D, B, D, D, N, D, D},
		{E, B, E, E, F, E, E},
		{F, B, F, F, F, N, F},
	}
	for _, r := range table {
		for _, c := range []struct {
			ev    AlarmEvent
			latch bool
			want  AlarmState
		}{{Raise, false, r.raise}, {Raise, true, r.raise}, {Clear, false, r.clr}, {Clear, true, r.clrLatch},
			{Ack, false, r.ack}, {Ack, true, r.ack}, {ResetLatch, true, r.reset}, {ReAlarm, false, r.reAlarm}, {ReAlarm, true, r.reAlarm}} {
			if got := NextAlarmState(r.from, c.ev, c.ev == Raise, c.latch); got != c.want {
				t.Errorf("%s, event %d, latch %v: %s, want %s", r.from, c.ev, c.latch, got, c.want)
			}
		}
	}
	for _, s := range []AlarmState{Shelved, Suppressed, OutOfService} {
		for ev := Raise; ev <= ReAlarm; ev++ {
			if got := NextAlarmState(s, ev, false, false); got != s {
				t.Errorf("%s left by event %d for %s", s, ev, got)
			}
		}
	}
}

// The three states out of service: reached from each state in service, left by their own event alone,
// by the live condition, and not left for one another.
func TestAlarmTableOutOfService(t *testing.T) {
	for _, k := range []struct {
		in, out AlarmEvent
		state   AlarmState
	}{{Shelve, Unshelve, Shelved}, {Suppress, Unsuppress, Suppressed}, {Retire, Return, OutOfService}} {
		for s := Normal; s <= LatchedAcknowledged; s++ {
			if got := NextAlarmState(s, k.in, true, false); got != k.state {
				t.Errorf("%s, event %d: %s", s, k.in, got)
			}
			if got := NextAlarmState(s, k.out, true, false); got != s {
				t.Errorf("%s is left by event %d for %s", s, k.out, got)
			}
		}
		for _, c := range []struct {
			active, latching bool
			want             AlarmState
		}{{true, false, Unacknowledged}, {true, true, Unacknowledged}, {false, false, Normal}, {false, true, LatchedUnacknowledged}} {
			if got := NextAlarmState(k.state, k.out, c.active, c.latching); got != c.want {
				t.Errorf("%s returned, active %v, latching %v: %s, want %s", k.state, c.active, c.latching, got, c.want)
			}
		}
		for ev := Raise; ev <= Return; ev++ {
			if got := NextAlarmState(k.state, ev, true, true); ev != k.out && got != k.state {
				t.Errorf("%s is left by event %d for %s", k.state, ev, got)
			}
		}
	}
}

func TestAlarmLife(t *testing.T) {
	b := NewAlarmBook()
	now := sensors.Mono(time.Hour)
	in := AlarmInput{Name: "smoke", Active: true, Priority: 1, Latching: true, ReAlarm: time.Hour, Cause: "x", Children: []string{"p"}}
	state := func(want AlarmState) {
		t.Helper()
		if a, _ := b.Get("smoke"); a.State != want {
			t.Fatalf("it is %s, want %s", a.State, want)
		}
	}
	if _, changed := b.Set(now, AlarmInput{Name: "smoke"}); changed {
		t.Fatal("an alarm that never was has cleared")
	}
	if a, changed := b.Set(now, in); !changed || !a.FirstOut || a.Occurrence != 1 || a.Since != now {
		t.Fatalf("raised: %+v", a)
	}
	if a, _ := b.Set(now, AlarmInput{Name: "heat", Active: true, Priority: 2}); a.FirstOut {
		t.Fatal("the second is first-out")
	}
	in.Cause = "other text"
	if _, changed := b.Set(now, in); changed {
		t.Fatal("a text alone is no change")
	}
	in.Basis = Held
	if _, changed := b.Set(now, in); !changed {
		t.Fatal("a new basis is a change")
	}
	if _, changed := b.Do(now, "smoke", ResetLatch, "kim"); changed {
		t.Fatal("reset while the condition is present")
	}
	b.Do(now, "smoke", Ack, "kim")
	state(Acknowledged)
	b.Set(now, AlarmInput{Name: "smoke"})
	state(LatchedAcknowledged)
	b.Set(now, in)
	state(Unacknowledged)
	if a, _ := b.Get("smoke"); a.Occurrence != 2 || a.FirstOut {
		t.Fatalf("again: %+v", a)
	}
	b.Set(now, AlarmInput{Name: "smoke"})
	state(LatchedUnacknowledged)
	b.Do(now, "smoke", Ack, "kim")
	b.Do(now, "smoke", ResetLatch, "kim")
	state(Normal)
	if _, changed := b.Do(now, "nothing", Ack, "kim"); changed {
		t.Fatal("an unknown alarm was acknowledged")
	}
}

func TestReAlarm(t *testing.T) {
	b := NewAlarmBook()
	now := sensors.Mono(time.Hour)
	b.Set(now, AlarmInput{Name: "mode", Active: true, Priority: 1, ReAlarm: 24 * time.Hour})
	if wake := b.Due(now, nil); wake != never {
		t.Fatal("nobody has acknowledged it")
	}
	b.Do(now, "mode", Ack, "kim")
	if wake := b.Due(now, nil); wake != now.Add(24*time.Hour) {
		t.Fatalf("wake is %v", wake)
	}
	b.Shift(time.Hour) // a reboot
	n := 0
	if b.Due(now.Add(24*time.Hour), func(Alarm) { n++ }); n != 0 {
		t.Fatal("the shift was lost")
	}
	if b.Due(now.Add(25*time.Hour), func(Alarm) { n++ }); n != 1 {
		t.Fatal("not raised again")
	}
	if a, _ := b.Get("mode"); a.State != Unacknowledged || a.Occurrence != 1 {
		t.Fatalf("%+v", a)
	}
}

// The book is rebuilt from its records, and the records from the book.
func TestAlarmBookFromRecords(t *testing.T) {
	a, b := NewAlarmBook(), NewAlarmBook()
	now := sensors.Mono(time.Hour)
	for i, in := range []AlarmInput{{Name: "x", Active: true, Priority: 1}, {Name: "y", Active: true, Priority: 3, Latching: true},
		{Name: "x"}, {Name: "y", Active: true, Basis: Held, Priority: 3, Latching: true}, {Name: "y"}} {
		if rec, changed := a.Set(now.Add(time.Duration(i)), in); changed {
			b.Apply(rec)
		}
	}
	if rec, changed := a.Do(now, "y", Ack, "kim"); changed {
		b.Apply(rec)
	}
	ra, rb := a.Records(), b.Records()
	if len(ra) != 2 || len(rb) != 2 {
		t.Fatalf("%d and %d records", len(ra), len(rb))
	}
	for i := range ra {
		if ra[i].Name != rb[i].Name || ra[i].State != rb[i].State || ra[i].Active != rb[i].Active || ra[i].Since != rb[i].Since {
			t.Errorf("%+v became %+v", ra[i], rb[i])
		}
	}
}
