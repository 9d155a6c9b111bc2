package exec

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// A fork waits until the new program is loaded, and the runtime with it: no goroutine of this process gets further than
// to the next collection of garbage. A disk that hangs under the shim would so hold up the whole agent, with all that it
// does besides. Hence the small shim is started from a copy in memory.

// maxSmall bounds the copy.
const maxSmall = 32 << 20

// memory holds the copy. Whoever starts it has mu for reading, so that it is not put in the place of another meanwhile.
type memory struct {
	mu   sync.RWMutex
	file *os.File      // nil: there is none
	of   os.FileInfo   // what it is a copy of
	err  error         // of the last read
	runs chan struct{} // closed when the read that runs has ended; nil: none runs
}

// path is where a program is started from: the copy, or its place on the disk. The caller holds mu.
func (m *memory) path(program string) string {
	if m.file == nil {
		return program
	}
	// By this process, since a child's descriptors are moved about before it starts the program.
	return "/proc/" + strconv.Itoa(os.Getpid()) + "/fd/" + strconv.Itoa(int(m.file.Fd()))
}

// read copies a program that has changed. late: it has not ended with ctx, and what was read before stays.
func (m *memory) read(ctx context.Context, program string) (late bool, err error) {
	m.mu.Lock()
	if m.runs == nil {
		m.runs = make(chan struct{})
		go m.copy(program, m.of, m.runs) // a dead disk holds this one, never more
	}
	runs := m.runs
	m.mu.Unlock()
	select {
	case <-runs:
	case <-ctx.Done():
		return true, fmt.Errorf("%s cannot be read: its disk hangs", program)
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	return false, m.err
}

func (m *memory) copy(program string, was os.FileInfo, runs chan struct{}) {
	file, of, err := copyOf(program, was)
	m.mu.Lock()
	defer m.mu.Unlock()
	if file != nil || err != nil {
		m.drop()
		m.file, m.of = file, of
	}
	m.err, m.runs = err, nil
	close(runs)
}

// drop frees the copy. The caller holds mu.
func (m *memory) drop() {
	if m.file != nil {
		m.file.Close()
	}
	m.file, m.of = nil, nil
}

// have tells whether there is a copy.
func (m *memory) have() bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.file != nil
}

// copyOf gives a sealed copy, or nil where it is that of before, or where this kernel has none that can be started.
func copyOf(program string, was os.FileInfo) (*os.File, os.FileInfo, error) {
	in, err := os.Open(program)
	if err != nil {
		return nil, nil, err
	}
	defer in.Close()
	of, err := in.Stat()
	if err != nil {
		return nil, nil, err
	}
	if !of.Mode().IsRegular() || of.Size() > maxSmall {
		return nil, nil, fmt.Errorf("%s is no program of at most %d bytes", program, maxSmall)
	}
	if was != nil && os.SameFile(was, of) && was.Size() == of.Size() && was.ModTime().Equal(of.ModTime()) {
		return nil, nil, nil
	}
	fd, err := unix.MemfdCreate(smallName, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3 each can be started
		fd, err = unix.MemfdCreate(smallName, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return nil, nil, nil // forbidden here
	}
	out := os.NewFile(uintptr(fd), smallName)
	_, err = io.Copy(out, in)
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_GROW|unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL)
	}
	if err != nil {
		out.Close()
		return nil, nil, err
	}
	return out, of, nil
}
