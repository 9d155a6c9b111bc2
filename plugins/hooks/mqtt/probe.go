package mqtt

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"firebreak/plugins"
)

// Bounds of a probe: for the sessions, which may be about to come when the agent starts, and for
// the consumers.
const (
	probeSessions  = 2 * time.Second
	probeConsumers = 2 * time.Second
)

// question is what a probe publishes on the topic of the commands. It has no step, and the mark of
// a call that does nothing: a consumer that does not know probes must not take it for work.
type question struct {
	Probe   bool   `json:"probe"`
	Key     string `json:"key"`
	Mark    string `json:"mark"`
	ReplyTo string `json:"reply_to"`
	Site    string `json:"site,omitempty"`
	Agent   string `json:"agent,omitempty"`
}

// Probe tells whether a call would work now: a broker is connected and lets us hear the answers
// and, with probe = true, a named consumer answers and has the version. What is lost while another
// of its kind works is a plugins.StandbyError.
func (h *Hook) Probe(ctx context.Context) error {
	var lost []string
	for _, l := range h.await(ctx) {
		_, _, err := l.now()
		lost = append(lost, fmt.Sprintf("broker %s: %v", l.b.Name, err))
	}
	if len(lost) == len(h.links) {
		return fmt.Errorf("hook %q: no broker can be used: %s: look at the brokers, the credentials and the access lists", h.name, strings.Join(lost, "; "))
	}
	if h.cfg.AskConsumers {
		silent, err := h.ask(ctx)
		if err != nil {
			return fmt.Errorf("hook %q: %w", h.name, err)
		}
		for _, who := range silent {
			lost = append(lost, fmt.Sprintf("consumer %s does not answer", who))
		}
	}
	if len(lost) > 0 {
		return &plugins.StandbyError{Lost: fmt.Sprintf("hook %q: %s: mend it before the others are needed", h.name, strings.Join(lost, "; "))}
	}
	return nil
}

// await waits a little for sessions with all brokers, and gives those without.
func (h *Hook) await(ctx context.Context) (without []*link) {
	limit := time.NewTimer(probeSessions)
	defer limit.Stop()
	for _, l := range h.links {
		for over := false; ; {
			s, changed, _ := l.now()
			if s != nil {
				break
			}
			if over {
				without = append(without, l)
				break
			}
			select {
			case <-changed:
			case <-ctx.Done():
				over = true
			case <-limit.C:
				over = true
				limit.Reset(0) // for the next as well
			}
		}
	}
	return without
}

// ask publishes a question to all brokers and waits for the consumers. It names those that are silent
// while another answers.
func (h *Hook) ask(ctx context.Context) (silent []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, probeConsumers)
	defer cancel()
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	id := "probe/" + hex.EncodeToString(b[:])
	answers := make(chan answer, maxAnswers)
	h.mu.Lock()
	h.probing[id] = answers
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		delete(h.probing, id)
		h.mu.Unlock()
	}()
	t := h.cfg.topics(false)
	text, err := json.Marshal(question{Probe: true, Key: id, Mark: plugins.MarkDry.String(), ReplyTo: t.reply, Site: h.cfg.Site, Agent: h.cfg.Agent})
	if err != nil {
		return nil, err
	}
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel() // before the wait
	for _, l := range h.links {
		if s, _, _ := l.now(); s != nil {
			asking.Go(func() { _ = s.Publish(ctx, t.command, text) })
		}
	}
	return h.collect(ctx, answers)
}

func (h *Hook) collect(ctx context.Context, answers <-chan answer) (silent []string, err error) {
	versions := map[string]string{}
	for waiting := true; waiting && len(versions) < len(h.cfg.Consumers); {
		select {
		case a := <-answers:
			versions[a.Consumer] = a.Version
		case <-ctx.Done():
			waiting = false
		}
	}
	var faults []error
	for _, who := range h.cfg.Consumers {
		v, answered := versions[who]
		switch want := h.cfg.ProbeVersion; {
		case !answered:
			silent = append(silent, who)
		case want != "" && v != want && !strings.HasPrefix(v, want+"."):
			faults = append(faults, fmt.Errorf("consumer %s has version %.60q, want %q: try a call against it, then correct probe_version", who, v, want))
		}
	}
	if len(silent) == len(h.cfg.Consumers) {
		faults = append(faults, fmt.Errorf("no consumer answers the probe, not %s: is it there, and do the access lists of the brokers let it hear %s?", strings.Join(silent, ", "), h.cfg.Topic))
	}
	return silent, errors.Join(faults...)
}
