// Package shim is the process that stands above one command of an exec hook: one for each key, started
// by the agent or by firebreak-helper, and the one that knows the end of the command when both have died.
//
// It is a package of its own because its start is on the way of every action: each package that it brings
// along costs time before the command starts. A test keeps the list of them. Whoever calls Main should be
// small as well: firebreak-shim is nothing else.
//
// Concurrency: a shim is one goroutine on one thread, which waits for everything in one place (await).
// What it shares with others lies in a directory (Dir) under a lock. Failure: an outcome is written when
// the end is known; a shim that dies leaves the lock free and a marker (Marker), from which the next one
// to ask decides.
package shim

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"firebreak/plugins"

	"golang.org/x/sys/unix"
)

const (
	// Command is the first argument that a program answers with Main.
	Command = "exec-shim"
	// ProbeArg in the place of the directory asks for Answer: that this is a shim which reads and
	// writes what this package does. No key directory is called so: they are absolute.
	ProbeArg = "probe"
	// Answer is what it says.
	Answer = "firebreak exec-shim 3\n"

	lockFD = 3
	doneFD = 4
	mayFD  = 5 // of one that is poised

	// KillBound is the time for killed processes to be gone, and seen to be.
	KillBound = 2 * time.Second
)

// Main is the whole life of a shim. Package main calls it before anything else, when its
// first argument is Command, with the arguments after that, and exits with what it gives.
func Main(args []string) int {
	if len(args) == 1 && args[0] == ProbeArg {
		_, _ = os.Stdout.WriteString(Answer)
		return 0
	}
	// The command is killed with the thread that started it (Pdeathsig), which must therefore
	// live as long as this process.
	runtime.LockOSThread()
	name := [16]byte{'f', 'i', 'r', 'e', 'b', 'r', 'e', 'a', 'k', '-', 's', 'h', 'i', 'm'}
	_ = unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&name[0])), 0, 0, 0) // a copy in memory is called as its descriptor
	poised := len(args) == 2 && args[1] == PoisedArg
	if len(args) != 1 && !poised {
		fmt.Fprintln(os.Stderr, Command+" is started by the agent only, with one directory")
		return 2
	}
	d := Dir(args[0])
	if d == SpareArg {
		var err error
		if d, poised, err = awaitOrder(); err != nil {
			fmt.Fprintf(os.Stderr, "%s %s: %v\n", Command, SpareArg, err)
			return 2
		}
		if d == "" {
			return 0 // it was not needed
		}
	}
	s := &shim{d: d, may: -1, room: -1, pipe: -1, pidfd: -1, none: true}
	if poised {
		s.may = mayFD
	}
	if err := s.take(); err != nil {
		fmt.Fprintf(os.Stderr, "%s %s: %v\n", Command, d, err)
		return 2
	}
	if err := s.run(); err != nil {
		fmt.Fprintf(os.Stderr, "%s %s: %v\n", Command, d, err)
		return 1
	}
	return 0
}

type shim struct {
	d    Dir
	spec Spec

	may int // the command waits for its leave through this pipe; -1: it does not, or has it

	room int // the outcome's file, its space taken before the start; -1: none yet

	group     int                // the command, and its process group
	pidfd     int                // of the command; -1: this kernel has none, or it has ended
	pipe      int                // the command's output; -1: none, or at its end
	exited    bool               // the command has ended,
	status    syscall.WaitStatus // so
	none      bool               // no descendant is left: wait4 said so
	out       []byte             // the first bytes of the output
	startedNs int64              // since AskedNs; 0: not started
}

// take makes sure that this process holds the key's lock and will hear of the end of all
// descendants.
func (s *shim) take() error {
	syscall.CloseOnExec(lockFD)
	syscall.CloseOnExec(doneFD)
	if s.may >= 0 {
		syscall.CloseOnExec(s.may)
	}
	var given, stored unix.Stat_t
	if err := errors.Join(unix.Fstat(lockFD, &given), unix.Stat(s.d.Path(LockFile), &stored)); err != nil ||
		given.Dev != stored.Dev || given.Ino != stored.Ino {
		return fmt.Errorf("no lock was handed over (%v): it is started by the agent only", err)
	}
	// The same open file as the agent's, so this process has the lock already, and keeps it until
	// its end: a bare descriptor, which nothing collects.
	if err := unix.Flock(lockFD, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("the lock that was handed over is not held: %w", err)
	}
	return reap()
}

// reap makes this process hear of the end of all descendants.
func reap() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become the reaper of all descendants: %w", err)
	}
	return nil
}

// run gives an error when no outcome could be written: the next call under this key then decides
// from the marker, or starts the command where there is none. Before the leave none is: what is in the way then is nothing yet of a call that may never be made.
func (s *shim) run() error {
	var err error
	if s.spec, err = s.d.ReadSpec(); err != nil {
		return err
	}
	timeout := time.Duration(s.spec.TimeoutNs)
	if s.spec.DeadlineNs <= MonoNow() {
		// No end of the key: who asked may have stood still or be gone, and another one may ask with time left.
		return fmt.Errorf("not started: the time-out of %v had passed", timeout)
	}
	switch err := s.start(); {
	case errors.Is(err, errLetGo):
		return nil // as if it had never been
	case err != nil && s.may >= 0:
		return fmt.Errorf("not got ready: %w", err)
	case err != nil:
		return s.end(plugins.Failed, 0, "could not start %s: %v%s", s.spec.Path, err, hint(err))
	}
	if !s.await(s.spec.DeadlineNs, func() bool { return s.exited }) {
		if left := s.endAll(); left != "" {
			return s.end(plugins.Unknown, -1, "the time-out of %v has passed and %s cannot be ended: end it by hand", timeout, left)
		}
		return s.end(plugins.Failed, -1, "ended at the time-out of %v", timeout)
	}
	if s.status.Exited() && s.status.ExitStatus() == 0 {
		return s.succeeded()
	}
	return s.failed()
}

func hint(err error) string {
	if errors.Is(err, syscall.ENOEXEC) {
		return ": a script needs a first line such as #!/bin/sh"
	}
	return ""
}

// succeeded stores the end at once and stays until all that the command left behind has ended,
// at the time-out at the latest: the group outlives nothing, but what was asked for has its time.
func (s *shim) succeeded() error {
	err := s.end(plugins.Done, 0, "done")
	if s.await(s.spec.DeadlineNs, s.alone) {
		return err
	}
	if left := s.endAll(); left != "" {
		return errors.Join(err, fmt.Errorf("after the time-out %s cannot be ended", left))
	}
	return err
}

// failed ends what is left before it says so: "failed" lets the next attempt start.
func (s *shim) failed() error {
	code, what := s.status.ExitStatus(), fmt.Sprintf("exit code %d", s.status.ExitStatus())
	if s.status.Signaled() {
		code, what = 128+int(s.status.Signal()), fmt.Sprintf("ended by signal %v", s.status.Signal())
	}
	if left := s.endAll(); left != "" {
		return s.end(plugins.Unknown, code, "%s, and %s cannot be ended: end it by hand", what, left)
	}
	return s.end(plugins.Failed, code, "%s", what)
}

// start makes all ready, waits for its leave if it has to, marks the key as started and starts the command, in
// this order.
func (s *shim) start() error {
	stdin, err := open(s.d.Path(StdinFile), unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer unix.Close(stdin)
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return err
	}
	defer unix.Close(pipe[1])
	s.pipe = pipe[0] // read only when poll has seen something in it
	if s.room, err = open(s.d.Path(OutcomeFile+".new"), unix.O_CREAT|unix.O_TRUNC|unix.O_WRONLY); err != nil {
		return fmt.Errorf("run directory: %w", err)
	}
	if err := freeSpaceFor(s.room, s.spec.OutputLimit+endingExtra); err != nil {
		return fmt.Errorf("run directory: no room for the outcome: %w", err)
	}
	m := Marker{Boot: BootID(), Session: os.Getpid()}
	how := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, PidFD: &s.pidfd}
	if u := s.spec.User; u != nil {
		how.Credential = &syscall.Credential{Uid: u.UID, Gid: u.GID, Groups: u.Groups}
		// Another user may open its own standard streams again by name (/dev/stdin, /dev/stderr); the
		// directory keeps everybody from the file by its path.
		if err := errors.Join(unix.Fchmod(stdin, 0o444), unix.Fchmod(pipe[1], 0o622)); err != nil {
			return err
		}
	}
	if err := s.leave(); err != nil {
		return err
	}
	if err := s.d.mark(m); err != nil {
		return fmt.Errorf("run directory: %w", err)
	}
	takeBack := endAt(s.spec.DeadlineNs)
	pid, err := syscall.ForkExec(s.spec.Path, s.spec.Args, &syscall.ProcAttr{
		Dir: s.spec.Dir, Env: s.spec.Env, Files: []uintptr{uintptr(stdin), uintptr(pipe[1]), uintptr(pipe[1])}, Sys: how,
	})
	takeBack()
	if err != nil {
		return err
	}
	// A stop of the agent or a hang-up ends no shim from here on. Before, it would have been inherited by the
	// command, and a shim that has started nothing is no loss; to catch them instead takes two threads and
	// ten changes between them. One that comes in between is the death of the shim, as by SIGKILL.
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGPIPE)
	s.startedNs = MonoNow() - s.spec.AskedNs
	s.group, s.none = pid, false
	m.Group = pid
	if p, err := ReadProc(pid); err == nil { // it is not reaped yet: a zombie at worst
		m.StartAt = p.Start
	}
	_ = s.d.mark(m) // without it the cookie alone finds what outlives a killed shim
	return nil
}

// endAll ends every descendant: SIGTERM, the grace, SIGKILL. It gives what is left, in words, or "".
func (s *shim) endAll() string {
	if s.await(MonoNow()+int64(time.Millisecond), s.alone) { // the common case: nothing was left behind
		return ""
	}
	all := func() ([]Proc, error) { return Descendants(os.Getpid()) }
	if ps, err := all(); err == nil {
		for _, p := range ps {
			p.signal(unix.SIGTERM)
		}
	}
	if s.await(MonoNow()+s.spec.GraceNs, s.alone) {
		return ""
	}
	_ = unix.Kill(-s.group, unix.SIGKILL) // in one stroke: no member can fork away from it
	left, err := KillAll(all, KillBound)
	if s.await(MonoNow()+int64(100*time.Millisecond), s.alone) { // the only proof
		return ""
	}
	if err != nil {
		return err.Error()
	}
	return Pids(left)
}

func (s *shim) alone() bool { return s.none }

// end writes the outcome, into the room taken for it if there is one, and tells the agent.
func (s *shim) end(r plugins.Result, code int, format string, a ...any) error {
	defer unix.Close(doneFD)
	if r == plugins.Unknown {
		// Not stored: the lock is given up, and the next call looks whether it has ended by then.
		return fmt.Errorf(format, a...)
	}
	e := Ending{ID: s.spec.ID, Result: r.String(), Detail: fmt.Sprintf(format, a...), ExitCode: code,
		ElapsedNs: MonoNow() - s.spec.AskedNs, StartedNs: s.startedNs, Output: s.output(outputWait)}
	if s.room < 0 {
		return s.d.WriteEnding(e)
	}
	b := e.encode()
	if err := writeAll(s.room, b); err != nil {
		return err
	}
	if err := errors.Join(again(func() error { return unix.Ftruncate(s.room, int64(len(b))) }), unix.Close(s.room)); err != nil {
		return err
	}
	return unix.Rename(s.d.Path(OutcomeFile+".new"), s.d.Path(OutcomeFile))
}
