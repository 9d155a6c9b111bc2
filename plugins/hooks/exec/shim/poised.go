package shim

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// PoisedArg after the directory makes a shim that gets all ready and starts its command only when
	// it has been given leave: a byte from the pipe that is its third further descriptor. It costs no
	// time then but that of the start itself. When the pipe closes without it, or none has come within
	// PoiseBound, the shim ends, and nothing has been started under its key.
	PoisedArg = "poised"
	// PoiseBound is how long a command is held ready.
	PoiseBound = 2 * time.Second
)

// errLetGo: the leave was not given.
var errLetGo = errors.New("let go")

// leave waits for it, and counts the time of the call from then, or from PoiseBound after the asking at the latest:
// those who wait for the end wait no longer, also where the request lay with one who stood still. A pipe that somebody
// else empties, or of whose end nothing is heard, costs no more than its own key, and that until the bound.
func (s *shim) leave() error {
	if s.may < 0 {
		return nil
	}
	may := s.may
	defer unix.Close(may)
	_ = unix.SetNonblock(may, true) // it may be empty again when it is read
	for until := MonoNow() + int64(PoiseBound); ; {
		left := until - MonoNow()
		if left <= 0 {
			return errLetGo
		}
		t := unix.NsecToTimespec(left)
		if n, _ := unix.Ppoll([]unix.PollFd{{Fd: int32(may), Events: unix.POLLIN}}, &t, nil); n <= 0 {
			continue
		}
		var b [1]byte
		switch n, err := unix.Read(may, b[:]); {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
		case n != 1: // its end
			return errLetGo
		default:
			waited := min(MonoNow()-s.spec.AskedNs, int64(PoiseBound))
			s.spec.AskedNs += waited
			s.spec.DeadlineNs += waited
			s.may = -1
			return nil
		}
	}
}
