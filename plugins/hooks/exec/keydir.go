package exec

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// The files of one key, in a directory of its own in the run directory.
const (
	lockFile    = "lock"       // held (flock) by the agent that is starting the shim, then by the shim while it lives
	specFile    = "call.json"  // what the shim is to do
	stdinFile   = "stdin.json" // what the command reads
	startedFile = "started"    // present: the command may have been started
	outcomeFile = "outcome"    // present and whole: the end
	shimLogFile = "shim.log"   // what a dying shim said
)

// keyDir is the directory of one key, or of one drill of it. Everything but reading needs its lock.
type keyDir string

// dirOf names the directory so that a person finds it and two keys never share it.
func dirOf(runDir, id string) keyDir {
	readable := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_':
			return r
		case r == '/':
			return '.'
		}
		return '_'
	}, id)
	if len(readable) > 120 {
		readable = readable[:120]
	}
	sum := sha256.Sum256([]byte(id))
	return keyDir(filepath.Join(runDir, "k-"+readable+"-"+hex.EncodeToString(sum[:8])))
}

// cookie marks the environment of everything started for this key, so that it is found after the
// death of its shim. It holds the run directory: another agent's processes are never taken for ours.
func (d keyDir) cookie() string {
	sum := sha256.Sum256([]byte(d))
	return hex.EncodeToString(sum[:12])
}

func (d keyDir) path(name string) string { return filepath.Join(string(d), name) }

// write replaces a file by rename. Nothing is synced: after a reboot the processes that the file
// speaks of are gone as well.
func (d keyDir) write(name string, data []byte) error {
	if err := os.WriteFile(d.path(name+".new"), data, 0o600); err != nil {
		return err
	}
	return os.Rename(d.path(name+".new"), d.path(name))
}

func (d keyDir) exists(name string) bool {
	_, err := os.Lstat(d.path(name))
	return !errors.Is(err, os.ErrNotExist) // an unreadable file is taken as present: the careful side
}

// lock makes the directory and tries to take its lock; nil without error means that somebody
// else holds it, or that the directory has just been swept: the caller comes again.
func (d keyDir) lock() (*os.File, error) {
	f, err := d.openLock()
	if f == nil {
		return nil, err
	}
	return d.takeLock(f)
}

func (d keyDir) openLock() (*os.File, error) {
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		if errors.Is(err, os.ErrExist) { // it was there and was swept before MkdirAll looked what it is
			return nil, nil
		}
		return nil, err
	}
	f, err := os.OpenFile(d.path(lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // swept between the two lines
	}
	return f, err
}

func (d keyDir) takeLock(f *os.File) (*os.File, error) {
	got, err := tryLock(f)
	if err == nil && got && sameFile(f, d.path(lockFile)) {
		return f, nil
	}
	f.Close() // held, or swept since it was opened: this lock would guard nothing
	return nil, err
}

func tryLock(f *os.File) (bool, error) {
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

// Versions of the spec. The shim knows both: a program that was upgraded is started by an agent that
// was not restarted yet.
const (
	specVersion     = 1
	specVersionUser = 2 // with a user, which a shim that does not know it must not leave out
)

// spec is what the agent, or the helper, asks of the shim.
type spec struct {
	V           int      `json:"v"`
	ID          string   `json:"id"`
	Path        string   `json:"path"`
	Args        []string `json:"args"`
	Env         []string `json:"env"`
	Dir         string   `json:"dir"`
	AskedNs     int64    `json:"asked_ns"`    // CLOCK_MONOTONIC, when Do began
	DeadlineNs  int64    `json:"deadline_ns"` // CLOCK_MONOTONIC
	TimeoutNs   int64    `json:"timeout_ns"`
	GraceNs     int64    `json:"grace_ns"`
	OutputLimit int      `json:"output_limit"`
	User        *User    `json:"user,omitempty"` // nil: the shim's own
}

func (d keyDir) readSpec() (spec, error) {
	var s spec
	b, err := os.ReadFile(d.path(specFile))
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("%s: %w", d.path(specFile), err)
	}
	if s.V != specVersion && s.V != specVersionUser {
		return s, fmt.Errorf("%s is of version %d, this program knows %d and %d", d.path(specFile), s.V, specVersion, specVersionUser)
	}
	return s, nil
}

// marker is the content of startedFile. It is written before the command is started, without its
// group, and again with it.
type marker struct {
	Boot    string `json:"boot"`
	Session int    `json:"session"`     // the shim's pid: it leads a session of its own
	Group   int    `json:"group"`       // the command's process group; 0: not known yet
	StartAt uint64 `json:"group_start"` // of its leader, in clock ticks since boot
}

// readMarker says nothing of a marker that cannot be read: the caller then knows of the cookie alone.
func (d keyDir) readMarker() marker {
	var m marker
	b, err := os.ReadFile(d.path(startedFile))
	if err != nil || json.Unmarshal(b, &m) != nil {
		return marker{}
	}
	return m
}

func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// MonoNow is the clock that agent, helper and shim share: CLOCK_MONOTONIC.
func MonoNow() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0
	}
	return ts.Nano()
}

// freeSpaceFor takes the room for n bytes now, so that a file system that fills up later cannot
// take the outcome away. File systems that cannot do it are let pass.
func freeSpaceFor(f *os.File, n int) error {
	err := unix.Fallocate(int(f.Fd()), 0, 0, int64(n))
	if errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENOSYS) {
		return nil
	}
	return err
}

func (m marker) encode() []byte {
	b, _ := json.Marshal(m) // strings and numbers: it cannot fail
	return b
}
