package webhook

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"firebreak/plugins"
)

// sightings collects evidence.
type sightings struct {
	mu  sync.Mutex
	all []plugins.Evidence
	ch  chan plugins.Evidence
}

func newSightings() *sightings { return &sightings{ch: make(chan plugins.Evidence, 100)} }

func (s *sightings) seen(ev plugins.Evidence) {
	s.mu.Lock()
	s.all = append(s.all, ev)
	s.mu.Unlock()
	s.ch <- ev
}

func (s *sightings) next(t *testing.T) plugins.Evidence {
	t.Helper()
	select {
	case ev := <-s.ch:
		return ev
	case <-time.After(20 * time.Second):
		t.Fatal("no evidence")
		return plugins.Evidence{}
	}
}

func (s *sightings) none(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.all) != 0 {
		t.Errorf("evidence %+v, want none", s.all)
	}
}

// running runs the hook until the test ends, which waits for it.
func running(t testing.TB, h *Hook, seen func(plugins.Evidence)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := h.Run(ctx, seen); err != nil {
			t.Errorf("run: %v", err)
		}
	}()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(stop)
	return stop
}

func body(code int, text string) reply {
	return func(_ *target, w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		fmt.Fprint(w, text)
	}
}

// What the target says in its answer becomes the outcome and the evidence, for those who ask again too.
func TestAnswerIsEvidence(t *testing.T) {
	for _, tc := range []struct {
		reply  reply
		result plugins.Result
		name   string
		ok     bool
	}{
		{status(200), plugins.Done, "", false},
		{status(204), plugins.Done, "", false},
		{status(202), plugins.Done, plugins.SeenAccept, true},
		{body(200, `{"state":"done"}`), plugins.Done, plugins.SeenDone, true},
		{body(202, `{"state":"done"}`), plugins.Done, plugins.SeenDone, true},
		{body(201, `{"state":"accepted","queue":3}`), plugins.Done, plugins.SeenAccept, true},
		{body(200, `{"state":"declined","detail":"split brain"}`), plugins.Failed, plugins.SeenDecline, false},
		{body(422, `{"state":"declined"}`), plugins.Failed, plugins.SeenDecline, false},
		{body(422, `{"state":"done"}`), plugins.Failed, "", false},
		{body(200, `{"state":"burning"}`), plugins.Done, "", false},
		{body(200, `{"state":`), plugins.Done, "", false},
		{body(200, `["done"]`), plugins.Done, "", false},
	} {
		tg := newTarget(t, tc.reply)
		tg.Start()
		h := newHook(t, tg.URL)
		for _, attached := range []bool{false, true} {
			s := newSightings()
			o := h.Do(t.Context(), call(time.Minute), s.seen)
			if o.Result != tc.result || o.Attached != attached {
				t.Errorf("%s: %+v, want %v", o.Output, o, tc.result)
			}
			if tc.name == "" {
				s.none(t)
			} else if ev := s.next(t); ev.Name != tc.name || ev.OK != tc.ok || ev.Key != call(0).Key || ev.Detail == "" {
				t.Errorf("%s: evidence %+v, want %s %v", o.Output, ev, tc.name, tc.ok)
			}
		}
		if tg.count() != 1 {
			t.Errorf("%d requests", tg.count())
		}
	}
}

// With a URL to verify, the work is found done when the field says so, whatever the answers were
// before; also when the POST itself was never answered. An undo, a drill and a refused call are not
// verified.
func TestVerify(t *testing.T) {
	inBubble(t, func(t *testing.T, tg *target, plug func(*Hook) *Hook) {
		var mu sync.Mutex
		var asked []*http.Request
		answers := []string{"", "500", `{"state":"up"}`, `{"server":"odd"}`, `{"server":{"state":"draining"}}`, `{"server":{"state":"drained"}}`}
		tg.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				w.WriteHeader(map[bool]int{true: 500, false: 410}[strings.Contains(r.Header.Get("Idempotency-Key"), "/drain/")])
				return
			}
			mu.Lock()
			defer mu.Unlock()
			a := answers[min(len(asked), len(answers)-1)]
			asked = append(asked, r)
			switch a {
			case "":
				panic(http.ErrAbortHandler)
			case "500":
				w.WriteHeader(500)
			default:
				fmt.Fprint(w, a)
			}
		})
		tg.Start()
		h := plug(newHook(t, tg.URL, func(c *Config) {
			c.VerifyURL, c.VerifyField, c.VerifyValue, c.VerifyEvery = tg.URL+"/state?key={key}", "server.state", "drained", 100*time.Millisecond
			c.Headers, c.Drill = map[string]string{"X-Team": "power"}, "native"
		}))
		s := newSightings()
		running(t, h, s.seen)
		for _, change := range []func(*plugins.Call){
			func(c *plugins.Call) { c.Key.Undo = true },
			func(c *plugins.Call) { c.Mark = plugins.MarkDrill },
			func(c *plugins.Call) { c.Key.Step = "refused" },
		} {
			c := call(20 * time.Millisecond)
			change(&c)
			h.Do(t.Context(), c, nil)
		}
		want(t, h.Do(t.Context(), call(20*time.Millisecond), nil), plugins.Unknown, 500, "")
		ev := s.next(t)
		if ev.Name != plugins.SeenVerified || !ev.OK || ev.Key != call(0).Key || !strings.Contains(ev.Detail, "drained") {
			t.Errorf("%+v", ev)
		}
		mu.Lock()
		defer mu.Unlock()
		if len(asked) != len(answers) {
			t.Errorf("%d questions, want %d", len(asked), len(answers))
		}
		for _, r := range asked {
			if r.URL.Query().Get("key") != id || r.Header.Get("X-Team") != "power" || r.Method != http.MethodGet {
				t.Errorf("%s %s %v", r.Method, r.URL, r.Header)
			}
		}
	}, status(500))
}

// The secrets of the target are sent to nobody else.
func TestVerifyElsewhereWithoutSecrets(t *testing.T) {
	got := make(chan *http.Request, 10)
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r }))
	defer other.Close()
	tg := newTarget(t, status(200))
	tg.Start()
	h := newHook(t, tg.URL, func(c *Config) {
		c.VerifyURL, c.Headers = other.URL, map[string]string{"X-Team": "power"}
		c.TokenFile = filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(c.TokenFile, []byte("t"), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	s := newSightings()
	running(t, h, s.seen)
	want(t, h.Do(t.Context(), call(time.Minute), nil), plugins.Done, 200, "")
	if ev := s.next(t); ev.Name != plugins.SeenVerified {
		t.Errorf("%+v", ev)
	}
	if tg.got[0].Header.Get("Authorization") != "Bearer t" {
		t.Errorf("the target gets %v: the test proves nothing", tg.got[0].Header)
	}
	if r := <-got; r.Header.Get("Authorization")+r.Header.Get("X-Team") != "" {
		t.Errorf("%v", r.Header)
	}
}

// fakeNet answers every request in the fake time of a bubble.
type fakeNet func(*http.Request) (*http.Response, error)

func (f fakeNet) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Verifying ends after its time, with silence; a call that turns out to be refused ends it at once;
// and there is a bound on how many are verified.
func TestVerifyEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, err := New("hook", Config{URL: "http://lb.example/", VerifyURL: "http://lb.example/state", VerifyFor: time.Minute}, nil)
		if err != nil {
			t.Fatal(err)
		}
		var asked atomic.Int64
		active := func() int {
			h.watches.mu.Lock()
			defer h.watches.mu.Unlock()
			return len(h.watches.active)
		}
		h.client.Transport = fakeNet(func(*http.Request) (*http.Response, error) {
			asked.Add(1)
			return nil, context.DeadlineExceeded
		})
		for i := range maxWatches + 1 {
			c := call(time.Second)
			c.Key.Episode = uint64(i)
			if added := h.watches.add(c); added != (i < maxWatches) {
				t.Errorf("watch %d: added %v", i, added)
			}
		}
		first := call(0)
		first.Key.Episode = 0
		h.watches.drop(first.ID())
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = h.Run(ctx, func(ev plugins.Evidence) { t.Errorf("evidence %+v", ev) })
		}()
		time.Sleep(59 * time.Second)
		if n := active(); n != maxWatches-1 {
			t.Errorf("%d are verified, want %d", n, maxWatches-1)
		}
		time.Sleep(2 * time.Second)
		if n := active(); n != 0 {
			t.Errorf("%d are still verified", n)
		}
		if per := asked.Load() / (maxWatches - 1); per < 5 || per > 15 {
			t.Errorf("a target that does not answer was asked %d times in a minute, want fewer and fewer", per)
		}
		cancel()
		<-done
	})
}

// Probe asks probe_url and says what is wrong with what it hears.
func TestProbeAsks(t *testing.T) {
	for _, tc := range []struct {
		reply           reply
		version, header string
		field, want     string
	}{
		{status(204), "", "", "", ""},
		{status(401), "", "", "", "refuses the credentials"},
		{status(403), "", "", "", "refuses the credentials"},
		{status(302), "", "", "", "want 2xx"},
		{reset, "", "", "", "reset"},
		{body(200, `{"api":{"version":"2.4.1"}}`), "2.4", "", "api.version", ""},
		{body(200, `{"api":{"version":"2.40"}}`), "2.4", "", "api.version", "has version \"2.40\""},
		{body(200, `{"version":2}`), "2", "", "version", ""},
		{body(200, ``), "2", "", "version", "has version \"\""},
		{func(_ *target, w http.ResponseWriter, r *http.Request) { w.Header().Set("X-Version", "3") }, "3", "x-version", "", ""},
		{status(200), "3", "x-version", "", "has version"},
	} {
		tg := newTarget(t, tc.reply)
		tg.Start()
		h := newHook(t, tg.URL+"/drain", func(c *Config) {
			c.ProbeURL, c.ProbeVersion, c.ProbeHeader, c.ProbeField = tg.URL+"/health", tc.version, tc.header, tc.field
		})
		err := h.Probe(t.Context())
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: %v", tc, err)
		}
		if tg.count() != 1 || tg.got[0].Method != http.MethodGet || tg.got[0].URL.Path != "/health" {
			t.Errorf("asked %v", tg.got)
		}
	}
}

func TestValidateVerifyAndProbe(t *testing.T) {
	for _, tc := range []struct {
		c    Config
		want []string
	}{
		{Config{VerifyField: "a", VerifyValue: "b", VerifyEvery: 1, VerifyFor: 1, ProbeHeader: "a", ProbeVersion: "1"},
			[]string{"verify_field has no effect", "verify_value has", "verify_every has", "verify_for has", "probe_header has", "probe_version has"}},
		{Config{VerifyURL: "https://{key}/", VerifyField: "a", VerifyEvery: time.Millisecond, VerifyFor: -1, ProbeURL: "https://other.example/", ProbeField: "a"},
			[]string{"verify_url", "come together", "verify_every", "verify_for -1", "probe_url", "probe_version needs"}},
		{Config{ProbeURL: "http://lb.example/", ProbeField: "a", ProbeHeader: "b", ProbeVersion: "1"}, []string{"probe_url", "needs one of"}},
		{Config{SecretFiles: []string{"a", "b", "c"}}, []string{"names 3 files"}},
		{Config{SecretFiles: []string{"a", "a"}}, []string{"named twice"}},
	} {
		tc.c.URL = "https://lb.example/drain"
		err := tc.c.Validate()
		for _, w := range tc.want {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("no %q in: %v", w, err)
			}
		}
	}
	good := Config{URL: "https://lb.example/drain", VerifyURL: "https://mon.example/q?k={key}", ProbeURL: "https://lb.example:443/health", SecretFiles: []string{"a", "b"}}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	if _, err := good.Traits("x"); err == nil || !strings.Contains(err.Error(), "one target") {
		t.Errorf("target x: %v", err)
	}
	good.Drill = "native"
	if tr, err := good.Traits(""); err != nil || tr != (plugins.Traits{Drill: "native"}) {
		t.Errorf("%+v %v", tr, err)
	}
}

// A call that is refused after it may have been taken on is not verified any more.
func TestRefusedEndsVerifying(t *testing.T) {
	tg := newTarget(t, status(500), status(410))
	tg.Start()
	h := newHook(t, tg.URL, func(c *Config) { c.VerifyURL = tg.URL })
	want(t, h.Do(t.Context(), call(time.Minute), nil), plugins.Failed, 410, "")
	if w := <-h.watches.fresh; len(h.watches.active) != 0 || w.id != id {
		t.Errorf("%d are verified", len(h.watches.active))
	}
	s := newSightings()
	if !h.watches.add(call(0)) { // a call that comes anew has a watch of its own
		t.Error("no room")
	}
	running(t, h, s.seen)
	until(t, "it is taken", func() bool { return tg.count() > 2 })
}
