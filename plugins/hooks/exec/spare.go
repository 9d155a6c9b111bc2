package exec

import (
	"os"
	"slices"
	"syscall"
	"time"

	"firebreak/plugins/hooks/exec/shim"

	"golang.org/x/sys/unix"
)

const (
	// spares are kept, so that there is one for a call that follows at the heels of another. Each takes about a
	// megabyte.
	spares = 2
	// refillAfter a start the next spare is started, if the call is not over sooner.
	refillAfter = 100 * time.Millisecond
)

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
	// Else its runtime keeps files of the control group open, where what comes with the order belongs.
	env := append(shimEnv(), "GODEBUG=containermaxprocs=0")
	r.memory.mu.RLock()
	defer r.memory.mu.RUnlock()
	pid, err := syscall.ForkExec(r.memory.path(r.Small), []string{r.Small, shim.Command, shim.SpareArg}, &syscall.ProcAttr{
		Dir: "/", Env: env, Files: []uintptr{null.Fd(), null.Fd(), null.Fd(), uintptr(fds[1])},
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

// warm sees to it that there are spares, unless there is no small shim that answers, or the Runner is at its
// end. fresh replaces those that are there: they may have died, or hang.
func (r *Runner) warm(fresh bool) {
	if !r.small.Load() {
		return
	}
	if fresh {
		r.drop(r.take(spares)...)
	}
	for r.short() {
		s, err := r.newSpare()
		if err != nil {
			return // the start that follows says what is wrong
		}
		if !r.put(s) {
			r.drop(s)
		}
	}
}

// short tells whether a spare is missing.
func (r *Runner) short() bool {
	r.spareMu.Lock()
	defer r.spareMu.Unlock()
	return !r.over && len(r.spares) < spares
}

func (r *Runner) put(s *spare) bool {
	r.spareMu.Lock()
	defer r.spareMu.Unlock()
	if r.over || len(r.spares) >= spares {
		return false
	}
	r.spares = append(r.spares, s)
	return true
}

// take gives the oldest spares, at most so many.
func (r *Runner) take(most int) []*spare {
	r.spareMu.Lock()
	defer r.spareMu.Unlock()
	n := min(most, len(r.spares))
	s := slices.Clone(r.spares[:n])
	r.spares = slices.Delete(r.spares, 0, n)
	return s
}

// drop ends spares that have no order.
func (r *Runner) drop(old ...*spare) {
	for _, s := range old {
		unix.Close(s.socket)
		_ = s.p.Kill()
		r.reapers.Go(func() { _, _ = s.p.Wait() })
	}
}

// handOver gives the key to a spare, and its process, or nil when there is none that takes it.
func (r *Runner) handOver(d shim.Dir, lock, done, may *os.File) *os.Process {
	old := r.take(1)
	if len(old) == 0 {
		return nil
	}
	s := old[0]
	if !s.ready() || shim.Order(s.socket, d, lock, done, may) != nil {
		r.drop(s)
		return nil
	}
	unix.Close(s.socket) // the order lies in it
	return s.p
}

// refill starts further spares once a call is over, or has lasted for a while: not while its command starts.
func (r *Runner) refill(over <-chan struct{}) {
	r.spareMu.Lock()
	yes := len(r.spares) < spares && r.small.Load() && !r.over && !r.refilling
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

// cool ends the spares for good.
func (r *Runner) cool() {
	r.spareMu.Lock()
	r.over = true
	r.spareMu.Unlock()
	r.drop(r.take(spares)...)
}
