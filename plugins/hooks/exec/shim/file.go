package shim

import (
	"errors"

	"golang.org/x/sys/unix"
)

// The shim opens its files by the bare calls. An os.File brings the poller, finalizers and their goroutines
// along, and each of those takes turns with the one goroutine that is tied to its thread: six threads more,
// and twice the processor time of a start.

// again repeats a call that a signal has cut short.
func again(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func open(path string, flags int) (fd int, err error) {
	err = again(func() error {
		fd, err = unix.Open(path, flags|unix.O_CLOEXEC, 0o600)
		return err
	})
	if err != nil {
		return -1, fault{path, err}
	}
	return fd, nil
}

// fault is an error with the file that it happened to.
type fault struct {
	path string
	err  error
}

func (f fault) Error() string { return f.path + ": " + f.err.Error() }
func (f fault) Unwrap() error { return f.err }

// readFile reads a small file whole.
func readFile(path string) ([]byte, error) {
	fd, err := open(path, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	b := make([]byte, 0, 1024)
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n := 0
		err := again(func() (err error) { n, err = unix.Read(fd, b[len(b):cap(b)]); return err })
		if err != nil {
			return nil, fault{path, err}
		}
		if n <= 0 {
			return b, nil
		}
		b = b[:len(b)+n]
	}
}

// writeAll writes all of b where the descriptor stands.
func writeAll(fd int, b []byte) error {
	for len(b) > 0 {
		n := 0
		err := again(func() (err error) { n, err = unix.Write(fd, b); return err })
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}
