// Package mqtt is the hook that commands failover systems which listen on MQTT. A call is published
// with QoS 1, never retained, to each of its brokers, and again under the same key until a named
// consumer answers on the reply topic.
//
// An answer says receipt, accept, decline or done. A broker's acknowledgement says nothing: brokers
// acknowledge what their access lists forbid, and what nobody subscribes to. The key is in each
// message, so that an answer is understood by an agent that was started after the command was sent.
//
// Concurrency: all methods may be called at once; calls with one ID are one call. Run owns a
// goroutine for each broker, which connects and connects again with a growing pause and jitter, and
// one that takes the answers from a bounded queue: what does not fit is dropped and counted. Do
// waits for no broker beyond the time-out of its call. Failure: accept and done are Done (receipt
// too, with wait = "receipt"); Failed only when every named consumer has declined; all else is
// Unknown at the time-out, even when no broker was ever there: an agent that died before may have
// sent the same command. Answers that are retained, malformed, stale, or from others than the named
// consumers are dropped and counted, and told in one line a minute at most.
package mqtt

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"firebreak/plugins"
)

// Session is one connection to a broker, as this hook needs it. When it ends, it is never mended.
type Session interface {
	// Publish sends with QoS 1, not retained, and returns when the broker has acknowledged it, with an
	// error, or when ctx ends.
	Publish(ctx context.Context, topic string, payload []byte) error
	// Subscribe returns when the broker has granted it. got must not block.
	Subscribe(ctx context.Context, filter string, got func(topic string, payload []byte, retained bool)) error
	Lost() <-chan struct{}
	// Close says farewell if it can, and frees what the session holds, within a few seconds.
	Close()
}

// Broker is a way to a broker. Connect must heed ctx.
type Broker struct {
	Name    string
	Connect func(ctx context.Context) (Session, error)
}

// Hook commands one group of consumers. Make it with New.
type Hook struct {
	name    string
	cfg     Config
	log     *slog.Logger
	links   []*link
	replies chan reply
	drops   drops

	mu      sync.Mutex
	calls   map[string]*call       // running, by ID
	known   map[string]*call       // ended and settled, by ID; bounded
	ended   []string               // those, oldest first
	newest  map[string]uint64      // newest real episode by plan
	probing map[string]chan answer // probes under way, by ID
	budgets map[string]*budget     // of late answers, by consumer
}

var (
	_ plugins.Hook   = (*Hook)(nil)
	_ plugins.Runner = (*Hook)(nil)
)

// maxReplies bounds the answers that wait to be taken. A consumer gives four to a call at most.
const maxReplies = 256

// New makes the hook; it opens nothing. A nil log is silent.
func New(name string, cfg Config, brokers []Broker, log *slog.Logger) (*Hook, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("hook %q: %w", name, err)
	}
	if cfg.ReplyTopic == "" && cfg.Levels == "" || len(brokers) == 0 {
		return nil, fmt.Errorf("hook %q: it was built without a reply topic or without brokers: please report this", name)
	}
	if cfg.Resend == 0 {
		cfg.Resend = defaultResend
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	h := &Hook{name: name, cfg: cfg, log: log.With("hook", name), replies: make(chan reply, maxReplies),
		calls: map[string]*call{}, known: map[string]*call{}, newest: map[string]uint64{}, probing: map[string]chan answer{}, budgets: map[string]*budget{}}
	h.drops.log = h.log
	for _, c := range cfg.Consumers {
		h.budgets[c] = newBudget()
	}
	for _, b := range brokers {
		h.links = append(h.links, newLink(h, b))
	}
	return h, nil
}

// Run holds a session with each broker and takes the answers, until ctx ends.
func (h *Hook) Run(ctx context.Context, seen func(plugins.Evidence)) error {
	parts, ctx := plugins.NewParts(ctx)
	for _, l := range h.links {
		parts.Go(func() { l.run(ctx) })
	}
	parts.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case r := <-h.replies:
				h.take(r, seen)
			}
		}
	})
	return parts.Wait()
}
