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

// line is a raw terminal, or a socket to one, in non-blocking mode. Its waits use ppoll: select would
// write beyond its set for descriptors above 1023.
type line struct {
	fd     int
	socket bool
}

func openSerial(o SerialOptions) (*line, error) {
	fd, err := unix.Open(o.Path, unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", o.Path, err)
	}
	s := &line{fd: fd}
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

// flags are the speed and what c_cflag and c_iflag of termios say of the line.
func (o SerialOptions) flags() (speed, mode, input uint32, err error) {
	speed, ok := baudFlag(o.Baud)
	if !ok {
		return 0, 0, 0, fmt.Errorf("no speed of %d baud", o.Baud)
	}
	mode = unix.CS8 | unix.CREAD | unix.CLOCAL | speed
	if o.DataBits == 7 {
		mode = mode&^unix.CSIZE | unix.CS7
	}
	switch o.Parity {
	case "", "none":
	case "even":
		mode |= unix.PARENB
	case "odd":
		mode |= unix.PARENB | unix.PARODD
	default:
		return 0, 0, 0, fmt.Errorf("unknown parity %q: use none, even or odd", o.Parity)
	}
	if mode&unix.PARENB != 0 {
		input = unix.INPCK // a byte of wrong parity reads as zero, which the checksum sees
	}
	if o.StopBits == 2 {
		mode |= unix.CSTOPB
	}
	return speed, mode, input, nil
}

func (s *line) setup(o SerialOptions) error {
	t, err := unix.IoctlGetTermios(s.fd, unix.TCGETS)
	if err != nil {
		return fmt.Errorf("not a serial line: %w", err)
	}
	speed, mode, input, err := o.flags()
	if err != nil {
		return err
	}
	t.Iflag, t.Oflag, t.Lflag = input, 0, 0
	t.Cflag = mode
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0 // with 0 a read of nothing looks like a hang-up
	t.Ispeed, t.Ospeed = speed, speed
	if err := unix.IoctlSetTermios(s.fd, unix.TCSETS, t); err != nil {
		return err
	}
	// A second agent on the line would take bytes of our replies. The lock goes with the
	// descriptor, so a killed process leaves none behind, as TIOCEXCL on a pty would.
	if err := unix.Flock(s.fd, unix.LOCK_EX|unix.LOCK_NB); err == unix.EWOULDBLOCK {
		return fmt.Errorf("another process uses the line: %w: stop it first", err)
	}
	if err := o.RS485.apply(s.fd, ioctlRS485); err != nil {
		return err
	}
	return s.flushInput()
}

// flushInput throws away what has come. A socket that its peer has closed is told at once.
func (s *line) flushInput() error {
	if !s.socket {
		return unix.IoctlSetInt(s.fd, unix.TCFLSH, unix.TCIFLUSH)
	}
	var buf [512]byte
	for range 1 << 10 { // whoever sends more than that without being asked is no serial server
		switch n, err := s.read(buf[:]); {
		case err != nil:
			return err
		case n == 0:
			return nil
		}
	}
	return fmt.Errorf("%w: the peer sends without being asked", ErrGarbled)
}

func (s *line) close() { unix.Close(s.fd) }

// read returns what has come; 0 bytes and no error when nothing has. A terminal that hangs up
// (USB adapter pulled) reads as an end of file or EIO, a socket that was closed as an end of file.
func (s *line) read(buf []byte) (int, error) {
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
func wait(s *line, w *waker, events int16, deadline time.Time) error {
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
func (l *SerialLink) waitFor(ctx context.Context, s *line, events int16, deadline time.Time) error {
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
