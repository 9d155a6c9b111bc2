package mqtt

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"firebreak/plugins"
)

const (
	maxReply  = 16 << 10
	maxDetail = 200
	dropEvery = time.Minute // between two lines of the log
)

// reply is one message on a reply topic, as it came.
type reply struct {
	payload []byte
	drill   bool // the topic is that of drills
}

// answer is what a consumer says.
type answer struct {
	Key      string          `json:"key"`
	Answer   string          `json:"answer"` // receipt, accept, decline, done, probe
	Consumer string          `json:"consumer"`
	Detail   json.RawMessage `json:"detail"`  // a text, or anything
	Version  string          `json:"version"` // of the consumer, to a probe
}

// evidenceName is the name that an answer has as evidence; empty for one that is not known.
func evidenceName(answer string) string {
	switch answer {
	case plugins.SeenReceipt, plugins.SeenAccept, plugins.SeenDecline, plugins.SeenDone: // they are called alike
		return answer
	}
	return ""
}

// detail is one bounded line.
func (a answer) detail() string {
	var s string
	if json.Unmarshal(a.Detail, &s) != nil {
		var b bytes.Buffer
		if json.Compact(&b, a.Detail) == nil && b.String() != "null" {
			s = b.String()
		}
	}
	s = strings.ToValidUTF8(strings.Join(strings.Fields(s), " "), "?")
	if len(s) > maxDetail {
		s = strings.ToValidUTF8(s[:maxDetail], "") + "..."
	}
	return s
}

func (a answer) evidence(key plugins.Key) plugins.Evidence {
	ev := plugins.Evidence{Key: key, Name: evidenceName(a.Answer), Detail: a.Consumer + " says " + a.Answer, OK: a.Answer != "decline"}
	if d := a.detail(); d != "" {
		ev.Detail += ": " + d
	}
	return ev
}

// got takes a message from a session, and never blocks.
func (h *Hook) got(payload []byte, retained, drill bool) {
	switch {
	case retained: // an answer of some earlier day
		h.drops.add("retained", "clear the retained message on the reply topic; consumers must not retain answers")
	case len(payload) > maxReply:
		h.drops.add("malformed", fmt.Sprintf("an answer has %d bytes, at most %d are read", len(payload), maxReply))
	default:
		select {
		case h.replies <- reply{payload, drill}:
		default:
			h.drops.add("too many", "answers come faster than they can be taken")
		}
	}
}

// take judges one answer, and hands it to the call that waits for it, or to the loop: late answers
// count, also those to an agent that was started since.
func (h *Hook) take(r reply, seen func(plugins.Evidence)) {
	var a answer
	if err := json.Unmarshal(r.payload, &a); err != nil || a.Key == "" {
		h.drops.add("malformed", fmt.Sprintf("no JSON with key, answer and consumer: %.100q", r.payload))
		return
	}
	if !slices.Contains(h.cfg.Consumers, a.Consumer) {
		h.drops.add("unknown consumer", fmt.Sprintf("%.60q is not named in consumers", a.Consumer))
		return
	}
	if a.Answer == "probe" {
		if !h.probed(a) {
			h.drops.add("stale", "an answer to a probe that is over")
		}
		return
	}
	id, marked := strings.CutPrefix(a.Key, plugins.MarkDrill.String()+"/")
	key, err := plugins.ParseKey(id)
	if err != nil || marked != r.drill && !h.cfg.Simulated || evidenceName(a.Answer) == "" {
		h.drops.add("malformed", fmt.Sprintf("key %.100q with the answer %.20q does not belong on this topic", a.Key, a.Answer))
		return
	}
	h.mu.Lock()
	n, old := h.calls[a.Key], key.Episode < h.newest[key.Plan]
	waits, full := n != nil && !n.sealed, false
	if waits {
		select {
		case n.answers <- a: // under the lock: who ends the call takes what is in here
		default:
			full = true
		}
	}
	h.mu.Unlock()
	switch {
	case waits && !full:
	case !waits && old && !marked:
		h.drops.add("stale", fmt.Sprintf("%.20q for %.100q, of an earlier episode", a.Answer, a.Key))
	case full || !h.budgets[a.Consumer].take(time.Now()):
		h.drops.add("too many", a.Consumer+" answers faster than any work goes")
	default:
		ev := a.evidence(key)
		if marked { // it concerns the drill, if that still runs, and never the real plan (S7)
			ev.Mark = plugins.MarkDrill
		}
		seen(ev)
	}
}

func (h *Hook) probed(a answer) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	ch := h.probing[a.Key]
	if ch == nil {
		return false
	}
	select {
	case ch <- a:
	default: // all have answered, and more
	}
	return true
}

// budget bounds what one consumer can bring before the loop outside of a call: so many at once, and
// so many in a second. It belongs to Run.
type budget struct {
	left float64
	at   time.Time
}

const (
	budgetMax  = 32
	budgetRate = 4
)

func newBudget() *budget { return &budget{left: budgetMax} }

func (b *budget) take(now time.Time) bool {
	if !b.at.IsZero() {
		b.left = min(budgetMax, b.left+budgetRate*now.Sub(b.at).Seconds())
	}
	b.at = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

// drops counts what was not taken, by reason.
type drops struct {
	log  *slog.Logger
	mu   sync.Mutex
	n    map[string]int
	told time.Time
}

func (d *drops) add(reason, example string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.n == nil {
		d.n = map[string]int{}
	}
	d.n[reason]++
	now := time.Now()
	if !d.told.IsZero() && now.Sub(d.told) < dropEvery {
		return
	}
	d.told = now
	d.log.Warn("answers of consumers were dropped", "so_far", fmt.Sprint(d.n), "last", reason, "because", example)
}

func (d *drops) count(reason string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.n[reason]
}
