package history

import (
	"context"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"firebreak/agent/journal"
	"firebreak/plugins"
	"firebreak/sensors"
)

// batches are polls of 100 readings as a room gives them: temperatures in tenths, voltages in hundredths,
// some 32-bit floats, some bits.
func batches(n int) (ds []sensors.Device, ps []sensors.Point, out []*sensors.Batch) {
	ds, ps = room(10, 100)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range n {
		b := &sensors.Batch{Device: sensors.DeviceID(i % 10), Seq: uint64(i / 10), Wall: time.Now().Add(time.Duration(i) * 100 * time.Millisecond)}
		at := sensors.Mono(i) * 1e8
		for k := range 100 {
			v := 20 + float64(r.IntN(100))/10
			switch k % 10 {
			case 0, 1:
				v = float64(r.IntN(2))
			case 2:
				v = 52 + float64(r.IntN(300))/100
			case 3:
				v = float64(r.Float32())
			}
			if k%50 == 0 {
				at += 15e6 // the next block of registers
			}
			b.Readings = append(b.Readings, sensors.Reading{Point: sensors.PointID(i%10*100 + k), Value: v, Quality: sensors.GoodQuality, At: at})
		}
		out = append(out, b)
	}
	return ds, ps, out
}

func BenchmarkOffer(b *testing.B) {
	ds, ps, in := batches(1000)
	h, err := New(Options{Open: func() (journal.FS, func() error, error) { return nil, nil, os.ErrInvalid }, Clock: sensors.NewClock(),
		Devices: ds, Points: ps, MaxBytes: MinBytes, MaxAge: MinAge})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ { // nobody takes: most offers drop the oldest
		h.Offer(plugins.Update{Wall: in[i%1000].Wall, State: in[i%1000]})
	}
}

func BenchmarkEncode(b *testing.B) {
	_, _, in := batches(1000)
	var buf []byte
	size := 0
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		p := in[i%1000]
		buf = appendPoll(buf[:0], Instant{Mono: p.Readings[0].At, Wall: p.Wall.UnixMilli()}, p, sensors.PointID(p.Device)*100)
		size += len(buf)
	}
	b.ReportMetric(float64(size)/float64(b.N)/100, "bytes/reading")
}

// BenchmarkWrite is 1000 readings a second in polls of 100, each second one write and one fsync on a
// real directory; ns/op is that of one second, and so is the share of a core.
func BenchmarkWrite(b *testing.B) {
	ds, ps, in := batches(1000)
	d, err := journal.OS(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	h, err := New(Options{Open: func() (journal.FS, func() error, error) { return d, d.Close, nil }, Clock: sensors.NewClock(),
		Devices: ds, Points: ps, MaxBytes: 256 << 20, MaxAge: MinAge})
	if err != nil {
		b.Fatal(err)
	}
	w := newWriter(h)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		for k := range 10 {
			p := in[(i*10+k)%1000]
			h.Offer(plugins.Update{Wall: p.Wall, State: p})
		}
		for w.take() {
			if err := w.flush(); err != nil {
				b.Fatal(err)
			}
			w.wrote()
		}
	}
	w.end()
	s := h.Stats()
	b.ReportMetric(float64(s.Bytes)/float64(s.Readings), "bytes/reading")
}

func BenchmarkWalk(b *testing.B) {
	ds, ps, in := batches(1000)
	dir := b.TempDir()
	d, err := journal.OS(dir)
	if err != nil {
		b.Fatal(err)
	}
	h, err := New(Options{Open: func() (journal.FS, func() error, error) { return d, d.Close, nil }, Clock: sensors.NewClock(),
		Devices: ds, Points: ps, MaxBytes: 256 << 20, MaxAge: MinAge})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	for _, p := range in {
		h.Offer(plugins.Update{Wall: p.Wall, State: p})
	}
	cancel()
	if err := h.Run(ctx); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		n := 0
		if _, err := Walk(journal.ReadOnly(dir), func(r *Record) error {
			if r.Poll != nil {
				n += len(r.Poll.Readings)
			}
			return nil
		}); err != nil || n != 100_000 {
			b.Fatal(err, n)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100_000, "ns/reading")
}
