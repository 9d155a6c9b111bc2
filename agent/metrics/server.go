package metrics

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// PageLife is how long a page is handed out again before another is made: who scrapes in a loop costs
// the agent one page a second.
const PageLife = time.Second

// Limits of the server. A scraper that hangs has one connection for so long, and no more than maxConns
// are served at once: the next is closed, since one that waited would be late anyway.
const (
	maxConns   = 8
	headerWait = 5 * time.Second
	writeWait  = 10 * time.Second
	headerMax  = 8 << 10
	closeWait  = time.Second
	retryMin   = time.Second // an address that is not there yet
	retryMax   = time.Minute
)

// Server hands out pages at /metrics, over plain HTTP: it tells figures and takes nothing.
type Server struct {
	Address string
	Fill    func(*Page) // called by one goroutine at a time
	Log     *slog.Logger

	refused atomic.Uint64
	mu      sync.Mutex // while a page is made
	page    []byte
	made    time.Time
}

// Run serves until ctx ends. An address that cannot be taken is tried again, and never a reason to end.
func (s *Server) Run(ctx context.Context) error {
	for pause, told := retryMin, false; ; pause = min(2*pause, retryMax) {
		ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.Address)
		if err == nil {
			if told {
				s.Log.Info("the metrics are served", "address", s.Address)
			}
			return s.Serve(ctx, ln)
		}
		if !told && ctx.Err() == nil {
			told = true
			s.Log.Warn("the metrics are not served, and tried again: is the address another program's?", "address", s.Address, "err", err)
		}
		select {
		case <-time.After(pause/2 + rand.N(pause/2)):
		case <-ctx.Done():
			return nil
		}
	}
}

// Serve serves on ln until ctx ends, and closes it.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", s.answer)
	h := &http.Server{Handler: mux, ReadHeaderTimeout: headerWait, ReadTimeout: headerWait, WriteTimeout: writeWait,
		MaxHeaderBytes: headerMax, ErrorLog: slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug)}
	h.SetKeepAlivesEnabled(false) // an idle one would hold its place
	ended := make(chan error, 1)
	go func() { ended <- h.Serve(&few{Listener: ln, refused: &s.refused, room: make(chan struct{}, maxConns)}) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	limit, cancel := context.WithTimeout(context.Background(), closeWait)
	defer cancel()
	if h.Shutdown(limit) != nil { // one that hangs is not waited for
		_ = h.Close()
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (s *Server) answer(w http.ResponseWriter, _ *http.Request) {
	page := s.current()
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(page) // a scraper that has gone misses it
}

// current makes a page when the last one is too old. Nobody writes to a network under its lock.
func (s *Server) current() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); s.page == nil || now.Sub(s.made) >= PageLife {
		p := &Page{}
		s.Fill(p)
		p.Count("firebreak_scrapes_refused_total", s.refused.Load())
		s.page, s.made = p.Text(), now
		for _, f := range p.Faults() {
			s.Log.Error("a metric is left out, please report this", "fault", f)
		}
	}
	return s.page
}

// few is a listener that serves so many connections at once and closes the rest.
type few struct {
	net.Listener
	refused *atomic.Uint64
	room    chan struct{}
}

func (f *few) Accept() (net.Conn, error) {
	for {
		c, err := f.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case f.room <- struct{}{}:
			return &counted{Conn: c, room: f.room}, nil
		default:
			f.refused.Add(1)
			_ = c.Close()
		}
	}
}

type counted struct {
	net.Conn
	room chan struct{}
	once sync.Once
}

func (c *counted) Close() error {
	c.once.Do(func() { <-c.room })
	return c.Conn.Close()
}
