package modbus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"firebreak/sensors/profile"

	"github.com/goburrow/modbus"
	"golang.org/x/sys/unix"
)

// RTUOptions describe a serial line.
type RTUOptions struct {
	Path     string // "/dev/ttyUSB0"
	Baud     int
	Parity   string // none, even, odd
	StopBits int
	Gap      time.Duration // silence between frames; default t3.5 of the baud rate, at least 1.75 ms
}

// RTULink is one serial line with one request outstanding. RTU replies carry no transaction id:
// a late one looks like the next one's. So after every failure the line is drained for the
// device's worst-case turnaround before anything is sent again, and input that lies around is
// thrown away before each request.
type RTULink struct {
	opt  RTUOptions
	turn chan struct{} // holds a token while nobody reads
	wake *waker

	// Owned by who has the turn.
	port       *serial
	packagers  map[byte]modbus.Packager
	retry      backoff
	lastErr    error
	lastByte   time.Time     // end of the last frame, seen or sent
	quarantine time.Time     // replies may come until then
	turnaround time.Duration // of the request that failed
	buf        [512]byte

	mu     sync.Mutex
	closed bool
}

// NewRTU returns the link on a serial line. The line is opened at the first Read and reopened
// when it went away, so an adapter may be plugged in later.
func NewRTU(opt RTUOptions) (*RTULink, error) {
	if _, ok := baudFlag(opt.Baud); !ok {
		return nil, fmt.Errorf("serial line %s: no speed of %d baud: use 1200 to 230400", opt.Path, opt.Baud)
	}
	if opt.Gap <= 0 {
		opt.Gap = max(1750*time.Microsecond, wireTime(opt.Baud, 7)/2) // 3.5 characters
	}
	w, err := newWaker()
	if err != nil {
		return nil, err
	}
	l := &RTULink{opt: opt, turn: make(chan struct{}, 1), wake: w, packagers: map[byte]modbus.Packager{}}
	l.turn <- struct{}{}
	return l, nil
}

// wireTime is how long n characters of 11 bits take.
func wireTime(baud, n int) time.Duration {
	return time.Duration(n) * 11 * time.Second / time.Duration(baud)
}

func (l *RTULink) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

// Close ends the link for good, interrupts a request that is under way and waits for it.
func (l *RTULink) Close() error {
	l.mu.Lock()
	was := l.closed
	l.closed = true
	l.mu.Unlock()
	if was {
		return nil
	}
	l.wake.wake()
	<-l.turn // every wait of a Read ends at the wake
	l.hangUp()
	l.wake.close()
	l.turn <- struct{}{}
	return nil
}

func (l *RTULink) hangUp() {
	if l.port != nil {
		l.port.close()
		l.port = nil
	}
}

// Read sends r and returns its data bytes.
func (l *RTULink) Read(ctx context.Context, r Request) ([]byte, error) {
	return l.exchange(ctx, r.reading())
}

// Write sends a command once, and checks the echo. What is not ErrNotSent may have been sent.
func (l *RTULink) Write(ctx context.Context, r Request, c *profile.Command) error {
	_, err := l.exchange(ctx, r.writing(c))
	return err
}

func (l *RTULink) exchange(ctx context.Context, r Request) ([]byte, error) {
	err := r.check()
	if err == nil && r.Unit == 0 {
		err = fmt.Errorf("%s: %w: unit 0 is broadcast, nobody answers it on a serial line", r, ErrRefused)
	}
	if err != nil {
		return nil, r.unsent(err)
	}
	select {
	case <-l.turn:
		defer func() { l.turn <- struct{}{} }()
	case <-ctx.Done():
		return nil, r.unsent(fmt.Errorf("%s: %w: %w", r, ErrTimeout, ctx.Err()))
	}
	if l.isClosed() {
		return nil, r.unsent(fmt.Errorf("%s: %w", l.opt.Path, ErrClosed))
	}
	if err := ctx.Err(); err != nil {
		return nil, r.unsent(fmt.Errorf("%s: %w: %w", r, ErrTimeout, err))
	}
	stop := context.AfterFunc(ctx, l.wake.wake)
	defer stop()
	if err := l.open(r.Once); err != nil {
		return nil, r.unsent(fmt.Errorf("%s: %w", r, err))
	}
	if err := l.silence(ctx, r); err != nil {
		return nil, r.unsent(l.failed(r, err))
	}
	pk := l.packagers[r.Unit]
	if pk == nil {
		pk = newRTUPackager(r.Unit)
		l.packagers[r.Unit] = pk
	}
	data, err := exchange(pk, func(adu []byte) ([]byte, error) { return l.send(ctx, adu, r) }, r)
	if trusted(err) {
		l.retry.ok()
		return data, err
	}
	l.lastByte = time.Now()
	l.turnaround = max(r.Turnaround, l.opt.Gap)
	l.quarantine = l.lastByte.Add(l.turnaround)
	return nil, l.failed(r, err)
}

// failed names an error; a line that is gone is closed, to be opened anew.
func (l *RTULink) failed(r Request, err error) error {
	switch {
	case l.isClosed():
		return fmt.Errorf("%s: %w", r, ErrClosed)
	case errors.Is(err, ErrTimeout), errors.Is(err, ErrGarbled):
		return fmt.Errorf("%s: %w", r, err)
	case errors.As(err, new(unix.Errno)) || isHangup(err):
		l.hangUp()
		l.lastErr = err
		l.retry.failed(time.Now(), true)
		return fmt.Errorf("%s: %s: %w: %w", r, l.opt.Path, ErrLinkDown, err)
	}
	return fmt.Errorf("%s: %w: %w", r, ErrGarbled, err) // the codec's own complaint: the CRC
}

func (l *RTULink) open(now bool) error {
	if l.port != nil {
		return nil
	}
	if wait := time.Until(l.retry.next); wait > 0 && !now {
		return fmt.Errorf("%s: %w: next try in %s; last: %v", l.opt.Path, ErrLinkDown, wait.Round(time.Millisecond), l.lastErr)
	}
	p, err := openSerial(l.opt)
	if err != nil {
		l.lastErr = err
		l.retry.failed(time.Now(), false)
		return fmt.Errorf("%w: %w", ErrLinkDown, err)
	}
	l.port = p
	return nil
}

// silence waits until r may be sent: out of quarantine and a gap after the last frame.
func (l *RTULink) silence(ctx context.Context, r Request) error {
	gap := max(l.opt.Gap, r.FrameGap)
	if !l.quarantine.IsZero() {
		if err := l.drain(ctx, gap); err != nil {
			return err
		}
		l.quarantine = time.Time{}
	}
	if until := l.lastByte.Add(gap); time.Now().Before(until) {
		if err := l.waitFor(ctx, nil, 0, until); err != nil && (l.isClosed() || ctx.Err() != nil) {
			return err
		}
	}
	return l.port.flushInput()
}

// drain throws input away until the quarantine is over and the line has been silent for a gap.
// A line that never falls silent is given up after as long again: somebody else babbles.
func (l *RTULink) drain(ctx context.Context, gap time.Duration) error {
	end, limit := l.quarantine, l.quarantine.Add(l.turnaround+gap)
	for {
		err := l.waitFor(ctx, l.port, unix.POLLIN, end)
		switch {
		case err == ErrTimeout:
			return nil
		case err != nil:
			return err
		}
		if _, err := l.port.read(l.buf[:]); err != nil {
			return err
		}
		l.lastByte = time.Now()
		if quiet := l.lastByte.Add(gap); quiet.After(end) {
			end = quiet
		}
		if end.After(limit) {
			l.quarantine = l.lastByte.Add(l.turnaround)
			return fmt.Errorf("%w: the line never falls silent", ErrGarbled)
		}
	}
}

// send writes the frame and reads the reply, all before one absolute deadline.
func (l *RTULink) send(ctx context.Context, adu []byte, r Request) ([]byte, error) {
	deadline := time.Now().Add(r.timeout() + wireTime(l.opt.Baud, len(adu)+3+r.replyLen()))
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	for rest := adu; len(rest) > 0; {
		n, err := unix.Write(l.port.fd, rest)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			if err := l.waitFor(ctx, l.port, unix.POLLOUT, deadline); err != nil {
				return nil, err
			}
		case err != nil:
			return nil, fmt.Errorf("write: %w", err)
		default:
			rest = rest[n:]
		}
	}
	n := 0
	for {
		if err := l.waitFor(ctx, l.port, unix.POLLIN, deadline); err != nil {
			if err == ErrTimeout {
				err = fmt.Errorf("%w: %d bytes in %s", ErrTimeout, n, r.timeout())
			}
			return nil, err
		}
		k, err := l.port.read(l.buf[n:])
		if err != nil {
			return nil, err
		}
		n += k
		l.lastByte = time.Now()
		done, err := r.checkRTU(l.buf[:n])
		if err != nil {
			return nil, err
		}
		if done {
			return append([]byte(nil), l.buf[:n]...), nil
		}
	}
}

// checkRTU judges the bytes received so far: the first that does not belong to a reply to r is an
// error. done means that the frame is whole; its CRC is the codec's to check.
func (r Request) checkRTU(frame []byte) (done bool, err error) {
	n := len(frame)
	if n >= 1 && frame[0] != r.Unit {
		return false, fmt.Errorf("%w: unit %d answers", ErrGarbled, frame[0])
	}
	if n < 2 {
		return false, nil
	}
	whole := 5 // unit, function, code, CRC
	switch frame[1] {
	case r.code() | 0x80:
	case r.code():
		whole = 3 + r.replyLen()
		if r.write == nil && n >= 3 && int(frame[2]) != r.dataLen() {
			return false, fmt.Errorf("%w: %d data bytes announced, %d were asked for", ErrGarbled, frame[2], r.dataLen())
		}
		if r.write != nil && n >= whole-2 {
			if err := r.checkEcho(frame[1 : whole-2]); err != nil {
				return false, err
			}
		}
	default:
		return false, fmt.Errorf("%w: function %d", ErrGarbled, frame[1])
	}
	if n > whole {
		return false, fmt.Errorf("%w: %d bytes more than the frame has", ErrGarbled, n-whole)
	}
	return n == whole, nil
}
