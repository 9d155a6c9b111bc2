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
	done chan struct{} // closed when the rest is set
	out  plugins.Outcome
	told []plugins.Evidence
}

// do runs send once for all calls with one ID. Each of them is told what was seen: one that comes later
// may be the first that is listened to.
func (f *flights) do(ctx context.Context, id string, seen func(plugins.Evidence), send func(func(plugins.Evidence)) plugins.Outcome) plugins.Outcome {
	if seen == nil {
		seen = func(plugins.Evidence) {}
	}
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
			for _, ev := range fl.told {
				seen(ev)
			}
			o := fl.out
			o.Attached = true
			return o
		case <-ctx.Done():
			return plugins.Outcome{Result: plugins.Unknown, Attached: true, Detail: "the command of this key is under way: call again under the same key"}
		}
	}
	defer f.land(id, fl)
	fl.out = send(func(ev plugins.Evidence) {
		fl.told = append(fl.told, ev)
		seen(ev)
	})
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
