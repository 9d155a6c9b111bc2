package shim

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A fork waits until the kernel has loaded the command, for ever where its disk hangs, and no signal is heard meanwhile but
// SIGKILL. A command that was started when the disk answers again, long after its time-out, would do what nobody expects any
// more. So a timer of the kernel ends the shim then, and the kernel with it the child that has yet to become the command
// (Pdeathsig): not one instruction of it is run.

// sigevent of sigevent(3type), which has 64 bytes everywhere.
type sigevent struct {
	value  uintptr
	signo  int32
	notify int32
	_      [64 - unsafe.Sizeof(uintptr(0)) - 8]byte
}

// endAt has the kernel kill this process when the clock (MonoNow) reads at, unless the timer is taken back before. Where
// there is none the command is ended as soon as it was started.
func endAt(at int64) (takeBack func()) {
	ev := sigevent{signo: int32(syscall.SIGKILL)} // notify 0 is SIGEV_SIGNAL
	var id int32
	if _, _, err := unix.RawSyscall(unix.SYS_TIMER_CREATE, unix.CLOCK_MONOTONIC, uintptr(unsafe.Pointer(&ev)), uintptr(unsafe.Pointer(&id))); err != 0 {
		return func() {}
	}
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(at)}
	const absolute = 1 // TIMER_ABSTIME
	_, _, _ = unix.RawSyscall6(unix.SYS_TIMER_SETTIME, uintptr(id), absolute, uintptr(unsafe.Pointer(&spec)), 0, 0, 0)
	return func() { _, _, _ = unix.RawSyscall(unix.SYS_TIMER_DELETE, uintptr(id), 0, 0) }
}
