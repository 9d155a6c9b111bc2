package shim

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// SpareArg in the place of the directory makes a spare: a shim that has been started ahead of its task and
// waits for it on the socket that it got as its first further descriptor. When the other end closes, it ends.
const SpareArg = "spare"

const maxOrder = 4096 // bytes of a directory's path

// Order hands a key to a spare: its directory, the lock that is held, the pipe that tells the end, and, unless it is
// nil, the one that the leave comes through (PoisedArg). It waits for nothing. After an error the spare has not got it
// and will not; after none, everything is as with a shim that has just been started, whatever becomes of either side:
// the order lies in the socket with all descriptors in it, until the spare takes it or dies.
func Order(socket int, d Dir, lock, done, may *os.File) error {
	if len(d) > maxOrder {
		return fmt.Errorf("the path of the key is longer than %d bytes", maxOrder)
	}
	fds := []int{int(lock.Fd()), int(done.Fd())}
	if may != nil {
		fds = append(fds, int(may.Fd()))
	}
	rights := unix.UnixRights(fds...)
	return again(func() error {
		return unix.Sendmsg(socket, []byte(d), rights, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	})
}

// awaitOrder says that this process is ready, and waits until it gets a key or is needed no more: then d is empty.
func awaitOrder() (d Dir, poised bool, err error) {
	socket, err := unix.FcntlInt(lockFD, unix.F_DUPFD_CLOEXEC, 10) // where it is in nobody's way: what comes takes the places from lockFD on
	if err = errors.Join(err, unix.Close(lockFD), reap()); err != nil {
		return "", false, err
	}
	warm()
	if err := again(func() error { return unix.Sendmsg(socket, []byte(Answer), nil, nil, unix.MSG_NOSIGNAL) }); err != nil {
		return "", false, nil
	}
	b, rights := make([]byte, maxOrder), make([]byte, unix.CmsgSpace(3*4))
	n, rn := 0, 0
	if err := again(func() (err error) {
		n, rn, _, _, err = unix.Recvmsg(socket, b, rights, unix.MSG_CMSG_CLOEXEC)
		return err
	}); err != nil || n <= 0 {
		return "", false, err
	}
	var fds []int
	if msgs, err := unix.ParseSocketControlMessage(rights[:rn]); err == nil && len(msgs) == 1 {
		fds, _ = unix.ParseUnixRights(&msgs[0])
	}
	if len(fds) != 2 && len(fds) != 3 {
		return "", false, errors.New("an order without a lock: it is given by the agent only")
	}
	if err = unix.Close(socket); fds[0] != lockFD || fds[len(fds)-1] != lockFD+len(fds)-1 {
		err = place(fds)
	}
	d = Dir(b[:n])
	if say, sayErr := open(d.Path(LogFile), unix.O_CREAT|unix.O_WRONLY|unix.O_APPEND); err == nil && sayErr == nil {
		err = errors.Join(unix.Dup2(say, 2), unix.Close(say)) // what it says is of this key
	}
	return d, len(fds) == 3, err
}

// place moves descriptors to lockFD and those after it. Each may lie where another belongs.
func place(fds []int) error {
	var errs []error
	for i, fd := range fds {
		away, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 10)
		errs = append(errs, err, unix.Close(fd))
		fds[i] = away
	}
	for i, fd := range fds {
		errs = append(errs, unix.Dup3(fd, lockFD+i, unix.O_CLOEXEC), unix.Close(fd))
	}
	return errors.Join(errs...)
}

// warm goes once through what a start needs, so that the pages are there when it counts.
func warm() {
	b, _ := Spec{Args: []string{""}, Env: []string{""}}.Encode()
	_, _ = decodeSpec(b)
	_, _ = ReadProc(os.Getpid())
	_ = Marker{Boot: BootID()}.line()
}
