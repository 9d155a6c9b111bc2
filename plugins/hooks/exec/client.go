package exec

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"time"

	"firebreak/plugins"
	"firebreak/plugins/hooks/exec/frame"
)

// DefaultHelper is the helper's socket where none is named.
const DefaultHelper = "/run/firebreak-helper/helper.sock"

const (
	sayBound  = 2 * time.Second        // for a request to be written, or a short reply to come
	firstWait = 5 * time.Millisecond   // between two tries to reach the helper, growing
	longWait  = 250 * time.Millisecond // to this: a helper is back within about a second
)

// HelperSocket is where the helper of an action listens.
func (c Config) HelperSocket() string {
	if c.Helper == "" {
		return DefaultHelper
	}
	return c.Helper
}

// ask has the helper run the action, or attach to it. The helper alone knows what has been started
// under a key, whether or not an earlier agent asked for it. So Failed is said only on its word;
// whoever did not reach it says Unknown, and the same key is tried again.
//
// A connection that breaks is made again: the key attaches. A helper that is not there is tried
// until the time-out; one that has taken the request is waited for until every command of such a
// time-out has ended and been told.
func (h *Hook) ask(ctx context.Context, a Ask, c plugins.Call) plugins.Outcome {
	begin := time.Now()
	unknown := func(format string, v ...any) plugins.Outcome {
		return plugins.Outcome{Result: plugins.Unknown, Elapsed: time.Since(begin), Detail: fmt.Sprintf(format, v...)}
	}
	if a.Timeout <= 0 {
		return plugins.Outcome{Result: plugins.Failed, Detail: fmt.Sprintf("not started: the time-out %v is not above zero", a.Timeout)}
	}
	req, err := h.request(frame.Run, a, c)
	if err != nil {
		return unknown("%v", err)
	}
	ctx, cancel := context.WithTimeout(ctx, a.Timeout+endBound)
	defer cancel()
	taken, pause := false, firstWait
	var last error // that of the try before the end says more than that of a try cut short
	for {
		tried := time.Now()
		rep, sent, err := talk(ctx, h.cfg.Helper, h.cfg.HelperUID, req, nil, 0)
		taken = taken || sent
		if last == nil || ctx.Err() == nil {
			last = err
		}
		switch {
		case err == nil && rep.Outcome != nil:
			return outcome(rep.Outcome, begin)
		case errors.Is(ctx.Err(), context.Canceled) && taken:
			return unknown("the end is not known: the agent stopped waiting; what was started goes on, and a call under the same key attaches to it")
		case errors.Is(ctx.Err(), context.Canceled):
			return unknown("not started by this call: the agent is stopping; call again under the same key")
		case ctx.Err() != nil && taken:
			return unknown("the end is not known: the helper has the call and has not told its end after the time-out (%v); call again under the same key", last)
		case ctx.Err() != nil, !taken && time.Since(begin) >= a.Timeout:
			return unknown("the helper could not be asked until the time-out (%v): see that firebreak-helper runs; call again under the same key", last)
		}
		if time.Since(tried) > longWait {
			pause = firstWait // it was there, and broke off
		}
		bound := a.Timeout - time.Since(begin)
		if taken {
			bound += endBound
		}
		select {
		case <-ctx.Done():
		case <-time.After(min(pause/2+rand.N(pause/2+1), max(bound, time.Millisecond))):
		}
		pause = min(2*pause, longWait)
	}
}

func (h *Hook) request(op string, a Ask, c plugins.Call) (frame.Request, error) {
	body, err := json.Marshal(c.Body(h.cfg.Site, h.cfg.Agent))
	if err != nil {
		return frame.Request{}, fmt.Errorf("body of the call: %w", err)
	}
	return frame.Request{V: frame.Version, Op: op, Action: h.cfg.Action, ID: a.ID, AskedNs: a.AskedNs, TimeoutNs: int64(a.Timeout), Body: body}, nil
}

func outcome(o *frame.Outcome, begin time.Time) plugins.Outcome {
	out := plugins.Outcome{Detail: o.Detail, ExitCode: o.ExitCode, Output: string(o.Output), Elapsed: time.Duration(o.ElapsedNs), Attached: o.Attached}
	if out.Elapsed == 0 {
		out.Elapsed = time.Since(begin)
	}
	switch o.Result {
	case plugins.Done.String():
		out.Result = plugins.Done
	case plugins.Failed.String():
		out.Result = plugins.Failed
	}
	return out
}

// talk asks once, on a connection of its own, and tells whether the helper has the whole request.
// may goes along unless it is nil. wait bounds the reply; 0: the context alone does.
func talk(ctx context.Context, path string, uid uint32, req frame.Request, may *os.File, wait time.Duration) (rep frame.Reply, sent bool, err error) {
	dctx, cancel := context.WithTimeout(ctx, sayBound)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(dctx, "unix", path)
	if err != nil {
		return rep, false, fmt.Errorf("helper: %w%s", err, why(err))
	}
	c := conn.(*net.UnixConn)
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	peer, err := frame.PeerUID(c)
	if err != nil {
		return rep, false, fmt.Errorf("helper %s: who it is cannot be known: %w", path, err)
	}
	if peer != uid && peer != 0 {
		return rep, false, fmt.Errorf("helper %s runs as user %d, and not as root or %d (helper_uid): nothing is told to it", path, peer, uid)
	}
	_ = c.SetWriteDeadline(time.Now().Add(sayBound))
	if err := frame.WriteRequest(c, req, may); err != nil {
		_ = c.SetReadDeadline(time.Now().Add(sayBound))
		if frame.Read(c, &rep, frame.MaxReply) == nil && rep.Error != "" { // it has refused before it read
			err = errors.New(rep.Error)
		}
		return rep, false, fmt.Errorf("helper %s: %w", path, err)
	}
	if wait > 0 {
		_ = c.SetReadDeadline(time.Now().Add(wait))
	} else if dl, ok := ctx.Deadline(); ok {
		_ = c.SetReadDeadline(dl)
	}
	if ctx.Err() != nil { // it may have ended before the deadline was set
		return rep, true, ctx.Err()
	}
	switch err := frame.Read(c, &rep, frame.MaxReply); {
	case err != nil:
		return rep, true, fmt.Errorf("helper %s: %w", path, err)
	case rep.Error != "":
		return rep, false, fmt.Errorf("helper %s: %s", path, rep.Error) // handed back
	case rep.V != frame.Version:
		return rep, true, fmt.Errorf("helper %s speaks version %d, this agent %d: install both of one version", path, rep.V, frame.Version)
	}
	return rep, true, nil
}

func why(err error) string {
	switch {
	case errors.Is(err, os.ErrNotExist):
		return ": it is not there: start firebreak-helper.socket, or correct the key helper"
	case errors.Is(err, os.ErrPermission):
		return ": the agent's user may not: its group is that of the socket (SocketGroup=, -group)"
	}
	return ""
}

// probeHelper asks the helper whether the action could be started now, and whether both say the
// same of drills.
func (h *Hook) probeHelper(ctx context.Context) error {
	rep, _, err := talk(ctx, h.cfg.Helper, h.cfg.HelperUID, frame.Request{V: frame.Version, Op: frame.Probe, Action: h.cfg.Action}, nil, 2*sayBound)
	if err != nil {
		return err
	}
	if rep.Probe == nil {
		return fmt.Errorf("helper %s gave no answer to the probe: install agent and helper of one version", h.cfg.Helper)
	}
	faults := rep.Probe.Faults
	if h.cfg.Drill == "native" && rep.Probe.Drill != "native" {
		faults = append(faults, fmt.Sprintf("drill = \"native\" stands here and not in the helper's list: drills of the action %q would be refused; say it in both, or here \"dry-run\"", h.cfg.Action))
	}
	if len(faults) > 0 {
		return fmt.Errorf("helper %s: %s", h.cfg.Helper, strings.Join(faults, "; "))
	}
	return nil
}

// TellOver tells a helper which episode of each plan is open, so that it removes ended keys of the
// others, by the rule of SweepOver.
func TellOver(ctx context.Context, helper string, uid uint32, open map[string]uint64) error {
	rep, _, err := talk(ctx, helper, uid, frame.Request{V: frame.Version, Op: frame.Over, Open: open}, nil, 10*time.Second)
	if err == nil && rep.Over == nil {
		err = fmt.Errorf("helper %s gave no answer: install agent and helper of one version", helper)
	}
	return err
}
