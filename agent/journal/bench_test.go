package journal_test

import (
	"fmt"
	"testing"

	"firebreak/agent/journal"
	"firebreak/agent/journal/faultfs"
)

// BenchmarkDurable measures from Append to durable on the disk under TMPDIR, 200-byte records.
func BenchmarkDurable(b *testing.B) {
	for _, group := range []int{1, 32} {
		b.Run(fmt.Sprintf("group=%d", group), func(b *testing.B) {
			dir, err := journal.OS(b.TempDir())
			if err != nil {
				b.Fatal(err)
			}
			defer dir.Close()
			j, _ := open(b, dir, journal.Options{KeepBytes: 64 << 20})
			defer closeIt(b, j)
			load := make([]byte, 200)
			b.ReportAllocs()
			for b.Loop() {
				var seq uint64
				for range group {
					seq = j.Append(load)
				}
				waitSeq(b, j, seq)
			}
			b.ReportMetric(float64(group*b.N)/b.Elapsed().Seconds(), "rec/s")
		})
	}
}

// BenchmarkAppend is what the caller pays while the queue has room.
func BenchmarkAppend(b *testing.B) {
	j, _ := open(b, faultfs.New(), journal.Options{KeepBytes: 8 << 20})
	defer closeIt(b, j)
	load := make([]byte, 200)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		seq := j.Append(load)
		if n++; n%2000 == 0 {
			b.StopTimer()
			waitSeq(b, j, seq)
			b.StartTimer()
		}
	}
}
