package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestCheckExample(t *testing.T) {
	code, out, errs := firebreak("check", "-c", "../configs/firebreak.toml")
	if code != 0 || errs != "" {
		t.Fatalf("exit %d, stderr:\n%s", code, errs)
	}
	for _, want := range []string{"plan evacuate", "stage 1", "stage 2a", "stage 2b", "stage 3", "stage 4", "worst case", "from the condition to the first hook"} {
		if !strings.Contains(out, want) {
			t.Errorf("the report does not speak of %q:\n%s", want, out)
		}
	}
}

// The difference of protection between the file that runs and a new one (S24).
func TestCheckAgainst(t *testing.T) {
	example := "../configs/firebreak.toml"
	code, out, errs := firebreak("check", "-c", example, "--against", example)
	if code != 0 || !strings.Contains(out, "protects no later") {
		t.Errorf("against itself: exit %d, %q, %q", code, out, errs)
	}
	text := readFile(t, "configs/firebreak.toml")
	weak := strings.Replace(text, `above  = "52 C"`, `above  = "58 C"`, 1)
	if weak == text {
		t.Fatal("the example has no threshold of 52 C any more")
	}
	file := filepath.Join(t.TempDir(), "weak.toml")
	if err := os.WriteFile(file, []byte(weak), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errs = firebreak("check", "-c", file, "--against", example)
	if code != 0 || !strings.Contains(out, "weaker: cell-hot: threshold 58, was 52") {
		t.Errorf("a higher threshold: exit %d, %q, %q", code, out, errs)
	}
	if code, _, _ := firebreak("check", "-c", file, "--against", filepath.Join(t.TempDir(), "none.toml")); code != 2 {
		t.Errorf("against a file that is not there: exit %d, want 2", code)
	}
	if code, _, errs := firebreak("check", "-c", filepath.Join(t.TempDir(), "none.toml")); code != 2 || !strings.Contains(errs, "-c FILE says which") {
		t.Errorf("a file that is not there: exit %d, %q", code, errs)
	}
}

// Two agents that drive the same targets are held to each other, each file at its places (S13).
func TestCheckPeer(t *testing.T) {
	example := "../configs/firebreak.toml"
	other := filepath.Join(t.TempDir(), "other.toml")
	text := strings.Replace(readFile(t, "configs/firebreak.toml"), `agent  = "b3-rack1"`, `agent  = "b3-rack2"`, 1)
	if err := os.WriteFile(other, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errs := firebreak("check", "-c", example, "--peer", other)
	if code != 1 || out != "" || !strings.Contains(errs, example+":") || !strings.Contains(errs, "\n"+other+":") || !strings.Contains(errs, "(S13)") {
		t.Errorf("exit %d, %q, %q", code, out, errs)
	}
	both := []string{example, other}
	for i, peer := range []string{"b3-rack2", "b3-rack1"} {
		named := strings.Replace(readFile(t, "configs/firebreak.toml"), `# peer        = "b3-rack2"`, `peer = "`+peer+`"`, 1)
		both[i] = filepath.Join(t.TempDir(), peer+".toml")
		if err := os.WriteFile(both[i], []byte(strings.Replace(named, `"b3-rack1"`, `"b3-rack`+[]string{"1", "2"}[i]+`"`, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if code, out, errs := firebreak("check", "-c", both[0], "--peer", both[1]); code != 0 || errs != "" || !strings.Contains(out, "peer b3-rack2") {
		t.Errorf("peers that name each other: exit %d, %q, %q", code, out, errs)
	}
	if code, _, _ := firebreak("check", "-c", example, "--peer", filepath.Join(t.TempDir(), "none.toml")); code != 2 {
		t.Errorf("a peer that is not there: exit %d, want 2", code)
	}
}

// All faults come at once, each with its place, and nothing but faults is on stderr.
func TestCheckBroken(t *testing.T) {
	text := readFile(t, "configs/firebreak.toml")
	for _, r := range [][2]string{{`poll *= "1s" # \[1s\]`, `pol = "1s"`}, {`above *= "48 C"`, `above = "48 V"`}, {`hook *= "page-noc"`, `hook = "page-nok"`}} {
		at := regexp.MustCompile(`(?m)^` + r[0]).FindStringIndex(text)
		if at == nil {
			t.Fatalf("the example has no line %s any more", r[0])
		}
		text = text[:at[0]] + r[1] + text[at[1]:]
	}
	file := filepath.Join(t.TempDir(), "broken.toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	place := regexp.MustCompile(`^` + regexp.QuoteMeta(file) + `:[1-9]\d*:[1-9]\d*: .{10}`)
	for _, cmd := range []string{"check", "run", "status"} {
		code, out, errs := firebreak(cmd, "-c", file)
		lines := strings.Split(strings.TrimSpace(errs), "\n")
		if code != 1 || out != "" || len(lines) < 3 || slices.ContainsFunc(lines, func(l string) bool { return !place.MatchString(l) }) {
			t.Errorf("%s: exit %d, want 1 and three faults with their places:\n%s%s", cmd, code, out, errs)
		}
		for _, word := range []string{"pol", "V", "page-nok"} {
			if !strings.Contains(errs, word) {
				t.Errorf("%s: no fault speaks of %q:\n%s", cmd, word, errs)
			}
		}
	}
}
