package app

import (
	"testing"
	"time"
)

func TestClockState(t *testing.T) {
	synced, now := false, time.Unix(1_769_000_000, 0)
	c := newClockState(func() bool { return synced }, func() time.Time { return now })
	for i, s := range []struct {
		synced bool
		year   int
		want   string
	}{{false, 2026, "unset"}, {true, 1970, "unset"}, {false, 2026, "unset"}, {true, 2026, "synced"}, {false, 2026, "holdover"},
		{false, 1970, "unset"}, {true, 2026, "synced"}} {
		synced, now = s.synced, time.Date(s.year, 5, 1, 0, 0, 0, 0, time.UTC)
		if got := c.state(); got != s.want {
			t.Errorf("step %d: synced %v in %d: %s, want %s", i, s.synced, s.year, got, s.want)
		}
	}
}

// Certificates are checked against the later of the clock and of what is known to be past (S14).
func TestCertTime(t *testing.T) {
	ahead := time.Now().Add(48 * time.Hour)
	if got := certTime(ahead)(); !got.Equal(ahead) {
		t.Errorf("a clock that was never set: %v, want %v", got, ahead)
	}
	if got := certTime(time.Time{})(); time.Since(got) > time.Minute && got.Before(builtAt()) {
		t.Errorf("nothing is known: %v", got)
	}
	if got := certTime(time.Now().Add(-time.Hour))(); time.Since(got) > time.Minute {
		t.Errorf("a clock that is right: %v", got)
	}
}
