package room

import (
	"math"
	"testing"
	"time"
)

const spark = 300 * time.Second

// fire is the room of the tests: an internal short in rack 1, module 3, cell 3 after 5 minutes.
func fire() Params {
	p := Default()
	p.Events = Events{
		SparkAt: spark, Rack: 1, Module: 3, Cell: 3,
		ShortJ: 5e5, ShortOver: 15 * time.Second, DischargeAt: spark + time.Minute,
	}
	return p
}

// firstAfter advances r until ok, and returns the time after the spark; it fails after limit.
func firstAfter(t *testing.T, r *Room, what string, limit time.Duration, ok func() bool) time.Duration {
	t.Helper()
	for !ok() {
		if r.At() > spark+limit {
			t.Fatalf("%s: not within %v of the spark", what, limit)
		}
		r.Advance(r.At() + Step)
	}
	return r.At() - spark
}

// Heat is only moved: what is stored grows by what came in, to rounding, through a whole fire.
func TestEnergyIsConserved(t *testing.T) {
	r := New(fire(), 1)
	was := r.Stored()
	r.Advance(40 * time.Minute)
	b := r.Book()
	in := b.Float + b.Short + b.Reactions + b.Flames - b.Cooled - b.Agent
	if diff := r.Stored() - was - in; math.Abs(diff) > 1e-6*(b.Reactions+b.Flames+b.Short) {
		t.Errorf("stored grew by %.1f J, %.1f J came in: %.3g J from nowhere", r.Stored()-was, in, diff)
	}
	if b.Reactions < 8*0.9*reactionHeat(&r.p) {
		t.Errorf("reactions gave %.3g J; the struck module's eight cells alone hold %.3g J", b.Reactions, 8*reactionHeat(&r.p))
	}
}

// The heats of Kim et al. give 1.24 GJ per m3 of jelly roll: 0.84 MJ for this cell.
func TestReactionHeat(t *testing.T) {
	p := Default()
	if q := reactionHeat(&p) / p.CellVolume; q < 1.2e9 || q > 1.3e9 {
		t.Errorf("reactions hold %.4g J/m3, want 1.24e9", q)
	}
}

// No step, however large, frees more than there is, and none runs backwards.
func TestReactionsAreBounded(t *testing.T) {
	p := Default()
	for _, temp := range []float64{80, 150, 250, 600, 2000} {
		for _, dt := range []float64{0.01, 1, 1e3, 1e6} {
			c := newCell(&p, temp)
			q := c.react(&p, dt)
			if q < 0 || q > reactionHeat(&p)*(1+1e-12) || math.IsNaN(q) {
				t.Errorf("%v C, %v s: %v J of %v", temp, dt, q, reactionHeat(&p))
			}
		}
	}
}

// Self-heating of a cell of the Kim model is slow at 90 C and violent above 220 C.
func TestSelfHeatingRates(t *testing.T) {
	p := Default()
	for _, c := range []struct{ at, least, most float64 }{{60, 0, 2e-4}, {90, 1e-4, 0.05}, {130, 1e-3, 0.5}, {230, 2, 200}} {
		cell := newCell(&p, c.at)
		if k := cell.react(&p, 0.1) / 0.1 / p.CellHeat; k < c.least || k > c.most {
			t.Errorf("at %v C the cell heats itself by %.3g K/s, want %g to %g", c.at, k, c.least, c.most)
		}
	}
}

// The struck cell runs away within 20 s of the short, its neighbours in the module within 2 min,
// the next module is hot after 3 min and burns after 8, and the next rack does not by then.
func TestFireSpreads(t *testing.T) {
	r := New(fire(), 1)
	r.Advance(spark)
	if hot := r.ModuleMax(1, 3); hot > 26 {
		t.Fatalf("%v C before the spark", hot)
	}
	if at := firstAfter(t, r, "runaway", 30*time.Second, func() bool { return r.Truth().Runaway == 1 }); at > 20*time.Second {
		t.Errorf("runaway of the struck cell at T+%v", at)
	}
	if hot := r.ModuleMax(1, 3); hot < 400 || hot > 1000 {
		t.Errorf("the cell in runaway has %.0f C", hot)
	}
	at := firstAfter(t, r, "second cell", 5*time.Minute, func() bool { return r.Truth().Runaway >= 2 })
	if at < 30*time.Second || at > 2*time.Minute {
		t.Errorf("second cell at T+%v", at)
	}
	at = firstAfter(t, r, "whole module", 10*time.Minute, func() bool { return r.Truth().Runaway >= 8 })
	if r.ModuleVolts(1, 3) != 0 {
		t.Errorf("the burnt module has %v V", r.ModuleVolts(1, 3))
	}
	if hot := r.ModuleMax(1, 4); hot > 80 || hot < 30 {
		t.Errorf("neighbour module at T+%v: %.0f C: it heats later, but it heats", at, hot)
	}
	if at := firstAfter(t, r, "neighbour module at 80 C", 30*time.Minute, func() bool { return r.ModuleMax(1, 4) > 80 }); at < 3*time.Minute {
		t.Errorf("the neighbour module reached 80 C at T+%v already", at)
	}
	at = firstAfter(t, r, "a neighbour module", 30*time.Minute, func() bool { return r.Truth().Runaway >= 16 })
	if at < 8*time.Minute {
		t.Errorf("a neighbour module burnt at T+%v already", at)
	}
	if hot := r.ModuleMax(0, 3); hot > 40 {
		t.Errorf("a module of the next rack has %.0f C at T+%v", hot, at)
	}
}

// Smoke is made within seconds and reaches no detector before T+60 s, every one soon after.
func TestSmokeArrivesAfterAMinute(t *testing.T) {
	r := New(fire(), 1)
	r.Advance(spark)
	firstAfter(t, r, "smoke in the room", 15*time.Second, func() bool { return r.Truth().Smoke > 0.1 })
	level := firstAfter(t, r, "any smoke at a detector", 2*time.Minute, func() bool {
		return r.ASD().Level != 0 || r.PointObscuration() > 1e-6 || r.PointSmoke()
	})
	if level < 60*time.Second || level > 63*time.Second {
		t.Errorf("first smoke at a detector at T+%v", level)
	}
	fire2 := firstAfter(t, r, "fire 2", 2*time.Minute, func() bool { return r.ASD().Level&16 != 0 })
	point := firstAfter(t, r, "point detector", 2*time.Minute, r.PointSmoke)
	if fire2 > 75*time.Second || point > 75*time.Second {
		t.Errorf("fire 2 at T+%v, point detector at T+%v: both belong to the second minute's start", fire2, point)
	}
}

// The gas ends the flames, cools the air and does not stop the cells.
func TestDischarge(t *testing.T) {
	r := New(fire(), 1)
	r.Advance(spark + time.Minute)
	flames, air, burnt := r.Book().Flames, r.Air(), r.Truth().Runaway
	r.Advance(spark + 5*time.Minute)
	if r.Book().Flames != flames {
		t.Errorf("flames gave %.3g J after the discharge", r.Book().Flames-flames)
	}
	if r.Truth().Runaway <= burnt {
		t.Error("the discharge stopped the cells")
	}
	r = New(fire(), 1)
	r.Advance(spark + 70*time.Second)
	if r.Air() >= air {
		t.Errorf("air %.1f C at T+60 s, %.1f C after the discharge", air, r.Air())
	}
}

func TestBMS(t *testing.T) {
	p := fire()
	p.Events.ThermistorBurn = 300
	r := New(p, 1)
	r.Advance(spark)
	if b := r.BMS(); b.MaxC > 25 || b.Level2|b.Level1|b.PreBit != 0 || b.ContactorOpen || math.Abs(b.RackVolts-256) > 0.5 {
		t.Errorf("before the spark: %+v", b)
	}
	// A hard short takes the cell's voltage at once; its alarm lasts three cycles to come.
	at := firstAfter(t, r, "cell voltage low", time.Minute, func() bool { return r.BMS().Level2&(1<<bitCellLow) != 0 })
	if b := r.BMS(); at < 2*time.Second || at > 6*time.Second || b.MinMVID != 3*8+3+1 || !b.ContactorOpen || b.RackAmps != 0 {
		t.Errorf("T+%v: %+v", at, b)
	}
	// It has no thermistor on the struck cell: temperature comes later.
	at = firstAfter(t, r, "over-temperature", 3*time.Minute, func() bool { return r.BMS().Level2&(1<<bitChargeHot) != 0 })
	if at < 40*time.Second {
		t.Errorf("over-temperature at T+%v, before the heat reached a thermistor", at)
	}
	firstAfter(t, r, "lost thermistor", 3*time.Minute, func() bool { return r.BMS().ThermistorLost })
	if b := r.BMS(); b.MaxC > thermEnd || !math.IsNaN(b.Thermistors[6]) && !math.IsNaN(b.Thermistors[7]) {
		t.Errorf("after a thermistor burnt: %+v", b)
	}
}

// 24 quiet hours: every reading stays in its band and nothing alarms.
func TestQuietDay(t *testing.T) {
	r := New(Default(), 7)
	check := func(what string, v, lo, hi float64) {
		if !(v >= lo && v <= hi) {
			t.Fatalf("%s is %g after %v, want %g to %g", what, v, r.At(), lo, hi)
		}
	}
	for at := time.Second; at <= 24*time.Hour; at += time.Second {
		r.Advance(at)
		b, a := r.BMS(), r.ASD()
		check("air", r.Air(), 22, 24)
		check("max cell", b.MaxC, 22.5, 25.5)
		check("min cell", b.MinC, 22.5, 25.5)
		check("min cell mV", b.MinMV, 3990, 4005)
		check("rack A", b.RackAmps, 0, 0.8)
		check("alarms", float64(b.Level1|b.Level2|b.PreBit|a.Level), 0, 0)
		check("obscuration", a.Obscuration, 0, 0.02)
		check("chip 0", r.CabinetChip(0), 22, 24.5)
		check("chip 1", r.CabinetChip(1), 22, 24.5)
		if r.PointSmoke() {
			t.Fatal("point detector alarms")
		}
	}
	if tr := r.Truth(); tr.Vented != 0 || tr.Runaway != 0 || tr.Smoke != 0 {
		t.Errorf("%+v", tr)
	}
}

// The same seed gives the same room to the last bit, however the caller cuts the time; another
// seed gives other noise and the same physics.
func TestDeterminism(t *testing.T) {
	a, b, c := New(fire(), 1), New(fire(), 1), New(fire(), 2)
	end := spark + 3*time.Minute
	a.Advance(end)
	c.Advance(end)
	for at := time.Duration(0); at <= end; at += 37 * time.Millisecond {
		b.Advance(at)
		if b.At() > at {
			t.Fatalf("asked for %v, the room is at %v", at, b.At())
		}
	}
	b.Advance(end)
	if a.At() != b.At() || a.Stored() != b.Stored() || a.CabinetChip(0) != b.CabinetChip(0) || a.ASD() != b.ASD() || a.BMS().RackVolts != b.BMS().RackVolts {
		t.Error("the cut of the time changed the room")
	}
	if a.Stored() != c.Stored() {
		t.Error("the seed changed the physics")
	}
	if a.CabinetChip(0) == c.CabinetChip(0) {
		t.Error("the seed did not change the noise")
	}
}

func BenchmarkStep(b *testing.B) {
	r := New(Default(), 1)
	for b.Loop() {
		r.step()
	}
}
