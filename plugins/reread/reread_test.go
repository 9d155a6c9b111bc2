package reread

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestFile: the newest content counts, and the last good one while there is none; a read that hangs is
// waited for no longer than the bound, and there is one of it, however many ask.
func TestFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now func() (string, error)
		var reads atomic.Int32
		f := New(func() (string, error) { reads.Add(1); return now() })
		want := func(good string, have bool, says string) {
			t.Helper()
			g, h, err := f.Get()
			if g != good || h != have || (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
				t.Errorf("%q, %v, %v: want %q, %v, %q", g, h, err, good, have, says)
			}
		}
		now = func() (string, error) { return "torn", errors.New("no such file") }
		want("", false, "no such file")
		now = func() (string, error) { return "a", nil }
		want("a", true, "")
		now = func() (string, error) { panic("on purpose") }
		want("a", true, "on purpose")

		dead := make(chan struct{})
		now = func() (string, error) { <-dead; return "b", nil }
		begin, before := time.Now(), reads.Load()
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() { want("a", true, "hangs") })
		}
		wg.Wait()
		if d := time.Since(begin); d != Bound || reads.Load() != before+1 {
			t.Errorf("%v and %d reads: want %v and one", d, reads.Load()-before, Bound)
		}
		close(dead)
		synctest.Wait()
		now = func() (string, error) { return "c", nil }
		want("c", true, "")
	})
}

// A file is replaced as a whole, for its owner alone, and nothing is left beside it.
func TestReplace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for _, text := range []string{"a long one that is there first", "short", ""} {
		if err := Replace(path, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Errorf("%q, %v, want %q", got, err, text)
		}
	}
	fi, err := os.Stat(path)
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", fi.Mode(), err)
	}
	if left, err := filepath.Glob(path + ".*"); err != nil || len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if err := Replace(filepath.Join(path, "below a file"), nil); err == nil {
		t.Error("a place that cannot be")
	}
}
