package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"firebreak/plugins/hooks/exec"
	"firebreak/plugins/hooks/exec/frame"
	"firebreak/plugins/service"
)

const (
	sayBound = 2 * time.Second // for a request to be there, or a reply to be taken
	maxConns = 1024            // that are served at once; further ones are told to come again
	turn     = time.Second     // of the loop that takes connections, and feeds the watchdog
	stopTime = time.Second     // for what waits to be let go
)

// options of a helper.
type options struct {
	file, dir, group string
	allow            []uint32
	log              *slog.Logger
}

// server answers. All fields but list are set before it serves.
type server struct {
	file    string
	log     *slog.Logger
	runners map[uint32]*exec.Runner // by the user that asks: each has its keys apart
	slots   chan struct{}
	sweeps  sync.Mutex
	list    atomic.Pointer[loaded]
}

// loaded is the list that counts, or why there is none.
type loaded struct {
	list *list
	err  error
}

// run serves until ctx ends.
func (o *options) run(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("own program: %w", err)
	}
	lock, err := lockDir(o.dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	s := &server{file: o.file, log: o.log, runners: map[uint32]*exec.Runner{}, slots: make(chan struct{}, maxConns)}
	for _, uid := range o.allow {
		dir := filepath.Join(o.dir, "keys", strconv.FormatUint(uint64(uid), 10))
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("run directory: %w", err)
		}
		s.runners[uid] = &exec.Runner{Dir: dir, Self: self, Small: exec.SmallBeside(self), Log: o.log}
	}
	s.reload(true)
	ln, err := listen(filepath.Join(o.dir, socketName), o.group)
	if err != nil {
		return err
	}
	note := service.NewNotifier()
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wg.Go(func() { s.reloads(ctx) })
	wg.Go(func() { s.keep(ctx) })
	note.Send("READY=1")
	o.log.Info("firebreak-helper runs", "socket", ln.Addr().String(), "list", o.file, "users", fmt.Sprint(o.allow), "version", version())
	err = s.accept(ctx, ln, note)
	note.Send("STOPPING=1")
	cancel()
	wg.Wait()
	return err
}

// reloads reads the list again at each SIGHUP.
func (s *server) reloads(ctx context.Context) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
			s.reload(false)
		}
	}
}

// reload takes the list from its file. One with a fault never takes the place of a good one; at the
// start there is none, and then nothing new is started.
func (s *server) reload(first bool) {
	l, faults, err := load(s.file, os.Geteuid() == 0)
	if err == nil {
		s.list.Store(&loaded{list: l})
		s.log.Info("the list of actions is read", "list", s.file, "actions", len(l.actions))
		return
	}
	for _, f := range faults {
		s.log.Error("fault in the list of actions", "at", f.String())
	}
	if len(faults) > 0 {
		err = fmt.Errorf("%s", faults[0])
	}
	s.log.Error("the list of actions is refused: see firebreak-helper check", "list", s.file, "err", err)
	if first {
		s.list.Store(&loaded{err: fmt.Errorf("the helper has refused its list of actions: %w", err)})
	}
}

// accept takes connections until ctx ends, and waits for a while until they are let go. It alone
// feeds the watchdog: a loop that stands still is started anew, whatever else goes on.
func (s *server) accept(ctx context.Context, ln *net.UnixListener, note *service.Notifier) error {
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	defer ln.Close()
	var conns sync.WaitGroup
	pause := time.Millisecond
	for ctx.Err() == nil {
		note.Alive()
		_ = ln.SetDeadline(time.Now().Add(note.Within(turn)))
		c, err := ln.AcceptUnix()
		switch {
		case err == nil:
			pause = time.Millisecond
			conns.Go(func() { s.serve(ctx, c) })
		case ctx.Err() != nil, errors.Is(err, os.ErrDeadlineExceeded):
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("the socket is gone: %w", err)
		default: // out of descriptors, or of memory
			s.log.Warn("a connection could not be taken", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
			pause = min(2*pause, turn)
		}
	}
	done := make(chan struct{})
	go func() { conns.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(stopTime): // one that does not end holds nothing that matters: the process ends
	}
	return nil
}

// serve answers one request.
func (s *server) serve(ctx context.Context, c *net.UnixConn) {
	defer c.Close()
	defer func() {
		if r := recover(); r != nil { // the asker sees the connection end, and asks again
			s.log.Error("an answer panicked", "panic", r, "stack", string(debug.Stack()))
		}
	}()
	rep := s.reply(ctx, c)
	if ctx.Err() != nil {
		return // no word at the end: the next helper knows it all
	}
	rep.V = frame.Version
	_ = c.SetWriteDeadline(time.Now().Add(sayBound))
	if err := frame.Write(c, rep, frame.MaxReply); err != nil && rep.Outcome != nil {
		s.log.Debug("an outcome was not taken; it is stored", "err", err)
	}
}

func (s *server) reply(ctx context.Context, c *net.UnixConn) frame.Reply {
	uid, err := frame.PeerUID(c)
	if err != nil {
		return frame.Reply{Error: "who asks cannot be known: " + err.Error()}
	}
	r := s.runners[uid]
	if r == nil {
		s.log.Warn("refused: this user may not ask", "user", uid)
		return frame.Reply{Error: fmt.Sprintf("user %d may not ask: start the helper with -allow for it", uid)}
	}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		return frame.Reply{Error: fmt.Sprintf("%d calls are served at once already", maxConns)}
	}
	var req frame.Request
	_ = c.SetReadDeadline(time.Now().Add(sayBound))
	may, err := frame.ReadRequest(c, &req)
	if err != nil {
		return frame.Reply{Error: "no request was understood: " + err.Error()}
	}
	if may != nil {
		defer may.Close()
	}
	if req.V != frame.Version {
		return frame.Reply{Error: fmt.Sprintf("the request is of version %d, this helper knows %d: install agent and helper of one version", req.V, frame.Version)}
	}
	switch req.Op {
	case frame.Run:
		return s.run(ctx, c, r, &req, nil)
	case frame.Poise:
		if may == nil {
			return frame.Reply{Error: "nothing is got ready without a pipe for the leave"}
		}
		return s.run(ctx, c, r, &req, may)
	case frame.Probe:
		return s.probe(ctx, r, &req)
	case frame.Over:
		return s.over(r, &req)
	}
	return frame.Reply{Error: fmt.Sprintf("operation %q is not known", req.Op)}
}
