package companion

import (
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// Tie is for the companion itself: the kernel kills this process when the one that started it ends, also while it hangs or stands
// still. It tells whether it will. The agent has asked for that at the start, and the kernel has forgotten it where the program has
// capabilities of its own or is set-uid. It is kept by a thread, which has to live as long as the process: one is set aside for it.
func Tie() bool {
	tied := make(chan bool)
	go func() { // ends with the process
		runtime.LockOSThread()
		tied <- unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(syscall.SIGKILL), 0, 0, 0) == nil
		select {}
	}()
	return <-tied
}
