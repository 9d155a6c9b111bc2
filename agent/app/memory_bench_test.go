package app

import (
	"log/slog"
	"testing"
)

// BenchmarkMemory is what the loop pays for the copy of a transition in memory.
func BenchmarkMemory(b *testing.B) {
	m := openMemory(memory(b), 1, yes, slog.New(slog.DiscardHandler))
	if m == nil {
		b.Fatal("no memory")
	}
	record := make([]byte, 1<<10)
	for i := 0; b.Loop(); i++ {
		if _, err := m.WriteAt(record, int64(i%1024)<<10); err != nil {
			b.Fatal(err)
		}
	}
}
