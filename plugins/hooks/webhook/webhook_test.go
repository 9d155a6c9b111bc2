package webhook

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"firebreak/plugins"
)

// target is a server that answers request n with the n-th of its answers, the last one repeated.
type target struct {
	*httptest.Server
	mu      sync.Mutex
	got     []*http.Request
	bodies  []string
	release chan struct{} // closed at the end: lets hanging answers go
}

type reply func(t *target, w http.ResponseWriter, r *http.Request)

func status(code int) reply {
	return func(_ *target, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(code)
		fmt.Fprintf(w, "answer %d\n", code)
	}
}

func hang(t *target, _ http.ResponseWriter, r *http.Request) {
	select {
	case <-t.release:
	case <-r.Context().Done():
	}
}

// reset closes the connection without an answer.
func reset(_ *target, w http.ResponseWriter, _ *http.Request) {
	c, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		if s, ok := c.(*net.TCPConn); ok {
			_ = s.SetLinger(0)
		}
		c.Close()
	}
}

func newTarget(t testing.TB, replies ...reply) *target {
	tg := &target{release: make(chan struct{})}
	tg.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		tg.mu.Lock()
		n := len(tg.got)
		tg.got, tg.bodies = append(tg.got, r), append(tg.bodies, string(b))
		tg.mu.Unlock()
		replies[min(n, len(replies)-1)](tg, w, r)
	}))
	tg.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are meant
	t.Cleanup(func() { close(tg.release); tg.Close() })
	return tg
}

// pipes is a listener without a network, for the fake time of a bubble.
type pipes struct {
	conns chan net.Conn
	over  context.Context
	close func()
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }
func (p *pipes) Close() error   { p.close(); return nil }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.over.Done():
		return nil, net.ErrClosed
	}
}

// inBubble runs test in fake time, where the hook that plug is given reaches its target by pipes: no answer is late
// that should be in time.
func inBubble(t *testing.T, test func(t *testing.T, tg *target, plug func(*Hook) *Hook), replies ...reply) {
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{conns: make(chan net.Conn)}
		p.over, p.close = context.WithCancel(context.Background())
		tg := newTarget(t, replies...)
		tg.Listener.Close()
		tg.Listener = p
		test(t, tg, func(h *Hook) *Hook {
			h.connect = func(ctx context.Context, _, _ string) (net.Conn, error) {
				near, far := net.Pipe()
				select {
				case p.conns <- far:
					return near, nil
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			}
			return h
		})
	})
}

func (tg *target) count() int {
	tg.mu.Lock()
	defer tg.mu.Unlock()
	return len(tg.got)
}

func newHook(t testing.TB, url string, change ...func(*Config)) *Hook {
	t.Helper()
	cfg := Config{URL: url, TryTimeout: 10 * time.Second, Site: "pan gyo", Agent: "rack1"}
	for _, f := range change {
		f(&cfg)
	}
	h, err := New("hook", cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	h.pauses = []time.Duration{time.Millisecond}
	t.Cleanup(h.Close)
	return h
}

func call(timeout time.Duration) plugins.Call {
	return plugins.Call{
		Key:     plugins.Key{Plan: "evacuate", Zone: "b3", Stage: plugins.SwitchOver, Step: "drain", Episode: 41},
		Timeout: timeout, Why: []byte(`{"votes":["any-high"]}`),
	}
}

func want(t testing.TB, o plugins.Outcome, r plugins.Result, code int, detail string) {
	t.Helper()
	if o.Result != r || o.ExitCode != code || !strings.Contains(o.Detail, detail) {
		t.Errorf("got %v %d %q, want %v %d with %q", o.Result, o.ExitCode, o.Detail, r, code, detail)
	}
}

const id = "evacuate/b3/2b/drain/41/do/0"

func TestRetriesUnderOneKey(t *testing.T) {
	inBubble(t, func(t *testing.T, tg *target, plug func(*Hook) *Hook) {
		tg.Start()
		h := plug(newHook(t, tg.URL, func(c *Config) { c.Headers, c.TryTimeout = map[string]string{"X-Team": "power"}, time.Second }))
		o := h.Do(t.Context(), call(time.Minute), nil)
		want(t, o, plugins.Done, 202, "Accepted")
		if o.Output != "answer 202\n" || o.Elapsed <= 0 {
			t.Errorf("%+v", o)
		}
		if len(tg.got) != 7 {
			t.Fatalf("%d requests, want 7", len(tg.got))
		}
		for i, r := range tg.got {
			for k, v := range map[string]string{"Idempotency-Key": id, "Webhook-Id": id, "Content-Type": "application/cloudevents+json", "X-Team": "power", "Firebreak-Mark": "real"} {
				if r.Header.Get(k) != v || r.Method != http.MethodPost {
					t.Errorf("request %d: %s %s is %q, want %q", i, r.Method, k, r.Header.Get(k), v)
				}
			}
			if r.Header.Get("Webhook-Timestamp") == "" || tg.bodies[i] != tg.bodies[0] {
				t.Errorf("request %d: no timestamp, or another body", i)
			}
		}
		var e event
		if err := json.Unmarshal([]byte(tg.bodies[0]), &e); err != nil {
			t.Fatal(err)
		}
		if e.SpecVersion != "1.0" || e.ID != id || e.Source != "firebreak/pan%20gyo/b3/rack1" || e.Type != "firebreak.step.start" ||
			e.Mark != "real" || e.Data.Key != id || e.Data.Episode != 41 || string(e.Data.Why) != `{"votes":["any-high"]}` {
			t.Errorf("event %+v", e)
		}
		again := h.Do(t.Context(), call(time.Minute), nil)
		want(t, again, plugins.Done, 202, "")
		if !again.Attached || tg.count() != 7 {
			t.Errorf("an ended call was made again: attached=%v, %d requests", again.Attached, tg.count())
		}
	}, status(500), reset, hang, status(429), status(409), status(503), status(202))
}

func TestEnds(t *testing.T) {
	for name, tc := range map[string]struct {
		replies []reply
		result  plugins.Result
		code    int
		detail  string
		once    bool
	}{
		"redirect":            {[]reply{status(307)}, plugins.Failed, 307, "refused: 307", true},
		"not found":           {[]reply{status(404)}, plugins.Failed, 404, "answer 404", true},
		"gone after an error": {[]reply{status(500), status(410)}, plugins.Failed, 410, "refused: 410", false},
		"always 500":          {[]reply{status(500)}, plugins.Unknown, 500, "the same key", false},
		"conflict":            {[]reply{status(409)}, plugins.Unknown, 409, "409 Conflict", false},
		"always cut off":      {[]reply{reset}, plugins.Unknown, 0, "EOF", false},
		"always hanging":      {[]reply{hang}, plugins.Unknown, 0, "deadline", false},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, tg *target, plug func(*Hook) *Hook) {
				tg.Start()
				timeout := time.Minute
				if tc.result == plugins.Unknown {
					timeout = 500 * time.Millisecond
				}
				h := plug(newHook(t, tg.URL, func(c *Config) { c.TryTimeout = 200 * time.Millisecond }))
				want(t, h.Do(t.Context(), call(timeout), nil), tc.result, tc.code, tc.detail)
				n := tg.count()
				if (n == 1) != tc.once {
					t.Errorf("%d requests", n)
				}
				o := h.Do(t.Context(), call(timeout), nil)
				if tried := tg.count() > n; tried != (tc.result == plugins.Unknown) || o.Attached == tried {
					t.Errorf("second call: tried again %v, %+v", tried, o)
				}
			}, tc.replies...)
		})
	}
}

// The same over a socket, where the target resets the connection.
func TestResetOverASocketIsUnknown(t *testing.T) {
	tg := newTarget(t, reset)
	tg.Start()
	h := newHook(t, tg.URL)
	want(t, h.Do(t.Context(), call(500*time.Millisecond), nil), plugins.Unknown, 0, "reset")
}

func TestNoConnectionIsUnknown(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := newHook(t, "http://"+l.Addr().String())
	l.Close()
	want(t, h.Do(t.Context(), call(time.Second), nil), plugins.Unknown, 0, "refused")
	if err := h.Probe(t.Context()); err == nil || !strings.Contains(err.Error(), "cannot be reached") {
		t.Errorf("probe: %v", err)
	}
	want(t, h.Do(t.Context(), call(0), nil), plugins.Failed, 0, "not above zero")
}

func TestCallsOfOneKeyShareARequest(t *testing.T) {
	in, out := make(chan struct{}), make(chan struct{})
	tg := newTarget(t, func(_ *target, w http.ResponseWriter, _ *http.Request) { close(in); <-out; w.WriteHeader(200) })
	tg.Start()
	h := newHook(t, tg.URL, func(c *Config) { c.TryTimeout = time.Minute })
	outs := make(chan plugins.Outcome)
	do := func(ctx context.Context) { outs <- h.Do(ctx, call(time.Minute), nil) }
	go do(t.Context())
	<-in
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	go do(gone)
	if o := <-outs; o.Result != plugins.Unknown || !o.Attached {
		t.Errorf("one that stops waiting: %+v", o)
	}
	go do(t.Context())
	close(out)
	a, b := <-outs, <-outs
	if a.Result != plugins.Done || b.Result != plugins.Done || a.Attached == b.Attached || tg.count() != 1 {
		t.Errorf("%+v, %+v, %d requests", a, b, tg.count())
	}
}

func TestMarks(t *testing.T) {
	tg := newTarget(t, status(200))
	tg.Start()
	c := call(time.Minute)
	c.Mark = plugins.MarkDrill
	want(t, newHook(t, tg.URL).Do(t.Context(), c, nil), plugins.Skipped, 0, "no drill support")
	dry := newHook(t, tg.URL, func(c *Config) { c.Drill = "dry-run" })
	want(t, dry.Do(t.Context(), c, nil), plugins.Skipped, 0, "would post")
	native := newHook(t, tg.URL, func(c *Config) { c.Drill = "native" })
	c.Mark = plugins.MarkDry
	want(t, native.Do(t.Context(), c, nil), plugins.Skipped, 0, "would post")
	if n := tg.count(); n != 0 {
		t.Fatalf("%d requests", n)
	}
	c.Mark = plugins.MarkDrill
	want(t, native.Do(t.Context(), c, nil), plugins.Done, 200, "")
	c.Mark = plugins.MarkReal // the same key: a drill must not swallow the real call
	want(t, native.Do(t.Context(), c, nil), plugins.Done, 200, "")
	if n := tg.count(); n != 2 || tg.got[0].Header.Get("Idempotency-Key") != "drill/"+id || tg.got[0].Header.Get("Firebreak-Mark") != "drill" ||
		!strings.Contains(tg.bodies[0], `"firebreakmark":"drill"`) || tg.got[1].Header.Get("Idempotency-Key") != id {
		t.Errorf("%d requests: %v", n, tg.bodies)
	}
}

func TestSecretsAndTLS(t *testing.T) {
	tg := newTarget(t, status(200))
	tg.StartTLS()
	dir := t.TempDir()
	file := func(name, text string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	ca := file("ca", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: tg.Certificate().Raw})))
	secret := func(c *Config) {
		c.CAFile, c.TokenFile = ca, filepath.Join(dir, "token")
		c.HeadersFile = file("headers", "# kept apart\nX-Api-Key: k1\n")
	}
	h := newHook(t, tg.URL, secret)
	want(t, h.Do(t.Context(), call(50*time.Millisecond), nil), plugins.Unknown, 0, "token_file")
	if err := h.Probe(t.Context()); err == nil || !strings.Contains(err.Error(), "token_file") {
		t.Errorf("probe without token: %v", err)
	}
	file("token", "t1\n")
	if err := h.Probe(t.Context()); err != nil {
		t.Errorf("probe: %v", err)
	}
	want(t, h.Do(t.Context(), call(time.Minute), nil), plugins.Done, 200, "")
	file("token", "") // being replaced: the last one goes on
	c := call(time.Minute)
	c.Key.Attempt = 1
	want(t, h.Do(t.Context(), c, nil), plugins.Done, 200, "")
	for i, r := range tg.got {
		if r.Header.Get("Authorization") != "Bearer t1" || r.Header.Get("X-Api-Key") != "k1" {
			t.Errorf("request %d: %v", i, r.Header)
		}
	}
	stranger := newHook(t, tg.URL)
	want(t, stranger.Do(t.Context(), call(3*time.Second), nil), plugins.Unknown, 0, "certificate")
	if err := stranger.Probe(t.Context()); err == nil || !strings.Contains(err.Error(), "TLS") {
		t.Errorf("probe of a stranger: %v", err)
	}
	file("token", "t2")
	late := newHook(t, tg.URL, secret, func(c *Config) { c.Now = func() time.Time { return tg.Certificate().NotAfter.Add(time.Hour) } })
	want(t, late.Do(t.Context(), call(3*time.Second), nil), plugins.Unknown, 0, "expired")
	if n := tg.count(); n != 2 {
		t.Errorf("%d requests, want 2", n)
	}
	if _, err := New("hook", Config{URL: tg.URL, CAFile: file("noca", "x")}, nil); err == nil {
		t.Error("a ca_file without certificate was taken")
	}
}

// A disk that hangs holds up no call: the secrets that were read last go on, and of ten calls none waits for
// another.
func TestSecretsOnADiskThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(token, []byte("t1"), 0o600); err != nil {
			t.Fatal(err)
		}
		h := newHook(t, "https://target.invalid", func(c *Config) { c.TokenFile = token })
		if k, err := h.secrets.read(); err != nil || !k.whole {
			t.Fatalf("%+v, %v", k, err)
		}
		begin := time.Now()
		dead := make(chan struct{})
		defer close(dead)
		h.secrets.readFile = func(string) (string, error) { <-dead; return "", nil }
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				if k, err := h.secrets.read(); !k.whole || k.header.Get("Authorization") != "Bearer t1" || err == nil || !strings.Contains(err.Error(), "hangs") {
					t.Errorf("%+v, %v", k, err)
				}
			})
		}
		wg.Wait()
		if d := time.Since(begin); d > time.Second {
			t.Errorf("they took %v", d)
		}
	})
}

func TestAnswerIsBounded(t *testing.T) {
	tg := newTarget(t, func(_ *target, w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(make([]byte, 10*answerLimit))
	})
	tg.Start()
	if o := newHook(t, tg.URL).Do(t.Context(), call(time.Minute), nil); o.Result != plugins.Done || len(o.Output) != answerLimit {
		t.Errorf("%v, %d bytes", o.Result, len(o.Output))
	}
}

func TestValidateTellsAllFaults(t *testing.T) {
	for url, w := range map[string]string{
		"ftp://x/": "https://host", "https:///x": "https://host", "https://a:b@x/": "user or password", "http://lb.example/": "in clear", "://": "missing",
	} {
		err := Config{URL: url, Method: "PUT", TokenFile: "t", TryTimeout: -1, Drill: "yes",
			Headers: map[string]string{"Authorization": "x", "Webhook-Id": "x", "a b": "x", "X": "a\nb"}}.Validate()
		if err == nil {
			t.Fatalf("%s: no fault found", url)
		}
		for _, w := range []string{w, "PUT", "try_timeout", "drill \"yes\"", "secret", "\"Webhook-Id\" is set", "\"a b\"", "\"X\""} {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: no %q in:\n%v", url, w, err)
			}
		}
	}
	for _, good := range []Config{{URL: "https://lb.example/drain", TokenFile: "t"}, {URL: "http://127.0.0.1:1/", TokenFile: "t"}, {URL: "http://lb/", Method: "POST"}} {
		if err := good.Validate(); err != nil {
			t.Errorf("%+v: %v", good, err)
		}
	}
}

// A part of the hook that panics ends Run with an error, and not the process: it is started again (S22).
func TestRunOutlivesAPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHook(t, "http://target.invalid", func(c *Config) { c.VerifyURL = "http://target.invalid/state" })
		h.client.Transport = fakeNet(func(*http.Request) (*http.Response, error) { panic("on purpose") })
		ended := make(chan error, 1)
		go func() { ended <- h.Run(t.Context(), nil) }()
		h.watch(call(time.Minute))
		if err := <-ended; err == nil || !strings.Contains(err.Error(), "on purpose") {
			t.Errorf("Run ends with %v", err)
		}
	})
}
