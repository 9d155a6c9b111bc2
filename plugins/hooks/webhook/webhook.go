// Package webhook is the hook that posts a call to an HTTP target, as a CloudEvents 1.0 event with
// the headers of Standard Webhooks, and again under the same key until it is answered (S9).
//
// The ID of the call is the event's id, the Idempotency-Key and the webhook-id, and the body is the
// same to the byte for each try: a target that remembers ids does the work once, whatever is
// retried by this process or by one that is started after it. The hook itself remembers only what
// it has seen in this process.
//
// Concurrency: all methods may be called at once; calls with one ID share one request. Failure: a
// 2xx is Done; a redirect or another refusal (4xx) is Failed; all else is retried until the
// time-out and is then Unknown, even when no connection was ever made: an agent that died before
// may have sent the same call.
package webhook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"firebreak/plugins"

	"golang.org/x/sys/unix"
)

const (
	defaultTry  = 5 * time.Second
	dialBound   = 3 * time.Second
	answerLimit = 64 << 10
)

// Config is one webhook. Site, Agent and Now are filled in by the one who builds the hook.
type Config struct {
	URL         string            `toml:"url"`
	Method      string            `toml:"method"`       // POST, or left out
	Headers     map[string]string `toml:"headers"`      // nothing secret
	HeadersFile string            `toml:"headers_file"` // lines "Name: value"
	TokenFile   string            `toml:"token_file"`   // sent as "Authorization: Bearer ..."
	CAFile      string            `toml:"ca_file"`      // PEM; in place of the system's
	TryTimeout  time.Duration     `toml:"try_timeout"`  // of one try within the call's time-out; default 5 s
	Drill       string            `toml:"drill"`        // "native", "dry-run" or "": skipped in a drill (S7)

	Site  string           `toml:"-"`
	Agent string           `toml:"-"`
	Now   func() time.Time `toml:"-"` // against which certificates are checked (S14); nil: the wall clock
}

// Validate tells all faults of the configuration at once. It opens no file.
func (c Config) Validate() error {
	var faults []error
	bad := func(format string, a ...any) { faults = append(faults, fmt.Errorf(format, a...)) }
	u, err := url.Parse(c.URL)
	switch {
	case err != nil:
		bad("url: %w", err)
	case u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		bad("url %q: give https://host/path", c.URL)
	case u.User != nil:
		bad("url holds a user or password: put them into headers_file or token_file")
	case u.Scheme == "http" && (c.TokenFile != "" || c.HeadersFile != "") && !loopback(u.Hostname()):
		bad("url %q sends the secrets of token_file or headers_file in clear: use https", c.URL)
	}
	if c.Method != "" && c.Method != http.MethodPost {
		bad("method %q: only POST, or leave it out", c.Method)
	}
	for k, v := range c.Headers {
		if err := checkHeader(k, v); err != nil {
			bad("headers: %w", err)
		}
		if h := http.CanonicalHeaderKey(k); h == "Authorization" || h == "Cookie" {
			bad("headers: %s is a secret: put it into headers_file or token_file", h)
		}
	}
	if c.TryTimeout < 0 {
		bad("try_timeout %v: use a time above zero, or leave it out for %v", c.TryTimeout, defaultTry)
	}
	if c.Drill != "" && c.Drill != "native" && c.Drill != "dry-run" {
		bad("drill %q: use \"native\" (the target looks at firebreakmark) or \"dry-run\", or leave it out", c.Drill)
	}
	return errors.Join(faults...)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// checkHeader refuses what cannot be sent and what the hook sets itself.
func checkHeader(k, v string) error {
	const others = "!#$%&'*+-.^_`|~" // RFC 9110, 5.6.2
	noName := func(r rune) bool {
		alnum := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		return !alnum && !strings.ContainsRune(others, r)
	}
	noValue := func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }
	if k == "" || strings.ContainsFunc(k, noName) || strings.ContainsFunc(v, noValue) {
		return fmt.Errorf("%q is no header that can be sent: correct its name or value", k)
	}
	h := strings.ToLower(k)
	for _, own := range []string{"content-type", "content-length", "transfer-encoding", "host", "idempotency-key", "firebreak-mark"} {
		if h == own {
			return fmt.Errorf("%q is set by the hook: remove it", k)
		}
	}
	if strings.HasPrefix(h, "webhook-") {
		return fmt.Errorf("%q is set by the hook: remove it", k)
	}
	return nil
}

// Hook posts to one target. Make it with New.
type Hook struct {
	name    string
	cfg     Config
	url     *url.URL
	log     *slog.Logger
	dialer  *net.Dialer
	tls     *tls.Config
	client  *http.Client
	pauses  []time.Duration // before the second try, the third, ...; the last one repeats
	secrets secrets
	flights flights
}

var _ plugins.Hook = (*Hook)(nil)

// New makes the hook. A nil log is silent.
func New(name string, cfg Config, log *slog.Logger) (*Hook, error) {
	if cfg.TryTimeout == 0 {
		cfg.TryTimeout = defaultTry
	}
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("hook %q: %w", name, err)
	}
	u, err := url.Parse(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("hook %q: %w", name, err)
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	h := &Hook{name: name, cfg: cfg, url: u, log: log,
		tls:     &tls.Config{MinVersion: tls.VersionTLS12, Time: cfg.Now, ServerName: u.Hostname()},
		pauses:  []time.Duration{100 * time.Millisecond, 300 * time.Millisecond, time.Second, 2 * time.Second},
		secrets: secrets{headers: cfg.HeadersFile, token: cfg.TokenFile},
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
	h.dialer = &net.Dialer{Timeout: dialBound, Control: userTimeout,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3}}
	// No proxy from the environment: the way to a target is what the configuration says. HTTP/1.1
	// only, so that a try that is cut off takes its connection with it and the next has a new one.
	h.client = &http.Client{
		Transport: &http.Transport{
			DialContext: h.dialer.DialContext, TLSClientConfig: h.tls.Clone(), TLSHandshakeTimeout: dialBound,
			MaxIdleConnsPerHost: 4, IdleConnTimeout: 90 * time.Second,
			DisableCompression: true, MaxResponseHeaderBytes: answerLimit,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return h, nil
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

// Probe reaches the target as a call would, TLS included, but sends no request: what HEAD or
// OPTIONS would do there is not known.
func (h *Hook) Probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*dialBound)
	defer cancel()
	_, secretErr := h.secrets.read()
	err := errors.Join(secretErr, h.reach(ctx))
	if err != nil {
		return fmt.Errorf("hook %q: %w", h.name, err)
	}
	return nil
}

func (h *Hook) reach(ctx context.Context) error {
	port := h.url.Port()
	if port == "" {
		port = h.url.Scheme
	}
	c, err := h.dialer.DialContext(ctx, "tcp", net.JoinHostPort(h.url.Hostname(), port))
	if err != nil {
		return fmt.Errorf("target cannot be reached: %w: look at the network, the name and the port", err)
	}
	defer c.Close()
	if h.url.Scheme != "https" {
		return nil
	}
	if err := tls.Client(c, h.tls.Clone()).HandshakeContext(ctx); err != nil {
		return fmt.Errorf("TLS with the target: %w: look at its certificate, ca_file and the clock", err)
	}
	return nil
}

// Close gives up the idle connections. Calls that run end with their contexts.
func (h *Hook) Close() { h.client.CloseIdleConnections() }
