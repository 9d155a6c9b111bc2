package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"firebreak/plugins"
	"firebreak/plugins/hooks/exec"
	"firebreak/plugins/hooks/exec/frame"
	"firebreak/plugins/hooks/exec/shim"

	"golang.org/x/sys/unix"
)

// The test binary stands in for the helper: it is started again as the shim.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == shim.Command {
		os.Exit(shim.Main(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// inProcess serves a list in this process, so that the race detector sees it.
func inProcess(t *testing.T, list string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "actions.toml")
	if err := os.WriteFile(file, []byte(list), 0o600); err != nil {
		t.Fatal(err)
	}
	o := &options{file: file, dir: filepath.Join(dir, "run"), allow: []uint32{uint32(os.Geteuid())}, log: slog.New(slog.DiscardHandler)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- o.run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		select {
		case err := <-done:
			t.Fatal(err)
		default:
		}
		if c, err := net.Dial("unix", sock(dir)); err == nil {
			c.Close()
			break
		}
	}
	return dir
}

func sock(dir string) string { return filepath.Join(dir, "run", socketName) }

// say writes raw bytes and reads the reply, if one comes.
func say(t *testing.T, dir string, b []byte) (frame.Reply, error) {
	t.Helper()
	c, err := net.Dial("unix", sock(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
	var rep frame.Reply
	return rep, frame.Read(c, &rep, frame.MaxReply)
}

func request(t *testing.T, change func(*frame.Request)) []byte {
	t.Helper()
	body, err := json.Marshal(plugins.Body{Key: "p/z/3/s/1/do/0", Plan: "p", Mark: "real"})
	if err != nil {
		t.Fatal(err)
	}
	req := frame.Request{V: frame.Version, Op: frame.Run, Action: "a", ID: "p/z/3/s/1/do/0", TimeoutNs: 1e9, Body: body}
	change(&req)
	var b bytes.Buffer
	if err := frame.Write(&b, req, frame.MaxRequest); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func act(script string) string {
	return fmt.Sprintf("[[action]]\nname = \"a\"\nprogram = \"/bin/sh\"\nargs = [\"-c\", %q]\nuser = \"%d\"\nmax_timeout = \"10s\"\n", script, os.Geteuid())
}

// What is no request is answered as such, and the helper goes on.
func TestGarbage(t *testing.T) {
	dir := inProcess(t, act("true"))
	huge := binary.BigEndian.AppendUint32([]byte("fbx1"), 1<<30)
	for text, want := range map[string]string{
		"GET / HTTP/1.1\r\n\r\n": "no frame of firebreak",
		string(huge):             "claims 1073741824 bytes",
		"fbx1\x00\x00\x00\x01{":  "no request was understood",
		string(request(t, func(r *frame.Request) { r.V = 9 })):            "is of version 9",
		string(request(t, func(r *frame.Request) { r.Op = "kill" })):      `operation "kill" is not known`,
		string(request(t, func(r *frame.Request) { r.Op = frame.Poise })): "without a pipe",
	} {
		rep, err := say(t, dir, []byte(text))
		if err != nil || !strings.Contains(rep.Error, want) || rep.Outcome != nil {
			t.Errorf("%q: %+v, %v, want %q", text, rep, err, want)
		}
	}
	for name, tc := range map[string]struct {
		change func(*frame.Request)
		want   string
	}{
		"no body":     {func(r *frame.Request) { r.Body = nil }, "no JSON object"},
		"another key": {func(r *frame.Request) { r.ID = "p/z/3/s/2/do/0" }, "its body speaks of"},
		"no key":      {func(r *frame.Request) { r.ID = "x"; r.Body = []byte(`{"key":"x","mark":"real"}`) }, "is not plan/zone"},
		"control":     {func(r *frame.Request) { r.Body = []byte(`{"key":"p/z/3/s/1/do/0","mark":"real","site":"a\nb"}`) }, "no control characters"},
		"long": {func(r *frame.Request) {
			r.Body = []byte(`{"key":"p/z/3/s/1/do/0","mark":"real","site":"` + strings.Repeat("x", 600) + `"}`)
		}, "at most 512 bytes"},
		"no time": {func(r *frame.Request) { r.TimeoutNs = 0 }, "not above zero"},
		"dry": {func(r *frame.Request) {
			r.ID = "dry/" + r.ID
			r.Body = []byte(`{"key":"dry/p/z/3/s/1/do/0","mark":"dry"}`)
		}, "declares no drill support"},
		"drill": {func(r *frame.Request) {
			r.ID = "drill/" + r.ID
			r.Body = []byte(`{"key":"drill/p/z/3/s/1/do/0","mark":"drill"}`)
		}, "declares no drill support"},
		"path as name": {func(r *frame.Request) { r.Action = "/bin/sh" }, "is not in the helper's list"},
	} {
		rep, err := say(t, dir, request(t, tc.change))
		if err != nil || rep.Outcome == nil || rep.Outcome.Result != "failed" || !strings.Contains(rep.Outcome.Detail, tc.want) {
			t.Errorf("%s: %+v, %v, want %q", name, rep.Outcome, err, tc.want)
		}
	}
	if rep, err := say(t, dir, request(t, func(*frame.Request) {})); err != nil || rep.Outcome == nil || rep.Outcome.Result != "done" {
		t.Errorf("a good one: %+v, %v", rep, err)
	}
}

// Clients that say nothing, or stop in the middle, are let go, and hold up nobody meanwhile.
func TestSlowClients(t *testing.T) {
	dir := inProcess(t, act("true"))
	whole := request(t, func(*frame.Request) {})
	var slow []net.Conn
	for i := range 50 {
		c, err := net.Dial("unix", sock(dir))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write(whole[:i%len(whole)]); err != nil {
			t.Fatal(err)
		}
		slow = append(slow, c)
	}
	// Behind them, one after the other, it would wait 50 times sayBound, which say does not.
	if rep, err := say(t, dir, whole); err != nil || rep.Outcome == nil || rep.Outcome.Result != "done" {
		t.Errorf("%+v, %v", rep, err)
	}
	for _, c := range slow {
		var rep frame.Reply
		_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
		if err := frame.Read(c, &rep, frame.MaxReply); err != nil || rep.Error == "" {
			t.Errorf("a slow client was not let go: %+v, %v", rep, err)
		}
	}
}

// Further connections than are served at once are told so; the hook comes again.
func TestTooManyAtOnce(t *testing.T) {
	s := &server{log: slog.New(slog.DiscardHandler), runners: map[uint32]*exec.Runner{uint32(os.Geteuid()): {}}, slots: make(chan struct{}, 1)}
	s.slots <- struct{}{}
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	at, err := ln.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	s.serve(t.Context(), at)
	var rep frame.Reply
	if err := frame.Read(c, &rep, frame.MaxReply); err != nil || !strings.Contains(rep.Error, "served at once") {
		t.Errorf("%+v, %v", rep, err)
	}
}

// Many keys at once, and many calls of one key, through hooks.
func TestManyThroughOneHelper(t *testing.T) {
	dir := inProcess(t, act("echo x >>"+filepath.Join(t.TempDir(), "starts")+"; sleep 0.05"))
	h, err := exec.New("hook", exec.Config{Action: "a", Helper: sock(dir), HelperUID: uint32(os.Geteuid())}, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	fresh := 0
	for i := range 40 {
		wg.Go(func() {
			o := h.Do(context.Background(), plugins.Call{Key: plugins.Key{Plan: "p", Zone: "z", Step: fmt.Sprint("s", i%10)}, Timeout: 10 * time.Second}, nil)
			mu.Lock()
			defer mu.Unlock()
			if o.Result != plugins.Done {
				t.Errorf("%+v", o)
			}
			if !o.Attached {
				fresh++
			}
		})
	}
	wg.Wait()
	if fresh != 10 {
		t.Errorf("%d calls say that they have started their key, want 10", fresh)
	}
}

// A lock that is about to be free is waited for: the copy of it that a shim held which a killed helper had just
// forked must not keep the next helper from starting.
func TestLockThatIsAboutToBeFree(t *testing.T) {
	dir := t.TempDir()
	held, err := lockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	free := time.AfterFunc(50*time.Millisecond, func() { held.Close() })
	defer free.Stop()
	next, err := lockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	next.Close()
}

// Two helpers never share a run directory, and one whose directory others may write does not start.
func TestRunDirectory(t *testing.T) {
	dir := inProcess(t, act("true"))
	if _, err := lockDir(filepath.Join(dir, "run")); err == nil || !strings.Contains(err.Error(), "another helper") {
		t.Errorf("a second one: %v", err)
	}
	open := filepath.Join(dir, "open")
	if err := os.Mkdir(open, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := lockDir(open); err == nil || !strings.Contains(err.Error(), "chmod go-w") {
		t.Errorf("of all: %v", err)
	}
	fi, err := os.Stat(sock(dir))
	if err != nil || fi.Mode().Perm() != 0o660 {
		t.Errorf("socket: %v, %v", fi.Mode(), err)
	}
	keys, err := os.Stat(filepath.Join(dir, "run", "keys", fmt.Sprint(os.Geteuid())))
	if err != nil || keys.Mode().Perm() != 0o700 {
		t.Errorf("keys: %v, %v", keys.Mode(), err)
	}
}

// Without the agent's word ended keys of past episodes go after 30 days, and at once while room is
// short; the newest episode and what has no end stay.
func TestKeepAlone(t *testing.T) {
	dir := t.TempDir()
	s := &server{log: slog.New(slog.DiscardHandler)}
	key := func(episode uint64, age time.Duration, ended bool) string {
		id := plugins.Key{Plan: "p", Zone: "z", Step: "s", Episode: episode}.String()
		k := filepath.Join(dir, fmt.Sprint("k-", episode))
		if err := os.Mkdir(k, 0o700); err != nil {
			t.Fatal(err)
		}
		files := map[string]string{"call.json": `{"v":2,"id":"` + id + `"}`}
		if ended {
			files["outcome"] = "x"
		}
		for name, text := range files {
			if err := os.WriteFile(filepath.Join(k, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			then := time.Now().Add(-age)
			if err := os.Chtimes(filepath.Join(k, name), then, then); err != nil {
				t.Fatal(err)
			}
		}
		return k
	}
	const day = 24 * time.Hour
	old, young, running, newest := key(1, 31*day, true), key(2, 2*day, true), key(3, 40*day, false), key(4, 40*day, true)
	for _, tc := range []struct {
		short bool
		gone  []string
		stay  []string
	}{
		{false, []string{old}, []string{young, running, newest}},
		{true, []string{old, young}, []string{running, newest}},
	} {
		s.sweep(dir, tc.short)
		for _, k := range tc.gone {
			if _, err := os.Stat(k); err == nil {
				t.Errorf("short %v: %s is still there", tc.short, k)
			}
		}
		for _, k := range tc.stay {
			if _, err := os.Stat(k); err != nil {
				t.Errorf("short %v: %v", tc.short, err)
			}
		}
	}
}

// A pipe that came with a request which is not looked at is closed with the answer.
func TestPipeOfARefusedRequest(t *testing.T) {
	dir := inProcess(t, act("true"))
	for name, change := range map[string]func(*frame.Request){
		"version":   func(r *frame.Request) { r.V = 9 },
		"operation": func(r *frame.Request) { r.Op = "kill" },
	} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: sock(dir), Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(30 * time.Second))
		_, _, err = c.WriteMsgUnix(request(t, change), unix.UnixRights(int(r.Fd())), nil)
		r.Close()
		var rep frame.Reply
		if err = errors.Join(err, frame.Read(c, &rep, frame.MaxReply)); err != nil || rep.Error == "" {
			t.Fatalf("%s: %+v, %v", name, rep, err)
		}
		if _, err := w.Write([]byte{1}); !errors.Is(err, unix.EPIPE) {
			t.Errorf("%s: the helper keeps the pipe: %v", name, err)
		}
	}
}
