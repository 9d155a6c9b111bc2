package faultfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"syscall"

	"firebreak/agent/journal"
)

// Op is a kind of call that can be made to fail.
type Op uint8

// The calls of journal.FS and journal.File. Create is Open with create.
const (
	List Op = iota
	Open
	Create
	Rename
	Remove
	SyncDir
	Read
	Write
	Sync
	ops
)

// ErrCrashed is what the old FS answers after Crash.
var ErrCrashed = errors.New("faultfs: the power is gone")

const sector = 512

// FS is a directory in memory.
type FS struct {
	mu      sync.Mutex
	names   map[string]*inode // as the kernel shows it
	durable map[string]*inode // as the disk holds it
	pending []dirOp
	faults  [ops]func(name string) error
	calls   [ops]int
	space   int64 // bytes that may still be written; < 0: any
	crashed bool
}

type inode struct {
	data  []byte // as the kernel shows it
	disk  []byte
	dirty map[int]bool // sectors of data that the next Sync brings to disk
}

// dirOp is a change of names that is not durable. to is nil for a removal.
type dirOp struct {
	name string
	gone string // renamed from
	to   *inode
}

// New returns an empty directory.
func New() *FS {
	return &FS{names: map[string]*inode{}, durable: map[string]*inode{}, space: -1}
}

// Fault makes each call of op ask f first, with no lock held: f may wait, and its error is the
// call's. nil ends the fault.
func (f *FS) Fault(op Op, do func(name string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults[op] = do
}

// Fail makes the given calls fail until Heal.
func (f *FS) Fail(err error, on ...Op) {
	for _, op := range on {
		f.Fault(op, func(string) error { return err })
	}
}

// ReadOnly is Fail with EROFS for all that writes.
func (f *FS) ReadOnly() { f.Fail(syscall.EROFS, Create, Rename, Remove, Write) }

// Hang makes calls of op wait until release is called.
func (f *FS) Hang(on Op) (release func()) {
	ch := make(chan struct{})
	f.Fault(on, func(string) error { <-ch; return nil })
	return sync.OnceFunc(func() {
		f.Fault(on, nil)
		close(ch)
	})
}

// Heal ends all faults and gives unlimited space.
func (f *FS) Heal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = [ops]func(string) error{}
	f.space = -1
}

// Space lets n more bytes be written; then a write is cut short with ENOSPC. Removing a file
// gives its bytes back.
func (f *FS) Space(n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.space = n
}

// Calls counts the calls of op so far, failed ones too.
func (f *FS) Calls(op Op) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[op]
}

// enter counts, runs the fault, and returns holding the lock if err is nil.
func (f *FS) enter(op Op, name string) error {
	f.mu.Lock()
	f.calls[op]++
	do := f.faults[op]
	f.mu.Unlock()
	var err error
	if do != nil {
		err = do(name)
	}
	f.mu.Lock()
	if f.crashed {
		err = ErrCrashed
	}
	if err != nil {
		f.mu.Unlock()
		return &fs.PathError{Op: opNames(op), Path: name, Err: err}
	}
	return nil
}

func opNames(op Op) string {
	return [ops]string{"list", "open", "create", "rename", "remove", "sync directory", "read", "write", "sync"}[op]
}

// List implements journal.FS.
func (f *FS) List() ([]string, error) {
	if err := f.enter(List, "."); err != nil {
		return nil, err
	}
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.names)), nil
}

// Open implements journal.FS.
func (f *FS) Open(name string, create bool) (journal.File, error) {
	op := Open
	if create {
		op = Create
	}
	if err := f.enter(op, name); err != nil {
		return nil, err
	}
	defer f.mu.Unlock()
	ino := f.names[name]
	switch {
	case create:
		// A file emptied by truncation keeps its name; the model makes it a new one, which is what
		// a crash would show anyway: nothing of the old content may be relied upon.
		ino = &inode{dirty: map[int]bool{}}
		f.names[name] = ino
		f.pending = append(f.pending, dirOp{name: name, to: ino})
	case ino == nil:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &file{fs: f, ino: ino, name: name, write: create}, nil
}

// Rename implements journal.FS.
func (f *FS) Rename(from, to string) error {
	if err := f.enter(Rename, from); err != nil {
		return err
	}
	defer f.mu.Unlock()
	ino := f.names[from]
	if ino == nil {
		return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrNotExist}
	}
	delete(f.names, from)
	f.names[to] = ino
	f.pending = append(f.pending, dirOp{name: to, gone: from, to: ino})
	return nil
}

// Remove implements journal.FS.
func (f *FS) Remove(name string) error {
	if err := f.enter(Remove, name); err != nil {
		return err
	}
	defer f.mu.Unlock()
	ino := f.names[name]
	if ino == nil {
		return nil
	}
	if f.space >= 0 {
		f.space += int64(len(ino.data))
	}
	delete(f.names, name)
	f.pending = append(f.pending, dirOp{name: name})
	return nil
}

// Sync implements journal.FS.
func (f *FS) Sync() error {
	if err := f.enter(SyncDir, "."); err != nil {
		return err
	}
	defer f.mu.Unlock()
	f.durable = maps.Clone(f.names)
	f.pending = nil
	return nil
}

type file struct {
	fs    *FS
	ino   *inode
	name  string
	write bool
	at    int
}

func (h *file) Read(p []byte) (int, error) {
	if err := h.fs.enter(Read, h.name); err != nil {
		return 0, err
	}
	defer h.fs.mu.Unlock()
	if h.at >= len(h.ino.data) {
		return 0, io.EOF
	}
	n := copy(p, h.ino.data[h.at:])
	h.at += n
	return n, nil
}

func (h *file) Write(p []byte) (int, error) {
	if err := h.fs.enter(Write, h.name); err != nil {
		return 0, err
	}
	defer h.fs.mu.Unlock()
	if !h.write {
		return 0, fmt.Errorf("faultfs: %s is open for reading: %w", h.name, syscall.EBADF)
	}
	n := len(p)
	var err error
	if h.fs.space >= 0 && int64(n) > h.fs.space {
		n, err = int(h.fs.space), &fs.PathError{Op: "write", Path: h.name, Err: syscall.ENOSPC}
	}
	if h.fs.space >= 0 {
		h.fs.space -= int64(n)
	}
	for i := len(h.ino.data) / sector; i*sector < len(h.ino.data)+n; i++ {
		h.ino.dirty[i] = true
	}
	h.ino.data = append(h.ino.data, p[:n]...)
	return n, err
}

func (h *file) Sync() error {
	err := h.fs.enter(Sync, h.name)
	if err != nil {
		h.fs.mu.Lock()
		if !h.fs.crashed {
			clear(h.ino.dirty) // the pages count as clean now, though the disk never got them
		}
		h.fs.mu.Unlock()
		return err
	}
	defer h.fs.mu.Unlock()
	h.ino.disk = h.ino.blend(len(h.ino.data), func(i int) bool { return h.ino.dirty[i] })
	clear(h.ino.dirty)
	return nil
}

func (h *file) Close() error { return nil }

// blend is the disk's content at length n, with the sectors of data that keep takes.
func (ino *inode) blend(n int, keep func(i int) bool) []byte {
	out := make([]byte, n)
	copy(out, ino.disk)
	for i := 0; i*sector < n; i++ {
		if from := i * sector; from < len(ino.data) && keep(i) {
			copy(out[from:min(from+sector, n)], ino.data[from:])
		}
	}
	return out
}
