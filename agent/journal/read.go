package journal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

// ReadOnly is a directory for somebody who only looks: it takes no lock, so that its owner may run,
// and refuses everything that would change it.
func ReadOnly(dir string) FS { return readOnly{Dir{path: dir}} }

type readOnly struct{ d Dir }

func (r readOnly) List() ([]string, error) { return r.d.List() }

func (r readOnly) Open(name string, create bool) (File, error) {
	if create {
		return nil, refused("create", name)
	}
	return r.d.Open(name, false)
}

func (r readOnly) Rename(from, _ string) error { return refused("rename", from) }
func (r readOnly) Remove(name string) error    { return refused("remove", name) }
func (r readOnly) Sync() error                 { return refused("sync", ".") }

func refused(op, name string) error { return &fs.PathError{Op: op, Path: name, Err: syscall.EROFS} }

// readTries bounds how often Read begins again because the writer took a file away meanwhile.
const readTries = 5

// Read returns what a journal holds and changes nothing. Its owner may write on: what it adds in the
// meantime may be missing, and a record that is half written is named in Repaired as a torn tail.
// ctx bounds the wait, as in Open.
func Read(ctx context.Context, dir FS) (*Recovered, error) {
	opt, err := Options{}.complete()
	if err != nil {
		return nil, err
	}
	type answer struct {
		f   *found
		err error
	}
	ch := make(chan answer, 1)
	go func() {
		var a answer
		for range readTries {
			a.f, a.err = scan(dir, opt)
			if !errors.Is(a.err, fs.ErrNotExist) {
				break
			}
		}
		ch <- a
	}()
	select {
	case a := <-ch:
		if a.err != nil {
			return nil, a.err
		}
		return &a.f.rec, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("journal: the disk did not answer in time, check it: %w", ctx.Err())
	}
}
