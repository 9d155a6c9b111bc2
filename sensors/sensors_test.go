package sensors

import (
	"math"
	"testing"
	"testing/synctest"
	"time"
)

func TestZeroQualityIsBad(t *testing.T) {
	var q Quality
	if q.Usable() || q.Status() != Bad {
		t.Errorf("the zero quality is %v: a forgotten assignment must not be health", q)
	}
}

func TestQualityPacks(t *testing.T) {
	for s := Bad; s <= Good; s++ {
		for r := NoReason; r <= FlowFault; r++ {
			for o := Real; o <= Replay; o++ {
				q := MakeQuality(s, r, o)
				if q.Status() != s || q.Reason() != r || q.Origin() != o {
					t.Fatalf("%v %v %v packs to %v %v %v", s, r, o, q.Status(), q.Reason(), q.Origin())
				}
				if w := q.WithOrigin(Injected); w.Status() != s || w.Reason() != r || w.Origin() != Injected {
					t.Fatalf("WithOrigin changes %v to %v", q, w)
				}
			}
		}
	}
	if got := MakeQuality(Uncertain, OverRange, Simulated).String(); got != "uncertain:over-range@simulated" {
		t.Errorf("String is %q", got)
	}
}

// S3: the filter must not discard the fire.
func TestQualifier(t *testing.T) {
	temp := &Point{Name: "t", Hazard: +1, Min: -40, Max: 125, MaxRate: 10}
	volt := &Point{Name: "v", Hazard: -1, Min: 0, Max: 60, MaxRate: 5}
	type in struct {
		at   time.Duration
		v    float64
		want Quality
		val  float64
	}
	good, over := GoodQuality, MakeQuality(Uncertain, OverRange, Real)
	fast, bad := MakeQuality(Uncertain, Fast, Real), BadQuality(Implausible)
	for name, c := range map[string]struct {
		p  *Point
		in []in
	}{
		"a rise is never bad": {temp, []in{{0, 25, good, 25}, {time.Second, 30, good, 30}, {2 * time.Second, 80, fast, 80}, {3 * time.Second, 200, over, 125}}},
		"a fall faster than plausible is bad until it could be true": {temp, []in{{0, 125, good, 125}, {time.Second, 25, bad, 25},
			{5 * time.Second, 25, bad, 25}, {11 * time.Second, 25, good, 25}}},
		"below the range, away from the hazard": {temp, []in{{0, -200, bad, -200}, {time.Second, 25, good, 25}}},
		"falling is the hazard":                 {volt, []in{{0, 48, good, 48}, {time.Second, 20, fast, 20}, {2 * time.Second, -3, over, 0}, {9 * time.Second, 90, bad, 90}}},
		"no number":                             {temp, []in{{0, math.NaN(), bad, 0}, {time.Second, math.Inf(1), bad, 0}, {2 * time.Second, 25, good, 25}}},
	} {
		t.Run(name, func(t *testing.T) {
			var q Qualifier
			for _, i := range c.in {
				got := q.Qualify(c.p, Reading{Value: i.v, Quality: GoodQuality, At: Mono(i.at)})
				if got.Quality != i.want || got.Value != i.val {
					t.Errorf("at %v: %v becomes %v %v, want %v %v", i.at, i.v, got.Value, got.Quality, i.val, i.want)
				}
			}
		})
	}
	var q Qualifier
	if got := q.Qualify(temp, Reading{Value: 500, Quality: BadQuality(Sentinel)}); got.Quality != BadQuality(Sentinel) {
		t.Errorf("a bad reading becomes %v", got.Quality)
	}
}

func TestConvert(t *testing.T) {
	for _, c := range []struct {
		v        float64
		from, to Unit
		want     float64
	}{{300, Kelvin, Celsius, 26.85}, {0, Celsius, Kelvin, 273.15}, {1500, MilliV, Volt, 1.5}, {2, Minute, Second, 120}, {5, Percent, Percent, 5}} {
		got, err := Convert(c.v, c.from, c.to)
		if err != nil || math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%v %s is %v %s (%v), want %v", c.v, c.from, got, c.to, err, c.want)
		}
	}
	for _, c := range [][2]Unit{{ObscM, ObscFt}, {Celsius, Volt}, {"furlong", Celsius}} {
		if v, err := Convert(1, c[0], c[1]); err == nil {
			t.Errorf("%s to %s gives %v: it must be refused", c[0], c[1], v)
		}
	}
	if got, err := ConvertRate(5, Kelvin, Celsius); err != nil || math.Abs(got-5) > 1e-9 {
		t.Errorf("5 K/min is %v C/min (%v): offsets cancel in a rate", got, err)
	}
}

func TestScaledClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewScaledClock(1000, 60)
		start := c.Now()
		timer := time.NewTimer(c.Until(start.Add(time.Minute)))
		<-timer.C
		if d := c.Now().Sub(start); d < time.Minute || d > time.Minute+time.Millisecond {
			t.Errorf("a timer of one scaled minute fires after %v", d)
		}
	})
	for _, f := range []float64{0, -1, math.NaN()} {
		if c := NewScaledClock(0, f); c.Factor() != 1 {
			t.Errorf("factor %v is taken as %v", f, c.Factor())
		}
	}
}

// Two clocks of one boot agree, so that a restart can count the time in between (S8).
func TestClocksOfOneBootAgree(t *testing.T) {
	a, b := NewClock(), NewClock()
	if d := b.Now().Sub(a.Now()); d < -time.Second || d > time.Second {
		t.Errorf("two clocks of one boot differ by %v", d)
	}
	if BootID() == "" {
		t.Error("the kernel's boot id cannot be read")
	}
}

func TestNamesParseBack(t *testing.T) {
	for p := Status; p <= AirFlow; p++ {
		if got, err := ParsePhysics(p.String()); err != nil || got != p {
			t.Errorf("%v parses to %v, %v", p, got, err)
		}
	}
	for k := Measurement; k <= State; k++ {
		if got, err := ParseKind(k.String()); err != nil || got != k {
			t.Errorf("%v parses to %v, %v", k, got, err)
		}
	}
	for r := NoReason; r <= FlowFault; r++ {
		if got, err := ParseReason(r.String()); err != nil || got != r {
			t.Errorf("%v parses to %v, %v", r, got, err)
		}
	}
	for o := Real; o <= Replay; o++ {
		if got, err := ParseOrigin(o.String()); err != nil || got != o {
			t.Errorf("%v parses to %v, %v", o, got, err)
		}
	}
	if _, err := ParseUnit("furlong"); err == nil {
		t.Error("furlong is taken as a unit")
	}
}
