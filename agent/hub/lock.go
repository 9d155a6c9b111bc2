package hub

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// lockDir takes a directory for one hub. Two servers on one store would spoil it for both; the kernel gives
// the lock back when the process ends, however it does.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("its directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("its directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("another hub uses the directory %s: stop it, or give this one another: %w", dir, err)
	}
	return f, nil
}
