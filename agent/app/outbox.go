package app

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"firebreak/agent/journal"
)

// outboxReserve is what the outbox leaves of a disk that it shares with the journal: protection's records come
// before what waits for brokers.
const outboxReserve = 16 << 20

// outboxStore opens a directory of what brokers have not acknowledged: one of its own below the journal's, for
// decisions or for readings. The uplink calls it in a goroutine that may wait for the disk.
func outboxStore(journalDir, name string) func() (journal.FS, func() error, error) {
	dir := filepath.Join(journalDir, name)
	return func() (journal.FS, func() error, error) {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, nil, err
		}
		d, err := journal.OS(dir)
		if err != nil {
			return nil, nil, err
		}
		return &sparing{d, func() (int64, error) { return freeBytes(dir) }}, d.Close, nil
	}
}

// sparing is a directory that begins no file while the disk is nearly full. What it holds already is read, and
// goes as it would.
type sparing struct {
	journal.FS
	free func() (int64, error)
}

func (s *sparing) Open(name string, create bool) (journal.File, error) {
	if create {
		if n, err := s.free(); err == nil && n < outboxReserve {
			return nil, fmt.Errorf("%d MiB of the disk are free, and the last %d are left to the journal: %w", n>>20, outboxReserve>>20, syscall.ENOSPC)
		}
	}
	return s.FS.Open(name, create)
}
