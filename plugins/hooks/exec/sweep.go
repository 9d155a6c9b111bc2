package exec

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Sweep removes the directories of ended keys that are older than olderThan and that keep does
// not want, by the ID of their call, and tells how many. It leaves what runs and what has no known end. The age is that of
// the outcome's file by the wall clock, which may have jumped: keep protects all that matters.
func Sweep(runDir string, olderThan time.Duration, keep func(id string) bool) (int, error) {
	dirs, err := filepath.Glob(filepath.Join(runDir, "k-*"))
	if err != nil {
		return 0, err
	}
	removed, faults := 0, []error(nil)
	halfway, _ := filepath.Glob(filepath.Join(runDir, ".gone-*")) // the pattern is good
	for _, p := range halfway {
		faults = append(faults, os.RemoveAll(p))
	}
	for _, p := range dirs {
		d := keyDir(p)
		fi, err := os.Stat(d.path(outcomeFile))
		if err != nil || time.Since(fi.ModTime()) < olderThan {
			continue
		}
		ok, err := d.sweep(keep)
		if err != nil {
			faults = append(faults, fmt.Errorf("sweep %s: %w", p, err))
		}
		if ok {
			removed++
		}
	}
	return removed, errors.Join(faults...)
}

func (d keyDir) sweep(keep func(string) bool) (bool, error) {
	sp, err := d.readSpec()
	if err != nil || keep != nil && keep(sp.ID) {
		return false, nil // one that does not tell its key is left to a person
	}
	lock, err := d.lock()
	if lock == nil {
		return false, err
	}
	defer lock.Close()
	// Renamed first, under the lock: one who waits for the lock then sees that it is another file.
	gone := filepath.Join(filepath.Dir(string(d)), ".gone-"+strings.TrimPrefix(filepath.Base(string(d)), "k-"))
	if err := os.Rename(string(d), gone); err != nil {
		return false, err
	}
	return true, os.RemoveAll(gone)
}
