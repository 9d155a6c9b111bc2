package latency

import (
	"testing"
	"time"
)

// A duration is counted in the bucket of its bound, bounds included, and one beyond all of them still counts.
func TestHistogram(t *testing.T) {
	var h Histogram
	for _, d := range []time.Duration{-time.Second, 0, 100 * time.Microsecond, 101 * time.Microsecond, 2 * time.Minute, time.Hour} {
		h.Note(d)
	}
	s := h.Read()
	if s.Upto[0] != 3 || s.Upto[1] != 4 || s.Upto[len(Bounds)-2] != 4 || s.Upto[len(Bounds)-1] != 5 || s.Count != 6 {
		t.Errorf("%+v", s)
	}
	if want := 201*time.Microsecond + 2*time.Minute + time.Hour; s.Sum != want {
		t.Errorf("sum %v, want %v", s.Sum, want)
	}
	for i := 1; i < len(Bounds); i++ {
		if Bounds[i] <= Bounds[i-1] {
			t.Errorf("the bounds do not ascend at %v", Bounds[i])
		}
	}
}
