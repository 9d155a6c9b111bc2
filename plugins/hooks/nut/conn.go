package nut

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"
)

// Bounds of one connection.
const (
	idleBound  = 2 * time.Minute // upsmon asks every few seconds
	writeBound = 5 * time.Second
	tlsBound   = 5 * time.Second
	maxRate    = 200 // requests a second: a client that floods waits, and takes no time from the rest
)

// ending is how a connection came to its end.
type ending uint8

const (
	cutOff       ending = iota // by us, by a time-out or by the network: nothing is known of the host
	closedByPeer               // the client or its system closed it
	loggedOut                  // LOGOUT
)

// conn is one client. Its goroutine owns the fields up to the comment; the rest is guarded by the
// hook's mutex, but name and secure, which only that goroutine writes, it reads without.
type conn struct {
	h     *Hook
	raw   net.Conn // for others to close: closing TLS may wait for the client
	nc    net.Conn // raw, or TLS over it
	r     *bufio.Reader
	addr  netip.Addr
	only  *zone // on an alias listener the one UPS there is
	pass  string
	named bool // USERNAME was given
	keyed bool // PASSWORD was given
	users []user
	read  bool // users is what the file held for this connection

	// Guarded by the hook's mutex.
	name    string // as the client says
	secure  bool
	login   *zone
	since   time.Time
	last    time.Time // of the last request
	evicted bool
	counts  map[*zone]bool // it is a host of these
	sawFSD  map[*zone]bool // may have seen FSD: it sees nothing else any more
	told    map[*zone]bool // was sent FSD
	polls   map[*zone]int
}

func (h *Hook) newConn(nc net.Conn, only *zone) *conn {
	now := time.Now()
	c := &conn{h: h, raw: nc, nc: nc, only: only, since: now, last: now,
		counts: map[*zone]bool{}, sawFSD: map[*zone]bool{}, told: map[*zone]bool{}, polls: map[*zone]int{}}
	if ap, err := netip.ParseAddrPort(nc.RemoteAddr().String()); err == nil {
		c.addr = ap.Addr().Unmap().WithZone("")
	}
	return c
}

// serve answers one connection to its end.
func (h *Hook) serve(ctx context.Context, c *conn) {
	end := cutOff
	defer func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.leaveLocked(c, end)
	}()
	h.guarded(func() {
		defer func() { _ = c.nc.Close() }()
		stop := context.AfterFunc(ctx, func() { _ = c.raw.Close() })
		defer stop()
		end = c.talk(ctx)
		if ctx.Err() != nil {
			end = cutOff
		}
	})
}

// talk reads requests and answers them, one after the other.
func (c *conn) talk(ctx context.Context) ending {
	c.r = bufio.NewReaderSize(c.nc, maxLine+2) // with CR and LF
	window, n := time.Now(), 0
	for {
		if n++; n > maxRate {
			if !pause(ctx, time.Second-time.Since(window)) {
				return cutOff
			}
			window, n = time.Now(), 0
		} else if time.Since(window) >= time.Second {
			window, n = time.Now(), 1
		}
		_ = c.nc.SetReadDeadline(time.Now().Add(idleBound))
		line, err := c.r.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			_ = c.write("ERR TOO-LONG\n")
			return cutOff
		}
		if err != nil {
			return endOf(err)
		}
		words, err := parseLine(strings.TrimRight(string(line), "\r\n"))
		a := answer{text: "ERR INVALID-ARGUMENT\n"}
		if err == nil {
			a = c.command(words)
		}
		if err := c.write(a.text); err != nil {
			return endOf(err)
		}
		switch {
		case a.told != nil:
			c.h.mu.Lock()
			c.h.toldLocked(c, a.told)
			c.h.mu.Unlock()
		case a.bye:
			return loggedOut
		case a.tls != nil:
			if !c.encrypt(ctx, a.tls) {
				return cutOff
			}
		}
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (c *conn) write(text string) error {
	_ = c.nc.SetWriteDeadline(time.Now().Add(writeBound))
	_, err := io.WriteString(c.nc, text)
	return err
}

// endOf tells a client that has closed from one that is only no longer heard: a system that goes
// down closes the connections of its processes, a burnt cable closes nothing.
func endOf(err error) ending {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return closedByPeer
	}
	return cutOff
}

// encrypt goes on in TLS. What was sent in clear behind STARTTLS would be taken for a part of the
// encrypted talk, and a name or password that was sent in clear is forgotten.
func (c *conn) encrypt(ctx context.Context, conf *tls.Config) bool {
	if c.r.Buffered() > 0 {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, tlsBound)
	defer cancel()
	_ = c.nc.SetDeadline(time.Now().Add(tlsBound))
	t := tls.Server(c.nc, conf)
	if err := t.HandshakeContext(ctx); err != nil {
		c.h.log.Info("a client broke off TLS", "client", c.addr.String(), "err", err)
		return false
	}
	_ = t.SetDeadline(time.Time{})
	c.r.Reset(t)
	c.nc, c.named, c.keyed, c.pass = t, false, false, ""
	c.h.mu.Lock()
	defer c.h.mu.Unlock()
	c.secure, c.name = true, ""
	return true
}
