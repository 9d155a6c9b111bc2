package exec

import (
	"os"
	"syscall"
	"time"

	"firebreak/plugins/hooks/exec/shim"

	"golang.org/x/sys/unix"
)

// refillAfter a start the next spare is started, if the call is not over sooner.
const refillAfter = 100 * time.Millisecond

// spare is a shim that was started ahead of its task: half of the time of a start is that of the shim.
// It is a convenience: one that is not ready, dead, or cannot be given an order is passed over, and a
// shim is started as if there were none. One that hangs with an order is a shim that hangs.
type spare struct {
	p      *os.Process
	socket int // this end
}

// newSpare starts one. Its standard error goes to the key's log once it has a key.
func (r *Runner) newSpare() (*spare, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fds[1])
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		unix.Close(fds[0])
		return nil, err
	}
	defer null.Close()
	pid, err := syscall.ForkExec(r.Small, []string{r.Small, shim.Command, shim.SpareArg}, &syscall.ProcAttr{
		Dir: "/", Env: shimEnv(), Files: []uintptr{null.Fd(), null.Fd(), null.Fd(), uintptr(fds[1])},
		Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		unix.Close(fds[0])
		return nil, err
	}
	p, err := os.FindProcess(pid)
	if err != nil {
		unix.Close(fds[0])
		return nil, err
	}
	return &spare{p: p, socket: fds[0]}, nil
}

// ready tells whether it has said that it waits for an order. It asks at most once.
func (s *spare) ready() bool {
	b := make([]byte, len(shim.Answer)+1)
	n, _, err := unix.Recvfrom(s.socket, b, unix.MSG_DONTWAIT)
	return err == nil && string(b[:max(n, 0)]) == shim.Answer
}

// warm sees to it that there is a spare, unless there is no small shim that answers, or the Runner is at its
// end. fresh replaces one that is there: it may have died, or hang.
func (r *Runner) warm(fresh bool) {
	if !r.small.Load() {
		return
	}
	s, err := r.newSpare()
	if err != nil {
		return // the start that follows says what is wrong
	}
	r.spareMu.Lock()
	old := r.spare
	if r.over || old != nil && !fresh {
		s, old = old, s
	}
	r.spare = s
	r.spareMu.Unlock()
	r.drop(old)
}

// drop ends a spare that has no order.
func (r *Runner) drop(s *spare) {
	if s == nil {
		return
	}
	unix.Close(s.socket)
	_ = s.p.Kill()
	r.reapers.Go(func() { _, _ = s.p.Wait() })
}

// handOver gives the key to the spare, and its process, or nil when there is none that takes it.
func (r *Runner) handOver(d shim.Dir, lock, done *os.File) *os.Process {
	r.spareMu.Lock()
	s := r.spare
	r.spare = nil
	r.spareMu.Unlock()
	if s == nil {
		return nil
	}
	if !s.ready() || shim.Order(s.socket, d, lock, done) != nil {
		r.drop(s)
		return nil
	}
	unix.Close(s.socket) // the order lies in it
	return s.p
}

// refill starts the next spare once a call is over, or has lasted for a while: not while its command starts.
func (r *Runner) refill(over <-chan struct{}) {
	r.spareMu.Lock()
	yes := r.spare == nil && r.small.Load() && !r.over && !r.refilling
	r.refilling = r.refilling || yes
	r.spareMu.Unlock()
	if !yes {
		return
	}
	r.reapers.Go(func() {
		select {
		case <-over:
		case <-time.After(refillAfter):
		}
		r.warm(false)
		r.spareMu.Lock()
		r.refilling = false
		r.spareMu.Unlock()
	})
}

// cool ends the spare for good.
func (r *Runner) cool() {
	r.spareMu.Lock()
	s := r.spare
	r.spare, r.over = nil, true
	r.spareMu.Unlock()
	r.drop(s)
}
