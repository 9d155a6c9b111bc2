package journal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// File is one file of an FS, open for reading or, after create, for writing at its end.
type File interface {
	io.Reader
	io.Writer
	Sync() error // data and length are durable when it returns nil
	Close() error
}

// FS is one flat directory. Names hold no separator. A name made, renamed or removed is durable
// after the next Sync.
type FS interface {
	List() ([]string, error)                     // regular files only
	Open(name string, create bool) (File, error) // create empties an existing file
	Rename(from, to string) error                // replaces to, atomically
	Remove(name string) error                    // an absent file is no error
	Sync() error
}

// Dir is a real directory, locked for this process.
type Dir struct {
	path string
	lock *os.File
}

// lockPatience is how long OS waits for the lock. A child that a killed agent had forked, and that
// had not yet executed its program, holds a copy of the agent's descriptors for some milliseconds
// more; a start right after a kill must not go on without a journal because of that.
const (
	lockPatience = 2 * time.Second
	lockPause    = 5 * time.Millisecond
)

// OS opens a directory for a journal, makes it if absent, and locks it against a second agent: it
// waits for a lock that is about to be freed, for two seconds. The lock ends with Close or with
// the process.
func OS(dir string) (*Dir, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("journal: make directory: %w", err)
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("journal: open directory: %w", err)
	}
	if err := lock(f); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("journal: directory %s is in use by another process; give each agent its own: %w", dir, err)
		}
		return nil, fmt.Errorf("journal: lock directory %s: %w", dir, err)
	}
	// The directory itself may be new. Best effort: its parent may not be ours to open.
	if p, err := os.Open(filepath.Dir(dir)); err == nil {
		_ = p.Sync()
		p.Close()
	}
	return &Dir{path: dir, lock: f}, nil
}

func lock(f *os.File) error {
	pause := time.NewTicker(lockPause)
	defer pause.Stop()
	for end := time.Now().Add(lockPatience); ; <-pause.C {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) || time.Now().After(end) {
			return err
		}
	}
}

// Close gives the lock back. Close the Journal first.
func (d *Dir) Close() error { return d.lock.Close() }

// List names the regular files.
func (d *Dir) List() ([]string, error) {
	es, err := os.ReadDir(d.path)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range es {
		if e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Open opens for reading, or for writing an emptied file.
func (d *Dir) Open(name string, create bool) (File, error) {
	flag := os.O_RDONLY
	if create {
		flag = os.O_WRONLY | os.O_CREATE | os.O_TRUNC | os.O_APPEND
	}
	f, err := os.OpenFile(filepath.Join(d.path, name), flag|syscall.O_NOFOLLOW, 0o640)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// Rename replaces to.
func (d *Dir) Rename(from, to string) error {
	return os.Rename(filepath.Join(d.path, from), filepath.Join(d.path, to))
}

// Remove removes a file.
func (d *Dir) Remove(name string) error {
	err := os.Remove(filepath.Join(d.path, name))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// Sync makes the names durable.
func (d *Dir) Sync() error { return d.lock.Sync() }

type osFile struct{ *os.File }

// Sync is fdatasync: it also writes the length when that changed, and spares the time stamps.
func (f osFile) Sync() error {
	for {
		err := syscall.Fdatasync(int(f.Fd()))
		if !errors.Is(err, syscall.EINTR) {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}
