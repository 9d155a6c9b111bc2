package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"firebreak/agent/app"
)

// callPower runs the sample program of a hook as the exec hook would, and gives its exit and output.
func callPower(t *testing.T, program []string, env ...string) (int, string) {
	t.Helper()
	cmd := exec.Command(program[0], program[1:]...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "FIREBREAK_KEY=evacuate/b3-battery/3/x/1/do/0"}, env...)
	cmd.Stdin = strings.NewReader(`{"key":"evacuate/b3-battery/3/x/1/do/0"}`)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); cmd.ProcessState == nil {
		t.Fatalf("%v does not start: %v", program, err)
	}
	return cmd.ProcessState.ExitCode(), out.String()
}

// TestSampleHook: the program knows each step that the example hands to it, does nothing in a drill,
// and as it is shipped never tells a real call that its work is done.
func TestSampleHook(t *testing.T) {
	shipped := []string{filepath.Join(repo, "configs/hooks/power.sh")}
	steps := [][2]string{}
	stage := ""
	for _, m := range regexp.MustCompile(`(?m)^(level|name|hook) += "([^"]+)"`).FindAllStringSubmatch(readFile(t, "configs/firebreak.toml"), -1) {
		switch {
		case m[1] == "level":
			stage = m[2]
		case m[1] == "name":
			steps = append(steps, [2]string{stage, m[2]})
		case m[2] != "power":
			steps = steps[:len(steps)-1]
		}
	}
	given := steps[:0]
	for _, s := range steps {
		if s[0] != "" { // what stands before the first stage is no step
			given = append(given, s)
		}
	}
	if len(given) != 3 {
		t.Fatalf("the example hands %v to the program, want three steps: the search is broken", given)
	}
	for _, s := range given {
		env := []string{"FIREBREAK_STAGE=" + s[0], "FIREBREAK_STEP=" + s[1]}
		for mark, want := range map[string]int{"drill": 0, "dry": 0, "real": 1, "": 1, "odd": 1} {
			code, out := callPower(t, shipped, append(env, "FIREBREAK_MARK="+mark)...)
			if code != want || want == 0 && !strings.Contains(out, "\nwould ") {
				t.Errorf("step %s, mark %q: exit %d, want %d; it says %q", s[1], mark, code, want, out)
			}
		}
	}
	for _, mark := range []string{"real", "drill"} {
		code, out := callPower(t, shipped, "FIREBREAK_STAGE=3", "FIREBREAK_STEP=dance", "FIREBREAK_MARK="+mark)
		if code == 0 || !strings.Contains(out, `step "dance" of stage "3" is not known here`) {
			t.Errorf("an unknown step, mark %s: exit %d, %q", mark, code, out)
		}
	}
}

// TestSampleHookFilledIn: with a command of the site, only a real call does it, and its failure is
// told without keeping the next command from being tried.
func TestSampleHookFilledIn(t *testing.T) {
	dir := t.TempDir()
	text := readFile(t, "configs/hooks/power.sh")
	line := "\tfill_in \"power off the hosts\"\n"
	if !strings.Contains(text, line) {
		t.Fatalf("the program has no line %q", line)
	}
	mine := filepath.Join(dir, "power")
	text = strings.Replace(text, line, "\tfor host in a b; do run test \"$host\" = \"$WANT\"; run touch \"$DIR/$host\"; done\n", 1)
	if err := os.WriteFile(mine, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{"FIREBREAK_STAGE=3", "FIREBREAK_STEP=hosts-off", "DIR=" + dir, "WANT=b"}
	code, out := callPower(t, []string{"sh", mine}, append(env, "FIREBREAK_MARK=drill")...)
	if made, _ := filepath.Glob(filepath.Join(dir, "[ab]")); code != 0 || len(made) > 0 || strings.Count(out, "would run: touch") != 2 {
		t.Errorf("in a drill: exit %d, made %v, %q", code, made, out)
	}
	code, out = callPower(t, []string{"sh", mine}, append(env, "FIREBREAK_MARK=real")...)
	if made, _ := filepath.Glob(filepath.Join(dir, "[ab]")); code != 1 || len(made) != 2 || !strings.Contains(out, "failed: test a = b") {
		t.Errorf("in earnest: exit %d, made %v, %q", code, made, out)
	}
}

// TestAddAHook: what CONTRIBUTING lists is what each kind of hook has, and each of its files is there.
func TestAddAHook(t *testing.T) {
	_, rest, _ := strings.Cut(readFile(t, "CONTRIBUTING.md"), "## Add a hook")
	list, _, ok := strings.Cut(rest, "\n## ")
	if !ok {
		t.Fatal(`CONTRIBUTING.md has no chapter "Add a hook"`)
	}
	kinds := app.Kinds().Hooks
	dirs, err := os.ReadDir(filepath.Join(repo, "plugins/hooks"))
	if err != nil || len(dirs) != len(kinds) {
		t.Fatalf("%d packages, %d kinds: %v", len(dirs), len(kinds), err)
	}
	files := regexp.MustCompile("`([\\w/]+\\.(?:go|md))`").FindAllStringSubmatch(list, -1)
	if len(files) < 8 {
		t.Fatalf("the chapter names %v: the search is broken", files)
	}
	for name := range kinds {
		var own string
		for _, f := range []string{"docs/hooks.md", "docs/hooks-" + name + ".md"} {
			if text, err := os.ReadFile(filepath.Join(repo, f)); err == nil {
				own += string(text)
			}
		}
		if !strings.Contains(own, "\n## "+name+"\n") || !regexp.MustCompile(`kind += "`+name+`"`).MatchString(own) {
			t.Errorf("kind %s: docs/hooks.md has no chapter of it, or none of its documents an example", name)
		}
		for _, f := range files {
			if f[1] != "docs/safety.md" && !strings.Contains(readFile(t, f[1]), name) {
				t.Errorf("kind %s: nothing of it is in %s", name, f[1])
			}
		}
		if test := regexp.MustCompile(`(?i)func TestDoc` + name + `\(`); !test.MatchString(readFile(t, "agent/app/examples_test.go")) {
			t.Errorf("kind %s: no test runs the example of its document", name)
		}
	}
}
