//go:build peers

package webhook

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"firebreak/plugins"
)

// nginx is a target that we did not write. It answers some paths itself and hands /app/ on to a
// server of the test.
type nginx struct {
	t    *testing.T
	dir  string
	port int
	cmd  *exec.Cmd
}

const nginxConf = `
user %[4]s;
worker_processes 1;
pid %[1]s/pid;
error_log %[1]s/error.log warn;
events { worker_connections 64; }
http {
  access_log %[1]s/access.log;
  client_body_temp_path %[1]s/body;
  proxy_temp_path %[1]s/proxy;
  fastcgi_temp_path %[1]s/fastcgi;
  uwsgi_temp_path %[1]s/uwsgi;
  scgi_temp_path %[1]s/scgi;
  client_header_timeout 1s;
  server {
    listen 127.0.0.1:%[2]d;
    location /ok { return 200 '{"state":"done"}'; }
    location /taken { return 202; }
    location /moved { return 301 http://127.0.0.1:%[2]d/ok; }
    location /gone { return 410; }
    location /secret { if ($http_authorization != "Bearer t1") { return 401; } add_header X-Version 2.1; return 204; }
    location /files/ { alias %[1]s/files/; }
    location /app/ { proxy_pass %[3]s; proxy_read_timeout 60s; }
  }
}
`

func newNginx(t *testing.T, upstream string) *nginx {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &nginx{t: t, dir: t.TempDir(), port: ln.Addr().(*net.TCPAddr).Port}
	_ = ln.Close()
	if err := os.Mkdir(filepath.Join(n.dir, "files"), 0o700); err != nil {
		t.Fatal(err)
	}
	// Its workers must read the directory of the test, whoever runs this.
	user := "nobody"
	if os.Geteuid() == 0 {
		user = "root"
	}
	if err := os.WriteFile(filepath.Join(n.dir, "nginx.conf"), fmt.Appendf(nil, nginxConf, n.dir, n.port, upstream, user), 0o600); err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *nginx) url(path string) string { return fmt.Sprintf("http://127.0.0.1:%d%s", n.port, path) }

func (n *nginx) start() {
	n.t.Helper()
	bin, err := exec.LookPath("nginx")
	if err != nil {
		bin = "/usr/sbin/nginx"
	}
	n.cmd = exec.Command(bin, "-p", n.dir, "-c", "nginx.conf", "-e", filepath.Join(n.dir, "error.log"), "-g", "daemon off;")
	if err := n.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(n.stop)
	until(n.t, "nginx listens", func() bool {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", n.port))
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

func (n *nginx) stop() {
	if n.cmd == nil {
		return
	}
	_ = n.cmd.Process.Signal(syscall.SIGTERM)
	_ = n.cmd.Wait()
	n.cmd = nil
}

// requests are the requests that nginx has logged, "POST /ok 200".
func (n *nginx) requests() (out []string) {
	b, _ := os.ReadFile(filepath.Join(n.dir, "access.log"))
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 8 {
			out = append(out, strings.TrimPrefix(f[5], `"`)+" "+f[6]+" "+f[8])
		}
	}
	return out
}

// logged waits for so many requests, and for these: nginx logs one after its answer.
func (n *nginx) logged(count int, these ...string) []string {
	n.t.Helper()
	tick, late := time.NewTicker(time.Millisecond), time.After(10*time.Second)
	defer tick.Stop()
	for {
		got := n.requests()
		if len(got) >= count && !slices.ContainsFunc(these, func(l string) bool { return !slices.Contains(got, l) }) {
			return got
		}
		select {
		case <-tick.C:
		case <-late:
			return got
		}
	}
}

func (n *nginx) file(name, text string) {
	n.t.Helper()
	p := filepath.Join(n.dir, "files", name)
	if err := os.WriteFile(p+".new", []byte(text), 0o600); err != nil {
		n.t.Fatal(err)
	}
	if err := os.Rename(p+".new", p); err != nil {
		n.t.Fatal(err)
	}
}

// scripted answers request n with the n-th of its answers and keeps when each came.
type scripted struct {
	*httptest.Server
	mu      sync.Mutex
	at      []time.Time
	keys    []string
	release chan struct{}
}

func newScripted(t *testing.T, replies ...http.HandlerFunc) *scripted {
	s := &scripted{release: make(chan struct{})}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		n := len(s.at)
		s.at, s.keys = append(s.at, time.Now()), append(s.keys, r.Header.Get("Idempotency-Key"))
		s.mu.Unlock()
		replies[min(n, len(replies)-1)](w, r)
	}))
	t.Cleanup(func() { close(s.release); s.Close() })
	return s
}

func (s *scripted) answer(code int, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(code)
	}
}

func peerHook(t *testing.T, url string, change ...func(*Config)) *Hook {
	h := newHook(t, url, change...)
	h.pauses = []time.Duration{100 * time.Millisecond, 300 * time.Millisecond} // the real ones, to begin with
	return h
}

// What nginx itself answers: done, taken on, moved, gone, and credentials.
func TestNginxAnswers(t *testing.T) {
	n := newNginx(t, "http://127.0.0.1:1")
	n.start()
	for path, w := range map[string]struct {
		result plugins.Result
		code   int
		name   string
	}{
		"/ok": {plugins.Done, 200, plugins.SeenDone}, "/taken": {plugins.Done, 202, plugins.SeenAccept},
		"/moved": {plugins.Failed, 301, ""}, "/gone": {plugins.Failed, 410, ""}, "/none": {plugins.Failed, 404, ""},
	} {
		s := newSightings()
		want(t, peerHook(t, n.url(path)).Do(t.Context(), call(time.Minute), s.seen), w.result, w.code, "")
		if w.name == "" {
			s.none(t)
		} else if ev := s.next(t); ev.Name != w.name || !ev.OK {
			t.Errorf("%s: %+v", path, ev)
		}
	}
	if got := n.logged(5); len(got) != 5 || !slices.Contains(got, "POST /moved 301") {
		t.Errorf("nginx saw %v: a redirect was followed, or something was tried twice", got)
	}
	token := filepath.Join(n.dir, "token")
	for text, w := range map[string]string{"t1": "", "t2": "refuses the credentials"} {
		if err := os.WriteFile(token, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		h := peerHook(t, n.url("/ok"), func(c *Config) {
			c.TokenFile, c.ProbeURL, c.ProbeHeader, c.ProbeVersion = token, n.url("/secret"), "X-Version", "2"
		})
		if err := h.Probe(t.Context()); (err == nil) != (w == "") || err != nil && !strings.Contains(err.Error(), w) {
			t.Errorf("token %s: %v", text, err)
		}
	}
}

// Errors, a target that asks for a pause, one that hangs, and one that breaks off, each behind
// nginx: the call comes through under one key.
func TestNginxWithATroubledTarget(t *testing.T) {
	var s *scripted
	s = newScripted(t,
		func(w http.ResponseWriter, r *http.Request) { s.answer(500)(w, r) },
		func(w http.ResponseWriter, r *http.Request) { s.answer(503, "Retry-After", "1")(w, r) },
		func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-s.release:
			case <-r.Context().Done():
			}
		},
		func(w http.ResponseWriter, _ *http.Request) { // nginx makes a 502 of it
			if c, _, err := w.(http.Hijacker).Hijack(); err == nil {
				_ = c.(*net.TCPConn).SetLinger(0)
				_ = c.Close()
			}
		},
		func(w http.ResponseWriter, r *http.Request) { s.answer(202)(w, r) })
	n := newNginx(t, s.URL)
	n.start()
	h := peerHook(t, n.url("/app/x"), func(c *Config) { c.TryTimeout = 500 * time.Millisecond })
	want(t, h.Do(t.Context(), call(time.Minute), nil), plugins.Done, 202, "")
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.at) != 5 || len(slices.Compact(slices.Clone(s.keys))) != 1 || s.keys[0] != id {
		t.Fatalf("keys %v", s.keys)
	}
	for i, least := range []time.Duration{80 * time.Millisecond, 800 * time.Millisecond, 500 * time.Millisecond} {
		if d := s.at[i+1].Sub(s.at[i]); d < least || d > least+5*time.Second {
			t.Errorf("try %d came %v after the one before, want %v or a little more", i+2, d, least)
		}
	}
	if got := n.logged(1, "POST /app/x 499", "POST /app/x 502"); !slices.Contains(got, "POST /app/x 499") || !slices.Contains(got, "POST /app/x 502") {
		t.Errorf("nginx saw %v", got)
	}
}

// A listener that resets every connection: never an answer, so the end is not known.
func TestResetIsUnknown(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan int)
	go func() {
		n := 0
		for ; ; n++ {
			c, err := ln.Accept()
			if err != nil {
				done <- n
				return
			}
			_, _ = c.Read(make([]byte, 1))
			_ = c.(*net.TCPConn).SetLinger(0)
			_ = c.Close()
		}
	}()
	h := peerHook(t, "http://"+ln.Addr().String())
	want(t, h.Do(t.Context(), call(time.Second), nil), plugins.Unknown, 0, "reset")
	_ = ln.Close()
	if n := <-done; n < 3 {
		t.Errorf("%d connections, want a few tries", n)
	}
}

// nginx is stopped and started in the middle of a call, with a connection kept open before: the
// call waits for it and comes through; a file that nginx serves then says when the work is done.
func TestNginxStoppedAndStarted(t *testing.T) {
	n := newNginx(t, "http://127.0.0.1:1")
	n.file("state", `{"state":"up"}`)
	n.start()
	h := peerHook(t, n.url("/taken"), func(c *Config) {
		c.KeepOpen, c.VerifyURL, c.VerifyField, c.VerifyValue, c.VerifyEvery = true, n.url("/files/state"), "state", "drained", 100*time.Millisecond
	})
	ran := newSightings()
	running(t, h, ran.seen)
	until(t, "a connection", func() bool { return h.spare.have() != nil })
	first := h.spare.have()
	// nginx closes what sends nothing for a second: there must be another, and no request for it.
	until(t, "another", func() bool { s := h.spare.have(); return s != nil && s != first })
	if got := n.requests(); len(got) != 0 {
		t.Errorf("keeping a connection open made requests: %v", got)
	}
	n.stop()
	out := make(chan plugins.Outcome, 1)
	s := newSightings()
	go func() { out <- h.Do(t.Context(), call(time.Minute), s.seen) }()
	until(t, "the call is verified, so it was tried once", func() bool {
		h.watches.mu.Lock()
		defer h.watches.mu.Unlock()
		return len(h.watches.active) == 1
	})
	n.start()
	want(t, <-out, plugins.Done, 202, "")
	if ev := s.next(t); ev.Name != plugins.SeenAccept {
		t.Errorf("%+v", ev)
	}
	ran.none(t) // it is up
	n.file("state", `{"state":"drained"}`)
	if ev := ran.next(t); ev.Name != plugins.SeenVerified || ev.Key != call(0).Key || !ev.OK {
		t.Errorf("%+v", ev)
	}
}
