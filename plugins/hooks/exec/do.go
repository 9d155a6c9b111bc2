package exec

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"strings"
	"syscall"
	"time"

	"firebreak/plugins"
)

const envCookie = "FIREBREAK_RUN"

// try is what one look at a key has come to.
type try struct {
	out   plugins.Outcome
	ended bool // out is the answer
	spawn bool // a shim was started, and has ended without starting the command
}

// Do runs the command of this hook under the key of c, or attaches to it.
//
// The order of truth is: a whole outcome is the answer; else the lock tells whether a shim lives;
// else the marker tells whether the command may have been started. All but the first is decided
// under the lock, which goes to the shim with the open file, so that there is no instant in which
// a second agent could take it while the first hands it over.
func (h *Hook) Do(ctx context.Context, c plugins.Call, _ func(plugins.Evidence)) plugins.Outcome {
	asked, begin := monoNow(), time.Now()
	if o, yes := h.skip(c); yes {
		return o
	}
	if c.Timeout <= 0 {
		return plugins.Outcome{Result: plugins.Failed, Detail: fmt.Sprintf("not started: the time-out %v is not above zero", c.Timeout)}
	}
	d := dirOf(h.cfg.RunDir, c.ID())
	ctx, cancel := context.WithTimeout(ctx, c.Timeout+h.cfg.Grace+killBound+margin)
	defer cancel()
	spawns, pause := 0, time.Millisecond
	for {
		t := h.once(ctx, d, c, asked)
		if t.ended {
			return t.out
		}
		if t.spawn {
			if spawns++; spawns == maxSpawns {
				return plugins.Outcome{Result: plugins.Failed, Elapsed: time.Since(begin),
					Detail: fmt.Sprintf("not started: the shim ended %d times before it could start the command: %s", spawns, d.lastWords())}
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

func stillRuns(ctx context.Context) string {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return "the end is not known: the shim still holds the key after the time-out; call again under the same key"
	}
	return "the end is not known: the agent stopped waiting; the command goes on, and a call under the same key attaches to it"
}

func (h *Hook) once(ctx context.Context, d keyDir, c plugins.Call, asked int64) try {
	id := c.ID()
	if e, err := d.readEnding(id); err == nil {
		return attached(e)
	}
	lock, err := d.lock()
	if err != nil { // a shim may live under it
		return answer(plugins.Unknown, asked, "the key cannot be locked: %v: make the run directory writable; call again under the same key", err)
	}
	if lock == nil {
		return try{}
	}
	defer lock.Close()
	e, err := d.readEnding(id) // once more: it may have been written between the first look and the lock
	switch {
	case err == nil:
		return attached(e)
	case errors.Is(err, errTorn), errors.Is(err, os.ErrNotExist) && d.exists(startedFile):
		return try{ended: true, out: h.settle(d, id)}
	case !errors.Is(err, os.ErrNotExist):
		return answer(plugins.Unknown, asked, "the stored outcome cannot be read: %v; call again under the same key", err)
	case ctx.Err() != nil:
		return answer(plugins.Unknown, asked, "not started: the agent is stopping; call again under the same key")
	}
	done, err := h.spawn(d, lock, c, asked)
	if err != nil { // known: the lock is ours and there is no marker
		return answer(plugins.Failed, asked, "not started: %v", err)
	}
	defer done.Close()
	lock.Close() // the shim has its own
	if dl, ok := ctx.Deadline(); ok {
		_ = done.SetReadDeadline(dl)
	}
	stop := context.AfterFunc(ctx, func() { _ = done.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	_, _ = io.Copy(io.Discard, done) // the shim says nothing here: its end is that the outcome is written, or it is dead
	if e, err := d.readEnding(id); err == nil {
		return try{ended: true, out: e.outcome()}
	}
	if ctx.Err() != nil {
		return answer(plugins.Unknown, asked, "%s", stillRuns(ctx))
	}
	// Dead, or the room for the outcome is gone. Once its lock is free the next look finds out.
	return try{spawn: !d.exists(startedFile)}
}

func answer(r plugins.Result, asked int64, format string, a ...any) try {
	return try{ended: true, out: plugins.Outcome{Result: r, Detail: fmt.Sprintf(format, a...), Elapsed: time.Duration(monoNow() - asked)}}
}

func attached(e ending) try {
	o := e.outcome()
	o.Attached = true
	return try{ended: true, out: o}
}

// spawn starts the shim and gives the pipe that closes when it has written the outcome.
func (h *Hook) spawn(d keyDir, lock *os.File, c plugins.Call, asked int64) (*os.File, error) {
	path, err := osexec.LookPath(h.cfg.Command[0])
	if err != nil {
		return nil, fmt.Errorf("%w: install it, or correct the path or its mode", err)
	}
	stdin, err := json.Marshal(c.Body(h.cfg.Site, h.cfg.Agent))
	if err != nil {
		return nil, fmt.Errorf("body of the call: %w", err)
	}
	sp, err := json.Marshal(spec{
		V: specVersion, ID: c.ID(), Path: path, Args: h.cfg.Command, Env: h.environ(d, c), Dir: h.cfg.Dir,
		AskedNs: asked, DeadlineNs: asked + int64(c.Timeout), TimeoutNs: int64(c.Timeout),
		GraceNs: int64(h.cfg.Grace), OutputLimit: h.cfg.OutputLimit,
	})
	if err != nil {
		return nil, fmt.Errorf("task of the shim: %w", err)
	}
	if err := errors.Join(d.write(stdinFile, append(stdin, '\n')), d.write(specFile, sp)); err != nil {
		return nil, fmt.Errorf("run directory: %w: make room in it and let the agent's user write", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer w.Close()
	if err := h.startShim(d, lock, w); err != nil {
		r.Close()
		return nil, fmt.Errorf("start the shim: %w", err)
	}
	return r, nil
}

func (h *Hook) startShim(d keyDir, lock, done *os.File) error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	say, err := os.OpenFile(d.path(shimLogFile), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer say.Close()
	p, err := os.StartProcess(h.self, []string{h.self, ShimCommand, string(d)}, &os.ProcAttr{
		Dir: "/", Env: shimEnv(), Files: []*os.File{null, null, say, lock, done},
		Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return err
	}
	h.reapers.Go(func() {
		if st, err := p.Wait(); err != nil || !st.Success() {
			h.log.Warn("exec shim did not end well: the next call under this key finds out", "hook", h.name, "dir", string(d), "state", st, "err", err)
		}
	})
	return nil
}

// shimEnv keeps the runtime of the shim small: many may start at once on few cores. It collects
// nothing in its short life, unless a process that cannot be killed makes it list all processes
// again and again: hence the limit.
func shimEnv() []string {
	return []string{"GOMAXPROCS=1", "GOGC=off", "GOMEMLIMIT=32MiB", "GOTRACEBACK=single"}
}

// environ is all that the command sees: never the agent's own variables, which may hold secrets.
func (h *Hook) environ(d keyDir, c plugins.Call) []string {
	env := []string{}
	for _, n := range []string{"PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR"} {
		v, ok := os.LookupEnv(n)
		if !ok && n == "PATH" {
			v, ok = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", true
		}
		if _, own := h.cfg.Env[n]; ok && !own {
			env = append(env, n+"="+v)
		}
	}
	for k, v := range h.cfg.Env {
		env = append(env, k+"="+v)
	}
	b := c.Body(h.cfg.Site, h.cfg.Agent)
	for _, kv := range [][2]string{
		{"KEY", b.Key}, {"PLAN", b.Plan}, {"ZONE", b.Zone}, {"STAGE", b.Stage}, {"STEP", b.Step},
		{"EPISODE", fmt.Sprint(b.Episode)}, {"ATTEMPT", fmt.Sprint(b.Attempt)}, {"UNDO", fmt.Sprint(b.Undo)},
		{"MARK", b.Mark}, {"JOURNALED", fmt.Sprint(b.Journaled)}, {"TIMEOUT", c.Timeout.String()},
		{"SITE", b.Site}, {"AGENT", b.Agent},
	} {
		env = append(env, "FIREBREAK_"+kv[0]+"="+strings.ReplaceAll(kv[1], "\x00", ""))
	}
	return append(env, envCookie+"="+d.cookie())
}

// settle answers for a call that may have been started and whose shim is dead. The caller holds
// the lock, so nobody else answers or starts. The end is stored: it is the same for all who ask.
func (h *Hook) settle(d keyDir, id string) plugins.Outcome {
	m := d.readMarker()
	if boot := bootID(); m.Boot == "" || boot == "" || m.Boot == boot {
		left, err := killAll(func() ([]proc, error) { return survivors(m, d.cookie()) }, killBound)
		if err != nil || len(left) > 0 {
			return plugins.Outcome{Result: plugins.Unknown, Attached: true,
				Detail: fmt.Sprintf("the shim died and what it started cannot be ended (%s, %v): end it by hand", pids(left), err)}
		}
	}
	e := ending{ID: id, Result: plugins.Failed.String(), ExitCode: -1,
		Detail: "the shim died before the end of the command was known; nothing of it runs any more; part of its work may have been done"}
	if err := d.writeEnding(e); err != nil {
		h.log.Warn("the end of a call cannot be stored; it is found out again at the next call", "hook", h.name, "call", id, "err", err)
	}
	h.log.Warn("exec shim died", "hook", h.name, "call", id, "said", d.lastWords())
	return attached(e).out
}

func pids(ps []proc) string {
	if len(ps) == 0 {
		return "no process known"
	}
	s := make([]string, 0, len(ps))
	for _, p := range ps[:min(len(ps), 20)] {
		s = append(s, fmt.Sprint(p.pid))
	}
	return "pid " + strings.Join(s, " ")
}

// lastWords is the end of what the shims of this key said.
func (d keyDir) lastWords() string {
	b, err := os.ReadFile(d.path(shimLogFile))
	if err != nil || len(b) == 0 {
		return "it said nothing"
	}
	return strings.Join(strings.Fields(string(b[max(0, len(b)-500):])), " ")
}
