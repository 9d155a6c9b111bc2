package demo

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// What a killed demo has left in memory goes with the next one; what a running one uses stays.
func TestKilledDemosAreSwept(t *testing.T) {
	base := t.TempDir()
	age := func(dir string) string {
		then := time.Now().Add(-time.Hour)
		if err := os.Chtimes(dir, then, then); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	killed := filepath.Join(base, workDirs+"1", "deep")
	if err := os.MkdirAll(killed, 0o700); err != nil {
		t.Fatal(err)
	}
	age(filepath.Dir(killed))
	running, unlock, err := workDir(base)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	age(running)
	fresh := filepath.Join(base, workDirs+"2")
	other := filepath.Join(base, "other")
	for _, dir := range []string{fresh, other} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	age(other)
	sweepKilled(base, time.Minute)
	for dir, stay := range map[string]bool{killed: false, filepath.Dir(killed): false, running: true, fresh: true, other: true} {
		if _, err := os.Stat(dir); (err == nil) != stay {
			t.Errorf("%s: %v, want it to stay: %v", dir, err, stay)
		}
	}
}
