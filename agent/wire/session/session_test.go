package session

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"firebreak/agent/wire/brokertest"
)

// patience bounds every wait for an event.
const patience = 20 * time.Second

// within fails the test when done is not closed in time.
func within(t *testing.T, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatalf("%s: not within %v", what, patience)
	}
}

func connect(t *testing.T, cfg Config) *Session {
	t.Helper()
	cfg.ClientID = "test"
	s, err := Connect(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Abort(errors.New("test over")); s.Wait() })
	return s
}

// Of a burst that is cut in the middle, exactly those are acknowledged whose PUBACK was sent, or
// fewer, when PUBACKs were lost with the connection; never one more.
func TestNoAckWithoutPuback(t *testing.T) {
	const burst, acked = 100, 37
	b := brokertest.Start(t, func(_ int, c *brokertest.Conn) {
		_ = c.Accept(0)
		for i := 0; i < burst/2; i++ {
			p, err := c.Next()
			if err != nil {
				return
			}
			if i < acked {
				_ = c.Ack(p)
			}
		}
	})
	s := connect(t, Config{URL: b.URL()})
	var acks []*Ack
	for range burst {
		acks = append(acks, s.Publish("t", 1, false, []byte("x")))
	}
	within(t, "loss", s.Lost())
	good := 0
	for i, a := range acks {
		within(t, "ack", a.Done())
		if a.Err() == nil {
			if i != good {
				t.Errorf("message %d acknowledged, %d before it was not", i, good)
			}
			good++
		} else if !errors.Is(a.Err(), ErrLost) {
			t.Errorf("message %d: %v", i, a.Err())
		}
	}
	if good > acked {
		t.Errorf("%d acknowledged, the broker sent %d PUBACKs", good, acked)
	}
	if s.Cause() == nil {
		t.Error("lost without a cause")
	}
	if err := s.Publish("t", 1, false, nil).Err(); !errors.Is(err, ErrLost) {
		t.Errorf("publish after the loss: %v", err)
	}
}

func TestSilentBrokerAcknowledgesNothing(t *testing.T) {
	got := make(chan struct{})
	b := brokertest.Start(t, func(_ int, c *brokertest.Conn) {
		_ = c.Accept(0)
		for n := 1; ; n++ {
			if _, err := c.Next(); err != nil {
				return
			}
			if n == 4 {
				close(got)
			}
		}
	})
	s := connect(t, Config{URL: b.URL(), MaxInFlight: 4})
	var acks []*Ack
	for range 4 {
		acks = append(acks, s.Publish("t", 1, false, nil))
	}
	within(t, "receipt", got)
	for i, a := range acks {
		select {
		case <-a.Done():
			t.Errorf("message %d: done without PUBACK, %v", i, a.Err())
		default:
		}
	}
	s.Abort(errors.New("given up"))
	for _, a := range acks {
		within(t, "ack", a.Done())
		if !errors.Is(a.Err(), ErrLost) {
			t.Errorf("after abort: %v", a.Err())
		}
	}
}

// A broker that stops reading is found out by the write deadline, although pings go the same blocked way; and
// nobody who publishes waits meanwhile.
func TestStalledLinkIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, far := onPipe(t, Config{WriteTimeout: 300 * time.Millisecond, KeepAlive: time.Second, PingTimeout: time.Second})
		begin := time.Now()
		for range 100 {
			s.Publish("t", 1, false, make([]byte, 1<<10))
			synctest.Wait()
		}
		if d := time.Since(begin); d != 0 {
			t.Errorf("publishing took %v on a stalled link", d)
		}
		<-s.Lost()
		if d := time.Since(begin); d != 300*time.Millisecond {
			t.Errorf("lost after %v, want the time-out of a write", d)
		}
		s.Wait()
		far.Close()
	})
}

// The same over a socket, which takes much before it blocks: the session is lost all the same.
func TestStalledSocketIsLost(t *testing.T) {
	hold := make(chan struct{})
	b := brokertest.Start(t, func(_ int, c *brokertest.Conn) {
		_ = c.Accept(0)
		<-hold
	})
	t.Cleanup(func() { close(hold) }) // before the broker's own clean-up, which waits for the script
	s := connect(t, Config{URL: b.URL(), WriteTimeout: 300 * time.Millisecond, KeepAlive: time.Second, PingTimeout: time.Second})
	big := make([]byte, 1<<20)
	for range 100 {
		s.Publish("t", 1, false, big)
	}
	within(t, "loss", s.Lost())
}

func TestConnectEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // a broker without CONNACK
		silent := func(context.Context, string, string) (net.Conn, error) {
			near, far := net.Pipe()
			go func() { _, _ = io.Copy(io.Discard, far) }()
			return near, nil
		}
		begin := time.Now()
		if _, err := Connect(t.Context(), Config{URL: "mqtt://silent", Dial: silent, ConnectTimeout: 100 * time.Millisecond}); err == nil || time.Since(begin) != 100*time.Millisecond {
			t.Errorf("connect: %v after %v", err, time.Since(begin))
		}
		begin = time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(50*time.Millisecond, cancel)
		if _, err := Connect(ctx, Config{URL: "mqtt://silent", Dial: silent}); err == nil || time.Since(begin) != 50*time.Millisecond {
			t.Errorf("cancelled connect: %v after %v", err, time.Since(begin))
		}
	})
	refusing := brokertest.Start(t, func(_ int, c *brokertest.Conn) { _ = c.Accept(5) })
	if _, err := Connect(context.Background(), Config{URL: refusing.URL()}); err == nil || !strings.Contains(err.Error(), "not Authorized") {
		t.Errorf("refused: %v", err)
	}
	for _, u := range []string{"http://x", "mqtt://", "mqtt://u:p@h", "mqtt://h/path", "h:1883", "mqtt://h:%zz"} {
		if CheckURL(u) == nil {
			t.Errorf("%s passed", u)
		}
	}
}

// Proxies named in the environment are ignored.
func TestProxyIsIgnored(t *testing.T) {
	t.Setenv("ALL_PROXY", "socks5://127.0.0.1:1")
	t.Setenv("all_proxy", "socks5://127.0.0.1:1")
	b := brokertest.Start(t, func(_ int, c *brokertest.Conn) { _ = c.Accept(0); _, _ = c.Next() })
	connect(t, Config{URL: b.URL()})
}

func TestCloseSaysFarewell(t *testing.T) {
	last := make(chan byte, 1)
	b := brokertest.Start(t, func(_ int, c *brokertest.Conn) {
		_ = c.Accept(0)
		var typ byte
		for {
			p, err := c.Next()
			if err != nil {
				last <- typ
				return
			}
			typ = p.Type
			_ = c.Ack(p)
		}
	})
	s := connect(t, Config{URL: b.URL()})
	if err := s.Publish("t", 1, false, nil).Err(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if typ := <-last; typ != brokertest.Disconnect {
		t.Errorf("last packet has type %d, want a DISCONNECT", typ)
	}
	within(t, "lost", s.Lost())
}

func TestTLS(t *testing.T) {
	cert, roots := selfSigned(t)
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			buf := make([]byte, 512)
			if _, err := c.Read(buf); err == nil {
				_, _ = c.Write([]byte{0x20, 2, 0, 0})
				_, _ = c.Read(buf)
			}
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = ln.Close(); <-done })
	url := "mqtts://" + ln.Addr().String()
	if _, err := Connect(context.Background(), Config{URL: url}); err == nil {
		t.Error("a certificate of nobody was accepted")
	}
	late := &tls.Config{RootCAs: roots, Time: func() time.Time { return time.Now().Add(1000 * time.Hour) }}
	if _, err := Connect(context.Background(), Config{URL: url, TLS: late}); err == nil {
		t.Error("an expired certificate was accepted: the given clock is not used")
	}
	s := connect(t, Config{URL: url, TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}})
	s.Abort(errors.New("enough"))
}

func selfSigned(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, _ := x509.ParseCertificate(der)
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func TestSubscribe(t *testing.T) {
	b := brokertest.Start(t, func(_ int, c *brokertest.Conn) {
		_ = c.Accept(0)
		for range 2 { // the SUBSCRIBE, and the PUBLISH that comes when it was answered
			if _, err := c.Next(); err != nil {
				return
			}
		}
		_, _ = c.Write([]byte{0x31, 4, 0, 1, 't', 'x'})
		_, _ = c.Next()
	})
	s := connect(t, Config{URL: b.URL()})
	got := make(chan struct{})
	var n atomic.Int32
	err := s.Subscribe(context.Background(), "t", 0, func(topic string, payload []byte, retained bool) {
		if topic == "t" && string(payload) == "x" && retained && n.Add(1) == 1 {
			close(got)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Publish("go", 0, false, nil)
	within(t, "message", got)
}
