package mqtt

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"firebreak/plugins"
)

// maxEnded bounds the calls that are remembered; the oldest goes first. What is forgotten is sent
// again under its key, which the consumers know.
const maxEnded = 1024

// maxAnswers bounds the answers that wait for one call.
const maxAnswers = 4 * maxConsumers

// command is what is published: the fields that every target receives, and how to answer.
type command struct {
	plugins.Body
	ReplyTo  string `json:"reply_to"`
	TTL      int    `json:"ttl_s"` // whole seconds from receipt, counted by the consumer: no clock is compared
	Epoch    uint64 `json:"epoch,omitempty"`
	Instance string `json:"instance,omitempty"`
}

// call is one call under way, or what became of it.
type call struct {
	id      string
	answers chan answer
	done    chan struct{} // closed when out and told are set

	mu   sync.Mutex
	by   map[string]string // last answer of each consumer
	told []plugins.Evidence
	sent map[string]string // by broker: how the last sending ended

	sealed bool // no answer is handed to it any more; under the lock of the hook
	out    plugins.Outcome
}

// Do sends the call until it is answered, or its time-out passes.
func (h *Hook) Do(ctx context.Context, c plugins.Call, seen func(plugins.Evidence)) plugins.Outcome {
	begin := time.Now()
	if seen == nil {
		seen = func(plugins.Evidence) {}
	}
	t := h.cfg.topics(c.Mark == plugins.MarkDrill)
	if o, spared := c.Spared(h.cfg.Drill, "would publish to "+t.command); spared {
		return o
	}
	if c.Timeout <= 0 {
		return plugins.Outcome{Result: plugins.Failed, Detail: fmt.Sprintf("not sent: the time-out %v is not above zero", c.Timeout)}
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	n, attached := h.enter(c)
	if attached {
		return n.attach(ctx, begin, seen)
	}
	n.out = plugins.Outcome{Detail: "the call broke off"} // what others see should the rest not return
	defer h.leave(n)
	n.out = h.command(ctx, c, n, t, seen)
	n.out.Elapsed = time.Since(begin)
	return n.out
}

// enter gives the call of this ID: a new one, or the one that is under way or settled.
func (h *Hook) enter(c plugins.Call) (n *call, attached bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	id := c.ID()
	if n = h.calls[id]; n == nil {
		n = h.known[id]
	}
	if n != nil {
		return n, true
	}
	n = &call{id: id, answers: make(chan answer, maxAnswers), done: make(chan struct{}), by: map[string]string{}, sent: map[string]string{}}
	h.calls[id] = n
	if c.Mark == plugins.MarkReal {
		h.newest[c.Key.Plan] = max(h.newest[c.Key.Plan], c.Key.Episode)
	}
	return n, false
}

// leave keeps what is settled and forgets what is not, so that it is sent again.
func (h *Hook) leave(n *call) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.calls, n.id)
	close(n.done)
	if n.out.Result == plugins.Unknown {
		return
	}
	h.known[n.id] = n
	h.ended = append(h.ended, n.id)
	if len(h.ended) > maxEnded {
		delete(h.known, h.ended[0])
		h.ended = h.ended[1:]
	}
}

func (n *call) attach(ctx context.Context, begin time.Time, seen func(plugins.Evidence)) plugins.Outcome {
	select {
	case <-n.done:
	case <-ctx.Done():
		return plugins.Outcome{Result: plugins.Unknown, Attached: true, Elapsed: time.Since(begin),
			Detail: "the end is not known: the call of this key still runs; call again under the same key"}
	}
	for _, ev := range n.told { // complete: the call has ended
		seen(ev)
	}
	o := n.out
	o.Attached, o.Elapsed = true, time.Since(begin)
	return o
}

// command sends to all brokers and listens, until an answer settles the call or ctx ends.
func (h *Hook) command(ctx context.Context, c plugins.Call, n *call, t topics, seen func(plugins.Evidence)) plugins.Outcome {
	body := command{Body: c.Body(h.cfg.Site, h.cfg.Agent), ReplyTo: t.reply, Epoch: h.cfg.Epoch, Instance: h.cfg.Instance}
	if _, err := json.Marshal(body); err != nil {
		return plugins.Outcome{Result: plugins.Failed, Detail: fmt.Sprintf("not sent: body: %v", err)}
	}
	end, _ := ctx.Deadline()
	text := func() []byte {
		b := body
		b.TTL = max(1, int((time.Until(end)+time.Second-1)/time.Second))
		out, _ := json.Marshal(b) // it could be a moment ago
		return out
	}
	sctx, stop := context.WithCancel(ctx)
	var senders sync.WaitGroup
	for _, l := range h.links {
		senders.Go(func() {
			defer func() { // the way to one broker must not take that to another along (S22)
				if r := recover(); r != nil {
					n.note(l.b.Name, fmt.Errorf("sending panicked: %v", r))
					l.log.Error("sending panicked", "panic", r, "stack", string(debug.Stack()))
				}
			}()
			l.send(sctx, t.command, text, n.again, func(err error) { n.note(l.b.Name, err) })
		})
	}
	out, settled := plugins.Outcome{}, false
	for !settled {
		select {
		case a := <-n.answers:
			n.hear(a, c.Key, seen)
			out, settled = n.settle(&h.cfg)
		case <-ctx.Done():
			out, settled = h.unsettled(n), true
		}
	}
	stop()
	senders.Wait()
	h.last(n, c.Key, seen)
	return out
}

// last takes the answers that came beside the one that settled the call. Those that come from here
// on are Run's.
func (h *Hook) last(n *call, key plugins.Key, seen func(plugins.Evidence)) {
	h.mu.Lock()
	n.sealed = true
	h.mu.Unlock()
	for {
		select {
		case a := <-n.answers:
			n.hear(a, key, seen)
		default:
			return
		}
	}
}

// hear notes an answer and tells it, each of a consumer once.
func (n *call) hear(a answer, key plugins.Key, seen func(plugins.Evidence)) {
	ev := a.evidence(key)
	n.mu.Lock()
	if was := n.by[a.Consumer]; was == "" || was != "done" && a.Answer != "receipt" { // two brokers: they overtake each other
		n.by[a.Consumer] = a.Answer
	}
	twice := slices.Contains(n.told, ev)
	if !twice && len(n.told) < maxAnswers {
		n.told = append(n.told, ev)
	}
	n.mu.Unlock()
	if !twice {
		seen(ev)
	}
}

// again says whether the command is to be sent again: no consumer is known to have it and to be
// thinking about it.
func (n *call) again() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, a := range n.by {
		if a == "receipt" {
			return false
		}
	}
	return true
}

func (n *call) note(broker string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sent[broker] = "acknowledged"
	if err != nil {
		n.sent[broker] = err.Error()
	}
}

// settle is the outcome as the answers stand. One consumer that takes the work on is enough. That
// nobody does is known only when all have declined.
func (n *call) settle(cfg *Config) (plugins.Outcome, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	declined := 0
	for _, who := range cfg.Consumers {
		switch a := n.by[who]; {
		case a == "accept", a == "done", a == "receipt" && cfg.Wait == "receipt":
			return plugins.Outcome{Result: plugins.Done, Detail: n.says(who)}, true
		case a == "decline":
			declined++
		}
	}
	if declined < len(cfg.Consumers) {
		return plugins.Outcome{}, false
	}
	return plugins.Outcome{Result: plugins.Failed, Detail: "declined: " + n.all(cfg) + ": look at the consumer, nothing was taken on"}, true
}

// says is the last told answer of a consumer; the caller holds the lock.
func (n *call) says(who string) string {
	for i := len(n.told) - 1; i >= 0; i-- {
		if strings.HasPrefix(n.told[i].Detail, who+" says "+n.by[who]) {
			return n.told[i].Detail
		}
	}
	return who + " says " + n.by[who]
}

func (n *call) all(cfg *Config) string {
	var out []string
	for _, who := range cfg.Consumers {
		if n.by[who] == "" {
			out = append(out, "nothing from "+who)
			continue
		}
		out = append(out, n.says(who))
	}
	return strings.Join(out, "; ")
}

// unsettled says what is known at the time-out.
func (h *Hook) unsettled(n *call) plugins.Outcome {
	n.mu.Lock()
	defer n.mu.Unlock()
	var ways []string
	for _, l := range h.links {
		way := n.sent[l.b.Name]
		switch s, _, err := l.now(); {
		case s == nil:
			way = "no session: " + err.Error()
		case way == "":
			way = "not sent"
		}
		ways = append(ways, l.b.Name+": "+way)
	}
	return plugins.Outcome{Result: plugins.Unknown, Detail: fmt.Sprintf("not answered so that it is settled: %s (brokers: %s; an acknowledgement is no evidence); call again under the same key",
		n.all(&h.cfg), strings.Join(ways, ", "))}
}
