package app

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"firebreak/agent/uplink"
)

func yes(string) bool { return true }

// The next life finds what this one has written, and no file stays once it is forgotten; one that cannot be
// begun costs nothing but itself.
func TestMemory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	for epoch := uint64(9); epoch < 12; epoch++ { // 9, 10, 11: by number and not by name
		m := openMemory(dir, epoch, yes, slog.New(slog.DiscardHandler))
		if m == nil || len(m.Left()) != int(epoch-9) {
			t.Fatalf("%v", m)
		}
		for i, b := range m.Left() {
			if len(b) != uplink.MemoryBytes || b[0] != byte(9+i) {
				t.Errorf("life %d finds %d bytes that begin with %d", epoch, len(b), b[0])
			}
		}
		if _, err := m.WriteAt([]byte{byte(epoch)}, 0); err != nil {
			t.Fatal(err)
		}
		if epoch < 11 {
			continue
		}
		if err := m.Forget(); err != nil {
			t.Error(err)
		}
	}
	if names, _ := os.ReadDir(dir); len(names) != 1 || names[0].Name() != "told.11" {
		t.Errorf("%v", names)
	}
	for epoch := uint64(12); epoch < 30; epoch++ { // no log ever opens
		if m := openMemory(dir, epoch, yes, slog.New(slog.DiscardHandler)); m == nil || len(m.Left()) > wordsKept {
			t.Fatalf("%v", m)
		}
	}
	if names, _ := os.ReadDir(dir); len(names) > wordsKept+1 {
		t.Errorf("%d files", len(names))
	}
	var log strings.Builder
	no := openMemory(dir, 31, func(string) bool { return false }, slog.New(slog.NewTextHandler(&log, nil)))
	if no != nil || !strings.Contains(log.String(), "tmpfs") {
		t.Errorf("on a disk: %v, %s", no, log.String())
	}
	file := filepath.Join(dir, "told.29")
	if m := openMemory(file, 31, yes, slog.New(slog.DiscardHandler)); m != nil {
		t.Error("a file is taken for a directory")
	}
}

// A directory of the kernel's own is in memory, and no disk is.
func TestInMemory(t *testing.T) {
	if inMemory("/proc") || inMemory(filepath.Join(t.TempDir(), "absent")) {
		t.Error("what is no tmpfs is taken for one")
	}
	if fi, err := os.Stat("/dev/shm"); err == nil && fi.IsDir() && !inMemory("/dev/shm") {
		t.Error("/dev/shm is not in memory")
	}
}
