package session

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"golang.org/x/sys/unix"
)

// conn gives every single read and write a deadline. The client sets one for PUBLISH only: a
// PINGREQ or SUBSCRIBE on a stalled link would block for ever and defeat the keepalive. Reads are
// buffered, because the client reads a packet byte by byte.
type conn struct {
	net.Conn
	br    *bufio.Reader
	write time.Duration
	idle  atomic.Int64 // ns; zero until the session is up: till then the client's own deadline holds
	ended func(error)  // called with the errors of a session that is up; set before idle
	once  sync.Once
}

// check tells of an error at once: the client takes the end of a connection that was closed on
// this side for its own doing, and would find it out with the keepalive only.
func (c *conn) check(n int, err error) (int, error) {
	if err != nil && c.idle.Load() > 0 {
		c.ended(err)
	}
	return n, err
}

func newConn(c net.Conn, write time.Duration) *conn {
	w := &conn{Conn: c, write: write}
	w.br = bufio.NewReaderSize(readerFunc(w.fill), 4096)
	return w
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func (c *conn) fill(p []byte) (int, error) {
	if d := c.idle.Load(); d > 0 {
		if err := c.Conn.SetReadDeadline(time.Now().Add(time.Duration(d))); err != nil {
			return 0, err
		}
	}
	return c.check(c.Conn.Read(p))
}

func (c *conn) Read(p []byte) (int, error) { return c.br.Read(p) }

func (c *conn) Write(p []byte) (int, error) {
	if err := c.Conn.SetWriteDeadline(time.Now().Add(c.write)); err != nil {
		return 0, err
	}
	return c.check(c.Conn.Write(p))
}

// SetWriteDeadline is left to Write: the client clears the deadline after each PUBLISH.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }

func (c *conn) Close() error {
	var err error
	c.once.Do(func() { err = c.Conn.Close() })
	return err
}

// address splits a broker's URL. Proxies named in the environment play no part.
func address(raw string) (hostport, host string, secure bool, err error) {
	u, err := url.Parse(raw)
	if err != nil {
		return "", "", false, fmt.Errorf("broker url: %w", err)
	}
	port := "1883"
	switch u.Scheme {
	case "mqtt", "tcp":
	case "mqtts", "ssl", "tls":
		secure, port = true, "8883"
	default:
		return "", "", false, fmt.Errorf("broker url %q: scheme must be mqtt or mqtts", raw)
	}
	if u.Hostname() == "" || u.User != nil || (u.Path != "" && u.Path != "/") {
		return "", "", false, fmt.Errorf("broker url %q: write it as %s://host[:port]; user and password have keys of their own", raw, u.Scheme)
	}
	if p := u.Port(); p != "" {
		port = p
	}
	return net.JoinHostPort(u.Hostname(), port), u.Hostname(), secure, nil
}

// CheckURL tells whether Connect could use the URL.
func CheckURL(raw string) error {
	_, _, _, err := address(raw)
	return err
}

// dial opens the network connection, TLS included, until the context's deadline.
func dial(ctx context.Context, cfg *Config) (*conn, error) {
	hostport, host, secure, err := address(cfg.URL)
	if err != nil {
		return nil, err
	}
	open := cfg.Dial
	if open == nil {
		d := &net.Dialer{KeepAlive: -1, Control: func(_, _ string, rc syscall.RawConn) error {
			return userTimeout(rc, 10*time.Second)
		}}
		open = d.DialContext
	}
	c, err := open(ctx, "tcp", hostport)
	if err != nil {
		return nil, err
	}
	if !secure {
		return newConn(c, cfg.WriteTimeout), nil
	}
	tc := &tls.Config{MinVersion: tls.VersionTLS12}
	if cfg.TLS != nil {
		tc = cfg.TLS.Clone()
	}
	if tc.ServerName == "" {
		tc.ServerName = host
	}
	t := tls.Client(c, tc)
	if err := t.HandshakeContext(ctx); err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("tls with %s: %w", hostport, err)
	}
	return newConn(t, cfg.WriteTimeout), nil
}

// handshake is CONNECT and CONNACK.
func handshake(c *conn, cfg *Config) error {
	p := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	p.ProtocolName, p.ProtocolVersion, p.CleanSession = "MQTT", 4, true
	p.ClientIdentifier, p.Keepalive = cfg.ClientID, uint16(cfg.KeepAlive/time.Second)
	if cfg.Username != "" {
		p.UsernameFlag, p.Username = true, cfg.Username
		p.PasswordFlag, p.Password = cfg.Password != "", []byte(cfg.Password)
	}
	if w := cfg.Will; w != nil {
		p.WillFlag, p.WillTopic, p.WillMessage, p.WillQos, p.WillRetain = true, w.Topic, w.Payload, w.QoS, w.Retained
	}
	if err := p.Write(c); err != nil {
		return err
	}
	answer, err := next(c.br)
	if err != nil {
		return err
	}
	ack, ok := answer.(*packets.ConnackPacket)
	switch {
	case !ok:
		return fmt.Errorf("%w: it answers a CONNECT with another packet", errProtocol)
	case ack.ReturnCode != packets.Accepted:
		if err := packets.ConnErrors[ack.ReturnCode]; err != nil {
			return err
		}
		return fmt.Errorf("%w: CONNACK with code %d", errProtocol, ack.ReturnCode)
	}
	return nil
}

// userTimeout makes the kernel give up on a peer that acknowledges nothing.
func userTimeout(rc syscall.RawConn, d time.Duration) error {
	var err error
	if e := rc.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d.Milliseconds()))
	}); e != nil {
		return e
	}
	return err
}

// PlainText tells whether a URL means plain text over a network: no TLS, and another host.
func PlainText(raw string) bool {
	_, host, secure, err := address(raw)
	ip := net.ParseIP(host)
	return err == nil && !secure && host != "localhost" && (ip == nil || !ip.IsLoopback())
}
