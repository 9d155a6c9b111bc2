package uplink

import (
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"firebreak/agent/wire"
)

// Limits of the search for another agent of the same name (S13).
const (
	twinShort  = 10 * time.Second // a session that ended sooner may have been taken over
	twinWait   = 500 * time.Millisecond
	twinForget = 5 * time.Minute // without a sign of the other
	maxTwins   = 16              // names of instances kept: a bound against whoever makes them up
)

// twins collects the signs that another living agent uses this one's name, from all brokers. One
// sign may be the last word of an earlier life of this very agent, told late by a broker; two are not.
//
// A broker allows a name one session, so two agents of one name throw each other out, and neither
// hears the other's hello. What the other leaves behind is its status: a session that follows
// short ones looks at it before it overwrites it. Once the other is known, this agent takes another
// client id, so that both can stay, and each hears the other's hello. All methods may be called from
// any goroutine.
type twins struct {
	own  string
	tell func(error) // nil: nobody asks; must not wait

	mu    sync.Mutex
	signs map[string]int // by instance
	last  time.Time
	known error
}

// sign counts a word of another instance, said of the topic.
func (t *twins) sign(instance, topic string, now time.Time) {
	if t.tell == nil || instance == "" || instance == t.own {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.signs) >= maxTwins {
		clear(t.signs)
	}
	t.signs[instance]++
	if t.signs[instance] < 2 {
		return
	}
	t.last = now
	if t.known == nil {
		t.known = fmt.Errorf("another agent uses this name: instance %s on %s, this one is %s; give each agent a name of its own, and reset the journal of a copied disk", instance, topic, t.own)
		t.tell(t.known)
	}
}

// look forgets a twin that has been silent for long.
func (t *twins) look(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.known == nil || now.Sub(t.last) < twinForget {
		return
	}
	t.known = nil
	clear(t.signs)
	t.tell(nil)
}

func (t *twins) err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.known
}

// hello takes what stands on the agent's own hello topic, and returns who says it. A retained one is no sign of life.
func (t *twins) hello(topic string, payload []byte, retained bool) (instance string) {
	var h wire.Head // the rest tells of each bus
	if retained || json.Unmarshal(payload, &h) != nil {
		return ""
	}
	t.sign(h.Instance, topic, time.Now())
	return h.Instance
}

// TelemetryClient ends the client id of the telemetry's session. No name of an agent holds a colon, and a
// NATS server refuses ids with a dot.
const TelemetryClient = ":t"

// clientID is the name for the next session. With a twin it has a suffix, and after a session that
// could not be had under that, because the broker knows the plain name only, none.
func (l *link) clientID() string {
	id := l.b.ClientID
	if id == "" {
		id = l.u.cfg.Agent
	}
	if l.lane == telemetry {
		id += TelemetryClient
	}
	l.suffixed = l.u.twins.err() != nil && !l.suffixRefused
	l.suffixRefused = false
	if l.suffixed {
		id += "-" + l.u.cfg.Instance[:min(8, len(l.u.cfg.Instance))]
	}
	return id
}

// over notes how a session went: how many in a row were accepted and ended soon.
func (l *link) over(good bool, lasted time.Duration) {
	switch {
	case good && lasted < twinShort:
		l.short++
	case good:
		l.short = 0
	case l.suffixed:
		l.suffixRefused = true
	}
}
