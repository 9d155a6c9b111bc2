package modbus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// serial is a raw terminal in non-blocking mode. Its waits use ppoll: select would write beyond
// its set for descriptors above 1023.
type serial struct {
	fd int
}

func openSerial(o RTUOptions) (*serial, error) {
	fd, err := unix.Open(o.Path, unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", o.Path, err)
	}
	s := &serial{fd}
	if err := s.setup(o); err != nil {
		s.close()
		return nil, fmt.Errorf("set up %s: %w", o.Path, err)
	}
	return s, nil
}

func baudFlag(baud int) (uint32, bool) {
	switch baud {
	case 1200:
		return unix.B1200, true
	case 2400:
		return unix.B2400, true
	case 4800:
		return unix.B4800, true
	case 9600:
		return unix.B9600, true
	case 19200:
		return unix.B19200, true
	case 38400:
		return unix.B38400, true
	case 57600:
		return unix.B57600, true
	case 115200:
		return unix.B115200, true
	case 230400:
		return unix.B230400, true
	}
	return 0, false
}

func (s *serial) setup(o RTUOptions) error {
	t, err := unix.IoctlGetTermios(s.fd, unix.TCGETS)
	if err != nil {
		return fmt.Errorf("not a serial line: %w", err)
	}
	speed, ok := baudFlag(o.Baud)
	if !ok {
		return fmt.Errorf("no speed of %d baud", o.Baud)
	}
	t.Iflag = 0
	t.Oflag = 0
	t.Lflag = 0
	t.Cflag = unix.CS8 | unix.CREAD | unix.CLOCAL | speed
	switch o.Parity {
	case "", "none":
	case "even":
		t.Cflag |= unix.PARENB
	case "odd":
		t.Cflag |= unix.PARENB | unix.PARODD
	default:
		return fmt.Errorf("unknown parity %q: use none, even or odd", o.Parity)
	}
	if o.Parity == "even" || o.Parity == "odd" {
		t.Iflag = unix.INPCK // a byte of wrong parity reads as zero, which the CRC sees
	}
	if o.StopBits == 2 {
		t.Cflag |= unix.CSTOPB
	}
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 0, 0
	t.Ispeed, t.Ospeed = speed, speed
	if err := unix.IoctlSetTermios(s.fd, unix.TCSETS, t); err != nil {
		return err
	}
	// A second agent on the line would take bytes of our replies. The lock goes with the
	// descriptor, so a killed process leaves none behind, as TIOCEXCL on a pty would.
	if err := unix.Flock(s.fd, unix.LOCK_EX|unix.LOCK_NB); err == unix.EWOULDBLOCK {
		return fmt.Errorf("another process uses the line: %w: stop it first", err)
	}
	return s.flushInput()
}

func (s *serial) flushInput() error { return unix.IoctlSetInt(s.fd, unix.TCFLSH, unix.TCIFLUSH) }

func (s *serial) close() { unix.Close(s.fd) }

// read returns what has come; 0 bytes and no error when nothing has. A terminal that hangs up
// (USB adapter pulled) reads as an end of file or EIO.
func (s *serial) read(buf []byte) (int, error) {
	for {
		n, err := unix.Read(s.fd, buf)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return 0, nil
		case err != nil:
			return 0, fmt.Errorf("read: %w", err)
		case n == 0:
			return 0, fmt.Errorf("read: the line hung up: %w", io.EOF)
		default:
			return n, nil
		}
	}
}

// waker interrupts a wait from another goroutine.
type waker struct {
	mu sync.Mutex
	fd int // eventfd; -1 when closed
}

func newWaker() (*waker, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	return &waker{fd: fd}, nil
}

func (w *waker) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fd >= 0 {
		one := [8]byte{1, 0, 0, 0, 0, 0, 0, 1} // not zero in either byte order
		_, _ = unix.Write(w.fd, one[:])        // full means that a wake is pending already
	}
}

func (w *waker) drain() {
	var b [8]byte
	_, _ = unix.Read(w.fd, b[:]) // empty is as good
}

func (w *waker) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	unix.Close(w.fd)
	w.fd = -1
}

var errWake = errors.New("woken")

// wait blocks until events on s, the deadline (ErrTimeout) or a wake (errWake). With s nil it
// only passes time.
func wait(s *serial, w *waker, events int16, deadline time.Time) error {
	fds := [2]unix.PollFd{{Fd: int32(w.fd), Events: unix.POLLIN}, {Fd: -1}}
	if s != nil {
		fds[1] = unix.PollFd{Fd: int32(s.fd), Events: events}
	}
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return ErrTimeout
		}
		ts := unix.NsecToTimespec(left.Nanoseconds())
		n, err := unix.Ppoll(fds[:], &ts, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return fmt.Errorf("poll: %w", err)
		case n == 0: // the deadline is looked at above
		case fds[0].Revents != 0:
			return errWake
		default:
			return nil // an error or a hang-up shows in the read or write that follows
		}
	}
}

// waitFor is wait that ignores wakes meant for an earlier request.
func (l *RTULink) waitFor(ctx context.Context, s *serial, events int16, deadline time.Time) error {
	for {
		err := wait(s, l.wake, events, deadline)
		if err != errWake {
			return err
		}
		l.wake.drain() // before the looks below: a wake that comes after them is not lost
		if l.isClosed() {
			return ErrClosed
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%w: %w", ErrTimeout, ctx.Err())
		}
	}
}
