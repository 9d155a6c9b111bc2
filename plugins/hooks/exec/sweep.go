package exec

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"firebreak/plugins"
	"firebreak/plugins/hooks/exec/shim"
)

// How long ended keys are kept once the agent says which episodes are open.
const (
	KeepPast = time.Hour      // of episodes that a later one has followed: their keys never come again (S9)
	KeepLast = 24 * time.Hour // of the newest episode of a plan, unless it is open
)

// SweepOver removes keys that ended longer than past ago, of episodes that are neither open nor the
// newest of their plan, and longer than last ago, of the newest that are not open. A last below
// zero keeps the newest: without the agent's word it may be open. open tells the open episode of a
// plan, 0 for none.
func SweepOver(runDir string, open func(plan string) uint64, past, last time.Duration) (int, error) {
	newest := map[string]uint64{}
	note := func(id string) bool {
		if k, ok := keyOf(id); ok {
			newest[k.Plan] = max(newest[k.Plan], k.Episode)
		}
		return true
	}
	if _, err := Sweep(runDir, 0, note); err != nil {
		return 0, err
	}
	n, err := Sweep(runDir, past, func(id string) bool {
		k, ok := keyOf(id)
		return !ok || k.Episode >= newest[k.Plan] || k.Episode == open(k.Plan)
	})
	if err != nil || last < 0 {
		return n, err
	}
	m, err := Sweep(runDir, last, func(id string) bool {
		k, ok := keyOf(id)
		return ok && k.Episode == open(k.Plan)
	})
	return n + m, err
}

// keyOf reads the key from the ID of a call, which for a drill begins with its mark.
func keyOf(id string) (plugins.Key, bool) {
	k, err := plugins.ParseKey(id)
	if err != nil {
		_, rest, _ := strings.Cut(id, "/")
		k, err = plugins.ParseKey(rest)
	}
	return k, err == nil
}

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
		d := shim.Dir(p)
		fi, err := os.Stat(d.Path(shim.OutcomeFile))
		if err != nil || time.Since(fi.ModTime()) < olderThan {
			continue
		}
		ok, err := d.Sweep(keep)
		if err != nil {
			faults = append(faults, fmt.Errorf("sweep %s: %w", p, err))
		}
		if ok {
			removed++
		}
	}
	return removed, errors.Join(faults...)
}
