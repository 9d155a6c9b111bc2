package modbus

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"firebreak/sensors/profile"

	"github.com/goburrow/modbus"
	"golang.org/x/sys/unix"
)

// TCPOptions adjust a TCPLink. The zero value is right.
type TCPOptions struct {
	DialTimeout time.Duration                               // default 1 s
	Dial        func(ctx context.Context) (net.Conn, error) // default: TCP to the address
}

const (
	defaultDial = time.Second
	userTimeout = 5 * time.Second // unacknowledged data for so long: the kernel gives the socket up
	mbapSize    = 7
)

// TCPLink is one socket to one endpoint, with one request outstanding. A reply that is late, not
// for the request, or not whole costs the socket, so that it can never be taken for the next one.
type TCPLink struct {
	address string
	opt     TCPOptions
	turn    chan struct{} // holds a token while nobody reads

	// Owned by who has the turn.
	packagers map[byte]modbus.Packager
	retry     backoff
	lastErr   error
	asked     time.Time // the last request

	mu     sync.Mutex // never held across I/O
	conn   net.Conn
	closed bool
	life   context.Context
	end    context.CancelFunc
}

// NewTCP returns the link to address ("10.0.3.20:502"). It dials at the first Read, so a device
// may be absent at start.
func NewTCP(address string, opt TCPOptions) *TCPLink {
	if opt.DialTimeout <= 0 {
		opt.DialTimeout = defaultDial
	}
	l := &TCPLink{address: address, opt: opt, turn: make(chan struct{}, 1), packagers: map[byte]modbus.Packager{}}
	if l.opt.Dial == nil {
		d := tcpDialer()
		l.opt.Dial = func(ctx context.Context) (net.Conn, error) { return d.DialContext(ctx, "tcp", address) }
	}
	l.life, l.end = context.WithCancel(context.Background())
	l.turn <- struct{}{}
	return l
}

// tcpDialer finds a peer that is gone in seconds, also while nothing is sent.
func tcpDialer() *net.Dialer {
	return &net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3},
		Control:         setUserTimeout,
	}
}

func setUserTimeout(_, _ string, c syscall.RawConn) error {
	var sockErr error
	err := c.Control(func(fd uintptr) {
		sockErr = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout.Milliseconds()))
	})
	return errors.Join(err, sockErr)
}

// Close ends the link for good and interrupts a request that is under way.
func (l *TCPLink) Close() error {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.end()
	l.drop()
	return nil
}

// Rest closes the connection until the next request, for a gateway that takes one client.
func (l *TCPLink) Rest() {
	select {
	case <-l.turn:
		l.drop()
		l.turn <- struct{}{}
	default: // a request is under way
	}
}

func (l *TCPLink) drop() {
	l.mu.Lock()
	c := l.conn
	l.conn = nil
	l.mu.Unlock()
	if c != nil {
		c.Close()
	}
}

// Read sends r and returns its data bytes.
func (l *TCPLink) Read(ctx context.Context, r Request) ([]byte, error) {
	return l.exchange(ctx, r.reading())
}

// Write sends a command once, and checks the echo. What is not ErrNotSent may have been sent.
func (l *TCPLink) Write(ctx context.Context, r Request, c *profile.Command) error {
	_, err := l.exchange(ctx, r.writing(c))
	return err
}

func (l *TCPLink) exchange(ctx context.Context, r Request) ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, r.unsent(err)
	}
	select {
	case <-l.turn:
	default: // to ask for Done costs
		select {
		case <-l.turn:
		case <-ctx.Done():
			return nil, r.unsent(fmt.Errorf("%s: %w: %w", r, ErrTimeout, ctx.Err()))
		}
	}
	defer func() { l.turn <- struct{}{} }()
	for {
		conn, fresh, err := l.connect(ctx, r.Once)
		if err != nil {
			return nil, r.unsent(fmt.Errorf("%s: %w", r, err))
		}
		data, received, err := l.try(ctx, conn, r)
		if trusted(err) {
			l.retry.ok()
			return data, err
		}
		l.drop()
		hungUp := isHangup(err)
		if hungUp && !fresh && !received && r.write == nil && ctx.Err() == nil {
			continue // the peer closed an idle connection: a read may be sent again, once, on a fresh one, a write never
		}
		if hungUp {
			l.retry.failed(time.Now(), true)
		}
		l.lastErr = err
		return nil, l.explain(ctx, r, err)
	}
}

// try sends r on conn; received tells whether any byte of a reply came.
func (l *TCPLink) try(ctx context.Context, conn net.Conn, r Request) (data []byte, received bool, err error) {
	deadline := time.Now().Add(r.timeout())
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, false, err
	}
	defer l.relax(conn, r.timeout())()
	// A cancelled request leaves a reply behind: its socket goes too.
	defer closeAtEnd(ctx, conn)()
	pk := l.packagers[r.Unit]
	if pk == nil {
		pk = newTCPPackager(r.Unit)
		l.packagers[r.Unit] = pk
	}
	if r.ReplyUnit != 0 {
		pk = tcpRenamed(pk, r.ReplyUnit)
	}
	data, err = exchange(pk, func(adu []byte) ([]byte, error) {
		if _, err := conn.Write(adu); err != nil {
			return nil, err
		}
		reply, n, err := readADU(conn, adu, r)
		received = n > 0
		return reply, err
	}, r)
	return data, received, err
}

// interrupter is a context that closes what it was given when it is cancelled, for less than context.AfterFunc does; the
// deadline is that of the socket.
type interrupter interface{ Interrupt(io.Closer) }

// closeAtEnd has a socket closed when ctx is cancelled, until the function that it returns is called.
func closeAtEnd(ctx context.Context, conn net.Conn) (release func()) {
	if i, ok := ctx.(interrupter); ok {
		i.Interrupt(conn)
		return func() { i.Interrupt(nil) }
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	return func() { stop() }
}

// relax returns what takes the deadline of a request back when that is over, where the next will come later than
// that: the runtime would wake for it when nothing else is due. Of quick polls each moves it on, which is cheaper.
func (l *TCPLink) relax(conn net.Conn, timeout time.Duration) func() {
	now := time.Now()
	quick := now.Sub(l.asked) < timeout
	l.asked = now
	if quick {
		return func() {}
	}
	return func() { _ = conn.SetDeadline(time.Time{}) }
}

// readADU reads one reply and checks all of it against the request before the codec sees it.
func readADU(src io.Reader, adu []byte, r Request) (reply []byte, n int, err error) {
	// A good reply comes whole with one read; never more than that is taken.
	reply = make([]byte, mbapSize+r.replyLen())
	if n, err = io.ReadAtLeast(src, reply, mbapSize+1); err != nil {
		return nil, n, err
	}
	length := int(binary.BigEndian.Uint16(reply[4:])) // unit and PDU
	switch {
	case reply[0] != adu[0] || reply[1] != adu[1]:
		return nil, n, fmt.Errorf("%s: %w: transaction %d instead of %d", r, ErrGarbled, binary.BigEndian.Uint16(reply), binary.BigEndian.Uint16(adu))
	case reply[2] != 0 || reply[3] != 0:
		return nil, n, fmt.Errorf("%s: %w: protocol id %d", r, ErrGarbled, binary.BigEndian.Uint16(reply[2:]))
	case reply[6] != r.answers():
		return nil, n, fmt.Errorf("%s: %w: unit %d answers", r, ErrGarbled, reply[6])
	case length < 3 || mbapSize-1+length > len(reply):
		return nil, n, fmt.Errorf("%s: %w: length field %d instead of %d", r, ErrGarbled, length, 1+r.replyLen())
	}
	reply = reply[:mbapSize-1+length]
	if n < len(reply) {
		k, err := io.ReadFull(src, reply[n:])
		if n += k; err != nil {
			return nil, n, err
		}
	}
	if n > len(reply) { // an exception, and what comes behind it
		return nil, n, fmt.Errorf("%s: %w: %d bytes behind the reply", r, ErrGarbled, n-len(reply))
	}
	if err := r.checkPDU(reply[mbapSize:]); err != nil {
		return nil, n, fmt.Errorf("%s: %w", r, err)
	}
	return reply, n, nil
}

// connect returns the open socket, or dials, with now also while it should wait; fresh tells which.
func (l *TCPLink) connect(ctx context.Context, now bool) (conn net.Conn, fresh bool, err error) {
	l.mu.Lock()
	conn, closed := l.conn, l.closed
	l.mu.Unlock()
	if closed {
		return nil, false, fmt.Errorf("%s: %w", l.address, ErrClosed)
	}
	if conn != nil {
		return conn, false, nil
	}
	if wait := time.Until(l.retry.next); wait > 0 && !now {
		return nil, false, fmt.Errorf("%s: %w: next try in %s; last: %v", l.address, ErrLinkDown, wait.Round(time.Millisecond), l.lastErr)
	}
	dctx, cancel := context.WithTimeout(ctx, l.opt.DialTimeout)
	defer cancel()
	defer context.AfterFunc(l.life, cancel)()
	conn, err = l.opt.Dial(dctx)
	if err != nil {
		l.lastErr = err
		switch {
		case l.life.Err() != nil:
			err = ErrClosed
		case ctx.Err() == nil:
			l.retry.failed(time.Now(), false)
		}
		return nil, false, fmt.Errorf("%s: %w: %w", l.address, ErrLinkDown, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		conn.Close()
		return nil, false, fmt.Errorf("%s: %w", l.address, ErrClosed)
	}
	l.conn = conn
	return conn, true, nil
}

// explain gives a failure of the socket one of our names.
func (l *TCPLink) explain(ctx context.Context, r Request, err error) error {
	var ne net.Error
	switch {
	case l.life.Err() != nil:
		return fmt.Errorf("%s: %w", r, ErrClosed)
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w: %w", r, ErrTimeout, ctx.Err())
	case errors.As(err, &ne) && ne.Timeout():
		return fmt.Errorf("%s: %w (%s)", r, ErrTimeout, r.timeout())
	case errors.Is(err, ErrGarbled):
		return err
	case isHangup(err):
		return fmt.Errorf("%s: %w: %w", r, ErrLinkDown, err)
	}
	return fmt.Errorf("%s: %w: %w", r, ErrGarbled, err)
}

func isHangup(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, io.ErrClosedPipe) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE) ||
		errors.Is(err, unix.ECONNABORTED) || errors.Is(err, unix.EHOSTUNREACH) || errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.ETIMEDOUT)
}
