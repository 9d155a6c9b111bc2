package journal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// A reader looks beside the owner: it waits for no lock, sees what is durable, and changes nothing.
func TestReadBesideTheWriter(t *testing.T) {
	dir := t.TempDir()
	d, err := OS(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	j, _, err := Open(t.Context(), d, Options{SegmentBytes: 4096})
	if err != nil {
		t.Fatal(err)
	}
	const records = 300
	var last uint64
	for i := range records {
		last = j.Append(fmt.Appendf(nil, "record %d", i))
		if i == records/2 {
			if err := j.Snapshot([]byte("half"), last); err != nil {
				t.Fatal(err)
			}
		}
		rec, err := Read(t.Context(), ReadOnly(dir))
		if err != nil || rec.Damaged {
			t.Fatalf("while it is written, after %d: %v, %+v", i, err, rec)
		}
	}
	if err := j.Close(t.Context()); err != nil { // writes what waits, the snapshot too
		t.Fatal(err)
	}
	quiet := listing(t, dir)
	rec, err := Read(t.Context(), ReadOnly(dir))
	if err != nil {
		t.Fatal(err)
	}
	if rec.LastSeq != last || string(rec.Snapshot) != "half" {
		t.Errorf("read up to %d with snapshot %q, want %d and \"half\"", rec.LastSeq, rec.Snapshot, last)
	}
	if after := listing(t, dir); fmt.Sprint(after) != fmt.Sprint(quiet) {
		t.Errorf("reading changed the directory: %v, was %v", after, quiet)
	}
}

func listing(t *testing.T, dir string) (out []string) {
	t.Helper()
	es, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range es {
		if fi, err := e.Info(); err == nil {
			out = append(out, fmt.Sprint(e.Name(), fi.Size(), fi.ModTime()))
		}
	}
	return out
}

func TestReadOnlyRefuses(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	ro := ReadOnly(dir)
	_, create := ro.Open("y", true)
	for what, err := range map[string]error{"create": create, "rename": ro.Rename("x", "y"), "remove": ro.Remove("x"), "sync": ro.Sync()} {
		if !errors.Is(err, syscall.EROFS) {
			t.Errorf("%s: %v, want read-only", what, err)
		}
	}
	if _, err := Read(t.Context(), ReadOnly(filepath.Join(dir, "none"))); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a directory that is not there: %v", err)
	}
}

// A disk that hangs costs the reader its context, and no more.
func TestReadOfAHungDisk(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	h := hungFS{make(chan struct{})}
	defer close(h.end)
	if _, err := Read(ctx, h); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

type hungFS struct{ end chan struct{} }

func (h hungFS) List() ([]string, error)         { <-h.end; return nil, nil }
func (h hungFS) Open(string, bool) (File, error) { return nil, syscall.EIO }
func (h hungFS) Rename(string, string) error     { return nil }
func (h hungFS) Remove(string) error             { return nil }
func (h hungFS) Sync() error                     { return nil }
