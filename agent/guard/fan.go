package guard

import (
	"log/slog"
	"sync/atomic"

	"firebreak/plugins"
)

// fanQueue bounds what waits for one publisher. When it is full, the new update is dropped and
// counted: a publisher that is so far behind learns the present state when it is back, because
// alarm and plan states are offered again with every change.
const fanQueue = 1024

// fan stands between the loop and one publisher. Offer is meant never to block; if one does, or
// panics, only its own messages are lost.
type fan struct {
	p       plugins.Publisher
	picky   plugins.Listener // nil: it hears all
	name    string
	ch      chan plugins.Update
	end     chan struct{}
	ended   chan struct{}
	dropped atomic.Uint64
	log     *slog.Logger
}

func newFan(p plugins.Publisher, name string, log *slog.Logger) *fan {
	picky, _ := p.(plugins.Listener)
	return &fan{p: p, picky: picky, name: name, ch: make(chan plugins.Update, fanQueue), end: make(chan struct{}), ended: make(chan struct{}), log: log}
}

// start runs until end is closed and the last words have been given; then ended is closed.
func (f *fan) start() {
	go func() {
		defer close(f.ended)
		for {
			select {
			case u := <-f.ch:
				f.give(u)
			case <-f.end:
				for {
					select {
					case u := <-f.ch: // the last words
						f.give(u)
					default:
						return
					}
				}
			}
		}
	}()
}

func (f *fan) give(u plugins.Update) {
	defer func() {
		if r := recover(); r != nil {
			f.dropped.Add(1)
			f.log.Error("a publisher panicked: one update is lost", "publisher", f.name, "panic", r)
		}
	}()
	f.p.Offer(u)
}

func (f *fan) offer(u plugins.Update) {
	if u.State != nil && f.picky != nil && !f.picky.Listens() {
		return
	}
	select {
	case f.ch <- u:
	default:
		f.dropped.Add(1)
	}
}

// over says whether the last words have been given.
func (f *fan) over() bool {
	select {
	case <-f.ended:
		return true
	default:
		return false
	}
}
