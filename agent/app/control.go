package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"firebreak/agent/core"
	"firebreak/agent/response"
	"firebreak/agent/uplink"
)

// The control socket takes one JSON request a connection and gives one JSON answer. Who may
// connect is decided by the mode of its directory: whoever reaches it stands at the box (S17).
const (
	controlWait  = 5 * time.Second
	answerWait   = time.Second // for an answer to be taken
	controlBytes = 64 << 10
	controlConns = 8
	acceptPause  = time.Second
)

// desk is what orders reach, from the box and over the network.
type desk struct {
	board  *Board
	newest *newest
	loads  *busLoads // nil: none is told
	order  func(context.Context, core.Order) error
	drills *drills
	reload *reloader

	telling func() uplink.Stats // nil: nobody is told
	gear    *gear
}

type control struct {
	ln net.Listener
	*desk
}

func listenControl(path string, d *desk) (*control, error) {
	ln, err := listenSocket(path, "agent")
	if err != nil {
		return nil, err
	}
	return &control{ln, d}, nil
}

// listenSocket makes a socket for this user alone, in place of one that was left; who names what listens.
func listenSocket(path, who string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	if c, err := net.DialTimeout("unix", path, 200*time.Millisecond); err == nil {
		c.Close()
		return nil, fmt.Errorf("another %s answers on %s: stop it, or give this one another run directory", who, path)
	}
	switch fi, err := os.Lstat(path); {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return nil, err
	case fi.Mode()&os.ModeSocket == 0:
		return nil, fmt.Errorf("%s is there and no socket: it is not removed; move it, or give the control socket another path", path)
	default: // left by an agent that is gone
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		ln.Close()
		return nil, err
	}
	return ln, nil
}

// run serves until ctx ends. More than controlConns at once wait in the kernel.
func (c *control) run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	stop := context.AfterFunc(ctx, func() { c.ln.Close() })
	defer stop()
	room := make(chan struct{}, controlConns)
	for {
		room <- struct{}{}
		conn, err := c.ln.Accept()
		if err != nil {
			<-room
			select { // short of descriptors, say: a reset at the box must be possible again once that is over
			case <-ctx.Done():
				return nil
			case <-time.After(acceptPause):
			}
			continue
		}
		wg.Go(func() {
			defer func() { <-room }()
			defer conn.Close()
			a := c.answer(ctx, conn)
			_ = conn.SetWriteDeadline(time.Now().Add(answerWait))
			_ = json.NewEncoder(conn).Encode(a) // a caller that has gone gets no answer
		})
	}
}

func (c *control) answer(ctx context.Context, conn net.Conn) Answer {
	var r Request
	_ = conn.SetReadDeadline(time.Now().Add(controlWait))
	if err := json.NewDecoder(io.LimitReader(conn, controlBytes)).Decode(&r); err != nil {
		return Answer{Error: "the request is not JSON: " + err.Error()}
	}
	r.channel = core.AtTheBox // who reaches the socket stands there (S17)
	ctx, cancel := context.WithTimeout(ctx, r.takes())
	defer cancel()
	return c.desk.answer(ctx, r)
}

// takes is how long it may take until there is an answer. What is not done by then is told too.
func (r *Request) takes() time.Duration {
	if core.OrderKind(r.Order) == core.ReloadConfig {
		return reloadRead
	}
	return controlWait
}

// answers tells whether a living agent serves the control socket: one that is stopped or hangs has
// its connections taken by the kernel, and answers nothing.
func answers(path string) bool {
	if path == "" {
		return false
	}
	conn, err := net.DialTimeout("unix", path, 200*time.Millisecond)
	if err != nil {
		return false
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	var a Answer
	return json.NewEncoder(conn).Encode(Request{Order: "status"}) == nil &&
		json.NewDecoder(io.LimitReader(conn, 4<<20)).Decode(&a) == nil && a.Status != nil
}

// Ask sends one request to a running agent.
func Ask(path string, r Request) (Answer, error) {
	return AskUntil(context.Background(), path, r)
}

// AskUntil is Ask for one who waits no longer than until ctx ends.
func AskUntil(ctx context.Context, path string, r Request) (Answer, error) {
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "unix", path)
	if err != nil {
		next := "start it (systemctl start firebreak), or name its configuration with -c"
		if errors.Is(err, fs.ErrPermission) {
			next = "only its own user and root may ask it: sudo -u firebreak firebreak ..."
		}
		return Answer{}, fmt.Errorf("no agent answers on %s: %w: %s", path, err, next)
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	a, err := ask(conn, r)
	if ctx.Err() != nil && err != nil {
		err = context.Cause(ctx)
	}
	if err != nil && a.Error == "" {
		err = fmt.Errorf("the agent on %s gave no answer: %w", path, err)
	}
	return a, err
}

func ask(conn net.Conn, r Request) (a Answer, err error) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(r.takes() + 2*answerWait))
	if err := json.NewEncoder(conn).Encode(r); err != nil {
		return Answer{}, err
	}
	if err := json.NewDecoder(io.LimitReader(conn, 4<<20)).Decode(&a); err != nil {
		return Answer{}, err
	}
	if len(a.Why) > 0 {
		return a, &response.Refusal{Reasons: a.Why}
	}
	if a.Error != "" {
		return a, errors.New(a.Error)
	}
	return a, nil
}
