package shim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// The files of one key, in a directory of its own in the run directory.
const (
	LockFile    = "lock"       // held (flock) by the agent that is starting the shim, then by the shim while it lives
	SpecFile    = "call"       // what the shim is to do
	StdinFile   = "stdin.json" // what the command reads
	StartedFile = "started"    // present: the command may have been started
	OutcomeFile = "outcome"    // present and whole: the end
	LogFile     = "shim.log"   // what a dying shim said
)

// Dir is the directory of one key, or of one drill of it. Everything but reading needs its lock.
type Dir string

// Path is that of a file in it.
func (d Dir) Path(name string) string { return string(d) + "/" + name }

// Exists tells whether a file is there.
func (d Dir) Exists(name string) bool {
	_, err := os.Lstat(d.Path(name))
	return !errors.Is(err, os.ErrNotExist) // an unreadable file is taken as present: the careful side
}

// Write writes a file for the shim, which is started afterwards by the one who writes. A writer that dies
// half way has started nothing, and the next one writes anew.
func (d Dir) Write(name string, data []byte) error { return os.WriteFile(d.Path(name), data, 0o600) }

// replace puts a file in the place of another as a whole. Nothing is synced: after a reboot the
// processes that the file speaks of are gone as well.
func (d Dir) replace(name string, data []byte) error {
	if err := d.Write(name+".new", data); err != nil {
		return err
	}
	return os.Rename(d.Path(name+".new"), d.Path(name))
}

// Lock makes the directory and tries to take its lock; nil without error means that somebody
// else holds it, or that the directory has just been swept: the caller comes again.
func (d Dir) Lock() (*os.File, error) {
	f, err := d.openLock()
	if f == nil {
		return nil, err
	}
	return d.takeLock(f)
}

func (d Dir) openLock() (*os.File, error) {
	err := os.Mkdir(string(d), 0o700)
	if errors.Is(err, os.ErrNotExist) {
		err = os.MkdirAll(string(d), 0o700)
	}
	if err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	f, err := os.OpenFile(d.Path(LockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // swept between the two lines
	}
	return f, err
}

func (d Dir) takeLock(f *os.File) (*os.File, error) {
	got, err := TryLock(f)
	if err == nil && got && sameFile(f, d.Path(LockFile)) {
		return f, nil
	}
	f.Close() // held, or swept since it was opened: this lock would guard nothing
	return nil, err
}

// Sweep removes the directory, if its call is known, keep does not want it and nobody holds its lock, and tells
// whether it has.
func (d Dir) Sweep(keep func(string) bool) (bool, error) {
	sp, err := d.ReadSpec()
	if err != nil || keep != nil && keep(sp.ID) {
		return false, nil // one that does not tell its key is left to a person
	}
	lock, err := d.Lock()
	if lock == nil {
		return false, err
	}
	defer lock.Close()
	// Renamed first, under the lock: one who waits for the lock then sees that it is another file.
	gone := d.beside(".gone-")
	if err := os.Rename(string(d), gone); err != nil {
		return false, err
	}
	return true, os.RemoveAll(gone)
}

// beside is the same directory's name with another beginning.
func (d Dir) beside(begin string) string {
	i := strings.LastIndexByte(string(d), '/') + 1
	return string(d[:i]) + begin + strings.TrimPrefix(string(d[i:]), "k-")
}

// TryLock takes the lock of a file, unless somebody holds it.
func TryLock(f *os.File) (bool, error) {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, unix.EWOULDBLOCK):
			return false, nil
		case !errors.Is(err, unix.EINTR):
			return false, fmt.Errorf("lock %s: %w", f.Name(), err)
		}
	}
}

func sameFile(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Lstat(path)
	return err == nil && os.SameFile(a, b)
}

// Marker is a line of StartedFile. One is written before the command is started, without its
// group, and one after it.
type Marker struct {
	Boot    string `json:"boot"`
	Session int    `json:"session"`     // the shim's pid: it leads a session of its own
	Group   int    `json:"group"`       // the command's process group; 0: not known yet
	StartAt uint64 `json:"group_start"` // of its leader, in clock ticks since boot
}

// mark adds a line. The first makes the file: from then on the command may have been started.
func (d Dir) mark(m Marker) error {
	fd, err := open(d.Path(StartedFile), unix.O_CREAT|unix.O_APPEND|unix.O_WRONLY)
	if err != nil {
		return err
	}
	return errors.Join(writeAll(fd, m.line()), unix.Close(fd))
}

// line is m as a line of JSON.
func (m Marker) line() []byte {
	b := appendText([]byte(`{"boot":`), m.Boot)
	b = strconv.AppendInt(append(b, `,"session":`...), int64(m.Session), 10)
	b = strconv.AppendInt(append(b, `,"group":`...), int64(m.Group), 10)
	b = strconv.AppendUint(append(b, `,"group_start":`...), m.StartAt, 10)
	return append(b, "}\n"...)
}

// ReadMarker gives the last whole line. It says nothing of a marker that cannot be read: the caller
// then knows of the cookie alone.
func (d Dir) ReadMarker() Marker {
	var last Marker
	b, err := readFile(d.Path(StartedFile))
	if err != nil {
		return last
	}
	for line := range bytes.Lines(b) {
		var m Marker
		if json.Unmarshal(line, &m) == nil {
			last = m
		}
	}
	return last
}

// LastWords is the end of what the shims of this key said.
func (d Dir) LastWords() string {
	b, err := readFile(d.Path(LogFile))
	if err != nil || len(b) == 0 {
		return "it said nothing"
	}
	return strings.Join(strings.Fields(string(b[max(0, len(b)-500):])), " ")
}

// BootID is that of the running kernel, or "".
func BootID() string {
	b, err := readFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// MonoNow is the clock that agent, helper and shim share: CLOCK_MONOTONIC, in nanoseconds.
func MonoNow() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0
	}
	return ts.Nano()
}

// freeSpaceFor takes the room for n bytes now, so that a file system that fills up later cannot
// take the outcome away. File systems that cannot do it are let pass.
func freeSpaceFor(fd, n int) error {
	err := again(func() error { return unix.Fallocate(fd, 0, 0, int64(n)) })
	if errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENOSYS) {
		return nil
	}
	return err
}
