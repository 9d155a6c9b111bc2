package exec

import (
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"firebreak/plugins"

	"golang.org/x/sys/unix"
)

// hangs makes each opening of a file wait, as a disk does that does not answer, until the test ends (or the kernel has
// waited for as long as it does for a lease), or until answers is called.
func hangs(t *testing.T, path string) (answers func()) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	tick, late := time.NewTicker(time.Millisecond), time.After(10*time.Second)
	defer tick.Stop()
	for { // a process that was started from it has yet to end
		_, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_WRLCK)
		if err == nil {
			return func() { f.Close() }
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatal(err)
		}
	}
}

// A disk that hangs under the shim holds up neither a start, nor a spare, nor a probe, nor, as a fork does that waits for
// its program, the whole process: its next collection of garbage would not end.
func TestDiskUnderTheShimHangs(t *testing.T) {
	bin, err := shimBinary()
	if err != nil {
		t.Fatal(err)
	}
	self, small := beside(t, bin)
	b := newBench(t, `readlink /proc/$PPID/exe >"$W/$FIREBREAK_STEP"`)
	r := b.hook.run
	r.Self, r.Small = self, SmallBeside(self)
	if err := b.hook.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.drop(r.take(spares)...)
	hangs(t, self)
	hangs(t, small)
	began := time.Now()
	for _, step := range []string{"a", "b", "c", "d"} {
		if got := shimOf(t, b, step); !strings.HasPrefix(got, "/memfd:"+smallName) {
			t.Errorf("the shim is %s", got)
		}
		runtime.GC()
	}
	if err := b.hook.Probe(t.Context()); err != nil {
		t.Error(err)
	}
	r.drop(r.take(spares)...)
	want(t, b.do(call("e")), plugins.Done, false, "done")
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("it took %v", took)
	}
}

// A copy is made anew when its program is another one, and not otherwise.
func TestCopyInMemory(t *testing.T) {
	self, small := beside(t, "/bin/true")
	copyProgram(t, "/bin/false", self+".new")
	var m memory
	if late, err := m.read(t.Context(), small); late || err != nil || !m.have() {
		t.Fatal(late, err)
	}
	first := m.file
	if _, err := first.WriteAt([]byte("x"), 0); err == nil {
		t.Error("it can be written")
	}
	if late, err := m.read(t.Context(), small); late || err != nil || m.file != first {
		t.Error("read again:", late, err)
	}
	if err := os.Rename(self+".new", small); err != nil {
		t.Fatal(err)
	}
	if late, err := m.read(t.Context(), small); late || err != nil || m.file == first {
		t.Error("replaced:", late, err)
	}
	if err := os.Remove(small); err != nil {
		t.Fatal(err)
	}
	if late, err := m.read(t.Context(), small); late || err == nil || m.have() {
		t.Error("removed:", late, err)
	}
}

// A command whose disk hangs until its time-out has passed is not started when the disk answers again: nobody waits for it any
// more. Its end is a known failure then.
func TestCommandOnADiskThatHangs(t *testing.T) {
	b := newBench(t, "")
	program, ran := b.path("program"), b.path("ran")
	copyProgram(t, "/bin/sh", program)
	b.hook.cfg.Command = []string{program, "-c", "trap '' TERM; : >" + ran}
	answers := hangs(t, program)
	c := call("x")
	c.Timeout = 300 * time.Millisecond
	want(t, b.do(c), plugins.Failed, true, "was seen to start")
	answers()
	c.Timeout = time.Minute
	want(t, b.do(c), plugins.Failed, true, "nothing of it runs any more")
	if err := b.hook.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("it was started after its time-out")
	}
}
