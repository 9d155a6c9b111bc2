package app

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// bundleError is a fault of writing the archive.
type bundleError struct{ err error }

func (e *bundleError) Error() string { return "the archive cannot be written: " + e.err.Error() }
func (e *bundleError) Unwrap() error { return e.err }

func wrote(err error) error {
	if err == nil {
		return nil
	}
	return &bundleError{err}
}

// bundleDir is where the files of an archive are collected: a tar needs the size of a file before the
// file, and readings do not fit into memory. It is beside the archive, since a temporary directory
// may lie in memory too.
type bundleDir struct {
	path  string
	files map[string]string // name in the archive -> sha256
}

func newBundleDir(beside string) (*bundleDir, error) {
	path, err := os.MkdirTemp(beside, ".firebreak-bundle-") // mode 0700
	if err != nil {
		return nil, err
	}
	return &bundleDir{path, map[string]string{}}, nil
}

func (d *bundleDir) remove() { _ = os.RemoveAll(d.path) }

// bundleFile is one file that is being written.
type bundleFile struct {
	*bufio.Writer
	f    *os.File
	sum  hash.Hash
	d    *bundleDir
	name string
}

func (d *bundleDir) create(name string) (*bundleFile, error) {
	path := filepath.Join(d.path, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, wrote(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, wrote(err)
	}
	sum := sha256.New()
	return &bundleFile{bufio.NewWriterSize(io.MultiWriter(f, sum), 64<<10), f, sum, d, name}, nil
}

func (f *bundleFile) close() error {
	err := errors.Join(f.Flush(), f.f.Close())
	f.d.files[f.name] = fmt.Sprintf("%x", f.sum.Sum(nil))
	return wrote(err)
}

// line writes one line of a .jsonl file.
func (f *bundleFile) line(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return wrote(err)
	}
	_, err = f.Write(append(b, '\n'))
	return wrote(err)
}

func (d *bundleDir) write(name string, data []byte) error {
	f, err := d.create(name)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(wrote(err), f.close())
}

func (d *bundleDir) json(name string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return wrote(err)
	}
	return d.write(name, append(b, '\n'))
}

// pack writes the archive: the README first, then all by name, the checksums last. It replaces path
// only when it is whole and on the disk.
func (d *bundleDir) pack(path string, now time.Time) (err error) {
	names := make([]string, 0, len(d.files)+1)
	for n := range d.files {
		names = append(names, n)
	}
	slices.SortFunc(names, func(a, b string) int {
		if (a == readmeName) != (b == readmeName) {
			if a == readmeName {
				return -1
			}
			return 1
		}
		return strings.Compare(a, b)
	})
	var sums strings.Builder
	for _, n := range names {
		fmt.Fprintf(&sums, "%s  %s\n", d.files[n], n)
	}
	if err := d.write(sumsName, []byte(sums.String())); err != nil {
		return err
	}
	temp := filepath.Join(d.path, "archive")
	if err := d.tar(temp, append(names, sumsName), now); err != nil {
		return wrote(err)
	}
	return wrote(os.Rename(temp, path))
}

const (
	readmeName = "README.txt"
	sumsName   = "SHA256SUMS"
)

func (d *bundleDir) tar(path string, names []string, now time.Time) (err error) {
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	zip := gzip.NewWriter(out)
	tw := tar.NewWriter(zip)
	for _, n := range names {
		if err := d.add(tw, n, now); err != nil {
			return err
		}
	}
	return errors.Join(tw.Close(), zip.Close(), out.Sync())
}

func (d *bundleDir) add(tw *tar.Writer, name string, now time.Time) error {
	f, err := os.Open(filepath.Join(d.path, filepath.FromSlash(name)))
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: fi.Size(), Mode: 0o600, ModTime: now.Truncate(time.Second), Format: tar.FormatPAX}); err != nil {
		return err
	}
	_, err = io.Copy(tw, f)
	return err
}
