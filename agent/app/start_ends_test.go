package app

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"firebreak/agent/hub"
	"firebreak/agent/wire/session"
)

// helper is a hook of kind exec through firebreak-helper.
func (f *firing) helper() (hook, _ string) {
	argv := f.program()
	args, _ := json.Marshal(argv[1:])
	socket := startHelper(f.t, fmt.Sprintf("[[action]]\nname = \"act\"\nprogram = %q\nargs = %s\nuser = \"%d\"\nmax_timeout = \"1m\"\n", argv[0], args, os.Geteuid()))
	return fmt.Sprintf("kind = \"exec\"\naction = \"act\"\nhelper = %q\nhelper_uid = %d", socket, os.Geteuid()), ""
}

// startHelper runs a firebreak-helper with a list, until the test ends, and gives its socket.
func startHelper(t testing.TB, list string) (socket string) {
	t.Helper()
	dir := memory(t)
	bin := built(t, dir, "firebreak/plugins/hooks/exec/helper")
	putShim(t, dir)
	if err := os.WriteFile(filepath.Join(dir, "actions.toml"), []byte(list), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := osexec.Command(bin, "run", "-c", filepath.Join(dir, "actions.toml"), "-run", filepath.Join(dir, "run"), "-allow", fmt.Sprint(os.Geteuid()))
	said, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	up, read := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(read)
		for sc := bufio.NewScanner(said); sc.Scan(); {
			if strings.Contains(sc.Text(), "firebreak-helper runs") {
				close(up)
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-read
		_ = cmd.Wait()
	})
	select {
	case <-up:
	case <-read:
		t.Fatal("the helper does not start")
	}
	return filepath.Join(dir, "run", "helper.sock")
}

// built builds a program as make build does it.
func built(t testing.TB, dir, what string) (binary string) {
	t.Helper()
	binary = filepath.Join(dir, "program")
	build := osexec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, what)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v: %s", err, out)
	}
	return binary
}

// putShim puts the small shim beside a program, as it is installed.
func putShim(t testing.TB, dir string) {
	t.Helper()
	if err := os.Rename(built(t, memory(t), "firebreak/plugins/hooks/exec/shim/standalone"), filepath.Join(dir, "firebreak-shim")); err != nil {
		t.Fatal(err)
	}
}

// command is a hook of kind exec whose command the agent runs itself.
func (f *firing) command() (hook, _ string) {
	dir := memory(f.t)
	f.self = built(f.t, dir, "firebreak/agent")
	putShim(f.t, dir)
	argv, _ := json.Marshal(f.program())
	return fmt.Sprintf("kind = \"exec\"\ncommand = %s", argv), ""
}

// shell is an action of the helper that is a script.
func (f *firing) shell() (hook, _ string) {
	f.script = true
	return f.helper()
}

// program tells its start through a FIFO, first of all, and waits at another if it is to hang. In a benchmark it is one of C, unless
// a script is asked for: what a shell takes for its own start is no hook's.
func (f *firing) program() (argv []string) {
	dir := memory(f.t) // a FIFO on a disk waits at each write for the disk: its time stamps are journaled
	in, gate := filepath.Join(dir, "in"), filepath.Join(dir, "gate")
	var ends []*os.File
	for _, name := range []string{in, gate} {
		if err := syscall.Mkfifo(name, 0o600); err != nil {
			f.t.Fatal(err)
		}
		end, err := os.OpenFile(name, os.O_RDWR|syscall.O_NONBLOCK, 0)
		if err != nil {
			f.t.Fatal(err)
		}
		ends = append(ends, end)
	}
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for sc := bufio.NewScanner(ends[0]); sc.Scan(); {
			step, _, _ := strings.Cut(sc.Text(), " ")
			f.came(step)
		}
	})
	wg.Go(func() {
		for {
			select {
			case <-f.gate:
				_, _ = io.WriteString(ends[1], "\n")
			case <-ctx.Done():
				return
			}
		}
	})
	f.t.Cleanup(func() {
		stop()
		_ = ends[0].Close()
		wg.Wait()
		_ = ends[1].Close()
	})
	if b, ok := f.t.(*testing.B); ok && !f.script {
		stamp := filepath.Join(dir, "stamp")
		if out, err := osexec.Command("gcc", "-O2", "-static", "-o", stamp, "testdata/stamp.c").CombinedOutput(); err != nil {
			b.Fatalf("gcc: %v: the benchmark needs gcc and libc6-dev\n%s", err, out)
		}
		return []string{stamp, in, "", gate}
	}
	return []string{"/bin/sh", "-c", fmt.Sprintf("echo $FIREBREAK_STEP >%s; case $FIREBREAK_STEP in h*) read x <%s;; esac", in, gate)}
}

// target is a webhook with a connection that is kept open.
func (f *firing) target() (hook, _ string) {
	over := make(chan struct{}) // lets go what still hangs when the test has failed
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		step := r.Header.Get("Idempotency-Key")
		step = strings.Split(step, "/")[3]
		f.came(step)
		_, _ = io.Copy(io.Discard, r.Body)
		if strings.HasPrefix(step, "h") {
			select {
			case <-f.gate:
			case <-over:
			}
		}
		w.WriteHeader(http.StatusAccepted)
	}))
	f.t.Cleanup(func() { close(over); srv.Close() })
	return fmt.Sprintf("kind = \"webhook\"\nurl = %q\nkeep_open = true\ntry_timeout = \"30s\"", srv.URL), ""
}

// consumer listens on the broker of the hub, behind a hook of kind mqtt.
func (f *firing) consumer() (hook, broker string) {
	h, err := hub.Start(f.t.TempDir())
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(h.Close)
	s, err := session.Connect(f.t.Context(), session.Config{URL: h.URL(), ClientID: "failover-1"})
	if err != nil {
		f.t.Fatal(err)
	}
	var wg sync.WaitGroup
	ctx, stop := context.WithCancel(context.Background())
	f.t.Cleanup(func() {
		stop()
		wg.Wait()
		_ = s.Close(context.Background())
	})
	err = s.Subscribe(f.t.Context(), "lab/cmd", 1, func(_ string, payload []byte, _ bool) {
		var m struct {
			Key, Step string
			ReplyTo   string `json:"reply_to"`
		}
		_ = json.Unmarshal(payload, &m)
		f.came(m.Step)
		wg.Go(func() {
			if strings.HasPrefix(m.Step, "h") {
				select {
				case <-f.gate:
				case <-ctx.Done():
				}
			}
			s.Publish(m.ReplyTo, 1, false, fmt.Appendf(nil, `{"key":%q,"consumer":"failover-1","answer":"accept"}`, m.Key))
		})
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return "kind = \"mqtt\"\ntopic = \"lab/cmd\"\nbrokers = [\"hub\"]\nconsumers = [\"failover-1\"]\nresend = \"10s\"", h.URL()
}

// memory is a directory in memory, where there is such a place: a run directory belongs there.
func memory(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "firebreak-start-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
