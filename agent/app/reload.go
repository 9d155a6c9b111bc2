package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"firebreak/agent/config"
	"firebreak/agent/core"
)

// reloadLook is how often a reload that waits for an open run looks whether it has ended.
const reloadLook = time.Second

// reloadRead is how long a configuration and its files may take to be read and understood.
const reloadRead = 30 * time.Second

// next is a configuration that has been read without a fault, and is to run.
type next struct {
	config *config.Config
	source []byte
	before *next // what ran until it was taken
}

// reloader takes a new configuration: read, without a fault, no weaker without a reason, and while no
// run is open; an open run is pinned to its own (S8, S24). Everything that can fail comes first: a
// reload that is refused has changed nothing.
type reloader struct {
	running  *config.Config
	idle     func() bool     // no run is open
	standing func() []string // what must not be interrupted: UPSes in dead-man mode (S20)
	order    func(context.Context, core.Order) error
	log      *slog.Logger

	waiting chan struct{} // has room for one: something waits now

	mu     sync.Mutex
	reads  chan struct{} // closed when the read that runs has ended; nil: none runs
	waits  *next
	change chan *next // has room for one; nil: the process ends, and its service manager starts it again
	kept   bool       // a service manager keeps it running
}

// read reads the configuration, and what it names, and is not waited for longer than reloadRead: a disk that
// hangs keeps one goroutine, until it answers, and every further reload is refused so long.
func (r *reloader) read(ctx context.Context) (*next, error) {
	ended := make(chan struct{})
	r.mu.Lock()
	free := r.reads == nil
	if !free {
		select {
		case <-r.reads:
			free = true
		default:
		}
	}
	if free {
		r.reads = ended
	}
	r.mu.Unlock()
	if !free {
		return nil, errors.New("refused: the reload before this one still reads its files: see whether their disk hangs")
	}
	ctx, cancel := context.WithTimeout(ctx, reloadRead)
	defer cancel()
	var n *next
	var err error
	go func() { // owned by the reload that sees it end
		defer close(ended)
		n, err = load(r.running.File)
	}()
	select {
	case <-ended:
		return n, err
	case <-ctx.Done():
		return nil, fmt.Errorf("the configuration was not read in time (%w), and the old one runs on: see whether its disk hangs", ctx.Err())
	}
}

func load(file string) (*next, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("the configuration cannot be read: %w", err)
	}
	c, faults := config.Parse(file, data, Kinds())
	if len(faults) > 0 {
		lines := make([]string, len(faults))
		for i := range faults {
			lines[i] = faults[i].String()
		}
		return nil, fmt.Errorf("the configuration has faults, and the old one runs on:\n%s", strings.Join(lines, "\n"))
	}
	return &next{config: c, source: data}, nil
}

// ask answers a request to reload. The text is for the person who asked.
func (r *reloader) ask(ctx context.Context, req Request) (string, error) {
	n, err := r.read(ctx)
	if err != nil {
		return "", err
	}
	c := n.config
	if c.Rules.Hash == r.running.Rules.Hash {
		return r.stay(ctx, req)
	}
	if what := fixed(r.running, c); what != nil {
		return "", fmt.Errorf("refused: %s cannot change while the agent runs: restart it at stage 0", strings.Join(what, ", "))
	}
	if weaker := config.Weaker(r.running, c); len(weaker) > 0 && req.Reason == "" {
		return "", fmt.Errorf("refused: it protects less, and no reason was given (--reason):\n%s", strings.Join(weaker, "\n"))
	}
	if err := r.interrupts(req); err != nil {
		return "", err
	}
	o := req.order()
	if err := r.order(ctx, o); err != nil {
		return "", err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.idle() {
		r.wait(n)
		return "taken: a run is open and belongs to the configuration that started it; the new one counts when it has ended", nil
	}
	r.put(n)
	return "taken: configuration " + c.Rules.Hash, nil
}

// wait keeps a configuration until no run is open. The caller holds mu, or nobody else has r yet.
func (r *reloader) wait(n *next) {
	r.waits = n
	select {
	case r.waiting <- struct{}{}:
	default: // it looks each second already
	}
}

// stay answers a reload of the configuration that runs: one that waits for the end of a run is taken back by it.
func (r *reloader) stay(ctx context.Context, req Request) (string, error) {
	r.mu.Lock()
	none := r.waits == nil
	r.mu.Unlock()
	if none {
		return "it is the configuration that runs: nothing to do", nil
	}
	if err := r.order(ctx, req.order()); err != nil {
		return "", err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waits = nil
	return "taken: it is the configuration that runs, and the one that waited for the end of the run is dropped", nil
}

// interrupts refuses what takes the agent away for a moment while hosts would take that for a fire (S20).
func (r *reloader) interrupts(req Request) error {
	if names := r.standing(); len(names) > 0 && !req.Force {
		return fmt.Errorf("refused: %s would take this for the death of the agent and shut down (dead-man mode); --force does it all the same", strings.Join(names, ", "))
	}
	return nil
}

// restart answers a request to end in order and be started again, as after an upgrade of the program. What
// is open goes on where it stood (S8).
func (r *reloader) restart(ctx context.Context, req Request) (string, error) {
	if !r.kept {
		return "", errors.New("refused: the agent does not run under a service manager, and nobody would start it again: stop it and start it yourself")
	}
	if err := r.interrupts(req); err != nil {
		return "", err
	}
	if err := r.order(ctx, req.order()); err != nil {
		return "", err
	}
	r.put(nil)
	return "taken: the agent ends in order, and its service manager starts it again", nil
}

// fixed names what differs and belongs to the process: its name, and where its state is and its orders
// come in.
func fixed(a, b *config.Config) (what []string) {
	for _, v := range []struct{ key, a, b string }{{"site", a.Site, b.Site}, {"agent", a.Agent, b.Agent},
		{"journal", a.Journal, b.Journal}, {"run", a.Run, b.Run}, {"control", a.Control, b.Control}} {
		if v.a != v.b {
			what = append(what, v.key)
		}
	}
	return what
}

func (r *reloader) put(n *next) {
	select {
	case r.change <- n:
	default: // one is under way
	}
}

// run changes to a configuration that waits once no run is open.
func (r *reloader) run(ctx context.Context) error {
	look := time.NewTimer(reloadLook)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.waiting:
		case <-look.C:
		}
		r.mu.Lock()
		if r.waits != nil && r.idle() && len(r.standing()) == 0 {
			r.log.Info("the run has ended: the new configuration counts now", "config", r.waits.config.Rules.Hash)
			r.put(r.waits)
			r.waits = nil
		}
		if look.Stop(); r.waits != nil { // while nothing waits, nothing wakes
			look.Reset(reloadLook)
		}
		r.mu.Unlock()
	}
}
