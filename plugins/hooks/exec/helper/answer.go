package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"firebreak/plugins"
	"firebreak/plugins/hooks/exec"
	"firebreak/plugins/hooks/exec/frame"
	"firebreak/plugins/hooks/exec/shim"
)

const maxName = 512 // of what the agent tells, in one variable

// run starts an action under its key, or attaches. When the asker goes away only the waiting ends. may is the
// pipe that the leave comes through, or nil.
func (s *server) run(ctx context.Context, c *net.UnixConn, r *exec.Runner, req *frame.Request, may *os.File) frame.Reply {
	body, err := call(req)
	if err != nil { // such a call cannot have been started
		return outcome(plugins.Outcome{Result: plugins.Failed, Detail: "not started: " + err.Error()})
	}
	timeout := min(time.Duration(req.TimeoutNs), maxTimeout)
	ctx, cancel := context.WithCancel(ctx)
	var watch sync.WaitGroup
	_ = c.SetReadDeadline(time.Now().Add(timeout + time.Minute))
	watch.Go(func() {
		_, _ = c.Read(make([]byte, 1)) // nothing more is said: it ends with the connection, or at its deadline
		cancel()
	})
	defer watch.Wait()
	defer func() { _ = c.SetReadDeadline(time.Unix(1, 0)) }()
	now := shim.MonoNow()
	asked := req.AskedNs
	if asked <= 0 || asked > now { // another clock than ours
		asked = now
	}
	a, task := exec.Ask{ID: req.ID, AskedNs: asked, Timeout: timeout, May: may}, func() (exec.Task, error) { return s.task(req, body, timeout) }
	var o plugins.Outcome
	if may == nil {
		o = r.Do(ctx, a, task)
	} else if got, ok := r.DoPoised(ctx, a, task); ok {
		o = got
	} else {
		return frame.Reply{Error: "let go: ask without a pipe"}
	}
	s.log.Info("call", "call", req.ID, "action", req.Action, "result", o.Result.String(), "detail", o.Detail, "attached", o.Attached)
	return outcome(o)
}

func outcome(o plugins.Outcome) frame.Reply {
	return frame.Reply{Outcome: &frame.Outcome{Result: o.Result.String(), Detail: o.Detail, ExitCode: o.ExitCode,
		Output: []byte(o.Output), ElapsedNs: int64(o.Elapsed), Attached: o.Attached}}
}

// call reads what the agent tells of a call. What goes into a variable is short and in one line.
func call(req *frame.Request) (plugins.Body, error) {
	var b plugins.Body
	if err := json.Unmarshal(req.Body, &b); err != nil {
		return b, fmt.Errorf("the body of the call is no JSON object of a call: %w", err)
	}
	if b.Key != req.ID {
		return b, fmt.Errorf("the call is %q and its body speaks of %q", req.ID, b.Key)
	}
	id := req.ID
	if b.Mark != plugins.MarkReal.String() {
		id = strings.TrimPrefix(id, b.Mark+"/")
	}
	if _, err := plugins.ParseKey(id); err != nil {
		return b, err
	}
	for _, v := range []string{b.Key, b.Plan, b.Zone, b.Stage, b.Step, b.Target, b.Mark, b.Site, b.Agent} {
		if len(v) > maxName || strings.ContainsFunc(v, unicode.IsControl) {
			return b, fmt.Errorf("%.40q is no name: at most %d bytes, no control characters", v, maxName)
		}
	}
	return b, nil
}

// find gives an action of the list that counts now.
func (s *server) find(name string) (*action, error) {
	l := s.list.Load()
	if l.err != nil {
		return nil, l.err
	}
	a := l.list.actions[name]
	if a == nil {
		return nil, fmt.Errorf("the action %q is not in the helper's list %s: add it there and reload the helper, or correct the name", name, s.file)
	}
	return a, nil
}

// task is what is started under a new key. The agent has its say in the key, the time-out and the
// text on standard input, and nowhere else.
func (s *server) task(req *frame.Request, b plugins.Body, timeout time.Duration) (exec.Task, error) {
	a, err := s.find(req.Action)
	if err != nil {
		return exec.Task{}, err
	}
	if b.Mark != plugins.MarkReal.String() && (b.Mark != plugins.MarkDrill.String() || a.drill != "native") {
		return exec.Task{}, fmt.Errorf("the action %q is not for calls of mark %q (S7): it declares no drill support in %s", a.name, b.Mark, s.file)
	}
	if err := errors.Join(a.fit()...); err != nil {
		return exec.Task{}, err
	}
	var stdin bytes.Buffer
	if err := json.Compact(&stdin, req.Body); err != nil {
		return exec.Task{}, fmt.Errorf("body of the call: %w", err)
	}
	stdin.WriteByte('\n')
	timeout = min(timeout, a.maxTimeout)
	given := func() {
		s.log.Info("start", "call", req.ID, "action", a.name, "program", a.program, "user", a.as.name, "timeout", timeout.String())
	}
	return exec.Task{Given: given, Path: a.program, Args: append([]string{a.program}, a.args...), Env: a.environ(b, timeout), Dir: a.dir,
		Stdin: stdin.Bytes(), Timeout: timeout, Grace: a.grace, OutputLimit: a.outputLimit, User: a.as.user}, nil
}

func (a *action) environ(b plugins.Body, timeout time.Duration) []string {
	env := map[string]string{"PATH": exec.DefaultPath, "HOME": a.as.home, "USER": a.as.name, "LOGNAME": a.as.name, "LANG": "C.UTF-8"}
	maps.Copy(env, a.env)
	var out []string
	for _, k := range slices.Sorted(maps.Keys(env)) {
		out = append(out, k+"="+env[k])
	}
	return append(out, exec.CallEnv(b, timeout)...)
}

// probe looks whether an action could be started now.
func (s *server) probe(ctx context.Context, r *exec.Runner, req *frame.Request) frame.Reply {
	ctx, cancel := context.WithTimeout(ctx, sayBound)
	defer cancel()
	p := &frame.Probed{}
	faults := []error{r.Probe(ctx)}
	if a, err := s.find(req.Action); err != nil {
		faults = append(faults, err)
	} else {
		p.Drill = a.drill
		faults = append(faults, a.fit()...)
	}
	for _, err := range faults {
		if err != nil {
			p.Faults = append(p.Faults, err.Error())
		}
	}
	return frame.Reply{Probe: p}
}

// over removes ended keys that the agent says will not be asked again.
func (s *server) over(r *exec.Runner, req *frame.Request) frame.Reply {
	s.sweeps.Lock()
	defer s.sweeps.Unlock()
	n, err := exec.SweepOver(r.Dir, func(plan string) uint64 { return req.Open[plan] }, exec.KeepPast, exec.KeepLast)
	if err != nil {
		s.log.Warn("ended keys could not be swept", "run", r.Dir, "err", err)
	}
	return frame.Reply{Over: &frame.Swept{Removed: n}}
}

// names of the actions, in order.
func (l *list) names() []string { return slices.Sorted(maps.Keys(l.actions)) }
