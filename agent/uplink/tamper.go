package uplink

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"firebreak/agent/wire"
)

// voice is the key that the agent signs with. The file is read for each session, so that a key can be
// rotated; one that cannot be read any more leaves the last in use. An agent without a key still
// tells: whoever asks for signatures sees that they are missing.
type voice struct {
	mu  sync.Mutex
	s   *wire.Signer
	err error
}

func (v *voice) signer(file string) *wire.Signer {
	if file == "" {
		return nil
	}
	s, err := wire.ReadSigner(file)
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.err = err; err == nil {
		v.s = s
	}
	return v.s
}

func (v *voice) problem() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.err == nil {
		return ""
	}
	return v.err.Error()
}

// tamperForget is the time without a sign after which tampering is over.
const tamperForget = 5 * time.Minute

// tampers collects from all brokers that somebody else wrote where only this agent may. All methods may
// be called from any goroutine.
type tampers struct {
	tell func(error) // nil: nobody asks; must not wait

	mu    sync.Mutex
	n     uint64
	last  time.Time
	known bool
}

func (t *tampers) sign(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n++
	t.last = time.Now()
	if !t.known && t.tell != nil {
		t.tell(err)
	}
	t.known = true
}

// look forgets what has not happened again.
func (t *tampers) look(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.known || now.Sub(t.last) < tamperForget {
		return
	}
	if t.known = false; t.tell != nil {
		t.tell(nil)
	}
}

func (t *tampers) count() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.n
}

// protect follows the agent's own alarms and plans on one broker. An empty message wipes what is
// retained, and somebody else's hides it: both are tampering, since a clear is a normal state, in this
// agent's own words. What stood there is told again with the next hello.
func (f *flight) protect(ctx context.Context) bool {
	if f.u.cfg.Drill { // nothing of a drill is retained
		return true
	}
	id := f.u.identity()
	alarms := f.hear(ctx, id.Topic(wire.Alarm, false, "")+"/#", f.own)
	return f.hear(ctx, id.Topic(wire.Plan, false, "")+"/#", f.own) && alarms
}

// own takes what was written on a topic of this agent.
func (f *flight) own(topic string, payload []byte, retained bool) {
	id := &f.u.cfg
	var h wire.Head
	switch err := json.Unmarshal(payload, &h); {
	case strings.HasSuffix(topic, "/"+wire.EchoName):
	case len(payload) == 0:
		f.tampered(topic, "it was wiped")
	case err != nil:
		f.tampered(topic, "something that is no message was written over it")
	case h.Instance == id.Instance:
		if err := f.forged(topic, payload, retained); err != nil {
			f.tampered(topic, err.Error())
			return
		}
		f.stood(topic, h.Seq)
	case h.Epoch < id.Epoch: // of a life before: rightly there until this one has told
		f.repeat(topic)
	case f.ourKey(topic, payload): // a copied disk (S13)
		f.u.twins.sign(h.Instance, topic, time.Now())
	case f.u.twins.err() == nil: // two of one name would write over each other for ever
		f.tampered(topic, fmt.Sprintf("instance %.40q was written over it", h.Instance))
	}
}

// forged is why a word in the name of this life is none of it.
func (f *flight) forged(topic string, payload []byte, retained bool) error {
	if f.signer == nil {
		return nil
	}
	_, err := wire.NewRing(f.signer.Key()).Verify(topic, payload)
	if errors.Is(err, wire.ErrForged) || errors.Is(err, wire.ErrUnsigned) && !retained {
		return err
	}
	return nil
}

func (f *flight) ourKey(topic string, payload []byte) bool {
	if f.signer == nil {
		return false
	}
	_, err := wire.NewRing(f.signer.Key()).Verify(topic, payload)
	return err == nil
}

func (f *flight) tampered(topic, what string) {
	f.u.tampers.sign(fmt.Errorf("somebody writes on topic %s of broker %s: %s. It is told again; let nobody but this agent write there", topic, f.b.Name, what))
	f.repeat(topic)
}

// repeat has the topic told again. Only topics on which this agent has told something are kept.
func (l *link) repeat(topic string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.backlog.trees[0].byName[topic] != nil {
		l.again[topic] = true
	}
}

// stood takes note which of this life's words stands on a topic. An older one than was told last is told over with
// the next hello: it was played again, or the broker has come back with what it had kept of before. If the newest
// is still on its way, it comes here before that.
func (l *link) stood(topic string, seq uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch s := l.backlog.trees[0].byName[topic]; {
	case s == nil:
	case seq < s.m.Seq:
		l.again[topic] = true
	default:
		delete(l.again, topic)
	}
}

// refused notes what the broker's access list does not allow.
func (l *link) refused(what string, err error) {
	l.mu.Lock()
	known := l.st.Refused != ""
	l.st.Refused = what + ": " + err.Error()
	l.mu.Unlock()
	if !known {
		l.log.Warn("the broker's access list is too tight: "+what, "error", err)
	}
}
