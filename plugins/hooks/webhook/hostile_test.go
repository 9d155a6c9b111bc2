package webhook

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"firebreak/plugins"
)

// drips writes a text and then goes on, a byte a second, until nobody listens.
func drips(text, on string) func(net.Conn) {
	return func(c net.Conn) {
		_, err := io.WriteString(c, text)
		for i := 0; err == nil; i++ {
			<-time.After(time.Second)
			_, err = c.Write([]byte{on[i%len(on)]})
		}
	}
}

// says writes a text and closes.
func says(text string) func(net.Conn) {
	return func(c net.Conn) { _, _ = io.WriteString(c, text) }
}

// onAndOn writes a text again and again without a pause.
func onAndOn(begin, text string) func(net.Conn) {
	return func(c net.Conn) {
		_, err := io.WriteString(c, begin)
		for err == nil {
			_, err = io.WriteString(c, text)
		}
	}
}

// Whatever a target does on its connection: no try takes longer than its own time, none takes memory without a bound, the
// call ends within its own, and what was answered counts as far as it is known.
func TestHostileTargets(t *testing.T) {
	for name, tc := range map[string]struct {
		target func(net.Conn)
		result plugins.Result
		code   int
		detail string
		within time.Duration
	}{
		"drips its headers":          {drips("HTTP/1.1 200 OK\r\nX-Slow: ", "a"), plugins.Unknown, 0, "no answer within 5s", time.Minute},
		"drips its body":             {drips("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", "a"), plugins.Done, 200, "OK", 5 * time.Second},
		"drips the body of an error": {drips("HTTP/1.1 500 No\r\nContent-Length: 1000\r\n\r\n", "a"), plugins.Unknown, 500, "the same key", time.Minute},
		"closes after its headers":   {says("HTTP/1.1 202 Accepted\r\nContent-Length: 1000\r\n\r\n"), plugins.Done, 202, "Accepted", time.Second},
		"closes in its headers":      {says("HTTP/1.1 200 OK\r\nContent-"), plugins.Unknown, 0, "malformed", time.Minute},
		"informs for ever":           {onAndOn("", "HTTP/1.1 102 Processing\r\n\r\n"), plugins.Unknown, 0, "headers exceeded", time.Minute},
		"informs now and then":       {drips("", "HTTP/1.1 103 Early Hints\r\n\r\n"), plugins.Unknown, 0, "no answer within 5s", time.Minute},
		"headers without an end":     {onAndOn("HTTP/1.1 200 OK\r\n", "X-Filler: "+strings.Repeat("a", 1000)+"\r\n"), plugins.Unknown, 0, "header", time.Minute},
		"one header without an end":  {onAndOn("HTTP/1.1 200 OK\r\nX: ", strings.Repeat("a", 1000)), plugins.Unknown, 0, "header", time.Minute},
		"a body without an end":      {onAndOn("HTTP/1.1 200 OK\r\n\r\n", strings.Repeat("a", 1000)), plugins.Done, 200, "OK", time.Second},
		"redirects":                  {says("HTTP/1.1 302 Found\r\nLocation: http://elsewhere.invalid/\r\nContent-Length: 0\r\n\r\n"), plugins.Failed, 302, "refused", time.Second},
		"switches to another word":   {says("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"), plugins.Unknown, 101, "the same key", time.Minute},
		"speaks something else":      {says("220 mail.invalid ESMTP\r\n"), plugins.Unknown, 0, "malformed", time.Minute},
		"takes nothing":              {func(net.Conn) {}, plugins.Unknown, 0, "", time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var wg sync.WaitGroup
				h := newHook(t, "http://target.invalid/x", func(c *Config) { c.TryTimeout = 5 * time.Second })
				h.pauses = []time.Duration{2 * time.Second}
				h.connect = func(context.Context, string, string) (net.Conn, error) {
					near, far := net.Pipe()
					wg.Go(func() {
						defer far.Close()
						if name != "takes nothing" {
							r, err := http.ReadRequest(bufio.NewReader(far))
							if err != nil {
								return
							}
							_, _ = io.Copy(io.Discard, r.Body)
						}
						tc.target(far)
					})
					return near, nil
				}
				o := h.Do(t.Context(), call(time.Minute), nil)
				want(t, o, tc.result, tc.code, tc.detail)
				if o.Elapsed > tc.within || len(o.Output) > answerLimit {
					t.Errorf("it took %v, with %d bytes kept", o.Elapsed, len(o.Output))
				}
				h.Close()
				wg.Wait() // no connection is left behind
			})
		})
	}
}

// A name service that does not answer costs a try its time, and is named; when it answers again the call goes through.
func TestNameServiceHangs(t *testing.T) {
	tg := newTarget(t, status(200))
	tg.Start()
	dead := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	for bound, says := range map[time.Duration]string{50 * time.Millisecond: "lookup target.invalid", time.Minute: "no connection within 200ms"} {
		h := newHook(t, "http://target.invalid/x", func(c *Config) { c.TryTimeout = 200 * time.Millisecond })
		var alive atomic.Bool
		h.connect = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if alive.Load() {
				return (&net.Dialer{}).DialContext(ctx, network, tg.Listener.Addr().String())
			}
			return (&net.Dialer{Resolver: dead, Timeout: bound}).DialContext(ctx, network, addr)
		}
		want(t, h.Do(t.Context(), call(time.Second), nil), plugins.Unknown, 0, says)
		alive.Store(true)
		want(t, h.Do(t.Context(), call(time.Minute), nil), plugins.Done, 200, "")
	}
}

// A target that is back within a second has waited for no more than a few tries (the pauses of New, which other tests shorten).
func TestFirstRetriesComeWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, err := New("hook", Config{URL: "http://target.invalid/x"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		began, tries := time.Now(), []time.Duration(nil)
		h.client.Transport = fakeNet(func(*http.Request) (*http.Response, error) {
			tries = append(tries, time.Since(began))
			return nil, io.ErrUnexpectedEOF
		})
		h.Do(t.Context(), call(time.Minute), nil)
		if len(tries) < 20 || tries[1] > 150*time.Millisecond || tries[2] > 500*time.Millisecond || tries[3] > 2*time.Second {
			t.Errorf("tried after %v", tries)
		}
	})
}
