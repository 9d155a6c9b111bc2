package hazard

import (
	"math"
	"testing"
	"time"

	"firebreak/sensors"

	"pgregory.net/rapid"
)

// S2, S3: whatever one unit reads beside a real fire, at whatever instants its readings claim to be of, neither
// mutes the two that see the fire, nor opens the quorum alone; and it is believed again once it reads well.
func TestWildUnitNeitherMutesNorOpens(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := newRoom(t)
		temp, smoke := m.point("bms", "temp", sensors.Temperature), m.point("asd", "smoke", sensors.Smoke)
		wild := m.point("wild", "temp", sensors.Temperature)
		hot := m.over(Cond{Name: "hot", Kind: Above, Threshold: 60, Deadband: 2, OnDelay: 5 * time.Second, OffDelay: time.Minute}, temp, wild)
		seen := m.over(Cond{Name: "seen", Kind: Above, Threshold: 50, OnDelay: 5 * time.Second, OffDelay: time.Minute}, smoke)
		all := m.vote(2, true, hot, seen)
		fire := rapid.Bool().Draw(rt, "fire")
		value := rapid.SampledFrom([]float64{math.NaN(), math.Inf(1), math.Inf(-1), math.Copysign(0, -1), math.MaxFloat64, -math.MaxFloat64, 20, 59, 60, 61, 150, 1e300})
		off := rapid.SampledFrom([]time.Duration{0, 0, -time.Hour, -time.Second, time.Second, time.Hour, 100000 * time.Hour, -900 * time.Second})
		for s := 0; s < 40; s++ {
			v := 20.0
			if fire && s >= 10 {
				v = 90 + float64(s)
			}
			m.read(temp, v)
			m.read(smoke, v)
			for k := rapid.IntRange(0, 3).Draw(rt, "n"); k > 0; k-- {
				m.step(sensors.Reading{Point: wild, Value: value.Draw(rt, "v"), Quality: sensors.GoodQuality, At: m.now.Add(off.Draw(rt, "off"))})
			}
			m.wait(time.Second)
			if is := m.engine().Verdict(all).Is; fire && s >= 16 && is != True || is == True && !(fire && s >= 15-1) {
				rt.Fatalf("second %d, fire %v: the quorum is %v", s, fire, is)
			}
		}
		m.bad(temp, sensors.Comm) // burnt: heat rests on the one that was wild
		for s := 0; s < 8; s++ {
			m.keep(time.Second, 90, wild, smoke)
		}
		if got := m.verdict(all); got != "true" {
			rt.Fatalf("read well for 8 s: the quorum is %s", got)
		}
	})
}
