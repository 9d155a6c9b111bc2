package core_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite what the timelines expect")

// TestTimelines runs every script of testdata/timelines: a room, what happens in it, and what the
// agent does. The part after "expect" is rewritten by: go test ./agent/core -run Timelines -update
func TestTimelines(t *testing.T) {
	files, err := filepath.Glob("testdata/timelines/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no timelines: %v", err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			s, err := parse(string(text))
			if err != nil {
				t.Fatal(err)
			}
			got := runScript(t, s)
			if *update {
				if err := os.WriteFile(f, []byte(strings.TrimRight(s.head, "\n")+"\n\nexpect\n"+got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != s.want {
				t.Errorf("%s: it came otherwise than expected (accept with -update):\n%s", f, firstDifference(s.want, got))
			}
		})
	}
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range g {
		if i >= len(w) || w[i] != g[i] {
			lo := max(0, i-3)
			return "want\n  " + strings.Join(w[min(lo, len(w)):min(i+4, len(w))], "\n  ") + "\ngot\n  " + strings.Join(g[lo:min(i+4, len(g))], "\n  ")
		}
	}
	return "the end is missing:\n  " + strings.Join(w[len(g)-1:], "\n  ")
}
