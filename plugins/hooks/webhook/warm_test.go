package webhook

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"firebreak/plugins"
)

// conns counts the connections that a target has accepted.
type conns struct {
	net.Listener
	mu  sync.Mutex
	all []net.Conn
	ch  chan struct{}
}

func (c *conns) Accept() (net.Conn, error) {
	nc, err := c.Listener.Accept()
	if err == nil {
		c.mu.Lock()
		c.all = append(c.all, nc)
		c.mu.Unlock()
		c.ch <- struct{}{}
	}
	return nc, err
}

func watched(t testing.TB, tg *target) *conns {
	t.Helper()
	c := &conns{Listener: tg.Listener, ch: make(chan struct{}, 1000)}
	tg.Listener = c
	return c
}

func (s *spare) have() *held {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// until waits for something that a goroutine of the hook does.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for limit := time.After(20 * time.Second); !ok(); {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("never: %s", what)
		}
	}
}

// A connection is open before the call, without a request; the call uses it; when the target closes
// it there is another; and it is closed in the end.
func TestKeepsAConnectionOpen(t *testing.T) {
	for _, secure := range []bool{false, true} {
		tg := newTarget(t, status(200))
		c := watched(t, tg)
		if secure {
			tg.StartTLS()
		} else {
			tg.Start()
		}
		h := newHook(t, tg.URL, func(c *Config) { c.KeepOpen = true })
		h.tls.InsecureSkipVerify = true // the certificate plays no part here
		stop := running(t, h, nil)
		until(t, "a connection", func() bool { return h.spare.have() != nil })
		<-c.ch
		first := h.spare.have()
		if tg.count() != 0 {
			t.Error("a request was sent")
		}
		dialled := false
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{DNSStart: func(httptrace.DNSStartInfo) { dialled = true },
			ConnectStart: func(string, string) { dialled = true }})
		want(t, h.Do(ctx, call(time.Minute), nil), plugins.Done, 200, "")
		if dialled {
			t.Error("the call opened a connection of its own")
		}
		until(t, "a second one", func() bool { n := h.spare.have(); return n != nil && n != first })
		<-c.ch
		second := h.spare.have()
		c.mu.Lock()
		_ = c.all[1].Close()
		c.mu.Unlock()
		until(t, "a third one", func() bool { n := h.spare.have(); return n != nil && n != second })
		last := h.spare.have()
		stop()
		if _, err := last.conn.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("the last connection was not closed: %v", err)
		}
	}
}

// A connection that the target has closed, or on which it has spoken unasked, is given to nobody.
func TestDeadConnectionIsNotTaken(t *testing.T) {
	for name, end := range map[string]func(net.Conn){
		"closed": func(c net.Conn) { c.Close() },
		"spoke":  func(c net.Conn) { _, _ = c.Write([]byte("x")) },
	} {
		var s spare
		near, far := net.Pipe()
		done := make(chan struct{})
		go func() { s.watch(t.Context(), near); close(done) }()
		until(t, "it is offered", func() bool { return s.have() != nil })
		h := s.have()
		end(far)
		<-done
		if !h.dead || s.take() != nil {
			t.Errorf("%s: dead %v, and offered still", name, h.dead)
		}
		s.now = h // as if it had been taken in that moment
		if c := s.take(); c != nil {
			t.Errorf("%s: a dead connection was taken", name)
		}
		far.Close()
	}
}

// A target that closes at once, or is away, is tried ever later.
func TestKeepBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s spare
		var at []time.Duration
		begin := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		s.keep(ctx, func(context.Context) (net.Conn, error) {
			at = append(at, time.Since(begin))
			if len(at)%2 == 0 {
				return nil, errors.New("away")
			}
			near, far := net.Pipe()
			far.Close()
			return near, nil
		}, slog.New(slog.DiscardHandler))
		if n := len(at); n < 12 || n > 35 || !slices.IsSorted(at) || at[n-1]-at[n-2] > redialMax || at[n-1]-at[n-2] < redialMax/2 {
			t.Errorf("tried at %v", at)
		}
	})
}

// BenchmarkDecisionToTarget: from the call of Do to the target's handler, on a connection that is
// kept open and on a new one; a Go server over loopback.
func BenchmarkDecisionToTarget(b *testing.B) {
	for _, tc := range []struct {
		name         string
		secure, warm bool
	}{{"http", false, true}, {"https", true, true}, {"https-new-connection", true, false}} {
		b.Run(tc.name, func(b *testing.B) {
			arrived := make(chan time.Time, 1)
			tg := newTarget(b, status(202))
			tg.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				arrived <- time.Now()
				_, _ = io.Copy(io.Discard, r.Body)
				w.WriteHeader(202)
			})
			if tc.secure {
				tg.StartTLS()
			} else {
				tg.Start()
			}
			h := newHook(b, tg.URL, func(c *Config) { c.KeepOpen = tc.warm })
			h.tls.InsecureSkipVerify = true
			if tc.warm {
				running(b, h, nil)
				until(b, "a connection", func() bool { return h.spare.have() != nil })
			}
			var took []time.Duration
			c := call(time.Minute)
			for b.Loop() {
				if !tc.warm {
					h.Close()
				}
				c.Key.Episode++
				begin := time.Now()
				if o := h.Do(b.Context(), c, nil); o.Result != plugins.Done {
					b.Fatal(o)
				}
				took = append(took, (<-arrived).Sub(begin))
			}
			slices.Sort(took)
			at := func(q int) float64 { return float64(took[len(took)*q/100].Microseconds()) / 1000 }
			b.ReportMetric(at(50), "p50-ms")
			b.ReportMetric(at(99), "p99-ms")
			b.ReportMetric(float64(took[len(took)-1].Microseconds())/1000, "max-ms")
		})
	}
}
