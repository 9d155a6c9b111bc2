// Package snmp reads devices through their SNMP agents (v1, v2c and v3 with the user-based security model): a profile
// says which objects, as numbers, as one number of an enumeration, or as rows of a table that come and go. It reads
// only: GET, GETNEXT and GETBULK are all that it ever sends.
//
// Concurrency: a Client is one socket to one agent and belongs, with the Pollers on it, to one goroutine; Close
// may come from another. Failure: each attempt has an absolute deadline, a request a few attempts, and a poll the
// deadline of its context. An answer counts only if it is one to the request, of the right user, and names the
// objects that were asked for; after anything else the socket is closed, so that what comes late reaches
// nobody. An object that the agent does not have, or has with another type, costs its own point alone. A
// panic of the library is an error of that poll.
package snmp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"firebreak/sensors/profile"

	"github.com/gosnmp/gosnmp"
)

// Secrets of a Client; those that its version does not know are not looked at.
type Secrets struct{ Community, AuthKey, PrivKey string }

// Options of a Client.
type Options struct {
	Address string // host:port
	Version string // 1, 2c or 3
	User    string // v3
	Context string // v3: one of the contexts that the agent serves; empty: its default one
	Auth    string // v3: empty, or one of Auths
	Priv    string // v3: empty, or one of Privs
	Secrets func() (Secrets, error)
	Log     *slog.Logger // agents that restart, and objects that they do not have; nil: silent
}

// Auths and Privs are what a version 3 user may authenticate and encrypt by.
func Auths() []string { return []string{"md5", "sha", "sha224", "sha256", "sha384", "sha512"} }
func Privs() []string { return []string{"des", "aes", "aes192", "aes256", "aes192c", "aes256c"} }

func authOf(name string) gosnmp.SnmpV3AuthProtocol {
	return map[string]gosnmp.SnmpV3AuthProtocol{"": gosnmp.NoAuth, "md5": gosnmp.MD5, "sha": gosnmp.SHA, "sha224": gosnmp.SHA224,
		"sha256": gosnmp.SHA256, "sha384": gosnmp.SHA384, "sha512": gosnmp.SHA512}[name]
}

func privOf(name string) gosnmp.SnmpV3PrivProtocol {
	return map[string]gosnmp.SnmpV3PrivProtocol{"": gosnmp.NoPriv, "des": gosnmp.DES, "aes": gosnmp.AES, "aes192": gosnmp.AES192,
		"aes256": gosnmp.AES256, "aes192c": gosnmp.AES192C, "aes256c": gosnmp.AES256C}[name]
}

// Client is the socket to one agent.
type Client struct {
	opt Options
	g   *gosnmp.GoSNMP // nil: none is open; owner only

	mu     sync.Mutex // guards what follows, never held while anything is waited for
	conn   net.Conn   // that of g
	closed bool
}

var errClosed = errors.New("closed")

// NewClient returns a client that opens its socket when it is first asked.
func NewClient(o Options) *Client {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Client{opt: o}
}

// Close breaks a request that is under way, and ends the client.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.hangUp()
	return nil
}

func (c *Client) hangUp() {
	c.mu.Lock()
	conn := c.conn
	c.conn = nil
	c.mu.Unlock()
	if conn != nil {
		_ = conn.Close()
	}
}

// drop forgets the socket, and with it what was agreed with the agent of version 3.
func (c *Client) drop() {
	c.hangUp()
	c.g = nil
}

// verb is a kind of request.
type verb uint8

const (
	get verb = iota
	next
	bulk
)

// request is what an agent is asked.
type request struct {
	verb  verb
	oids  []string
	rows  uint32 // bulk
	rules *profile.SNMPRules
}

// ask asks until there is an answer, as often as the rules allow. An answer may be a refusal: see its Error.
func (c *Client) ask(ctx context.Context, r request) (answer *gosnmp.SnmpPacket, err error) {
	for range max(1, r.rules.Attempts) {
		var conn net.Conn
		if conn, err = c.open(ctx); err == nil {
			err = ctx.Err() // files and names take their time: the socket is there for the next poll
		}
		if err != nil {
			break
		}
		if answer, err = c.attempt(ctx, conn, r); err == nil {
			return answer, nil
		}
		c.drop()
		if errors.Is(err, syscall.ECONNREFUSED) {
			break // nobody is there: the next poll asks again
		}
	}
	return nil, fmt.Errorf("SNMP agent at %s: %w", c.opt.Address, err)
}

// attempt asks once.
func (c *Client) attempt(ctx context.Context, conn net.Conn, r request) (*gosnmp.SnmpPacket, error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(r.rules.Timeout, time.Second))
	defer cancel()
	g, err := c.g, error(nil)
	g.Context = ctx
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	var p *gosnmp.SnmpPacket
	switch r.verb {
	case get:
		p, err = g.Get(r.oids)
	case next:
		p, err = g.GetNext(r.oids)
	case bulk:
		p, err = g.GetBulk(r.oids, 0, r.rows)
	}
	if !stop() { // its deadline may come over the next attempt: the socket has to go
		return nil, cmp.Or(explain(err), errors.New("no answer in time"))
	}
	if err != nil {
		return nil, explain(err)
	}
	return p, c.genuine(g, p)
}

// genuine tells whether p answers a request of ours. The library has compared the number of the request, but takes
// zero for any, and a message without a user and without an engine for one that needs no key.
func (c *Client) genuine(g *gosnmp.GoSNMP, p *gosnmp.SnmpPacket) error {
	if p == nil || p.PDUType != gosnmp.GetResponse || p.RequestID == 0 || p.Version != g.Version {
		return errors.New("an answer to nothing that was asked")
	}
	if g.Version != gosnmp.Version3 {
		return nil
	}
	u, ok := p.SecurityParameters.(*gosnmp.UsmSecurityParameters)
	want := g.MsgFlags & gosnmp.AuthPriv
	if !ok || u.UserName != c.opt.User || u.AuthoritativeEngineID == "" || p.MsgFlags&gosnmp.AuthPriv != want {
		return errors.New("an answer that is not of this user, or less protected than the request: it does not count")
	}
	return nil
}

// open returns the socket to the agent.
func (c *Client) open(ctx context.Context) (net.Conn, error) {
	c.mu.Lock()
	conn, closed := c.conn, c.closed
	c.mu.Unlock()
	if closed {
		return nil, errClosed
	}
	if conn != nil {
		return conn, nil
	}
	g, err := c.session(ctx)
	if err != nil {
		return nil, err
	}
	if err := g.Connect(); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		_ = g.Conn.Close()
		return nil, errClosed
	}
	c.g, c.conn = g, g.Conn
	return c.conn, nil
}

// session is a session of the library that is not yet connected. It retries nothing by itself.
func (c *Client) session(ctx context.Context) (*gosnmp.GoSNMP, error) {
	host, port, err := net.SplitHostPort(c.opt.Address)
	if err != nil {
		return nil, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, err
	}
	var s Secrets
	if c.opt.Secrets != nil {
		if s, err = c.opt.Secrets(); err != nil {
			return nil, err
		}
	}
	g := &gosnmp.GoSNMP{Target: host, Port: uint16(n), Transport: "udp", Context: ctx, Timeout: time.Minute, MaxOids: gosnmp.MaxOids} // the deadline of ctx is sooner
	switch c.opt.Version {
	case "1", "2c":
		if g.Version, g.Community = gosnmp.Version2c, s.Community; c.opt.Version == "1" {
			g.Version = gosnmp.Version1
		}
		if s.Community == "" || len(s.Community) > 127 { // the library writes its length as one byte
			return nil, errors.New("the community has no or over 127 bytes: see the file that community names")
		}
	case "3":
		return g, c.secure(g, s)
	default:
		return nil, fmt.Errorf("version %q: use 1, 2c or 3", c.opt.Version)
	}
	return g, nil
}

// secure sets the user of version 3.
func (c *Client) secure(g *gosnmp.GoSNMP, s Secrets) error {
	g.Version, g.SecurityModel, g.ContextName = gosnmp.Version3, gosnmp.UserSecurityModel, c.opt.Context
	u := &gosnmp.UsmSecurityParameters{UserName: c.opt.User, AuthenticationProtocol: authOf(c.opt.Auth), PrivacyProtocol: privOf(c.opt.Priv)}
	g.SecurityParameters, g.MsgFlags = u, gosnmp.NoAuthNoPriv
	if c.opt.Auth != "" {
		if u.AuthenticationPassphrase, g.MsgFlags = s.AuthKey, gosnmp.AuthNoPriv; len(s.AuthKey) < 8 {
			return errors.New("the key has under 8 characters (RFC 3414): see the file that auth_key names")
		}
	}
	if c.opt.Priv != "" {
		if u.PrivacyPassphrase, g.MsgFlags = s.PrivKey, gosnmp.AuthPriv; len(s.PrivKey) < 8 {
			return errors.New("the key has under 8 characters (RFC 3414): see the file that priv_key names")
		}
	}
	return nil
}

// explain says what to do about an error of the library, and bounds it: with a panic it brings the stacks of
// all goroutines.
func explain(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	for sign, what := range map[string]string{
		"unknown username": "it does not know this user: see user", "wrong digest": "the key of the user is another one: see auth and auth_key",
		"decryption error": "it cannot decrypt: see priv and priv_key", "unknown security level": "this user must not ask so: see auth and priv",
		"not authentic": "its answer is not signed by the user's key, or a report that is not signed says that ours is not: see user, auth, auth_key and priv_key",
	} {
		if strings.Contains(text, sign) {
			return fmt.Errorf("%s (%.80s)", what, text)
		}
	}
	if what, panicked := strings.CutPrefix(text, "recover: "); panicked {
		what, _, _ = strings.Cut(what, " Stack:")
		return fmt.Errorf("the library panicked over its answer: %.120s", what)
	}
	if len(text) > 300 {
		return fmt.Errorf("%.300q", text)
	}
	return err
}
