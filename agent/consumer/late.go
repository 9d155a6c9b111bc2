package consumer

import (
	"maps"
	"slices"
	"time"

	"firebreak/agent/wire"
)

// pastGrace is how long an agent has, after a restart, to tell what it had kept.
const pastGrace = 30 * time.Second

// missed has what is missing of a life counted from now, when another takes over: that may have kept it.
func (l *life) missed(now time.Time) {
	for c := range l.seqs {
		if q := &l.seqs[c]; !q.missing.IsZero() {
			q.missing = now
		}
	}
}

// gaps tells what has not come of a life. Of readings of a life before none are missed: they may have waited in
// memory alone.
func (b *Book) gaps(a *agent, l *life, now time.Time, grace time.Duration, of string) {
	for c := range l.seqs {
		g, ok := l.seqs[c].due(now, grace)
		class := wire.Class(c)
		if !ok || class == wire.Plan || class == wire.State && l != a.cur { // a plan's state that a newer one replaced is no loss
			continue
		}
		b.out = append(b.out, Note{Kind: Gap, At: now, Site: a.site, Agent: a.name, Verdict: a.verdict, Class: class, From: g.from, To: g.to, Text: of, place: a.place()})
	}
}

// olderStates counts the readings of a life before, from where it stood. Readings name an epoch and no instance, so
// they are kept apart from all else, of a few lives.
func (a *agent) olderStates(epoch uint64, from *sequence) *sequence {
	if s := a.older[epoch]; s != nil {
		return s
	}
	if a.older == nil {
		a.older = map[uint64]*sequence{}
	}
	if len(a.older) >= maxLives {
		delete(a.older, slices.Min(slices.Collect(maps.Keys(a.older))))
	}
	a.older[epoch] = from
	return from
}

// late tells whether a message is of another life than the present one, and says that newer ones follow: an
// agent keeps for each broker what that lacked, over a restart. It is shown, each once, and never acted on.
// Without that mark what a life before has said is refused: somebody plays it again.
func (m *message) late(a *agent) bool {
	return !m.retained && m.replayed() && (a.cur == nil || m.head.Instance != a.cur.instance)
}

func (b *Book) takeLate(a *agent, m *message) {
	l := a.pastLife(m.head.Instance)
	switch {
	case l != nil:
	case a.cur == nil || m.head.Epoch > a.cur.epoch:
		l = a.life(m) // it may be heard alive yet
	default:
		l = &life{instance: m.head.Instance, epoch: m.head.Epoch}
		if o := a.lives[m.head.Instance]; o != nil {
			l = o
			delete(a.lives, m.head.Instance)
		}
		a.leave(l)
	}
	if l == nil || l.epoch != m.head.Epoch {
		b.refuse(m.now, m.broker, m.Place, "another epoch under the same instance", "")
		return
	}
	if !l.seqs[m.Class].take(m.now, m.head.Seq) {
		return
	}
	n := Note{Kind: EventTold, Alarm: m.alarm, Plan: m.plan, Event: m.event, Class: m.Class, Past: true}
	switch {
	case m.alarm != nil:
		n.Kind = AlarmTold
	case m.plan != nil:
		n.Kind = PlanTold
	}
	b.note(a, m, n)
}
