package webhook

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"firebreak/plugins"
)

// keyMark stands for the key of the call in verify_url.
const keyMark = "{key}"

// maxWatches bounds the calls that are verified at a time. A plan has fewer steps of one hook; a
// call beyond it is not verified, and its step waits until its cap.
const maxWatches = 64

// watches are the calls that are being verified. Do leaves them, Run takes them.
type watches struct {
	mu     sync.Mutex
	active map[string]*watch
	fresh  chan *watch // holds all that may be active: a send never waits
}

type watch struct {
	key  plugins.Key
	id   string
	stop chan struct{} // closed when the call is known not to have been done
}

func newWatches() watches {
	return watches{active: map[string]*watch{}, fresh: make(chan *watch, maxWatches)}
}

// add gives false when there is no room. A call that is watched already stays so.
func (w *watches) add(c plugins.Call) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.active[c.ID()] != nil {
		return true
	}
	n := &watch{key: c.Key, id: c.ID(), stop: make(chan struct{})}
	if len(w.active) == maxWatches {
		return false
	}
	select {
	case w.fresh <- n:
		w.active[n.id] = n
		return true
	default: // those that were dropped before Run took them still have their places
		return false
	}
}

// drop ends the watch of a call, if there is one.
func (w *watches) drop(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := w.active[id]; n != nil {
		close(n.stop)
		delete(w.active, id)
	}
}

// ended makes room. The same call may have been added anew after a drop.
func (w *watches) ended(n *watch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.active[n.id] == n {
		delete(w.active, n.id)
	}
}

// watch lets Run verify a call. Not an undo or a drill: verify_value names the state that real
// work leads to (S7).
func (h *Hook) watch(c plugins.Call) {
	if h.cfg.VerifyURL == "" || c.Mark != plugins.MarkReal || c.Key.Undo {
		return
	}
	if !h.watches.add(c) {
		h.log.Warn("too many calls are verified: this one is not, its step waits until its cap", "hook", h.name, "key", c.ID(), "most", maxWatches)
	}
}

// verify asks verify_url until it says that the work is done. It gives up after verify_for: the
// step's cap has long decided then.
func (h *Hook) verify(ctx context.Context, w *watch, seen func(plugins.Evidence)) {
	defer h.watches.ended(w)
	ctx, cancel := context.WithTimeout(ctx, h.cfg.VerifyFor)
	defer cancel()
	to := strings.ReplaceAll(h.cfg.VerifyURL, keyMark, url.QueryEscape(w.id))
	pause, last := h.cfg.VerifyEvery, ""
	for {
		select {
		case <-w.stop:
			return
		default:
		}
		a := h.look(ctx, to)
		ok, say := h.verified(a)
		switch {
		case ok:
			seen(plugins.Evidence{Key: w.key, Name: plugins.SeenVerified, Detail: say, OK: true})
			return
		case a.status != 0:
			pause, last = h.cfg.VerifyEvery, say
		case ctx.Err() == nil: // nobody answers: ask less often
			pause, last = min(2*pause, max(10*time.Second, h.cfg.VerifyEvery)), say
		}
		t := time.NewTimer(pause*9/10 + rand.N(pause/5))
		select {
		case <-w.stop:
			t.Stop()
			return
		case <-ctx.Done():
			t.Stop()
			if context.Cause(ctx) == context.DeadlineExceeded {
				h.log.Warn("the work was never found done", "hook", h.name, "key", w.id, "asked_for", h.cfg.VerifyFor, "last", last)
			}
			return
		case <-t.C:
		}
	}
}

// look asks, with the secrets of the target if it is the target that is asked.
func (h *Hook) look(ctx context.Context, to string) answer {
	u, err := url.Parse(to)
	if err != nil || !sameOrigin(u, h.url) {
		return h.send(ctx, http.MethodGet, to, nil, nil)
	}
	secret, err := h.readSecrets()
	if err != nil {
		return answer{err: err}
	}
	return h.send(ctx, http.MethodGet, to, nil, h.cfg.Headers, secret.header)
}

// verified tells whether an answer says that the work is done: a 200, with the value if one is named.
func (h *Hook) verified(a answer) (bool, string) {
	if a.status != http.StatusOK {
		return false, a.say()
	}
	if h.cfg.VerifyField == "" {
		return true, "verify_url answers 200"
	}
	v, found := field([]byte(a.text), h.cfg.VerifyField)
	if !found {
		return false, fmt.Sprintf("the answer has no field %q: %s", h.cfg.VerifyField, a.say())
	}
	return v == h.cfg.VerifyValue, fmt.Sprintf("%s is %.100q", h.cfg.VerifyField, v)
}
