package hazard

import (
	"encoding/json"
	"math"
	"math/bits"
	"testing"

	"pgregory.net/rapid"

	"firebreak/sensors"
)

// weigh is the greatest weight of entries that share no register: against all subsets, and never
// less for one entry more.
func TestWeigh(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 10).Draw(t, "entries")
		v := &vote{entries: make([]entry, n)}
		for i := range n {
			v.entries[i].weight = rapid.IntRange(1, 2).Draw(t, "weight")
			v.entries[i].overlap |= 1 << i
			for j := range i {
				if rapid.IntRange(0, 2).Draw(t, "shares") == 0 {
					v.entries[i].overlap |= 1 << j
					v.entries[j].overlap |= 1 << i
				}
			}
		}
		set := uint64(rapid.IntRange(0, 1<<n-1).Draw(t, "set"))
		want := 0
		for sub := set; ; sub = (sub - 1) & set {
			w, ok := 0, true
			for b := sub; b != 0; b &= b - 1 {
				i := bits.TrailingZeros64(b)
				w += v.entries[i].weight
				ok = ok && v.entries[i].overlap&sub == 1<<i
			}
			if ok {
				want = max(want, w)
			}
			if sub == 0 {
				break
			}
		}
		if got := v.weigh(set); got != want {
			t.Fatalf("weigh(%b) = %d, want %d", set, got, want)
		}
	})
}

// A vote of the greatest size, all true and all on few registers, is judged in no time.
func TestWeighIsBounded(t *testing.T) {
	v := &vote{entries: make([]entry, maxEntries)}
	for i := range v.entries {
		v.entries[i].weight = 1
		for j := range v.entries {
			if i == j || i%8 == j%8 || i == maxEntries-1 || j == maxEntries-1 {
				v.entries[i].overlap |= 1 << j
			}
		}
	}
	if got := v.weigh(math.MaxUint64); got != 8 {
		t.Fatalf("weigh = %d, want 8", got)
	}
}

// The state stays writable whatever a sensor says.
func TestStateIsFinite(t *testing.T) {
	m := newRoom(t)
	p, _ := hot(m, 0, 0)
	for _, v := range []float64{-math.MaxFloat64, math.MaxFloat64, -math.MaxFloat64, 0, math.MaxFloat64, math.NaN(), math.Inf(1), math.Inf(-1)} {
		m.step(sensors.Reading{Point: p, Value: v, Quality: sensors.MakeQuality(sensors.Uncertain, sensors.Fast, sensors.Real), At: m.now})
		m.now++
		if _, err := json.Marshal(m.e.State()); err != nil {
			t.Fatalf("after %v: %v", v, err)
		}
	}
}
