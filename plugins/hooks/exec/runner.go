package exec

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"firebreak/plugins"
	"firebreak/plugins/hooks/exec/shim"
)

// Task is what is run under a key.
type Task struct {
	Path        string
	Args        []string // with the program's name as the first
	Env         []string // all of it; the mark of the key is added
	Dir         string
	Stdin       []byte
	Timeout     time.Duration // from the asking
	Grace       time.Duration // from SIGTERM to SIGKILL
	OutputLimit int
	User        *User // nil: that of this process

	// Given is called when a shim has the task, unless it is nil: what is to be said of it costs the start nothing then.
	Given func()
}

// User is whom a command runs as. Only root can become another.
type User = shim.User

// Ask is the asking for one call.
type Ask struct {
	ID      string
	AskedNs int64 // by MonoNow, when it was decided
	Timeout time.Duration
	May     *os.File // that the leave comes through (shim.PoisedArg); nil: it is given

	anew bool // by a shim that is started for it: one has ended with it already
}

// Runner runs tasks, each at most once for its key, in one run directory. The directory is all
// that it remembers: any number of Runners in any number of processes may share it.
type Runner struct {
	Dir  string // absolute
	Self string // the program that answers shim.Command, absolute
	Log  *slog.Logger

	// Small answers shim.Command too and starts faster, or is empty. When it cannot be started Self is.
	Small  string
	small  atomic.Bool // the last probe has seen it answer
	memory memory      // its copy

	reapers sync.WaitGroup // one for each shim that this process has started

	spareMu   sync.Mutex
	spares    []*spare // the oldest first
	refilling bool     // one is on its way
	over      bool     // none is wanted any more
}

// try is what one look at a key has come to.
type try struct {
	out   plugins.Outcome
	ended bool // out is the answer
	spawn bool // a shim was started, and has ended without starting the command
}

// Do runs a task under the key of a, or attaches to what runs under it. task is asked for only when
// nothing has been started under the key, and under its lock: what it refuses is a known failure.
//
// The order of truth is: a whole outcome is the answer; else the lock tells whether a shim lives;
// else the marker tells whether the command may have been started. All but the first is decided
// under the lock, which goes to the shim with the open file, so that there is no instant in which
// a second agent could take it while the first hands it over.
func (r *Runner) Do(ctx context.Context, a Ask, task func() (Task, error)) plugins.Outcome {
	begin := time.Now()
	if a.Timeout <= 0 {
		return plugins.Outcome{Result: plugins.Failed, Detail: fmt.Sprintf("not started: the time-out %v is not above zero", a.Timeout)}
	}
	d := dirOf(r.Dir, a.ID)
	ctx, cancel := context.WithTimeout(ctx, a.Timeout+endBound)
	defer cancel()
	spawns, pause := 0, time.Millisecond
	for {
		t := r.once(ctx, d, a, task)
		if t.ended {
			return t.out
		}
		if t.spawn {
			if shim.MonoNow() < a.AskedNs+int64(a.Timeout) { // else it had no time
				r.small.Store(false) // it may have been replaced by one that reads another task
			}
			a.anew = true
			if spawns++; spawns == maxSpawns {
				return plugins.Outcome{Result: plugins.Failed, Elapsed: time.Since(begin),
					Detail: fmt.Sprintf("not started: the shim ended %d times before it could start the command: %s", spawns, d.LastWords())}
			}
			continue
		}
		// Somebody else holds the lock. A look every few milliseconds is enough for the rare case
		// of attaching, needs no thread that cannot be cancelled, and survives any holder.
		select {
		case <-ctx.Done():
			return plugins.Outcome{Result: plugins.Unknown, Attached: true, Elapsed: time.Since(begin), Detail: stillRuns(ctx)}
		case <-time.After(pause):
			pause = min(2*pause, 20*time.Millisecond)
		}
	}
}

// DoPoised does the same with a shim that waits for its leave. When ok is false nothing has been started
// by it, or Do has to find out, as at any other time.
func (r *Runner) DoPoised(ctx context.Context, a Ask, task func() (Task, error)) (o plugins.Outcome, ok bool) {
	if a.Timeout <= 0 || a.May == nil {
		return o, false
	}
	ctx, cancel := context.WithTimeout(ctx, shim.PoiseBound+a.Timeout+endBound)
	defer cancel()
	t := r.once(ctx, dirOf(r.Dir, a.ID), a, task)
	return t.out, t.ended
}

func stillRuns(ctx context.Context) string {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return "the end is not known: the shim still holds the key after the time-out; call again under the same key"
	}
	return "the end is not known: the agent stopped waiting; the command goes on, and a call under the same key attaches to it"
}

func (r *Runner) once(ctx context.Context, d shim.Dir, a Ask, task func() (Task, error)) try {
	id, asked := a.ID, a.AskedNs
	lock, lockErr := d.Lock()
	if lock != nil {
		defer lock.Close()
	}
	e, err := d.ReadEnding(id) // locked or not: a whole one is the answer
	switch {
	case err == nil:
		return attached(e)
	case lockErr != nil: // a shim may live under it
		return answer(plugins.Unknown, asked, "the key cannot be locked: %v: make the run directory writable; call again under the same key", lockErr)
	case lock == nil:
		return try{}
	case errors.Is(err, shim.ErrTorn), errors.Is(err, os.ErrNotExist) && d.Exists(shim.StartedFile):
		return try{ended: true, out: r.settle(d, id)}
	case !errors.Is(err, os.ErrNotExist):
		return answer(plugins.Unknown, asked, "the stored outcome cannot be read: %v; call again under the same key", err)
	case ctx.Err() != nil:
		return answer(plugins.Unknown, asked, "not started: the agent is stopping; call again under the same key")
	}
	done, p, err := r.spawn(d, lock, a, task)
	if errors.Is(err, errLate) && a.May != nil { // its time counts from the leave: the plain call finds out
		return try{}
	}
	if err != nil { // known: the lock is ours and there is no marker
		return answer(plugins.Failed, asked, "not started: %v", err)
	}
	defer done.Close()
	said := make(chan struct{}) // all that the shim says
	defer close(said)
	r.reap(d, p, said)
	r.refill(said)
	lock.Close() // the shim has its own
	if dl, ok := ctx.Deadline(); ok {
		_ = done.SetReadDeadline(dl)
	}
	stop := context.AfterFunc(ctx, func() { _ = done.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	_, _ = io.Copy(io.Discard, done) // the shim says nothing here: its end is that the outcome is written, or it is dead
	if e, err := d.ReadEnding(id); err == nil {
		return try{ended: true, out: e.Outcome()}
	}
	if ctx.Err() != nil {
		return answer(plugins.Unknown, asked, "%s", stillRuns(ctx))
	}
	// Dead, or the room for the outcome is gone. Once its lock is free the next look finds out.
	return try{spawn: !d.Exists(shim.StartedFile)}
}

func answer(r plugins.Result, asked int64, format string, a ...any) try {
	return try{ended: true, out: plugins.Outcome{Result: r, Detail: fmt.Sprintf(format, a...), Elapsed: time.Duration(shim.MonoNow() - asked)}}
}

func attached(e shim.Ending) try {
	o := e.Outcome()
	o.Attached = true
	return try{ended: true, out: o}
}

// errLate is no end of the key: who asked may have stood still or be gone, and another one may ask with time left.
var errLate = errors.New("had passed")

// spawn starts the shim and gives the pipe that closes when it has written the outcome.
func (r *Runner) spawn(d shim.Dir, lock *os.File, a Ask, task func() (Task, error)) (*os.File, *os.Process, error) {
	t, err := task()
	if err != nil {
		return nil, nil, err
	}
	if shim.MonoNow() >= a.AskedNs+int64(t.Timeout) {
		return nil, nil, fmt.Errorf("the time-out of %v %w", t.Timeout, errLate)
	}
	s := shim.Spec{
		ID: a.ID, Path: t.Path, Args: t.Args, Env: append(t.Env, shim.Cookie+"="+cookieOf(d)), Dir: t.Dir,
		AskedNs: a.AskedNs, DeadlineNs: a.AskedNs + int64(t.Timeout), TimeoutNs: int64(t.Timeout),
		GraceNs: int64(t.Grace), OutputLimit: t.OutputLimit, User: t.User,
	}
	sp, err := s.Encode()
	if err != nil {
		return nil, nil, fmt.Errorf("task of the shim: %w", err)
	}
	if err := errors.Join(d.Write(shim.StdinFile, t.Stdin), d.Write(shim.SpecFile, sp)); err != nil {
		return nil, nil, fmt.Errorf("run directory: %w: make room in it, and let its owner write", err)
	}
	done, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer w.Close()
	p, err := r.startShim(d, lock, w, a)
	if err != nil {
		done.Close()
		return nil, nil, fmt.Errorf("start the shim: %w", err)
	}
	if t.Given != nil {
		t.Given()
	}
	return done, p, nil
}

func (r *Runner) startShim(d shim.Dir, lock, done *os.File, a Ask) (*os.Process, error) {
	if !a.anew {
		if p := r.handOver(d, lock, done, a.May); p != nil {
			return p, nil
		}
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	say, err := os.OpenFile(d.Path(shim.LogFile), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer say.Close()
	args, files := []string{shim.Command, string(d)}, []*os.File{null, null, say, lock, done}
	if a.May != nil {
		args, files = append(args, shim.PoisedArg), append(files, a.May)
	}
	start := func(path, program string) (*os.Process, error) {
		return os.StartProcess(path, append([]string{program}, args...), &os.ProcAttr{
			Dir: "/", Env: shimEnv(), Files: files, Sys: &syscall.SysProcAttr{Setsid: true},
		})
	}
	if r.small.Load() { // a probe has seen it answer
		r.memory.mu.RLock()
		p, err := start(r.memory.path(r.Small), r.Small)
		r.memory.mu.RUnlock()
		if err == nil {
			return p, nil
		}
		r.small.Store(false) // removed since
	}
	return start(r.Self, r.Self)
}

// reap takes the shim when it has ended. The wait for it holds a thread, and two hundred shims may live
// at once: so it begins when the shim has nothing more to say, which is shortly before its end.
func (r *Runner) reap(d shim.Dir, p *os.Process, said <-chan struct{}) {
	r.reapers.Go(func() {
		<-said
		if st, err := p.Wait(); err != nil || !st.Success() {
			r.Log.Warn("exec shim did not end well: the next call under this key finds out", "dir", string(d), "state", st, "err", err)
		}
	})
}

// shimEnv keeps the runtime of the shim small: many may start at once on few cores. It collects
// nothing in its short life, unless a process that cannot be killed makes it list all processes
// again and again: hence the limit.
func shimEnv() []string {
	return []string{"GOMAXPROCS=1", "GOGC=off", "GOMEMLIMIT=32MiB", "GOTRACEBACK=single"}
}

// settle answers for a call that may have been started and whose shim is dead. The caller holds
// the lock, so nobody else answers or starts. The end is stored: it is the same for all who ask.
func (r *Runner) settle(d shim.Dir, id string) plugins.Outcome {
	m := d.ReadMarker()
	if boot := shim.BootID(); m.Boot == "" || boot == "" || m.Boot == boot {
		left, err := shim.KillAll(func() ([]shim.Proc, error) { return shim.Survivors(m, cookieOf(d)) }, shim.KillBound)
		if err != nil || len(left) > 0 {
			return plugins.Outcome{Result: plugins.Unknown, Attached: true,
				Detail: fmt.Sprintf("the shim died and what it started cannot be ended (%s, %v): end it by hand", shim.Pids(left), err)}
		}
	}
	what := "the end of the command was known"
	if m.Group == 0 {
		what = "the command was seen to start (the time-out ends it where the disk under the command hangs: look at that)"
	}
	e := shim.Ending{ID: id, Result: plugins.Failed.String(), ExitCode: -1,
		Detail: "the shim died before " + what + "; nothing of it runs any more; part of its work may have been done"}
	if err := d.WriteEnding(e); err != nil {
		r.Log.Warn("the end of a call cannot be stored; it is found out again at the next call", "call", id, "err", err)
	}
	r.Log.Warn("exec shim died", "call", id, "said", d.LastWords())
	return attached(e).out
}

// Wait waits until the shims that this process has started have ended, or ctx ends. It ends none of
// them: they are meant to outlive the process.
func (r *Runner) Wait(ctx context.Context) error {
	r.cool()
	done := make(chan struct{})
	go func() { r.reapers.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("commands still run under their keys; a later call attaches to them: %w", ctx.Err())
	}
}
