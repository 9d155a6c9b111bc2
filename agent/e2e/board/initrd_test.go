//go:build board && linux

package main

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// initrd builds firebreak and the first process for the board, and packs them with the modules that
// the board needs. It returns the archive's file.
func initrd(t *testing.T, kernel string) string {
	t.Helper()
	dir := t.TempDir()
	build := func(name, pkg string) {
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(dir, name), pkg)
		cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm", "GOARM=7", "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	build("firebreak", "firebreak/agent")
	build("init", "firebreak/agent/e2e/board")
	var a archive
	for _, d := range []string{"dev", "etc", "etc/profiles", "modules"} {
		a.add(d, 0o040755, nil)
	}
	for _, name := range []string{"firebreak", "init"} {
		a.add(name, 0o100755, read(t, filepath.Join(dir, name)))
	}
	a.add("etc/firebreak.toml", 0o100600, read(t, "firebreak.toml"))
	a.add("etc/profiles/panel.toml", 0o100600, read(t, "panel.toml"))
	var order []string
	for _, path := range modules(t, filepath.Join(kernel, "modules"), "gpio-mxc", "i2c-dev", "i2c-imx", "gpio-pca953x", "micrel", "fec") {
		a.add("modules/"+filepath.Base(path), 0o100644, read(t, path))
		order = append(order, filepath.Base(path))
	}
	a.add("modules/order", 0o100644, []byte(strings.Join(order, "\n")))
	a.add("TRAILER!!!", 0, nil)
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write(a.Bytes())
	_ = z.Close()
	file := filepath.Join(dir, "initrd.gz")
	if err := os.WriteFile(file, packed.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// archive is a cpio archive in the "new" format, which the kernel unpacks.
type archive struct {
	bytes.Buffer
	n int
}

func (a *archive) add(name string, mode uint32, data []byte) {
	a.n++
	fmt.Fprintf(a, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", a.n, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0)
	a.WriteString(name + "\x00")
	a.pad()
	a.Write(data)
	a.pad()
}

func (a *archive) pad() { a.Write(make([]byte, (4-a.Len()%4)%4)) }

// modules finds the named kernel modules and all that they depend on, in the order of loading. One
// that is not there is built into the kernel.
func modules(t *testing.T, dir string, names ...string) (paths []string) {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if name, ok := strings.CutSuffix(filepath.Base(path), ".ko"); ok {
			found[strings.ReplaceAll(name, "-", "_")] = path
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var load func(name string)
	load = func(name string) {
		path, ok := found[strings.ReplaceAll(name, "-", "_")]
		if !ok || slices.Contains(paths, path) {
			return
		}
		for _, d := range depends(t, path) {
			load(d)
		}
		paths = append(paths, path)
	}
	for _, n := range names {
		load(n)
	}
	return paths
}

func depends(t *testing.T, path string) []string {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info := f.Section(".modinfo")
	if info == nil {
		t.Fatalf("%s has no .modinfo: is it compressed?", path)
	}
	data, err := info.Data()
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range strings.Split(string(data), "\x00") {
		if list, ok := strings.CutPrefix(field, "depends="); ok && list != "" {
			return strings.Split(list, ",")
		}
	}
	return nil
}
