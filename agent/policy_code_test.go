package main

import (
	"go/ast"
	"regexp"
	"strings"
	"testing"
)

// Bounds that keep a file readable at one sitting.
const (
	maxFileLines = 500
	maxFuncLines = 80 // 60 is the aim; tests may be longer
)

func TestOnePackageDoc(t *testing.T) {
	docs := map[string][]string{}
	for _, s := range sources(t) {
		if s.file.Doc != nil {
			if s.test {
				t.Errorf("%s: the package's doc stands in one file that is not a test", s.path)
				continue
			}
			docs[s.dir] = append(docs[s.dir], s.path)
			first, _, _ := strings.Cut(s.file.Doc.Text(), "\n")
			if want := "Package " + s.file.Name.Name + " "; s.file.Name.Name != "main" && !strings.HasPrefix(first, want) {
				t.Errorf("%s: the doc begins %q, want %q", s.path, first, want)
			}
		}
	}
	for _, d := range packages(t) {
		if n := len(docs[d]); n != 1 {
			t.Errorf("package %s has %d package docs %v, want one: purpose, concurrency, failure", d, n, docs[d])
		}
	}
}

func TestSizes(t *testing.T) {
	for _, s := range sources(t) {
		if s.lines > maxFileLines {
			t.Errorf("%s has %d lines, at most %d: split it by noun", s.path, s.lines, maxFileLines)
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || s.test {
				continue
			}
			if n := s.fset.Position(f.End()).Line - s.fset.Position(f.Pos()).Line + 1; n > maxFuncLines {
				t.Errorf("%s: %s has %d lines, at most %d", s.at(f), f.Name.Name, n, maxFuncLines)
			}
		}
	}
}

// TestHabits: what is registered stands in a list, so no init; a test waits for what it waits for,
// so no sleep (but in the fake time of a synctest bubble); and a test that is skipped proves
// nothing, so only -short may skip.
func TestHabits(t *testing.T) {
	for _, s := range sources(t) {
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s: no func init: enter it into the explicit list", s.at(f))
			}
			if !s.test || f.Body == nil {
				continue
			}
			fake, short := mentions(f, "synctest", "Test"), mentions(f, "testing", "Short")
			ast.Inspect(f, func(n ast.Node) bool {
				c, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				sel, ok := c.Fun.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				switch x, _ := sel.X.(*ast.Ident); {
				case x != nil && x.Name == "time" && sel.Sel.Name == "Sleep" && !fake:
					t.Errorf("%s: a test sleeps: wait for the event", s.at(n))
				case (sel.Sel.Name == "Skip" || sel.Sel.Name == "Skipf" || sel.Sel.Name == "SkipNow") && !short:
					t.Errorf("%s: a test may be skipped by -short alone", s.at(n))
				}
				return true
			})
		}
	}
}

// mentions tells whether a function names x.sel.
func mentions(f *ast.FuncDecl, x, sel string) bool {
	found := false
	ast.Inspect(f, func(n ast.Node) bool {
		if e, ok := n.(*ast.SelectorExpr); ok && e.Sel.Name == sel {
			if id, ok := e.X.(*ast.Ident); ok && id.Name == x {
				found = true
			}
		}
		return !found
	})
	return found
}

// words that have no place in any file. They are put together here so that this file has none.
var words = []struct {
	re     *regexp.Regexp
	reason string
}{
	{regexp.MustCompile(`\b(` + "TO" + "DO|FIX" + "ME|X" + "XX" + `)\b`), "finish it, or file it where it is seen"},
	{regexp.MustCompile(`(^|[\s"'` + "`" + `(=:,])/(wo` + `rk|home|root|Users)/`), "a path of one machine"},
	{regexp.MustCompile(`(^|[\s"'` + "`" + `(])sha` + `red/`), "a path outside the repository"},
	{regexp.MustCompile(`^(<{7}|>{7}|={7})( |$)`), "a merge that was not finished"},
}

func TestWords(t *testing.T) {
	for _, name := range allFiles(t) {
		text := readFile(t, name)
		if strings.ContainsRune(text, 0) {
			t.Errorf("%s is binary: what is built is not kept", name)
			continue
		}
		for n, line := range strings.Split(text, "\n") {
			for _, w := range words {
				if w.re.MatchString(line) {
					t.Errorf("%s:%d: %q: %s", name, n+1, strings.TrimSpace(line), w.reason)
				}
			}
		}
	}
}
