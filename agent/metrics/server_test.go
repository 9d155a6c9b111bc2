package metrics

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// patience bounds every wait for an event.
const patience = 20 * time.Second

// serve runs a server on a free port of loopback until the test ends.
func serve(t *testing.T, s *Server) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.Log = slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("the server ended with %v", err)
			}
		case <-time.After(patience):
			t.Error("the server does not end")
		}
	})
	return ln.Addr().String()
}

func scrape(addr, path string) (int, string, error) {
	c := http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := c.Get("http://" + addr + path)
	if err != nil {
		return 0, "", err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	return r.StatusCode, string(b), err
}

// Scrapers that connect and say nothing hold their places and no other thing: who comes then is turned away
// at once and counted, nobody makes a page for them, and after headerWait the places are free.
func TestHungScrapers(t *testing.T) {
	var made atomic.Int64
	s := &Server{Fill: func(*Page) { made.Add(1) }}
	addr := serve(t, s)
	for range maxConns {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	// The kernel has taken the connections; the server takes them in order, so that the next is the one
	// beyond all.
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetReadDeadline(time.Now().Add(patience)) // kept, it would end after headerWait too, and not be counted
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("one more than %d connections is kept: %v", maxConns, err)
	}
	if n := s.refused.Load(); n != 1 {
		t.Errorf("%d refused, want 1", n)
	}
	if n := made.Load(); n != 0 {
		t.Errorf("%d pages made for nobody", n)
	}
	var body string
	for limit := time.Now().Add(headerWait + patience); ; {
		code, b, err := scrape(addr, "/metrics")
		if err == nil && code == 200 {
			body = b
			break
		}
		if time.Now().After(limit) {
			t.Fatalf("hung scrapers keep others away: %v", err)
		}
	}
	if !strings.Contains(body, "\nfirebreak_scrapes_refused_total ") {
		t.Errorf("the page does not tell how many were refused:\n%s", body)
	}
}

// A scraper that asks and does not read holds no lock: others get their page meanwhile, and it its own when it
// reads at last. Would they wait for it, they would wait until the server gives it up.
func TestScraperThatDoesNotRead(t *testing.T) {
	big := strings.Repeat("x", 1<<10)
	s := &Server{Fill: func(p *Page) {
		for range 16_000 { // more than the kernel takes for one that does not read
			p.Set("firebreak_device_answers", 1, big, "d")
		}
	}}
	addr := serve(t, s)
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	lazy := bufio.NewReader(c)
	if head, err := lazy.Peek(12); err != nil || string(head) != "HTTP/1.1 200" {
		t.Fatalf("%q %v", head, err)
	}
	code, body, err := scrape(addr, "/metrics")
	if err != nil || code != 200 || len(body) < 16<<20 {
		t.Fatalf("%d, %d bytes, %v", code, len(body), err)
	}
	r, err := http.ReadResponse(lazy, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if late, err := io.ReadAll(r.Body); err != nil || string(late) != body {
		t.Errorf("the first one was given up before the second had its page: %d bytes, %v", len(late), err)
	}
}

// Who scrapes in a loop gets the page that was made last.
func TestPagesAreBounded(t *testing.T) {
	var made atomic.Int64
	addr := serve(t, &Server{Fill: func(*Page) { made.Add(1) }})
	began := time.Now()
	for range 50 {
		if code, _, err := scrape(addr, "/metrics"); err != nil || code != 200 {
			t.Fatal(code, err)
		}
	}
	if n, most := made.Load(), int64(time.Since(began)/PageLife)+1; n > most {
		t.Errorf("%d pages made in %v, want at most %d", n, time.Since(began), most)
	}
	for path, want := range map[string]int{"/": 404, "/metrics/x": 404} {
		if code, _, err := scrape(addr, path); err != nil || code != want {
			t.Errorf("%s: %d %v, want %d", path, code, err, want)
		}
	}
	r, err := http.Post("http://"+addr+"/metrics", "text/plain", strings.NewReader("x"))
	if err != nil || r.StatusCode != 405 {
		t.Errorf("a POST: %v %v", r, err)
	}
	if err == nil {
		r.Body.Close()
	}
}

// An address that another program holds is tried again, and ends nothing.
func TestAddressTaken(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	warned := make(chan struct{}, 8)
	go func() {
		ended <- (&Server{Address: addr, Fill: func(*Page) {}, Log: slog.New(tells{slog.DiscardHandler, warned})}).Run(ctx)
	}()
	select {
	case <-warned:
	case err := <-ended:
		t.Fatalf("it ended: %v", err)
	}
	ln.Close()
	for limit := time.Now().Add(20 * time.Second); ; {
		if code, _, err := scrape(addr, "/metrics"); err == nil && code == 200 {
			break
		}
		if time.Now().After(limit) {
			t.Fatal("the address is free and not taken")
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// tells passes on that something was logged.
type tells struct {
	slog.Handler
	ch chan struct{}
}

func (tells) Enabled(context.Context, slog.Level) bool { return true }

func (h tells) Handle(context.Context, slog.Record) error {
	select {
	case h.ch <- struct{}{}:
	default:
	}
	return nil
}
