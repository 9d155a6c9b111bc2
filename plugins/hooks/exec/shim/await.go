package shim

import (
	"errors"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	outputWait = 20 * time.Millisecond // for the end of the output, which a process left behind may keep open
	maxPipe    = 64 << 10              // what a pipe holds unless somebody has enlarged it (pipe(7))

	// Nothing tells of the end of a descendant that is not the command, nor on a kernel before 5.3
	// of that of the command: the shim looks, at first often.
	firstLook = time.Millisecond
	lastLook  = 50 * time.Millisecond
)

// await waits until done holds, and gives true, or the clock (MonoNow) reads until. Meanwhile it keeps
// the first bytes of the output and reads the rest away, so that a command that says much is not held
// up, and reaps what has ended.
func (s *shim) await(until int64, done func() bool) bool {
	for look := firstLook; ; look = min(2*look, lastLook) {
		s.reap()
		if done() {
			return true
		}
		left := time.Duration(until - MonoNow())
		if left <= 0 {
			return false
		}
		if !s.none && (s.exited || s.pidfd < 0) {
			left = min(left, look)
		}
		if s.wait(left) {
			look = firstLook
		}
	}
}

// wait sleeps until the command has ended, there is output, or the time is over, and takes the output. It
// tells whether there was any.
func (s *shim) wait(most time.Duration) bool {
	fds := [2]unix.PollFd{{Fd: int32(s.pipe), Events: unix.POLLIN}, {Fd: int32(s.pidfd), Events: unix.POLLIN}} // below zero: not looked at
	t := unix.NsecToTimespec(int64(most))
	if n, err := unix.Ppoll(fds[:], &t, nil); err != nil || n == 0 || fds[0].Revents == 0 {
		return false // EINTR as well: the caller comes again
	}
	return s.read()
}

// read reads once from a pipe that has something, or its end. It gives false at the end.
func (s *shim) read() bool {
	var b [8 << 10]byte
	n, err := unix.Read(s.pipe, b[:])
	switch {
	case n > 0:
		s.out = append(s.out, b[:min(n, s.spec.OutputLimit-len(s.out))]...)
		return true
	case errors.Is(err, unix.EINTR):
		return true
	}
	unix.Close(s.pipe)
	s.pipe = -1
	return false
}

// reap takes all that has ended. That there is no descendant left, and so none can come, wait4 alone says.
func (s *shim) reap() {
	for !s.none {
		var st syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &st, syscall.WNOHANG, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil: // ECHILD
			s.none = true
		case pid == 0:
			return
		case pid == s.group && !s.exited:
			s.exited, s.status = true, st
			if s.pidfd >= 0 {
				unix.Close(s.pidfd)
				s.pidfd = -1
			}
		}
	}
}

// output waits at most so long for the end of the output. What lies in the pipe then is taken in any case: on a
// busy machine the time may be over before anything was read. A process that was left behind may go on
// to write for ever, hence the bound.
func (s *shim) output(most time.Duration) []byte {
	if !s.await(MonoNow()+int64(most), func() bool { return s.pipe < 0 }) {
		for range maxPipe / (8 << 10) {
			if !s.wait(0) {
				break
			}
		}
	}
	return s.out
}
