package app

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"firebreak/agent/wire"
)

// NewKey makes a signing key in a file that nobody else may read. One that is there stays.
func NewKey(file string) (*wire.Signer, error) {
	text, s, err := wire.NewKey()
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("%s is there already and is not written over: rotate it, or choose another name", file)
	}
	if err != nil {
		return nil, err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		_ = os.Remove(file)
		return nil, err
	}
	return s, nil
}

// RotateKey makes the key that is to follow, FILE.next, or tells of the one that is there: it is to be
// trusted wherever the present one is, before it signs.
func RotateKey(file string) (*wire.Signer, error) {
	if _, err := wire.ReadSigner(file); err != nil {
		return nil, err
	}
	s, err := wire.ReadSigner(file + ".next")
	if errors.Is(err, fs.ErrNotExist) {
		return NewKey(file + ".next")
	}
	return s, err
}

// FinishRotation puts FILE.next in place of FILE and keeps the old key as FILE.old. At each moment FILE
// is a whole key.
func FinishRotation(file string) (*wire.Signer, error) {
	s, err := wire.ReadSigner(file + ".next")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(file + ".old"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := os.Link(file, file+".old"); err != nil {
		return nil, err
	}
	return s, os.Rename(file+".next", file)
}

// Trust adds a line to a file of trusted keys, or takes it out, and checks the whole file first and
// after. It says whether anything has changed.
func Trust(file, line string, remove bool) (changed bool, err error) {
	k, err := wire.ParseTrust(line)
	if err != nil {
		return false, err
	}
	line = wire.TrustLine(k.Role, k.Name, k.Public)
	old, err := os.ReadFile(file)
	if err != nil && (remove || !errors.Is(err, fs.ErrNotExist)) {
		return false, err
	}
	if _, err := wire.ParseRing(bytes.NewReader(old)); err != nil {
		return false, fmt.Errorf("%s:%w", file, err)
	}
	var out []string
	there := false
	for _, l := range strings.Split(strings.TrimRight(string(old), "\n"), "\n") {
		if o, err := wire.ParseTrust(strings.TrimSpace(l)); err == nil && wire.TrustLine(o.Role, o.Name, o.Public) == line {
			if there = true; remove {
				continue
			}
		}
		if l != "" || len(out) > 0 {
			out = append(out, l)
		}
	}
	if there != remove {
		return false, nil
	}
	if !remove {
		out = append(out, line)
	}
	text := strings.Join(out, "\n") + "\n"
	if _, err := wire.ParseRing(strings.NewReader(text)); err != nil {
		return false, fmt.Errorf("%s:%w", file, err)
	}
	return true, replaceFile(file, []byte(text))
}

// replaceFile writes a file anew: a reader sees the old one or the new one.
func replaceFile(file string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text)
	if err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}
