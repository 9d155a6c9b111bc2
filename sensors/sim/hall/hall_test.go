package hall

import (
	"math"
	"testing"
	"time"
)

// TestRest: with all its cooling the hall stays at its set point.
func TestRest(t *testing.T) {
	h := New(Default())
	for d := time.Duration(0); d < 24*time.Hour; d += time.Minute {
		h.Advance(d)
		if got := h.Inlet(); math.Abs(got-22) > 0.5 {
			t.Fatalf("after %v the inlets are at %.2f C", d, got)
		}
	}
	if got := h.Outlet() - h.Inlet(); math.Abs(got-12) > 0.01 {
		t.Errorf("from inlet to outlet %.2f C, want 12", got)
	}
}

// TestColdLost: without any cold the air rises by load over mass at first, about 1 C a minute, and the fans run on.
func TestColdLost(t *testing.T) {
	p := Default()
	p.ColdLostAt = time.Hour
	h := New(p)
	h.Advance(time.Hour)
	before := h.Inlet()
	h.Advance(time.Hour + 5*time.Minute)
	if rise, want := h.Inlet()-before, p.LoadW/p.MassJK*300; rise < 0.85*want || rise > want {
		t.Errorf("up by %.2f C in 5 min, want nearly %.2f: what the walls take is little yet", rise, want)
	}
	if h.Flow() < 99.9 || h.Cooling() != 0 {
		t.Errorf("flow %.1f %%, cooling %.0f W", h.Flow(), h.Cooling())
	}
}

// TestFansLost: without fans no cold comes through, whatever the units could do.
func TestFansLost(t *testing.T) {
	p := Default()
	p.FansLostAt = time.Minute
	h := New(p)
	h.Advance(3 * time.Minute)
	if h.Flow() > 0.1 || h.Cooling() > 1000 {
		t.Errorf("two minutes later flow %.2f %%, cooling %.0f W", h.Flow(), h.Cooling())
	}
}

// TestShed: half of the load with half of the cooling comes to rest again.
func TestShed(t *testing.T) {
	p := Default()
	p.ColdLostAt, p.ColdLeft, p.LoadShedAt, p.LoadShedTo = time.Minute, 0.5, time.Hour, 0.5
	h := New(p)
	h.Advance(time.Hour)
	hot := h.Inlet()
	h.Advance(12 * time.Hour)
	if hot < 30 || math.Abs(h.Inlet()-22) > 1 {
		t.Errorf("%.1f C after an hour, %.1f C long after the load was shed", hot, h.Inlet())
	}
}

// TestHoweverCut: the state does not depend on how the caller cuts the time.
func TestHoweverCut(t *testing.T) {
	p := Default()
	p.ColdLostAt = 10 * time.Minute
	a, b := New(p), New(p)
	a.Advance(time.Hour)
	for d := time.Duration(0); d <= time.Hour; d += 1700 * time.Millisecond {
		b.Advance(d)
	}
	b.Advance(time.Hour)
	if *a != *b {
		t.Errorf("%+v\n%+v", *a, *b)
	}
}
