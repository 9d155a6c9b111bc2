package modbus

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"firebreak/sensors/profile"
)

// badPDU answers that no request asked for.
var badPDU = map[string]func(pdu []byte) []byte{
	"other function":      func(p []byte) []byte { g := goodPDU(p); g[0] = 4; return g },
	"fewer registers":     func(p []byte) []byte { return []byte{p[0], 2, 0, 0} },
	"byte count too high": func(p []byte) []byte { g := goodPDU(p); g[1] += 2; return g },
	"byte count too low":  func(p []byte) []byte { g := goodPDU(p); g[1] -= 2; return g },
	"one register more":   func(p []byte) []byte { g := append(goodPDU(p), 1, 2); g[1] += 2; return g },
	"other exception":     func(p []byte) []byte { return []byte{0x84, 2} },
}

func TestTCPBadReplies(t *testing.T) {
	cases := map[string]func(req []byte) []byte{
		"other unit":         func(r []byte) []byte { return mbap(r, r[6]+1, goodPDU(r[7:])) },
		"other transaction":  func(r []byte) []byte { return mbap([]byte{r[0], r[1] + 1}, r[6], goodPDU(r[7:])) },
		"other protocol":     func(r []byte) []byte { g := goodTCP(r); g[3] = 1; return g },
		"length 0":           func(r []byte) []byte { g := goodTCP(r); g[5] = 0; return g },
		"length 2":           func(r []byte) []byte { g := goodTCP(r); g[5] = 2; return g },
		"length far too big": func(r []byte) []byte { g := goodTCP(r); g[4] = 0xFF; return g },
		"garbage":            func(r []byte) []byte { return []byte("HTTP/1.1 400 Bad Request\r\n\r\n") },
	}
	for name, pdu := range badPDU {
		cases[name] = func(r []byte) []byte { return mbap(r, r[6], pdu(r[7:])) }
	}
	for name, reply := range cases {
		t.Run(name, func(t *testing.T) {
			l := newTCP(t, tcpServer(t, func(n int, c io.ReadWriteCloser, req []byte) {
				if n == 0 {
					c.Write(reply(req))
					return
				}
				c.Write(goodTCP(req))
			}))
			mustFail(t, l, holding(100, 10), ErrGarbled)
			mustRead(t, l, holding(200, 10))
			mustRead(t, l, holding(300, 10))
		})
	}
}

func TestTCPLateReply(t *testing.T) {
	release := make(chan struct{})
	l := newTCP(t, tcpServer(t, func(n int, c io.ReadWriteCloser, req []byte) {
		if n == 0 {
			<-release
		}
		c.Write(goodTCP(req))
	}))
	r := holding(100, 10)
	r.Timeout = short
	mustFail(t, l, r, ErrTimeout)
	close(release)
	for i := range uint16(20) {
		mustRead(t, l, holding(200+i, 10))
	}
}

func TestTCPTruncated(t *testing.T) {
	for cut := range 27 {
		l := newTCP(t, tcpServer(t, func(n int, c io.ReadWriteCloser, req []byte) {
			g := goodTCP(req)
			if n == 1 {
				c.Write(g[:cut])
				c.Close()
				return
			}
			c.Write(g)
		}))
		mustRead(t, l, holding(100, 10))
		if cut == 0 {
			mustRead(t, l, holding(200, 10)) // an idle connection that the peer closed: asked again on a new one
			continue
		}
		mustFail(t, l, holding(200, 10), ErrLinkDown)
		mustRead(t, l, holding(300, 10))
	}
}

func TestTCPPartialThenSilence(t *testing.T) {
	l := newTCP(t, tcpServer(t, func(n int, c io.ReadWriteCloser, req []byte) {
		g := goodTCP(req)
		if n == 0 {
			g = g[:12]
		}
		c.Write(g)
	}))
	r := holding(100, 10)
	r.Timeout = short
	mustFail(t, l, r, ErrTimeout)
	mustRead(t, l, holding(200, 10))
}

func TestTCPExceptionInTwoWrites(t *testing.T) {
	var conns atomic.Int32
	var last io.ReadWriteCloser
	l := newTCP(t, tcpServer(t, func(n int, c io.ReadWriteCloser, req []byte) {
		if c != last {
			conns.Add(1)
		}
		last = c
		if n%2 == 0 {
			e := mbap(req, req[6], []byte{req[7] | 0x80, 2})
			c.Write(e[:8])
			c.Write(e[8:])
			return
		}
		c.Write(goodTCP(req))
	}))
	for i := range uint16(5) {
		mustFail(t, l, holding(100+i, 10), ErrIllegalAddress)
		mustRead(t, l, holding(200+i, 10))
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("an exception is an answer: %d connections, want 1", n)
	}
}

func TestTCPCloseInterrupts(t *testing.T) {
	asked := make(chan struct{}, 1)
	l := newTCP(t, tcpServer(t, func(int, io.ReadWriteCloser, []byte) { asked <- struct{}{} }))
	done := make(chan error, 1)
	r := holding(100, 10)
	r.Timeout = time.Hour
	go func() {
		_, err := l.Read(context.Background(), r)
		done <- err
	}()
	<-asked
	l.Close()
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
	mustFail(t, l, r, ErrClosed)
}

func TestTCPCancel(t *testing.T) {
	asked := make(chan struct{}, 1)
	l := newTCP(t, tcpServer(t, func(n int, c io.ReadWriteCloser, req []byte) {
		if n == 0 {
			asked <- struct{}{}
			return
		}
		c.Write(goodTCP(req))
	}))
	ctx, cancel := context.WithCancel(context.Background())
	go func() { <-asked; cancel() }()
	r := holding(100, 10)
	r.Timeout = time.Hour
	if _, err := l.Read(ctx, r); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	mustRead(t, l, holding(200, 10))
}

func TestTCPBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dials := 0
		up := false
		l := NewTCP("device:502", TCPOptions{Dial: func(ctx context.Context) (net.Conn, error) {
			dials++
			if !up {
				return nil, errors.New("no route")
			}
			a, b := net.Pipe()
			go func() {
				defer b.Close()
				req := make([]byte, 12)
				for {
					if _, err := io.ReadFull(b, req); err != nil {
						return
					}
					b.Write(goodTCP(req))
				}
			}()
			return a, nil
		}})
		defer l.Close()
		for range 600 { // ten minutes, ten reads a second
			for range 10 {
				mustFail(t, l, holding(1, 1), ErrLinkDown)
				time.Sleep(100 * time.Millisecond) // fake time
			}
		}
		if dials < 50 || dials > 150 {
			t.Errorf("%d dials in 10 minutes: the back-off ends at 5 to 10 s", dials)
		}
		up = true
		time.Sleep(lastBackoff)
		mustRead(t, l, holding(1, 1))
	})
}

// A peer that accepts and hangs up at once (its connections are used up) is not dialled in a loop.
func TestTCPHangupBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dials := 0
		l := NewTCP("device:502", TCPOptions{Dial: func(ctx context.Context) (net.Conn, error) {
			dials++
			a, b := net.Pipe()
			b.Close()
			return a, nil
		}})
		defer l.Close()
		for range 100 {
			mustFail(t, l, holding(1, 1), ErrLinkDown)
		}
		if dials != 2 {
			t.Errorf("%d dials, want the first and one free one", dials)
		}
	})
}

func TestOnlyReadsAreSent(t *testing.T) {
	dialled := false
	l := NewTCP("device:502", TCPOptions{Dial: func(context.Context) (net.Conn, error) {
		dialled = true
		return nil, errors.New("no")
	}})
	defer l.Close()
	rl := newRTU(t, "/nonexistent")
	for f := range 256 {
		if f >= 1 && f <= 4 {
			continue
		}
		r := Request{Unit: 1, Func: profile.Function(f), Address: 1, Quantity: 1}
		mustFail(t, l, r, ErrRefused)
		mustFail(t, rl, r, ErrRefused)
	}
	for _, r := range []Request{holding(1, 0), holding(1, 126), holding(65535, 2), {Unit: 1, Func: profile.Coil, Quantity: 2001}} {
		mustFail(t, l, r, ErrRefused)
		mustFail(t, rl, r, ErrRefused)
	}
	mustFail(t, rl, Request{Unit: 0, Func: profile.Holding, Quantity: 1}, ErrRefused)
	if err := identify(0x0387).check(); err != nil { // the fifth function that reads, as far as it does: TestIdentificationRefused
		t.Errorf("an identification: %v", err)
	}
	if dialled {
		t.Error("a refused request reached the wire")
	}
}
