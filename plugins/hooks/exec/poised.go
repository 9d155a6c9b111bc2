package exec

import (
	"context"
	"time"

	"firebreak/plugins"
	"firebreak/plugins/hooks/exec/frame"
	"firebreak/plugins/hooks/exec/shim"
)

// holdBound is how much longer than its time-out a call may last that was held ready.
const holdBound = shim.PoiseBound

// DoPoised gets the call ready below its shim, up to the start of the command, which waits for the leave to come
// through the pipe. The pipe ends when this process dies, and the shim ends without having started anything. All
// that goes another way than it should leads to Do, once it may be: under the same key, so that
// the command is started once whatever has become of the leave.
func (h *Hook) DoPoised(ctx context.Context, c plugins.Call, leave plugins.Leave, seen func(plugins.Evidence)) plugins.Outcome {
	if _, yes := h.skip(c); !yes {
		if o, ok := h.hold(ctx, Ask{ID: c.ID(), AskedNs: shim.MonoNow(), Timeout: c.Timeout, May: leave.Pipe}, c); ok {
			select {
			case <-leave.Given:
				return o
			default: // a refusal, or an end from before: what counts is found with the leave
			}
		}
	}
	select {
	case <-leave.Given:
		return h.Do(ctx, c, seen)
	case <-ctx.Done():
		return plugins.Outcome{Result: plugins.Unknown, Detail: "not started: its leave has not come"}
	}
}

// hold asks for the call to be made ready, and waits for its end. It gives false when nothing is known of that: it was
// let go, or could not be got ready.
func (h *Hook) hold(ctx context.Context, a Ask, c plugins.Call) (plugins.Outcome, bool) {
	if h.run != nil {
		return h.run.DoPoised(ctx, a, func() (Task, error) { return h.task(c) })
	}
	begin := time.Now()
	req, err := h.request(frame.Poise, a, c)
	if err != nil || a.Timeout <= 0 {
		return plugins.Outcome{}, false
	}
	ctx, cancel := context.WithTimeout(ctx, holdBound+a.Timeout+endBound)
	defer cancel()
	rep, _, err := talk(ctx, h.cfg.Helper, h.cfg.HelperUID, req, a.May, 0)
	if err != nil || rep.Outcome == nil {
		return plugins.Outcome{}, false
	}
	return outcome(rep.Outcome, begin), true
}
