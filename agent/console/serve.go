package console

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"html"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

//go:embed page
var page embed.FS

// Limits of the server: who hangs has one connection for so long, and more than maxConns are not served.
const (
	maxConns   = 32
	headerWait = 5 * time.Second
	writeWait  = 10 * time.Second
	idleWait   = 15 * time.Second
	headerMax  = 8 << 10
	closeWait  = time.Second
)

// security are the headers of every answer. No other page may frame, read or fill this one, and it takes script, style and data
// from itself alone.
var security = map[string]string{
	"Content-Security-Policy":      "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
	"X-Content-Type-Options":       "nosniff",
	"X-Frame-Options":              "DENY",
	"Cache-Control":                "no-store",
	"Referrer-Policy":              "no-referrer",
	"Cross-Origin-Resource-Policy": "same-origin",
	"Cross-Origin-Opener-Policy":   "same-origin",
}

// serve serves on ln until ctx ends, and closes it.
func (c *Console) serve(ctx context.Context, ln net.Listener) error {
	var open atomic.Int64
	h := &http.Server{Handler: c.Handler(), ReadHeaderTimeout: headerWait, ReadTimeout: headerWait, WriteTimeout: writeWait, IdleTimeout: idleWait,
		MaxHeaderBytes: headerMax, ErrorLog: slog.NewLogLogger(c.cfg.Log.Handler(), slog.LevelDebug),
		ConnState: func(conn net.Conn, s http.ConnState) {
			switch s {
			case http.StateNew:
				if open.Add(1) > maxConns {
					conn.Close()
				}
			case http.StateClosed, http.StateHijacked:
				open.Add(-1)
			}
		}}
	ended := make(chan error, 1)
	go func() { ended <- h.Serve(ln) }()
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

// Handler answers browsers.
func (c *Console) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/state", func(w http.ResponseWriter, _ *http.Request) { give(w, "application/json", c.state()) })
	mux.HandleFunc("/trend", func(w http.ResponseWriter, r *http.Request) {
		seq, _ := strconv.ParseInt(r.URL.Query().Get("after"), 10, 64) // what is no number asks for all
		c.mu.Lock()
		out := c.trend.after(seq)
		c.mu.Unlock()
		give(w, "application/json", out)
	})
	mux.HandleFunc("/favicon.ico", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	index := bytes.ReplaceAll(asset("index.html"), []byte("{{WORDS}}"), []byte(html.EscapeString(c.cfg.Words)))
	for path, of := range map[string]struct {
		kind string
		text []byte
	}{"/{$}": {"text/html", index}, "/console.css": {"text/css", asset("console.css")}, "/console.js": {"text/javascript", asset("console.js")}} {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { give(w, of.kind, of.text) })
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for k, v := range security {
			w.Header().Set(k, v)
		}
		switch {
		case !ours(r.Host):
			http.Error(w, "the console answers to localhost and 127.0.0.1 alone: a reverse proxy gives it one of these as Host", http.StatusMisdirectedRequest)
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "the console takes no orders: they are given at the command line", http.StatusMethodNotAllowed)
		default:
			mux.ServeHTTP(w, r)
		}
	})
}

func asset(name string) []byte {
	b, err := page.ReadFile("page/" + name)
	if err != nil {
		return []byte(err.Error()) // it is embedded: TestHandler sees each
	}
	return b
}

func give(w http.ResponseWriter, kind string, body []byte) {
	w.Header().Set("Content-Type", kind+"; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body) // a browser that has gone misses it
}

// ours tells whether a browser meant this machine. A name that somebody else's resolver leads here (DNS rebinding) is none of ours.
func ours(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return strings.EqualFold(host, "localhost") || err == nil && ip.Unmap().IsLoopback()
}
