package modbus

import (
	"context"
	"sync"

	"firebreak/plugins"
)

// maxEnded bounds the outcomes that are remembered; the oldest goes first. What is forgotten is looked
// at anew: a command that is there already is not written again.
const maxEnded = 256

// flights makes one command of the calls with one ID.
type flights struct {
	mu    sync.Mutex
	known map[string]*flight
	ended []string
}

type flight struct {
	done chan struct{}
	out  plugins.Outcome
}

func (f *flights) do(ctx context.Context, id string, send func() plugins.Outcome) plugins.Outcome {
	f.mu.Lock()
	if f.known == nil {
		f.known = map[string]*flight{}
	}
	fl, there := f.known[id]
	if !there {
		fl = &flight{done: make(chan struct{}), out: plugins.Outcome{Result: plugins.Unknown, Detail: "the call broke off"}}
		f.known[id] = fl
	}
	f.mu.Unlock()
	if there {
		select {
		case <-fl.done:
			o := fl.out
			o.Attached = true
			return o
		case <-ctx.Done():
			return plugins.Outcome{Result: plugins.Unknown, Attached: true, Detail: "the command of this key is under way: call again under the same key"}
		}
	}
	defer f.land(id, fl)
	fl.out = send()
	return fl.out
}

// land keeps what is settled; what is not is tried again.
func (f *flights) land(id string, fl *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(fl.done)
	if fl.out.Result == plugins.Unknown {
		delete(f.known, id)
		return
	}
	if f.ended = append(f.ended, id); len(f.ended) > maxEnded {
		delete(f.known, f.ended[0])
		f.ended = f.ended[1:]
	}
}
