package main

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	backticked = regexp.MustCompile("`([^`\n]+)`")
	linked     = regexp.MustCompile(`\]\(([^)#\s]+)(?:#[^)]*)?\)`)
	makeTarget = regexp.MustCompile(`^make ([a-z-]+)$`)
	alarmRow   = regexp.MustCompile("(?m)^\\| `(agent/[a-z-]+)` \\| [1-4]")
	fenced     = regexp.MustCompile("(?ms)^```.*?^```")
)

// TestDocsNameWhatIs: a path, a make target or a link that a document names exists. The changelog
// tells of the past and is left out.
func TestDocsNameWhatIs(t *testing.T) {
	names := allFiles(t)
	tops := map[string]bool{}
	for _, n := range names {
		if top, _, deeper := strings.Cut(n, "/"); deeper {
			tops[top] = true
		}
	}
	makefile := readFile(t, "Makefile")
	alarms := map[string]bool{} // alarm names look like paths
	for _, m := range alarmRow.FindAllStringSubmatch(readFile(t, "docs/operation.md"), -1) {
		alarms[m[1]] = true
	}
	for _, doc := range names {
		if !strings.HasSuffix(doc, ".md") || doc == "CHANGELOG.md" {
			continue
		}
		text := fenced.ReplaceAllString(readFile(t, doc), "")
		for _, m := range backticked.FindAllStringSubmatch(text, -1) {
			if target := makeTarget.FindStringSubmatch(m[1]); target != nil && !strings.Contains(makefile, "\n"+target[1]+":") {
				t.Errorf("%s: the Makefile has no target for `%s`", doc, m[1])
			}
			if p, ok := repoPath(m[1], tops); ok && !exists(p) && !alarms[m[1]] {
				t.Errorf("%s: `%s` does not exist", doc, m[1])
			}
		}
		for _, m := range linked.FindAllStringSubmatch(text, -1) {
			if !strings.Contains(m[1], "://") && !strings.HasPrefix(m[1], "mailto:") && !exists(path.Join(path.Dir(doc), m[1])) {
				t.Errorf("%s: the link to %s leads nowhere", doc, m[1])
			}
		}
	}
}

// repoPath tells whether a word in backticks names something in the repository: it begins with one
// of its folders. NAME, <name> and * stand for any name.
func repoPath(word string, tops map[string]bool) (string, bool) {
	word = strings.TrimPrefix(strings.TrimPrefix(word, module), "./")
	top, _, deeper := strings.Cut(word, "/")
	if !deeper || !tops[top] || strings.ContainsAny(word, " \t") {
		return "", false
	}
	word = regexp.MustCompile(`NAME|<[a-z -]+>|\.\.\.`).ReplaceAllString(word, "*")
	return strings.TrimSuffix(word, "/"), true
}

func exists(p string) bool {
	m, err := filepath.Glob(filepath.Join(repo, filepath.FromSlash(p)))
	return err == nil && len(m) > 0
}

const clauses = 26

var (
	clauseHead = regexp.MustCompile(`^## S(\d+)\b`)
	testName   = regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z]\w*\b`)
	openClause = regexp.MustCompile(`(?i)\bopen\b`)
)

// TestSafetyClauses: docs/safety.md has each of the clauses S1 to S26 once, and each names a test
// that exists or says that it is open.
func TestSafetyClauses(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(repo, "docs/safety.md"))
	if err != nil {
		t.Fatalf("the safety clauses are missing: %v", err)
	}
	text := map[string][]string{} // heading -> lines of "Tests:" and of text
	var order []string
	current := ""
	for line := range strings.Lines(string(b)) {
		if m := clauseHead.FindStringSubmatch(line); m != nil {
			current = "S" + m[1]
			if _, twice := text[current]; twice {
				t.Errorf("clause %s stands there twice", current)
			}
			order = append(order, current)
			text[current] = nil
		} else if strings.HasPrefix(line, "## ") {
			current = ""
		}
		if current != "" {
			text[current] = append(text[current], strings.TrimSpace(line))
		}
	}
	tests := testFuncs(t)
	for n := 1; n <= clauses; n++ {
		clause := fmt.Sprint("S", n)
		lines, ok := text[clause]
		if !ok {
			t.Errorf("clause %s is missing", clause)
			continue
		}
		checkClause(t, clause, lines, tests)
	}
	if len(order) != clauses {
		t.Errorf("there are %d clauses, want %d: %v", len(order), clauses, order)
	}
}

func checkClause(t *testing.T, clause string, lines []string, tests map[string]string) {
	held := false
	for _, line := range lines {
		names := testName.FindAllString(line, -1)
		for _, n := range names {
			if _, ok := tests[n]; !ok {
				t.Errorf("clause %s names %s, and there is no such test", clause, n)
			}
		}
		held = held || strings.HasPrefix(line, "Tests:") && (len(names) > 0 || openClause.MatchString(line)) || line == "open" || strings.HasPrefix(line, "Open")
	}
	if !held {
		t.Errorf("clause %s has no line `Tests: ...` that names a test, nor one that says open", clause)
	}
}

// TestCitedClauses: a comment that cites a clause cites one that there is.
func TestCitedClauses(t *testing.T) {
	cited := regexp.MustCompile(`\(S(\d+)(?:[,;] ?S(\d+))*\)`)
	for _, s := range sources(t) {
		for _, g := range s.file.Comments {
			for _, m := range cited.FindAllStringSubmatch(g.Text(), -1) {
				for _, n := range slices.DeleteFunc(m[1:], func(s string) bool { return s == "" }) {
					var k int
					if _, err := fmt.Sscan(n, &k); err != nil || k < 1 || k > clauses {
						t.Errorf("%s cites S%s; the clauses are S1 to S%d", s.at(g), n, clauses)
					}
				}
			}
		}
	}
}
