//go:build peers

package e2e

import (
	"bufio"
	"io"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait for an event; on a loaded machine most come late.
const patience = 30 * time.Second

// feed collects lines as they come, each with its time.
type feed struct {
	mu      sync.Mutex
	lines   []line
	changed chan struct{} // closed at each change, and replaced
}

type line struct {
	text string
	at   time.Time
}

func newFeed() *feed { return &feed{changed: make(chan struct{})} }

func (f *feed) read(r io.Reader) {
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		f.add(sc.Text())
	}
}

func (f *feed) add(text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lines = append(f.lines, line{text, time.Now()})
	close(f.changed)
	f.changed = make(chan struct{})
}

// await waits until ok says that the lines so far are enough, and returns them.
func (f *feed) await(t testing.TB, what string, ok func([]line) bool) []line {
	t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		f.mu.Lock()
		lines, changed := f.lines[:len(f.lines):len(f.lines)], f.changed
		f.mu.Unlock()
		if ok(lines) {
			return lines
		}
		select {
		case <-changed:
		case <-late.C:
			t.Fatalf("no %s within %v; the last of %d lines:\n%s", what, patience, len(lines), f.tail(12))
		}
	}
}

// tail is the last n lines, for a person.
func (f *feed) tail(n int) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var b strings.Builder
	for _, l := range f.lines[max(0, len(f.lines)-n):] {
		b.WriteString(l.text[:min(len(l.text), 400)] + "\n")
	}
	return b.String()
}

// line waits for one that has all the parts, after the first `from` lines, and returns it with its
// index.
func (f *feed) line(t testing.TB, from int, parts ...string) (line, int) {
	t.Helper()
	at := -1
	lines := f.await(t, "line with "+strings.Join(parts, " and "), func(all []line) bool {
		for i := from; i < len(all); i++ {
			if hasAll(all[i].text, parts) {
				at = i
				return true
			}
		}
		return false
	})
	return lines[at], at
}

func hasAll(s string, parts []string) bool {
	for _, p := range parts {
		if !strings.Contains(s, p) {
			return false
		}
	}
	return true
}

// process is a program that a test runs. What it says on stderr is shown if the test fails.
type process struct {
	t    testing.TB
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *feed
	errs *feed         // of stderr
	done chan struct{} // closed after Wait
	err  error         // of Wait
	once sync.Once
}

func start(t testing.TB, name string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(name, args...), out: newFeed(), errs: newFeed(), done: make(chan struct{})}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("%v: .ci/run says which packages the peer tests need", err)
	}
	go func() {
		var wg sync.WaitGroup
		wg.Go(func() { p.errs.read(stderr) })
		p.out.read(stdout)
		wg.Wait()
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Logf("stderr of %s:\n%s", name, p.errs.tail(15))
		}
	})
	return p
}

// stop ends the process in order, and by force if it will not.
func (p *process) stop() error {
	p.once.Do(func() {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.done:
		case <-time.After(patience):
			p.t.Errorf("%s does not end on SIGTERM", p.cmd.Path)
			_ = p.cmd.Process.Kill()
			<-p.done
		}
	})
	return p.err
}
