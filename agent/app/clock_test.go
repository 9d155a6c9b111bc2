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
