// Package nut reads UPSes through an existing upsd of the Network UPS Tools (RFC 9271): one LIST VAR
// a poll, from which a profile takes numbers and the words of ups.status. It logs in nowhere and writes
// nothing to a UPS: LIST VAR, LIST UPS and STARTTLS are all that it ever sends.
//
// Concurrency: a Client is one connection to one upsd and belongs, with the Pollers on it, to one
// goroutine; Close may come from another. Failure: each exchange ends at the deadline of its poll. After a
// time-out or anything that is no answer to the question the connection is closed, so that a late reply is
// never taken for the next one's; it is opened again after a back-off with jitter. Lines and
// replies are bounded. An upsd that answers ERR costs the points of that UPS alone.
package nut

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	DefaultTimeout = time.Second // of a poll whose context has no deadline
	firstWait      = 250 * time.Millisecond
	lastWait       = 10 * time.Second
	maxCA          = 1 << 20
)

// Options of a Client.
type Options struct {
	Address  string           // host:port
	StartTLS bool             // nothing is asked in plain text
	CA       string           // PEM file, read at each connection; empty: the system's authorities
	Now      func() time.Time // for certificates; nil: the wall clock
	Log      *slog.Logger     // UPSes that upsd has no values of; nil: silent
}

// Client is the connection to one upsd.
type Client struct {
	opt   Options
	fails int
	next  time.Time // not opened before

	mu     sync.Mutex // guards what follows, never held while anything is waited for
	conn   net.Conn
	in     *bufio.Reader
	closed bool
}

var errClosed = errors.New("closed")

// NewClient returns a client that connects when it is first asked.
func NewClient(o Options) *Client {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Client{opt: o}
}

// Close breaks an exchange that is under way, and ends the client.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.drop()
	return nil
}

func (c *Client) drop() {
	c.mu.Lock()
	conn := c.conn
	c.conn, c.in = nil, nil
	c.mu.Unlock()
	if conn != nil {
		_ = conn.Close()
	}
}

// UPS is one that upsd has a driver for.
type UPS struct{ Name, Description string }

// UPSes are all that upsd has.
func (c *Client) UPSes(ctx context.Context) (all []UPS, err error) {
	err = c.list(ctx, "UPS", "UPS", func(name, value string) { all = append(all, UPS{name, value}) })
	if err != nil {
		return nil, err
	}
	return all, nil
}

// Variables are all that upsd has of a UPS.
func (c *Client) Variables(ctx context.Context, ups string) (map[string]string, error) {
	if !ValidName(ups) {
		return nil, fmt.Errorf("%q is no name of a UPS", ups)
	}
	vars := map[string]string{}
	if err := c.variables(ctx, ups, func(name, value string) { vars[name] = value }); err != nil {
		return nil, explain(err, ups)
	}
	return vars, nil
}

func (c *Client) variables(ctx context.Context, ups string, take func(name, value string)) error {
	return c.list(ctx, "VAR "+ups, "VAR "+ups, take)
}

// list asks for a list and hands each line of it to take, in the order of the reply. When it fails,
// what was taken does not count. A Refusal leaves the connection open: upsd has answered.
func (c *Client) list(ctx context.Context, what, each string, take func(name, value string)) error {
	ctx, cancel := context.WithTimeout(ctx, DefaultTimeout) // the sooner one counts
	defer cancel()
	for {
		conn, in, fresh, err := c.open(ctx)
		if err != nil {
			return fmt.Errorf("upsd at %s: %w", c.opt.Address, err)
		}
		err = exchange(ctx, conn, func() error {
			if _, err := io.WriteString(conn, "LIST "+what+"\n"); err != nil {
				return err
			}
			return readList(in, what, each, take)
		})
		var no Refusal
		if err == nil || errors.As(err, &no) {
			c.fails = 0
			return err
		}
		c.drop()
		if !fresh && gone(err) && ctx.Err() == nil {
			continue // upsd ended a connection that stood idle; once, since the next one is fresh
		}
		c.failed()
		return fmt.Errorf("upsd at %s: %w", c.opt.Address, err)
	}
}

// gone tells whether the other end has closed, which costs no time.
func gone(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// exchange runs do on conn, no longer than ctx lasts.
func exchange(ctx context.Context, conn net.Conn, do func() error) error {
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	err := do()
	if !stop() { // its deadline may come over the next exchange: the connection has to go
		return fmt.Errorf("no whole answer in time: %w", ctx.Err())
	}
	return err
}

// open returns the connection, and whether it was made now.
func (c *Client) open(ctx context.Context) (net.Conn, *bufio.Reader, bool, error) {
	c.mu.Lock()
	conn, in, closed := c.conn, c.in, c.closed
	c.mu.Unlock()
	switch wait := time.Until(c.next); {
	case closed:
		return nil, nil, false, errClosed
	case conn != nil:
		return conn, in, false, nil
	case wait > 0:
		return nil, nil, false, fmt.Errorf("not asked: it failed %d times, and is tried again in %v", c.fails, wait.Round(10*time.Millisecond))
	}
	conn, in, err := c.dial(ctx)
	if err != nil {
		c.failed()
		return nil, nil, false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		_ = conn.Close()
		return nil, nil, false, errClosed
	}
	c.conn, c.in = conn, in
	return conn, in, true, nil
}

func (c *Client) failed() {
	wait := min(firstWait<<min(c.fails, 10), lastWait)
	c.fails++
	c.next = time.Now().Add(time.Duration((0.5 + rand.Float64()/2) * float64(wait)))
}

func (c *Client) dial(ctx context.Context) (net.Conn, *bufio.Reader, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", c.opt.Address)
	if err != nil {
		return nil, nil, err
	}
	in := bufio.NewReaderSize(conn, maxLine)
	if !c.opt.StartTLS {
		return conn, in, nil
	}
	err = exchange(ctx, conn, func() error { return startTLS(conn, in) })
	if err == nil {
		var secure *tls.Conn
		if secure, err = c.encrypt(ctx, conn); err == nil {
			return secure, bufio.NewReaderSize(secure, maxLine), nil
		}
	}
	_ = conn.Close()
	return nil, nil, err
}

// startTLS asks for encryption. What came behind the answer came before it: it is not trusted.
func startTLS(conn net.Conn, in *bufio.Reader) error {
	if _, err := io.WriteString(conn, "STARTTLS\n"); err != nil {
		return err
	}
	line, err := readLine(in)
	switch {
	case err != nil:
		return err
	case line != "OK STARTTLS":
		return fmt.Errorf("no STARTTLS: it answers %.80q; set CERTFILE in upsd.conf, or take starttls out", line)
	case in.Buffered() > 0:
		return errors.New("it sent something in plain text behind its answer to STARTTLS: the way to it is not to be trusted")
	}
	return nil
}

func (c *Client) encrypt(ctx context.Context, conn net.Conn) (*tls.Conn, error) {
	host, _, err := net.SplitHostPort(c.opt.Address)
	if err != nil {
		return nil, err
	}
	conf := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12, Time: c.opt.Now}
	if c.opt.CA != "" {
		f, err := os.Open(c.opt.CA)
		if err != nil {
			return nil, err
		}
		pem, err := io.ReadAll(io.LimitReader(f, maxCA))
		_ = f.Close() // it was only read
		if err != nil {
			return nil, err
		}
		if conf.RootCAs = x509.NewCertPool(); !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate in PEM form: give the authority that signed that of upsd", c.opt.CA)
		}
	}
	secure := tls.Client(conn, conf)
	return secure, secure.HandshakeContext(ctx)
}
