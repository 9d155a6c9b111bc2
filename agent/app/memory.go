package app

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"firebreak/agent/uplink"
)

// wordsPrefix and the epoch are the name of a file in the run directory: what the uplink told last.
const wordsPrefix = "told."

// wordsKept is how many files of earlier lives may stay, whose log never opened.
const wordsKept = 4

// Kinds of filesystems that hold nothing back for a disk (statfs(2)).
const (
	tmpfs = 0x01021994
	ramfs = 0x858458f6
)

var errNoMemory = errors.New("the run directory is not in memory (tmpfs): a kill may lose the alarm transitions of the last moment")

// lastWords is an uplink.Memory: a file of this life, and those of lives before it.
type lastWords struct {
	*os.File
	dir  string
	left [][]byte
	old  []string
}

var _ uplink.Memory = (*lastWords)(nil)

func (m *lastWords) Left() [][]byte { return m.left }

// Forget removes the files of earlier lives.
func (m *lastWords) Forget() error {
	var errs []error
	for _, n := range m.old {
		errs = append(errs, os.Remove(filepath.Join(m.dir, n)))
	}
	return errors.Join(errs...)
}

// openMemory begins the file of this life. It never waits long; nil: there is none, and the log says why.
func openMemory(run string, epoch uint64, inMemory func(dir string) bool, log *slog.Logger) uplink.Memory {
	type answer struct {
		m   *lastWords
		err error
	}
	ch := make(chan answer, 1)
	go func() {
		m, err := newMemory(run, epoch, inMemory)
		ch <- answer{m, err}
	}()
	select {
	case a := <-ch:
		if a.err == nil {
			return a.m
		}
		log.Warn("what is told last is not kept in memory", "err", a.err)
	case <-time.After(mirrorRead):
		log.Warn("what is told last is not kept in memory: the run directory does not answer", "dir", run)
	}
	return nil
}

func newMemory(run string, epoch uint64, inMemory func(string) bool) (*lastWords, error) {
	if err := os.MkdirAll(run, 0o700); err != nil {
		return nil, err
	}
	if !inMemory(run) {
		return nil, errNoMemory
	}
	m := &lastWords{dir: run}
	if err := m.read(epoch); err != nil {
		return nil, err
	}
	var err error
	if m.File, err = os.OpenFile(filepath.Join(run, wordsPrefix+strconv.FormatUint(epoch, 10)), os.O_RDWR|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW, 0o600); err != nil {
		return nil, err
	}
	// All its pages now, so that no write has to find one.
	if _, err := m.WriteAt(make([]byte, uplink.MemoryBytes), 0); err != nil {
		return nil, errors.Join(fmt.Errorf("it needs %d MiB: %w", uplink.MemoryBytes>>20, err), m.Close(), os.Remove(m.Name()))
	}
	return m, nil
}

// read takes what earlier lives have left; of too many the oldest go.
func (m *lastWords) read(epoch uint64) error {
	es, err := os.ReadDir(m.dir)
	if err != nil {
		return err
	}
	var epochs []uint64
	for _, e := range es {
		n, ok := strings.CutPrefix(e.Name(), wordsPrefix)
		if v, err := strconv.ParseUint(n, 10, 64); ok && err == nil && v < epoch && e.Type().IsRegular() && n == strconv.FormatUint(v, 10) {
			epochs = append(epochs, v)
		}
	}
	slices.SortFunc(epochs, cmp.Compare[uint64])
	for i, v := range epochs {
		name := wordsPrefix + strconv.FormatUint(v, 10)
		if len(epochs)-i > wordsKept {
			if err := os.Remove(filepath.Join(m.dir, name)); err != nil {
				return err
			}
			continue
		}
		b, err := os.ReadFile(filepath.Join(m.dir, name))
		if err != nil {
			return err
		}
		m.left, m.old = append(m.left, b[:min(len(b), uplink.MemoryBytes)]), append(m.old, name)
	}
	return nil
}

// inMemory tells whether a directory lies in memory.
func inMemory(dir string) bool {
	var s syscall.Statfs_t
	return syscall.Statfs(dir, &s) == nil && (uint32(s.Type) == tmpfs || uint32(s.Type) == ramfs)
}
