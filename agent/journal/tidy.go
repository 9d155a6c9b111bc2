package journal

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// maxAside damaged files are kept for a person to look at; the oldest go, so that they cannot
// fill the disk.
const maxAside = 16

// What the writer is at, for a person who asks why nothing moves.
const (
	doWait uint32 = iota
	doCreate
	doWrite
	doSync
	doSyncDir
	doSnapshot
	doTidy
)

func doingText(d uint32) string {
	switch d {
	case doCreate:
		return "creating a segment"
	case doWrite:
		return "writing records"
	case doSync:
		return "waiting for fsync of records"
	case doSyncDir:
		return "waiting for fsync of the directory"
	case doSnapshot:
		return "writing a snapshot"
	case doTidy:
		return "removing old files"
	}
	return ""
}

func (w *writer) doing(d uint32) { w.j.doing.Store(d) }

// trySnapshot writes s; after a failure the next attempt waits, and records go on.
func (w *writer) trySnapshot(s *snapshot) {
	w.doing(doSnapshot)
	defer w.doing(doWait)
	err := w.writeSnapshot(s)
	j := w.j
	j.mu.Lock()
	j.snapErr = err
	if err == nil {
		j.snapSeq = s.covers
		if j.snap == s {
			j.snap = nil
		}
	}
	j.mu.Unlock()
	if err != nil {
		w.snapFails++
		w.snapAfter = time.Now().Add(w.pause(w.snapFails))
		_ = w.fs.Remove(tempName) // it may hold the last free space
		return
	}
	w.snapFails, w.snapAfter = 0, time.Time{}
	if i, ok := slices.BinarySearch(w.snaps, s.covers); !ok {
		w.snaps = slices.Insert(w.snaps, i, s.covers)
	}
	w.prune()
}

func (w *writer) writeSnapshot(s *snapshot) (err error) {
	f, err := w.fs.Open(tempName, true)
	if err != nil {
		return fmt.Errorf("journal: create snapshot: %w", err)
	}
	b := encodeSnapshot(s.covers, s.load)
	n, err := f.Write(b)
	if err != nil || n < len(b) {
		f.Close()
		return fmt.Errorf("journal: write snapshot, %d of %d bytes done: %w", n, len(b), orUnknown(err))
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return fmt.Errorf("journal: sync snapshot: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("journal: close snapshot: %w", err)
	}
	if err := w.fs.Rename(tempName, snapshotName(s.covers)); err != nil {
		return fmt.Errorf("journal: rename snapshot: %w", err)
	}
	if err := w.fs.Sync(); err != nil {
		return fmt.Errorf("journal: sync the directory: %w", err)
	}
	return nil
}

// prune removes what is no longer needed: all snapshots but two, and the segments that the older
// of the two covers, so that damage to the newest snapshot costs nothing.
func (w *writer) prune() {
	w.doing(doTidy)
	defer w.doing(doWait)
	var errs []error
	for len(w.snaps) > 2 {
		if err := w.fs.Remove(snapshotName(w.snaps[0])); err != nil {
			errs = append(errs, err)
			break
		}
		w.snaps = w.snaps[1:]
	}
	var covers uint64
	if n := len(w.snaps); n >= 2 {
		covers = w.snaps[n-2]
	}
	total := w.at.size
	for _, s := range w.segs {
		total += s.size
	}
	keep := w.segs[:0:0]
	for _, s := range w.segs {
		over := w.opt.KeepBytes > 0 && total > w.opt.KeepBytes && len(keep) == 0
		if s.last > covers && !over {
			keep = append(keep, s)
			continue
		}
		if err := w.fs.Remove(s.name); err != nil {
			errs = append(errs, err)
			keep = append(keep, s)
			continue
		}
		total -= s.size
	}
	w.segs = keep
	w.cleaned(errs)
}

// tidy does what Open found to do, now that all that is trusted is durable elsewhere. It is best
// effort: what fails here is found again at the next Open.
func (w *writer) tidy(f *found) {
	w.doing(doTidy)
	defer w.doing(doWait)
	var errs []error
	for _, name := range f.aside {
		errs = append(errs, w.fs.Rename(name, fmt.Sprintf("%s%s%016x", name, asideMark, w.atIx)))
	}
	for _, name := range f.remove {
		errs = append(errs, w.fs.Remove(name))
	}
	for i := range len(f.oldAside) + len(f.aside) - maxAside {
		if i < len(f.oldAside) {
			errs = append(errs, w.fs.Remove(f.oldAside[i]))
		}
	}
	if len(f.aside)+len(f.remove) > 0 {
		errs = append(errs, w.fs.Sync())
	}
	w.cleaned(errs)
}

func (w *writer) cleaned(errs []error) {
	err := errors.Join(errs...)
	w.j.mu.Lock()
	w.j.cleanErr = err
	w.j.mu.Unlock()
}
