package plugins

import (
	"context"
	"sync"
)

// maxEnded bounds the outcomes that are remembered; the oldest goes first. What is forgotten is called again under
// its key, which the target knows, or is looked at anew.
const maxEnded = 1024

// Flights makes one call of the calls with one ID, for a hook whose process remembers what it has called (S9). Its
// zero value is ready; Do may be called from any goroutine.
type Flights struct {
	mu    sync.Mutex
	known map[string]*flight
	ended []string
}

type flight struct {
	done chan struct{} // closed when the rest is set
	out  Outcome
	told []Evidence
}

// Do runs send once for all calls with one ID. Each of them is told what was seen: one that comes later
// may be the first that is listened to.
func (f *Flights) Do(ctx context.Context, id string, seen func(Evidence), send func(func(Evidence)) Outcome) Outcome {
	if seen == nil {
		seen = func(Evidence) {}
	}
	f.mu.Lock()
	if f.known == nil {
		f.known = map[string]*flight{}
	}
	fl, there := f.known[id]
	if !there {
		fl = &flight{done: make(chan struct{}), out: Outcome{Result: Unknown, Detail: "the call broke off"}}
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
			return Outcome{Result: Unknown, Attached: true, Detail: "the end is not known: the call of this key still runs; call again under the same key"}
		}
	}
	defer f.land(id, fl)
	fl.out = send(func(ev Evidence) {
		fl.told = append(fl.told, ev)
		seen(ev)
	})
	return fl.out
}

// land keeps what is settled; what is not is tried again.
func (f *Flights) land(id string, fl *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(fl.done)
	if fl.out.Result == Unknown {
		delete(f.known, id)
		return
	}
	if f.ended = append(f.ended, id); len(f.ended) > maxEnded {
		delete(f.known, f.ended[0])
		f.ended = f.ended[1:]
	}
}
