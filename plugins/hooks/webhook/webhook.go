// Package webhook is the hook that posts a call to an HTTP target, as a CloudEvents 1.0 event with
// the headers of Standard Webhooks, and again under the same key until it is answered (S9).
//
// The ID of the call is the event's id, the Idempotency-Key and the webhook-id, and the body is the
// same to the byte for each try: a target that remembers ids does the work once, whatever is
// retried by this process or by one that is started after it. The hook itself remembers only what
// it has seen in this process.
//
// Evidence is what the target answers to the POST, and what it answers later to a GET of
// verify_url, which Run asks. Undo calls and drills are not verified: the answer speaks of the
// state that a real call leads to.
//
// Concurrency: all methods may be called at once; calls with one ID share one request. Run owns the
// goroutines that verify, one for each call and a bounded number, and the one that keeps a
// connection open. Failure: a 2xx is Done, unless it says declined; a redirect or another refusal
// (4xx) is Failed; all else is retried until the time-out and is then Unknown, even when no
// connection was ever made: an agent that died before may have sent the same call.
package webhook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"syscall"
	"time"

	"firebreak/plugins"

	"golang.org/x/sys/unix"
)

const (
	defaultTry   = 5 * time.Second
	defaultEvery = time.Second
	defaultFor   = 10 * time.Minute
	minEvery     = 100 * time.Millisecond
	dialBound    = 3 * time.Second
	answerLimit  = 64 << 10
)

// Hook posts to one target. Make it with New.
type Hook struct {
	name    string
	cfg     Config
	url     *url.URL
	log     *slog.Logger
	connect func(ctx context.Context, network, addr string) (net.Conn, error)
	tls     *tls.Config
	client  *http.Client
	pauses  []time.Duration // before the second try, the third, ...; the last one repeats
	secrets *secrets
	flights plugins.Flights
	watches watches
	spare   spare
}

var (
	_ plugins.Hook   = (*Hook)(nil)
	_ plugins.Runner = (*Hook)(nil)
)

// New makes the hook. A nil log is silent.
func New(name string, cfg Config, log *slog.Logger) (*Hook, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("hook %q: %w", name, err)
	}
	for d, def := range map[*time.Duration]time.Duration{&cfg.TryTimeout: defaultTry, &cfg.VerifyEvery: defaultEvery, &cfg.VerifyFor: defaultFor} {
		if *d == 0 {
			*d = def
		}
	}
	u, err := url.Parse(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("hook %q: %w", name, err)
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	h := &Hook{name: name, cfg: cfg, url: u, log: log,
		tls:     &tls.Config{MinVersion: tls.VersionTLS12, Time: cfg.Now},
		pauses:  []time.Duration{100 * time.Millisecond, 300 * time.Millisecond, time.Second, 2 * time.Second},
		secrets: newSecrets(&cfg),
		watches: newWatches(),
	}
	if cfg.CAFile != "" {
		pem, err := os.ReadFile(cfg.CAFile)
		if err != nil {
			return nil, fmt.Errorf("hook %q: ca_file: %w", name, err)
		}
		h.tls.RootCAs = x509.NewCertPool()
		if !h.tls.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("hook %q: ca_file %s holds no certificate in PEM", name, cfg.CAFile)
		}
	}
	h.connect = (&net.Dialer{Timeout: dialBound, Control: userTimeout,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3}}).DialContext
	// No proxy from the environment: the way to a target is what the configuration says. HTTP/1.1
	// only, so that a try that is cut off takes its connection with it and the next has a new one.
	h.client = &http.Client{
		Transport: &http.Transport{
			DialContext:    func(ctx context.Context, _, addr string) (net.Conn, error) { return h.open(ctx, addr, false) },
			DialTLSContext: func(ctx context.Context, _, addr string) (net.Conn, error) { return h.open(ctx, addr, true) },

			MaxIdleConnsPerHost: 4, IdleConnTimeout: 90 * time.Second,
			DisableCompression: true, MaxResponseHeaderBytes: answerLimit,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return h, nil
}

// address is the host and port of the target.
func (h *Hook) address() string { return net.JoinHostPort(h.url.Hostname(), portOf(h.url)) }

// open gives a connection: to the target the one that is kept open, if there is one.
func (h *Hook) open(ctx context.Context, addr string, secure bool) (net.Conn, error) {
	if addr == h.address() && secure == (h.url.Scheme == "https") {
		if c := h.spare.take(); c != nil {
			return c, nil
		}
	}
	return h.dial(ctx, addr, secure)
}

// dial makes a new connection, TLS included, within its bound.
func (h *Hook) dial(ctx context.Context, addr string, secure bool) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*dialBound)
	defer cancel()
	c, err := h.connect(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("target cannot be reached: %w: look at the network, the name and the port", err)
	}
	if !secure {
		return c, nil
	}
	cfg := h.tls.Clone()
	cfg.ServerName, _, _ = net.SplitHostPort(addr)
	t := tls.Client(c, cfg)
	if err := t.HandshakeContext(ctx); err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("TLS with the target: %w: look at its certificate, ca_file and the clock", err)
	}
	return t, nil
}

// userTimeout lets the kernel give up an idle connection that turns out to be dead when it is
// written to, in time for another try.
func userTimeout(_, _ string, c syscall.RawConn) error {
	var err error
	if e := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(dialBound/time.Millisecond))
	}); e != nil {
		return e
	}
	return err
}

// Run verifies what the calls have begun, and keeps a connection open if that is asked for, until
// ctx ends.
func (h *Hook) Run(ctx context.Context, seen func(plugins.Evidence)) error {
	parts, ctx := plugins.NewParts(ctx)
	if h.cfg.KeepOpen {
		parts.Go(func() {
			h.spare.keep(ctx, func(ctx context.Context) (net.Conn, error) {
				return h.dial(ctx, h.address(), h.url.Scheme == "https")
			}, h.log.With("hook", h.name))
		})
	}
	parts.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case w := <-h.watches.fresh:
				parts.Go(func() { h.verify(ctx, w, seen) })
			}
		}
	})
	return parts.Wait()
}

// Close gives up the idle connections. Calls that run end with their contexts.
func (h *Hook) Close() { h.client.CloseIdleConnections() }
