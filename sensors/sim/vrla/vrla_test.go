package vrla

import (
	"math"
	"testing"
	"time"
)

// TestRest: a sound string stays as it is for a week: its units follow the room, its current is that of its age.
func TestRest(t *testing.T) {
	s := New(Default())
	for d := time.Duration(0); d < 7*24*time.Hour; d += time.Hour {
		s.Advance(d)
		if s.Unit() < 20 || s.Unit() > 30 || s.Amps() < 0.05 || s.Amps() > 0.12 || s.H2() > 100 {
			t.Fatalf("after %v: unit %.1f C, %.3f A, %.0f ppm", d, s.Unit(), s.Amps(), s.H2())
		}
	}
}

// TestLaws: the current grows twofold per 10 C and tenfold per Tafel slope.
func TestLaws(t *testing.T) {
	s := New(Default())
	s.unit = 25
	s.current()
	if math.Abs(s.amps-0.08) > 1e-12 {
		t.Errorf("%.4f A at 25 C, want 0.08", s.amps)
	}
	s.unit = 35
	s.current()
	if math.Abs(s.amps-0.16) > 1e-12 {
		t.Errorf("%.4f A at 35 C, want twice as much", s.amps)
	}
	s.unit, s.shorted = 25, 12 // 240 cells: the rest is at 2.27*240/228
	s.current()
	if want := 0.08 * math.Pow(10, (2.27*240/228-2.27)/0.12); math.Abs(s.amps-want) > 1e-9 {
		t.Errorf("%.4f A with 12 cells shorted, want %.4f", s.amps, want)
	}
}

func failing() Params {
	p := Default()
	p.ShortsFrom, p.ShortsEvery, p.ShortsMost = time.Hour, 45*time.Minute, 30
	return p
}

// TestRunsAway: with cells that short one after another the string runs away; its gas passes a quarter of the lower
// explosive limit, and energy comes from the charger alone, so that taking it off ends it.
func TestRunsAway(t *testing.T) {
	s := New(failing())
	s.Advance(48 * time.Hour)
	if s.Hottest() < 60 || s.H2() < 10000 {
		t.Errorf("after 48 h %.1f C, %.0f ppm: no runaway", s.Hottest(), s.H2())
	}
	off := New(failing())
	off.Advance(12 * time.Hour)
	warm := off.Hottest()
	off.Disconnect()
	off.Advance(13 * time.Hour)
	if off.Amps() != 0 || off.Hottest() >= warm {
		t.Errorf("an hour after the charger came off: %.3f A, from %.1f to %.1f C", off.Amps(), warm, off.Hottest())
	}
	off.Advance(72 * time.Hour)
	if off.Hottest() > 35 || off.H2() > 100 {
		t.Errorf("long after the charger came off: %.1f C, %.0f ppm", off.Hottest(), off.H2())
	}
}

// TestHoweverCut: the state does not depend on how the caller cuts the time.
func TestHoweverCut(t *testing.T) {
	a, b := New(failing()), New(failing())
	a.Advance(6 * time.Hour)
	for d := time.Duration(0); d <= 6*time.Hour; d += 3700 * time.Millisecond {
		b.Advance(d)
	}
	b.Advance(6 * time.Hour)
	if *a != *b {
		t.Errorf("%+v\n%+v", *a, *b)
	}
}
