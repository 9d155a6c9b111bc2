package exec

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"firebreak/plugins"

	"golang.org/x/sys/unix"
)

const (
	shimProbe  = "probe" // no key directory is called so: they are absolute
	shimAnswer = "firebreak exec-shim 1\n"
	lockFD     = 3
	doneFD     = 4
)

// ShimMain is the whole life of a shim. Package main calls it before anything else, when its
// first argument is ShimCommand, with the arguments after that, and exits with what it gives.
func ShimMain(args []string) int {
	if len(args) == 1 && args[0] == shimProbe {
		fmt.Print(shimAnswer)
		return 0
	}
	// The command is killed with the thread that started it (Pdeathsig), which must therefore
	// live as long as this process.
	runtime.LockOSThread()
	if len(args) != 1 {
		fmt.Fprintln(os.Stderr, ShimCommand+" is started by the agent only, with one directory")
		return 2
	}
	s := &shim{d: keyDir(args[0])}
	if err := s.take(); err != nil {
		fmt.Fprintf(os.Stderr, "%s %s: %v\n", ShimCommand, args[0], err)
		return 2
	}
	if err := s.run(); err != nil {
		fmt.Fprintf(os.Stderr, "%s %s: %v\n", ShimCommand, args[0], err)
		return 1
	}
	return 0
}

// shim is used by one goroutine, but for what capture guards.
type shim struct {
	d    keyDir
	spec spec
	room *os.File // the outcome's file, its space taken before the start

	group int
	exit  chan syscall.WaitStatus // the command's own end
	none  chan struct{}           // closed when no descendant is left: wait4 said so
	out   capture
}

// take makes sure that this process holds the key's lock and will hear of the end of all
// descendants.
func (s *shim) take() error {
	syscall.CloseOnExec(lockFD)
	syscall.CloseOnExec(doneFD)
	var given, stored unix.Stat_t
	if err := errors.Join(unix.Fstat(lockFD, &given), unix.Stat(s.d.path(lockFile), &stored)); err != nil ||
		given.Dev != stored.Dev || given.Ino != stored.Ino {
		return fmt.Errorf("no lock was handed over (%v): it is started by the agent only", err)
	}
	// The same open file as the agent's, so this process has the lock already, and keeps it until
	// its end: a bare descriptor, which nothing collects.
	if err := unix.Flock(lockFD, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("the lock that was handed over is not held: %w", err)
	}
	// Caught, not ignored: what is ignored would be inherited by the command. A stop of the agent
	// or a hang-up ends no shim.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGPIPE)
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become the reaper of all descendants: %w", err)
	}
	return nil
}

// run gives an error when no outcome could be written: the next call under this key then decides
// from the marker.
func (s *shim) run() error {
	var err error
	if s.spec, err = s.d.readSpec(); err != nil {
		return err
	}
	left := time.Duration(s.spec.DeadlineNs - MonoNow())
	if left <= 0 {
		return s.end(plugins.Failed, 0, "not started: the time-out of %v had passed", time.Duration(s.spec.TimeoutNs))
	}
	ctx, cancel := context.WithTimeout(context.Background(), left)
	defer cancel()
	if err := s.start(); err != nil {
		return s.end(plugins.Failed, 0, "could not start %s: %v%s", s.spec.Path, err, hint(err))
	}
	startedNs := MonoNow() - s.spec.AskedNs
	s.out.startedNs = startedNs
	select {
	case st := <-s.exit:
		if st.Exited() && st.ExitStatus() == 0 {
			return s.succeeded(ctx)
		}
		return s.failed(st)
	case <-ctx.Done():
		if left := s.endAll(); left != "" {
			return s.end(plugins.Unknown, -1, "the time-out of %v has passed and %s cannot be ended: end it by hand", time.Duration(s.spec.TimeoutNs), left)
		}
		return s.end(plugins.Failed, -1, "ended at the time-out of %v", time.Duration(s.spec.TimeoutNs))
	}
}

func hint(err error) string {
	if errors.Is(err, syscall.ENOEXEC) {
		return ": a script needs a first line such as #!/bin/sh"
	}
	return ""
}

// succeeded stores the end at once and stays until all that the command left behind has ended,
// at the time-out at the latest: the group outlives nothing, but what was asked for has its time.
func (s *shim) succeeded(ctx context.Context) error {
	err := s.end(plugins.Done, 0, "done")
	select {
	case <-s.none:
		return err
	case <-ctx.Done():
	}
	if left := s.endAll(); left != "" {
		return errors.Join(err, fmt.Errorf("after the time-out %s cannot be ended", left))
	}
	return err
}

// failed ends what is left before it says so: "failed" lets the next attempt start.
func (s *shim) failed(st syscall.WaitStatus) error {
	code, what := st.ExitStatus(), fmt.Sprintf("exit code %d", st.ExitStatus())
	if st.Signaled() {
		code, what = 128+int(st.Signal()), fmt.Sprintf("ended by signal %v", st.Signal())
	}
	if left := s.endAll(); left != "" {
		return s.end(plugins.Unknown, code, "%s, and %s cannot be ended: end it by hand", what, left)
	}
	return s.end(plugins.Failed, code, "%s", what)
}

// start marks the key as started and starts the command, in this order.
func (s *shim) start() error {
	stdin, err := os.Open(s.d.path(stdinFile))
	if err != nil {
		return err
	}
	defer stdin.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer w.Close()
	if s.room, err = os.OpenFile(s.d.path(outcomeFile+".new"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600); err != nil {
		return fmt.Errorf("run directory: %w", err)
	}
	if err := freeSpaceFor(s.room, s.spec.OutputLimit+endingExtra); err != nil {
		return fmt.Errorf("run directory: no room for the outcome: %w", err)
	}
	m := marker{Boot: bootID(), Session: os.Getpid()}
	if err := s.mark(m); err != nil {
		return fmt.Errorf("run directory: %w", err)
	}
	how := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if u := s.spec.User; u != nil {
		how.Credential = &syscall.Credential{Uid: u.UID, Gid: u.GID, Groups: u.Groups}
		// Another user may open its own standard streams again by name (/dev/stdin, /dev/stderr); the
		// directory keeps everybody from the file by its path.
		if err := errors.Join(stdin.Chmod(0o444), w.Chmod(0o622)); err != nil {
			return err
		}
	}
	pid, err := syscall.ForkExec(s.spec.Path, s.spec.Args, &syscall.ProcAttr{
		Dir: s.spec.Dir, Env: s.spec.Env, Files: []uintptr{stdin.Fd(), w.Fd(), w.Fd()}, Sys: how,
	})
	if err != nil {
		return err
	}
	s.group = pid
	m.Group = pid
	if p, err := readProc(pid); err == nil { // it is not reaped yet: a zombie at worst
		m.StartAt = p.start
	}
	_ = s.mark(m) // without it the cookie alone finds what outlives a killed shim
	s.exit, s.none = make(chan syscall.WaitStatus, 1), make(chan struct{})
	s.out.from, s.out.limit, s.out.eof = r, s.spec.OutputLimit, make(chan struct{})
	go s.out.drain()
	go s.reap()
	return nil
}

// reap ends with the last descendant; the process ends sooner only when one cannot be killed.
func (s *shim) reap() {
	defer close(s.none)
	for {
		var st syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &st, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil: // ECHILD: there is no descendant, and so none can come
			return
		case pid == s.group:
			s.exit <- st
		}
	}
}

// endAll ends every descendant: SIGTERM, the grace, SIGKILL. It gives what is left, in words, or "".
func (s *shim) endAll() string {
	select { // the common case: nothing was left behind
	case <-s.none:
		return ""
	case <-time.After(time.Millisecond):
	}
	all := func() ([]proc, error) { return descendants(os.Getpid()) }
	if ps, err := all(); err == nil {
		for _, p := range ps {
			p.signal(unix.SIGTERM)
		}
	}
	select {
	case <-s.none:
		return ""
	case <-time.After(time.Duration(s.spec.GraceNs)):
	}
	_ = unix.Kill(-s.group, unix.SIGKILL) // in one stroke: no member can fork away from it
	left, err := killAll(all, killBound)
	select {
	case <-s.none: // the only proof
		return ""
	case <-time.After(100 * time.Millisecond):
	}
	if err != nil {
		return err.Error()
	}
	return pids(left)
}

// end writes the outcome, into the room taken for it if there is one, and tells the agent.
func (s *shim) end(r plugins.Result, code int, format string, a ...any) error {
	defer unix.Close(doneFD)
	if r == plugins.Unknown {
		// Not stored: the lock is given up, and the next call looks whether it has ended by then.
		return fmt.Errorf(format, a...)
	}
	e := ending{ID: s.spec.ID, Result: r.String(), Detail: fmt.Sprintf(format, a...), ExitCode: code,
		ElapsedNs: MonoNow() - s.spec.AskedNs, StartedNs: s.out.startedNs, Output: s.out.first()}
	if s.room == nil {
		return s.d.writeEnding(e)
	}
	b, err := e.encode()
	if err != nil {
		return err
	}
	if _, err := s.room.WriteAt(b, 0); err != nil {
		return err
	}
	if err := errors.Join(s.room.Truncate(int64(len(b))), s.room.Close()); err != nil {
		return err
	}
	return os.Rename(s.room.Name(), s.d.path(outcomeFile))
}

func (s *shim) mark(m marker) error { return s.d.write(startedFile, m.encode()) }

// capture keeps the first bytes of the output and reads the rest away, so that a command that
// says much is not held up.
type capture struct {
	from      *os.File
	buf       []byte
	limit     int
	eof       chan struct{} // closed when nothing more is read; nil: never started
	startedNs int64
}

func (c *capture) drain() {
	defer close(c.eof)
	b := make([]byte, 8<<10)
	for {
		n, err := c.from.Read(b)
		c.keep(b[:n])
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				c.rest(b)
			}
			return
		}
	}
}

// rest takes what lies in the pipe already. On a busy machine the time is over before this goroutine has
// run at all, and then Read gives nothing, whatever is there.
func (c *capture) rest(b []byte) {
	raw, err := c.from.SyscallConn()
	if err != nil || c.from.SetReadDeadline(time.Time{}) != nil {
		return
	}
	for range maxPipe / len(b) { // a process that was left behind may go on to write
		n := 0
		err := raw.Read(func(fd uintptr) bool {
			n, _ = unix.Read(int(fd), b)
			return true // it never waits
		})
		if err != nil || n <= 0 {
			return
		}
		c.keep(b[:n])
	}
}

// maxPipe is what a pipe holds unless somebody has enlarged it (pipe(7)).
const maxPipe = 64 << 10

func (c *capture) keep(b []byte) { c.buf = append(c.buf, b[:min(len(b), c.limit-len(c.buf))]...) }

// first waits a little for the end of the output, which a process left behind may keep open.
func (c *capture) first() []byte {
	if c.eof == nil {
		return nil
	}
	select {
	case <-c.eof:
	case <-time.After(20 * time.Millisecond):
		_ = c.from.SetReadDeadline(time.Unix(1, 0))
		<-c.eof // it waits for nothing any more
	}
	return c.buf
}
