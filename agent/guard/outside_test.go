package guard

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"firebreak/agent/response"
	"firebreak/plugins"
	"firebreak/sensors"
)

// outside is what an agent acts upon and what it reads, seen from beyond every death of the agent: it
// keeps live and ended keys as the helper does (S10), and remembers what was read to whom. It holds
// each start of work against the rules, restated here from S4 and S15 and not from the code.
type outside struct {
	plan  *response.Plan
	begun time.Time
	works func(k plugins.Key) work // what a key that is started for the first time does

	mu      sync.Mutex
	life    int // whose calls are heard: what a dead process still does, nobody sees
	keys    map[string]*work
	starts  []*work // in order
	read    map[sensors.PointID]lastRead
	tripped plugins.Stage
	onWay   map[string]bool // steps that a start has found called: what died on its way there is asked for without a vote (S4, S8)
	faults  []string
}

// work is what stands behind one key.
type work struct {
	key       plugins.Key
	at        time.Duration // since begun
	lasts     time.Duration
	result    plugins.Result
	evidence  bool // is seen at its end
	mute      int  // so many calls are not answered at all: their end is unknown
	journaled bool
	asked     int
}

func (w *work) end() time.Duration { return w.at + w.lasts }

// lastRead is the newest usable reading of a point that a living agent was given.
type lastRead struct {
	at    time.Duration
	is    bool          // hazardous
	since time.Duration // the first of those that said the same without a break
	was   time.Duration // when it last read hazardous
}

const (
	heldTrueFor = 30 * time.Minute
	staleAfter  = 10 * time.Second
	grace       = 150 * time.Millisecond // a decision, and the bound that its hook waits for the disk
)

func newOutside(plan *response.Plan, works func(plugins.Key) work) *outside {
	return &outside{plan: plan, begun: time.Now(), works: works, keys: map[string]*work{}, read: map[sensors.PointID]lastRead{}}
}

func (o *outside) now() time.Duration { return time.Since(o.begun) }

// wrong notes what is against the rules.
func (o *outside) wrong(format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fault(format, args...)
}

func (o *outside) fault(format string, args ...any) {
	o.faults = append(o.faults, fmt.Sprintf("%v: ", o.now())+fmt.Sprintf(format, args...))
}

// die ends the life of the present process; its number is no longer heard. It may be called twice.
func (o *outside) die(life int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.life = max(o.life, life+1)
}

func (o *outside) present() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.life
}

func (o *outside) lives(life int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.life == life
}

// call takes a call of a life: a known key attaches, a new one starts. nil: that life is over.
func (o *outside) call(life int, c plugins.Call) (w *work, asked int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if life != o.life {
		return nil, 0
	}
	w = o.keys[c.Key.String()]
	if w == nil {
		nw := o.works(c.Key)
		w = &nw
		w.key, w.at, w.journaled = c.Key, o.now(), c.Journaled
		o.checkKey(w)
		o.checkVote(w)
		o.keys[c.Key.String()] = w
		o.starts = append(o.starts, w)
	}
	w.asked++
	return w, w.asked
}

// checkKey: no second key for one step of an episode unless the one before is known to have failed (S9).
func (o *outside) checkKey(w *work) {
	for _, old := range o.starts {
		k := old.key
		k.Attempt = w.key.Attempt
		if k != w.key {
			continue
		}
		if old.key.Attempt+1 == w.key.Attempt && (old.result != plugins.Failed || old.end() > o.now()) {
			o.fault("%s was started, though %s has not failed", w.key, old.key)
		}
	}
	if before := w.key; w.key.Attempt > 0 {
		if before.Attempt--; o.keys[before.String()] == nil {
			o.fault("%s was started, and %s never", w.key, before)
		}
	}
}

// checkVote is S4: an irreversible step starts on members that are true or held-true, at least one of
// them fresh unless if_blind says proceed, or by a person's decision.
func (o *outside) checkVote(w *work) {
	k := slices.IndexFunc(o.plan.Steps, func(s response.Step) bool { return s.Name == w.key.Step })
	if k < 0 || !o.plan.Steps[k].Irreversible || w.key.Undo || w.key.Stage <= o.tripped || o.onWay[w.key.Step] {
		return
	}
	blind := response.BlindHold
	for _, st := range o.plan.Stages {
		if st.Level == w.key.Stage {
			blind = st.IfBlind
		}
	}
	if why := o.vote(blind, w.at); why != "" {
		o.fault("%s was started without a quorum: %s", w.key, why)
	}
}

// vote says why smoke and heat together do not carry an irreversible step at the instant now.
func (o *outside) vote(blind response.BlindPolicy, now time.Duration) string {
	fresh := false
	for _, p := range []sensors.PointID{smoke, heat} {
		r, ok := o.read[p]
		switch {
		case !ok:
			return fmt.Sprintf("point %d was never read", p)
		case !r.is && now-r.since > grace:
			return fmt.Sprintf("point %d reads false since %v", p, r.since)
		case now-r.was > heldTrueFor+staleAfter:
			return fmt.Sprintf("point %d was true at %v last", p, r.was)
		}
		fresh = fresh || now-r.at <= staleAfter+grace
	}
	if !fresh && blind != response.BlindProceed {
		return "no member is fresh"
	}
	return ""
}

// gave notes a usable reading that was put before a living agent.
func (o *outside) gave(p sensors.PointID, hazardous bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	r, ok := o.read[p]
	if !ok || r.is != hazardous {
		r.since = o.now()
	}
	if r.at, r.is = o.now(), hazardous; hazardous {
		r.was = r.at
	}
	o.read[p] = r
}

// found notes which steps a start takes for called.
func (o *outside) found(steps []plugins.StepState) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.onWay = map[string]bool{}
	for _, s := range steps {
		o.onWay[s.Step] = s.State == "running"
	}
}

func (o *outside) trip(s plugins.Stage) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tripped = s
}

// doneSince says whether any work of a step has ended well so long ago.
func (o *outside) doneSince(step string, from, ago time.Duration) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.ContainsFunc(o.starts, func(w *work) bool {
		return w.key.Step == step && !w.key.Undo && w.at >= from && w.result == plugins.Done && o.now() >= w.end()+ago
	})
}

// ran lists the work of a step that was started between two instants.
func (o *outside) ran(step string, undo bool, from, to time.Duration) (out []*work) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, w := range o.starts {
		if w.key.Step == step && w.key.Undo == undo && w.at >= from && w.at < to {
			out = append(out, w)
		}
	}
	return out
}

// wire is the hook of one life of the agent.
type wire struct {
	o    *outside
	life int
}

func (h *wire) Probe(context.Context) error { return nil }

func (h *wire) Do(ctx context.Context, c plugins.Call, seen func(plugins.Evidence)) plugins.Outcome {
	limit := time.NewTimer(c.Timeout)
	defer limit.Stop()
	w, asked := h.o.call(h.life, c)
	if w == nil || asked <= w.mute {
		return plugins.Outcome{Result: plugins.Unknown, Detail: "no answer"}
	}
	end := time.NewTimer(w.end() - h.o.now())
	defer end.Stop()
	select {
	case <-end.C:
	case <-limit.C:
		return plugins.Outcome{Result: plugins.Unknown, Detail: "no answer in time"}
	case <-ctx.Done():
		return plugins.Outcome{Result: plugins.Unknown, Detail: "told to let go"}
	}
	if w.evidence {
		seen(plugins.Evidence{Name: plugins.SeenDone, OK: true})
	}
	return plugins.Outcome{Result: w.result, Attached: asked > 1}
}
