package exec

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"firebreak/plugins"
)

// beside puts the agent's program and a small one into a directory of their own.
func beside(t *testing.T, small string) (self, helper string) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	self, helper = filepath.Join(dir, "firebreak"), filepath.Join(dir, smallName)
	copyProgram(t, exe, self)
	if small != "" {
		copyProgram(t, small, helper)
	}
	return self, helper
}

func copyProgram(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

// shimOf runs a call and tells which program its shim was.
func shimOf(t *testing.T, b *bench, step string) string {
	t.Helper()
	c := call(step)
	want(t, b.do(c), plugins.Done, false, "")
	return strings.TrimSpace(b.read(step))
}

// The shim is the small program beside the agent's once a probe has seen it answer, and the agent's own
// before, after it is gone, and whenever it does not take the task: a step never fails for it.
func TestSmallShim(t *testing.T) {
	bin, err := shimBinary()
	if err != nil {
		t.Fatal(err)
	}
	self, helper := beside(t, bin)
	b := newBench(t, `readlink /proc/$PPID/exe >"$W/$FIREBREAK_STEP"`)
	b.hook.run.Self, b.hook.run.Small = self, SmallBeside(self)
	b.hook.run.over = true // without spares
	if got := shimOf(t, b, "unproven"); got != self {
		t.Errorf("before any probe the shim is %s", got)
	}
	if err := b.hook.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	small := func(got string) bool { return strings.HasPrefix(got, "/memfd:"+smallName) } // a copy of it
	if got := shimOf(t, b, "small"); !small(got) {
		t.Errorf("the shim is %s", got)
	}
	if err := os.Remove(helper); err != nil {
		t.Fatal(err)
	}
	if got := shimOf(t, b, "gone"); !small(got) {
		t.Errorf("with the small program gone, and no probe since, the shim is %s", got)
	}
	copyProgram(t, "/bin/false", helper) // replaced by one that takes no task
	if err := b.hook.Probe(t.Context()); err != nil {
		t.Errorf("a small program that does not answer is no fault: %v", err)
	}
	b.hook.run.small.Store(true) // as if it had, in the life of another version
	if got := shimOf(t, b, "replaced"); got != self {
		t.Errorf("with another program in its place the shim is %s", got)
	}
	b.hook.run.small.Store(true)
	if err := b.hook.Probe(t.Context()); err != nil {
		t.Errorf("a small program that does not answer is no fault: %v", err)
	}
	if b.hook.run.small.Load() {
		t.Error("one that does not answer is used")
	}
}

// A program that others may replace is none to start, nor is one that is no program.
func TestSmallBeside(t *testing.T) {
	for name, spoil := range map[string]func(helper string) error{
		"as it should be": func(string) error { return nil },
		"group may write": func(h string) error { return os.Chmod(h, 0o775) },
		"all may write":   func(h string) error { return os.Chmod(h, 0o757) },
		"not executable":  func(h string) error { return os.Chmod(h, 0o644) },
		"a link": func(h string) error {
			if err := os.Rename(h, h+".real"); err != nil {
				return err
			}
			return os.Symlink(h+".real", h)
		},
		"absent": os.Remove,
	} {
		self, helper := beside(t, "/bin/true")
		if err := spoil(helper); err != nil {
			t.Fatal(err)
		}
		want := ""
		if name == "as it should be" {
			want = helper
		}
		if got := SmallBeside(self); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
