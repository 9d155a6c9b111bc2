// Package reread reads, and replaces, what stands in files that may be replaced while the agent runs: secrets,
// certificates, users. It is read anew at each use, so that a new one counts at once, and never waited
// for longer than a bound, so that a disk that hangs holds up no hook.
//
// Concurrency: Get may be called at once from any number of goroutines, and they share one read; a dead
// disk holds that one, never more. Failure: what cannot be read leaves what was read last in force, and
// is told each time.
package reread

import (
	"fmt"
	"sync"
	"time"
)

// Bound is how long a read is waited for.
const Bound = 500 * time.Millisecond

// File is the newest good content of one or more files.
type File[T any] struct {
	load func() (T, error)

	mu    sync.Mutex
	good  T
	have  bool
	err   error         // of the last read
	doing chan struct{} // closed when the read that runs has ended; nil: none runs
}

// New makes a File. Only one load runs at a time; it may keep what is its own between them.
func New[T any](load func() (T, error)) *File[T] { return &File[T]{load: load} }

// Get returns the newest good content; have is false if there never was one. err is that of the last
// read, or that it has not ended within the bound.
func (f *File[T]) Get() (good T, have bool, err error) {
	f.mu.Lock()
	if f.doing == nil {
		f.doing = make(chan struct{})
		go f.read(f.doing) // owned by the next Get that sees it end
	}
	doing := f.doing
	f.mu.Unlock()
	t := time.NewTimer(Bound)
	defer t.Stop()
	late := false
	select {
	case <-doing:
	case <-t.C:
		late = true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err = f.err; late {
		err = fmt.Errorf("not read within %v: the disk hangs; what was read last counts", Bound)
	}
	return f.good, f.have, err
}

func (f *File[T]) read(doing chan struct{}) {
	var v T
	var err error
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("reading it panicked: %v", p)
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.err = err; err == nil {
			f.good, f.have = v, true
		}
		f.doing = nil
		close(doing)
	}()
	v, err = f.load()
}
