package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"firebreak/plugins"
)

const words = `not "a" fire <alarm>`

func made(ask func(context.Context) (*Answer, error)) *Console {
	return New(Config{Who: Who{Site: "lab", Zone: "b3", Agent: "rack1"}, Words: words, Ask: ask, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
}

func quiet(context.Context) (*Answer, error) { return &Answer{Points: []Point{{Name: "a.b"}}}, nil }

// got is an answer of the console to a browser.
func got(t *testing.T, c *Console, method, host, path string) *http.Response {
	t.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequest(method, path, nil)
	r.Host = host
	c.Handler().ServeHTTP(w, r)
	return w.Result()
}

type told struct {
	OK       bool
	Fault    string
	SilentMs int64 `json:"silent_ms"`
	Ever     bool
	Gen, Seq int64
	Who      Who
	Answer   *Answer
}

func state(t *testing.T, c *Console) (s told) {
	t.Helper()
	r := got(t, c, "GET", "localhost", "/state")
	if err := json.NewDecoder(r.Body).Decode(&s); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestHandler(t *testing.T) {
	c := made(quiet)
	for _, x := range []struct {
		method, host, path string
		code               int
		says               string
	}{
		{"GET", "127.0.0.1:8642", "/", 200, "not &#34;a&#34; fire &lt;alarm&gt;"},
		{"GET", "localhost:9000", "/console.js", 200, "textContent"},
		{"GET", "[::1]:8642", "/console.css", 200, "prefers-color-scheme"},
		{"GET", "127.0.0.9", "/state", 200, `"ever":false`},
		{"GET", "::1", "/trend?after=x", 200, `"columns":[]`},
		{"GET", "LOCALHOST", "/trend?after=-9223372036854775808", 200, `"columns":[]`},
		{"GET", "localhost", "/favicon.ico", 204, ""},
		{"GET", "localhost", "/page/index.html", 404, ""},
		{"GET", "localhost", "/../console.go", 307, ""},
		{"POST", "localhost", "/state", 405, "at the command line"},
		{"DELETE", "localhost", "/", 405, "takes no orders"},
		{"OPTIONS", "localhost", "/state", 405, ""},
		{"GET", "firebreak.example:8642", "/state", 421, "reverse proxy"}, // rebound to 127.0.0.1
		{"GET", "localhost.example", "/", 421, ""},
		{"GET", "127.0.0.1.nip.io", "/", 421, ""},
		{"GET", "10.0.0.1:8642", "/", 421, ""},
		{"GET", "", "/", 421, ""},
	} {
		r := got(t, c, x.method, x.host, x.path)
		body, _ := io.ReadAll(r.Body)
		if r.StatusCode != x.code || !strings.Contains(string(body), x.says) {
			t.Errorf("%s %s at %q: %d, want %d and %q:\n%s", x.method, x.path, x.host, r.StatusCode, x.code, x.says, body)
		}
		for k, v := range map[string]string{"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Cross-Origin-Resource-Policy": "same-origin"} {
			if r.Header.Get(k) != v {
				t.Errorf("%s %s: %s is %q", x.method, x.path, k, r.Header.Get(k))
			}
		}
		csp := r.Header.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'", "form-action 'none'"} {
			if !strings.Contains(csp, want) || strings.Contains(csp, "unsafe") || strings.Contains(csp, "*") {
				t.Errorf("%s %s: the policy is %q, want %s", x.method, x.path, csp, want)
			}
		}
		if r.Header.Get("Set-Cookie") != "" || r.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s %s: %v", x.method, x.path, r.Header)
		}
	}
	for _, name := range []string{"index.html", "console.js"} { // nothing inline, nothing foreign, and nothing that reads text as markup
		text := strings.ReplaceAll(string(asset(name)), "http://www.w3.org/2000/svg", "")
		for _, bad := range []string{"innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "style=", "onclick", "://", "<style"} {
			if strings.Contains(text, bad) {
				t.Errorf("%s has %s", name, bad)
			}
		}
	}
}

func TestAddress(t *testing.T) {
	for in, want := range map[string]string{"127.0.0.1:8642": "127.0.0.1:8642", "localhost:1": "127.0.0.1:1", "[::1]:8642": "[::1]:8642", "127.3.2.1:0": "127.3.2.1:0",
		":8642": "", "0.0.0.0:8642": "", "[::]:8642": "", "10.0.0.1:8642": "", "box:8642": "", "8642": "", "": "", "127.0.0.1": ""} {
		got, err := Address(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", in, got, err)
		}
		if err != nil && (!strings.Contains(err.Error(), "ssh -L") || !strings.Contains(err.Error(), "127.0.0.1:8642")) {
			t.Errorf("%q: %v leaves the engineer alone", in, err)
		}
	}
}

// watched asks in a bubble until the test ends.
func watched(t *testing.T, ask func(context.Context) (*Answer, error)) *Console {
	t.Helper()
	c := made(ask)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); c.askOn(ctx) }()
	synctest.Wait()
	t.Cleanup(func() {
		stop()
		synctest.Wait()
		select {
		case <-ended:
		default:
			t.Error("the asking does not end")
		}
	})
	return c
}

// However many browsers look, the agent is asked once a second.
func TestManyBrowsersAskOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		c := watched(t, func(ctx context.Context) (*Answer, error) { asked.Add(1); return quiet(ctx) })
		for range 10 {
			for range 200 {
				if s := state(t, c); !s.OK || s.Answer == nil || s.Who.Agent != "rack1" || s.SilentMs > 1000 {
					t.Fatalf("%+v", s)
				}
			}
			time.Sleep(time.Second)
			synctest.Wait()
		}
		if n := asked.Load(); n != 11 {
			t.Errorf("asked %d times in 10 s by 200 browsers, want 11", n)
		}
	})
}

// An agent that is gone is told at once, with since when; what it said last stays what it said last; and when it is back, so is the
// page.
func TestAgentGoneAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var gone atomic.Bool
		c := watched(t, func(context.Context) (*Answer, error) {
			if gone.Load() {
				return nil, errors.New("no agent answers")
			}
			return &Answer{Alarms: []plugins.AlarmState{{Name: "smoke"}}}, nil
		})
		after := func(d time.Duration) told {
			time.Sleep(d)
			synctest.Wait()
			return state(t, c)
		}
		if s := after(10 * time.Second); !s.OK || s.SilentMs != 0 {
			t.Errorf("there: %+v", s)
		}
		gone.Store(true)
		if s := after(60 * time.Second); s.OK || !s.Ever || s.Fault != "no agent answers" || s.SilentMs != 60_000 || s.Answer.Alarms[0].Name != "smoke" {
			t.Errorf("gone: %+v", s)
		}
		gone.Store(false)
		if s := after(time.Second); !s.OK || s.Fault != "" || s.SilentMs != 0 {
			t.Errorf("back: %+v", s)
		}
	})
}

// One that hangs is given up after askWait, asked again, and not taken for one that answers meanwhile.
func TestAgentHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hangs atomic.Bool
		var asked atomic.Int64
		c := watched(t, func(ctx context.Context) (*Answer, error) {
			asked.Add(1)
			if hangs.Load() {
				<-ctx.Done()
				return nil, context.Cause(ctx)
			}
			return quiet(ctx)
		})
		hangs.Store(true)
		for range 120 {
			time.Sleep(100 * time.Millisecond)
			if s := state(t, c); s.OK && s.SilentMs > goneAfter.Milliseconds() {
				t.Fatalf("%d ms without an answer and well", s.SilentMs)
			}
		}
		if s := state(t, c); s.OK || !strings.Contains(s.Fault, "deadline") || asked.Load() < 4 || asked.Load() > 6 {
			t.Errorf("asked %d times: %+v", asked.Load(), s)
		}
	})
}

// What is kept of the past is ten minutes of trendPoints points, however long it runs and however many there are; the agent's
// silence is a gap, a value that could not be used too, and other points begin anew.
func TestTrendIsBounded(t *testing.T) {
	a := &Answer{Points: make([]Point, trendPoints+50)}
	for i := range a.Points {
		a.Points[i] = Point{Name: fmt.Sprint("d.p", i), Usable: i != 1, Stale: i == 2, Value: 1.0 / 3}
	}
	c, now := made(quiet), time.Unix(1e9, 0)
	note := func(d time.Duration, a *Answer) { // once a second, as it is asked
		for range int(d / time.Second) {
			c.trend.note(now, a)
			now = now.Add(time.Second + 3*time.Millisecond)
		}
	}
	columns := func(after int64) (out struct {
		Gen, Seq int64
		Columns  [][]*float64
	}) {
		r := got(t, c, "GET", "localhost", fmt.Sprint("/trend?after=", after))
		if err := json.NewDecoder(r.Body).Decode(&out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	note(601*time.Second, a)
	was := columns(0)
	if was.Seq != 121 || len(was.Columns) != trendKept || len(was.Columns[0]) != trendPoints {
		t.Fatalf("%d columns of %d, %d so far", len(was.Columns), len(was.Columns[0]), was.Seq)
	}
	if k := was.Columns[0]; *k[0] != 0.333333 || k[1] != nil || k[2] != nil {
		t.Errorf("%v %v %v", *k[0], k[1], k[2])
	}
	for after, want := range map[int64]int{was.Seq - 3: 3, was.Seq: 0, was.Seq + 9: 0, -1: trendKept} {
		if n := len(columns(after).Columns); n != want {
			t.Errorf("%d columns after %d of %d, want %d", n, after, was.Seq, want)
		}
	}
	note(5*time.Second, nil)
	if k := columns(was.Seq); len(k.Columns) != 1 || len(k.Columns[0]) != 0 {
		t.Errorf("a silent agent: %+v", k)
	}
	note(time.Second, &Answer{Points: []Point{{Name: "d.other", Usable: true, Value: 7}}})
	if k := columns(0); k.Gen != was.Gen+1 || len(k.Columns) != 1 || *k.Columns[0][0] != 7 {
		t.Errorf("other points: %+v", k)
	}
}
