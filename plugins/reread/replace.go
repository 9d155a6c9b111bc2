package reread

import (
	"errors"
	"os"
	"path/filepath"
)

// Replace puts data in the place of a file, or makes it, for its owner alone: who reads at any time, and after a
// loss of power, gets either all of data or what was there. The bare name with ".tmp" must be free for it, and the
// caller sees to it that there is one writer at a time. It waits for the disk.
func Replace(path string, data []byte) error {
	f, err := os.OpenFile(path+".tmp", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
