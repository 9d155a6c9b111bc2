package demo

import (
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const workDirs = "firebreak-demo-"

// workDir makes the directory of a demo in base, or in the usual place if base is empty, and locks
// it for as long as this process lives: by that a later demo knows what a killed one has left.
func workDir(base string) (dir string, unlock func(), err error) {
	if dir, err = os.MkdirTemp(base, workDirs); err != nil {
		return "", nil, err
	}
	f, locked := lockDir(dir)
	if !locked {
		return dir, func() {}, nil // then a later one may sweep it; the demo itself goes on
	}
	return dir, func() { f.Close() }, nil
}

func lockDir(dir string) (*os.File, bool) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, false
	}
	if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		f.Close()
		return nil, false
	}
	return f, true
}

// sweepKilled removes what demos that were killed have left in memory. One that was made less than
// age ago may not have its lock yet.
func sweepKilled(base string, age time.Duration) {
	if base == "" {
		base = os.TempDir()
	}
	left, _ := filepath.Glob(filepath.Join(base, workDirs+"*")) // the pattern is good
	for _, dir := range left {
		fi, err := os.Lstat(dir)
		if err != nil || !fi.IsDir() || time.Since(fi.ModTime()) < age {
			continue
		}
		if f, locked := lockDir(dir); locked {
			_ = os.RemoveAll(dir) // another user's stays
			f.Close()
		}
	}
}
