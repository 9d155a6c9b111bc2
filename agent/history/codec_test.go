package history

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"firebreak/plugins"
	"firebreak/sensors"
)

func firstOf(points uint32) func(sensors.DeviceID) (sensors.PointID, bool) {
	return func(d sensors.DeviceID) (sensors.PointID, bool) { return sensors.PointID(uint32(d) * points), d < 1000 }
}

func encodeFrame(base Instant, points uint32, polls ...sensors.Batch) []byte {
	b := binary.AppendUvarint(nil, uint64(len(polls)))
	for i := range polls {
		first, _ := firstOf(points)(polls[i].Device)
		b = appendPoll(b, base, &polls[i], first)
	}
	return b
}

// What is encoded comes back to the bit, whatever the values are.
func TestPollsComeBack(t *testing.T) {
	values := []float64{0, math.Copysign(0, -1), 1, -1, 23.5, 23.55, 23.555, 23.5555, 1e300, -1e-300, math.Pi, float64(float32(math.Pi)),
		math.Inf(1), math.Inf(-1), math.NaN(), math.Float64frombits(0x7ff8dead00000001), 134217727, 134217728, 0.1, 0.001, -40.1, math.MaxFloat64, math.SmallestNonzeroFloat64}
	qualities := []sensors.Quality{sensors.GoodQuality, sensors.BadQuality(sensors.Comm), 0, 65535,
		sensors.MakeQuality(sensors.Uncertain, sensors.OverRange, sensors.Simulated)}
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		base := Instant{Mono: sensors.Mono(r.Int64()), Wall: r.Int64N(1 << 43)}
		var polls []sensors.Batch
		for range r.IntN(4) {
			p := sensors.Batch{Device: sensors.DeviceID(r.IntN(1000)), Seq: r.Uint64(), Wall: time.UnixMilli(r.Int64N(1 << 43))}
			for range r.IntN(30) {
				p.Readings = append(p.Readings, sensors.Reading{Point: sensors.PointID(r.Uint32()), Value: values[r.IntN(len(values))],
					Quality: qualities[r.IntN(len(qualities))], At: base.Mono + sensors.Mono(r.Int64N(1<<40))})
			}
			for i := 1; i < len(p.Readings) && r.IntN(2) == 0; i++ { // often in a row, at one instant
				p.Readings[i].Point, p.Readings[i].At = p.Readings[i-1].Point+1, p.Readings[i-1].At
			}
			polls = append(polls, p)
		}
		var d decoder
		got, err := d.frame(encodeFrame(base, 7, polls...), base, firstOf(7))
		if err != nil || len(got) != len(polls) {
			t.Fatalf("%d polls came back of %d: %v", len(got), len(polls), err)
		}
		for i := range polls {
			same(t, got[i], polls[i])
		}
	}
}

func same(t *testing.T, got, want sensors.Batch) {
	t.Helper()
	if got.Device != want.Device || got.Seq != want.Seq || !got.Wall.Equal(want.Wall) || len(got.Readings) != len(want.Readings) {
		t.Fatalf("poll %+v, want %+v", got, want)
	}
	for i, w := range want.Readings {
		g := got.Readings[i]
		if g.Point != w.Point || g.Quality != w.Quality || g.At != w.At || math.Float64bits(g.Value) != math.Float64bits(w.Value) {
			t.Fatalf("reading %+v, want %+v", g, w)
		}
	}
}

// A frame cut anywhere is refused, never half believed.
func TestCutFrameIsRefused(t *testing.T) {
	p := sensors.Batch{Device: 1, Seq: 9, Wall: time.UnixMilli(5000)}
	for i := range 10 {
		p.Readings = append(p.Readings, sensors.Reading{Point: sensors.PointID(7 + i), Value: 20 + float64(i)*math.Pi, Quality: sensors.GoodQuality})
	}
	b := encodeFrame(Instant{}, 7, p)
	var d decoder
	for n := range b {
		if _, err := d.frame(b[:n], Instant{}, firstOf(7)); err == nil {
			t.Errorf("cut to %d of %d bytes it is believed", n, len(b))
		}
	}
	if _, err := d.frame(append(b, 0), Instant{}, firstOf(7)); err == nil {
		t.Error("with a byte more it is believed")
	}
}

func FuzzFrame(f *testing.F) {
	p := sensors.Batch{Device: 1, Seq: 9, Wall: time.UnixMilli(5000), Readings: []sensors.Reading{{Point: 9, Value: 1.5, At: 3}, {Point: 10, Value: math.Pi}}}
	f.Add(encodeFrame(Instant{}, 7, p))
	f.Add([]byte{1, 1, 1, 0, 1, 0x38})
	f.Fuzz(func(t *testing.T, b []byte) {
		var d decoder
		polls, err := d.frame(b, Instant{}, firstOf(7))
		if err != nil {
			return
		}
		kept := make([]sensors.Batch, len(polls)) // what is believed comes back the same when it is written again
		copy(kept, polls)
		var again decoder
		got, err := again.frame(encodeFrame(Instant{}, 7, kept...), Instant{}, firstOf(7))
		if err != nil || len(got) != len(kept) {
			t.Fatalf("%v, %d polls of %d", err, len(got), len(kept))
		}
		for i := range got {
			same(t, got[i], kept[i])
		}
	})
}

// FuzzSegment feeds the reader files that nobody wrote.
func FuzzSegment(f *testing.F) {
	h := header{3, names{}.sum()}
	b := h.append(nil)
	b, at := beginRecord(b, 0)
	b = h.endRecord(append(appendPrefix(b, kindMeta, Instant{}), `{"devices":null,"points":null}`...), at)
	b, at = beginRecord(b, 1)
	b = h.endRecord(append(append(appendPrefix(b, kindEvent, Instant{Wall: 5}), 0), `{"type":"x"}`...), at)
	f.Add(b)
	f.Add(b[:len(b)-3])
	f.Fuzz(func(t *testing.T, b []byte) {
		s := scan(3, b, []uint32{h.table})
		total := 0
		for _, r := range s.records {
			total += r.size
			if kind, at, body, err := parsePrefix(r.load); err == nil && kind >= kindAlarm {
				rec := Record{At: at}
				_ = rec.other(kind, body)
			}
		}
		if total > len(b) {
			t.Fatalf("%d bytes of records in %d", total, len(b))
		}
		s.plans(func(*plugins.PlanState, Instant) {})
		_ = s.summary()
	})
}
