package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestProfileOfTheDocs: the profile in docs/first-hour.md has fewer than thirty lines, passes its own cases as a person
// would run them, is served, and is found by a scan.
func TestProfileOfTheDocs(t *testing.T) {
	text := readFile(t, "docs/first-hour.md")
	block := func(kind string) string {
		_, rest, ok := strings.Cut(text, "```"+kind+"\n")
		body, _, closed := strings.Cut(rest, "\n```")
		if !ok || !closed {
			t.Fatalf("docs/first-hour.md has no block of %s", kind)
		}
		return body + "\n"
	}
	p := block("toml")
	if n := strings.Count(p, "\n"); n >= 30 {
		t.Errorf("the profile has %d lines, fewer than 30 are promised", n)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "nt18b07.toml")
	for name, content := range map[string]string{file: p, filepath.Join(dir, "nt18b07", "bench.txt"): block("text")} {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if code, out, errs := firebreak("profile", "test", file); code != 0 || errs != "" || !strings.Contains(out, "7 points, 1 recorded cases") {
		t.Errorf("exit %d, %s%s", code, out, errs)
	}
	where, _, _ := served(t, file, "--line", "--set", "temperature.2=35.6")
	code, out, errs := firebreak("scan", "modbus", where, "--units", "1", "--profile", "nt18b07", "--profiles", dir)
	if code != 0 || !strings.Contains(out, "7 of 7 points usable") || !strings.Contains(out, "temperature.2 35.6 C") {
		t.Errorf("exit %d, %s\n%s", code, errs, out)
	}
}
