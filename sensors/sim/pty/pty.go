// Package pty makes pairs of pseudo terminals: a serial line without hardware. The device's end is
// a file, the agent's end is a path such as /dev/pts/3 that opens like /dev/ttyUSB0.
//
// Concurrency: a Pair is a file; Read and Write may run at the same time, and Close ends both.
// Failure: Open gives the errno of the kernel with the step that failed.
package pty

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Pair is one pseudo-terminal pair. The embedded file is the device's end.
type Pair struct {
	*os.File
	path string
	keep *os.File // the other end, held open: without it a read of the device's end fails with EIO between two users of Path
}

// Open makes a pair in raw mode: no echo, no line editing, no translation.
func Open() (*Pair, error) {
	// O_NONBLOCK puts the file under the runtime's poller, which is what gives it deadlines.
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/ptmx: %w: is devpts mounted?", err)
	}
	master := os.NewFile(uintptr(fd), "/dev/ptmx")
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return nil, errors.Join(fmt.Errorf("unlock the pty: %w", err), master.Close())
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("number of the pty: %w", err), master.Close())
	}
	path := "/dev/pts/" + strconv.Itoa(n)
	kfd, err := unix.Open(path, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), master.Close())
	}
	keep := os.NewFile(uintptr(kfd), path)
	if err := raw(kfd); err != nil {
		return nil, errors.Join(fmt.Errorf("raw mode of %s: %w", path, err), keep.Close(), master.Close())
	}
	return &Pair{File: master, path: path, keep: keep}, nil
}

// Path is the agent's end.
func (p *Pair) Path() string { return p.path }

// Close ends both ends; who reads Path sees the end of the file, as when a USB adapter is pulled.
func (p *Pair) Close() error { return errors.Join(p.File.Close(), p.keep.Close()) }

// raw is cfmakeraw(3).
func raw(fd int) error {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return err
	}
	t.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	t.Oflag &^= unix.OPOST
	t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	t.Cflag = t.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	return unix.IoctlSetTermios(fd, unix.TCSETS, t)
}
