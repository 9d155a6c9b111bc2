package journal_test

import (
	"testing"

	"firebreak/agent/journal"
)

// A start right after a kill finds the lock held for some milliseconds by what the killed process
// had forked: it waits, and does not go on without a journal.
func TestLockIsWaitedFor(t *testing.T) {
	path := t.TempDir()
	first, err := journal.OS(path)
	if err != nil {
		t.Fatal(err)
	}
	type answer struct {
		d   *journal.Dir
		err error
	}
	got := make(chan answer, 1)
	go func() {
		d, err := journal.OS(path)
		got <- answer{d, err}
	}()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	a := <-got
	if a.err != nil {
		t.Fatalf("the lock was given back, and the second start got: %v", a.err)
	}
	if err := a.d.Close(); err != nil {
		t.Fatal(err)
	}
}
