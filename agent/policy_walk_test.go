package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// repo is the root as seen from this folder, and module the prefix of our own import paths.
const (
	repo   = ".."
	module = "firebreak/"
)

// source is one parsed Go file of the repository.
type source struct {
	path  string // from the root, with slashes
	dir   string // its package's folder
	test  bool
	lines int
	fset  *token.FileSet
	file  *ast.File
}

func (s *source) at(n ast.Node) string {
	return s.path + ":" + strconv.Itoa(s.fset.Position(n.Pos()).Line)
}

// imports returns the import paths of the file.
func (s *source) imports() []string {
	var out []string
	for _, i := range s.file.Imports {
		p, _ := strconv.Unquote(i.Path.Value)
		out = append(out, p)
	}
	return out
}

// files lists everything in the repository but what git and the build keep there.
var files = sync.OnceValues(func() ([]string, error) {
	var out []string
	err := filepath.WalkDir(repo, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(repo, p)
		rel = filepath.ToSlash(rel)
		if d.IsDir() && (rel == ".git" || rel == "bin" || rel == ".ci/tmp") {
			return fs.SkipDir
		}
		if d.Type().IsRegular() && !strings.HasSuffix(rel, ".test") && !strings.HasSuffix(rel, ".prof") && rel != "coverage.out" && rel != ".git" { // as .gitignore; a work tree beside the first has a file .git
			out = append(out, rel)
		}
		return nil
	})
	return out, err
})

var parsed = sync.OnceValues(func() ([]*source, error) {
	names, err := files()
	if err != nil {
		return nil, err
	}
	fset := token.NewFileSet()
	var out []*source
	for _, n := range names {
		if !strings.HasSuffix(n, ".go") || strings.Contains(n, "/testdata/") {
			continue // what Go does not build is no package: programs that tests stand beside ours
		}
		f, err := parser.ParseFile(fset, filepath.Join(repo, n), nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		out = append(out, &source{path: n, dir: path.Dir(n), test: strings.HasSuffix(n, "_test.go"),
			lines: fset.File(f.Pos()).LineCount() - 1, fset: fset, file: f})
	}
	return out, nil
})

func allFiles(t *testing.T) []string {
	t.Helper()
	out, err := files()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func sources(t *testing.T) []*source {
	t.Helper()
	out, err := parsed()
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 100 {
		t.Fatalf("only %d Go files found: the walk is broken", len(out))
	}
	return out
}

// packages lists the folders that hold Go files other than tests.
func packages(t *testing.T) []string {
	t.Helper()
	dirs := map[string]bool{}
	for _, s := range sources(t) {
		if !s.test {
			dirs[s.dir] = true
		}
	}
	return slices.Sorted(maps.Keys(dirs))
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(repo, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// testFuncs are the names of all tests, benchmarks and fuzz targets, and where each stands.
func testFuncs(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, s := range sources(t) {
		if !s.test {
			continue
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if ok && f.Recv == nil && (strings.HasPrefix(f.Name.Name, "Test") || strings.HasPrefix(f.Name.Name, "Fuzz") || strings.HasPrefix(f.Name.Name, "Benchmark")) {
				out[f.Name.Name] = s.path
			}
		}
	}
	return out
}
