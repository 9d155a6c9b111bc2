package consumer

import (
	"slices"
	"strconv"
	"time"

	"firebreak/agent/wire"
	"firebreak/plugins"
)

// take takes a message that is what it says it is.
func (b *Book) take(m *message) {
	a := b.agents[key(m.Place)]
	if a == nil {
		if len(b.agents) >= maxAgents {
			b.refuse(m.now, m.broker, m.Place, "too many agents", "")
			return
		}
		a = &agent{site: m.head.Site, name: m.head.Agent, zone: m.head.Zone, lives: map[string]*life{}, heardAt: m.now, since: m.now}
		b.agents[key(m.Place)] = a
	}
	if m.Class == wire.State {
		b.takeState(a, m)
		return
	}
	if m.late(a) {
		b.takeLate(a, m)
		return
	}
	if a.pastLife(m.head.Instance) != nil {
		if m.status != nil {
			return // a will that a broker tells late
		}
		b.refuse(m.now, m.broker, m.Place, "of an instance that another has taken over from", "")
		return
	}
	l := a.life(m)
	if l == nil {
		b.refuse(m.now, m.broker, m.Place, "another epoch under the same instance", "")
		return
	}
	if live := b.agents[m.Site+"/"+m.Agent]; m.Drill && (a.cur == nil || a.cur.hellos == 0) && live != nil && live.cur != nil && live.cur.instance == l.instance {
		if a.cur != l { // its hello is told with what is real
			b.newLife(a, l, m)
		}
		a.verdict = Live
	}
	switch {
	case m.hello != nil:
		b.takeHello(a, l, m)
	case m.event != nil:
		b.takeEvent(a, l, m)
	case m.alarm != nil || m.plan != nil:
		b.takeWord(a, l, m)
	}
}

// life finds the life that a message is of. Those that nobody has heard alive are few: the one that
// was heard last goes.
func (a *agent) life(m *message) *life {
	l := a.lives[m.head.Instance]
	if l != nil {
		if l.epoch != m.head.Epoch {
			return nil
		}
		return l
	}
	if len(a.lives) >= maxLives {
		var oldest *life
		for _, o := range a.lives {
			if o != a.cur && (oldest == nil || o.epoch < oldest.epoch) {
				oldest = o
			}
		}
		delete(a.lives, oldest.instance)
	}
	l = &life{instance: m.head.Instance, epoch: m.head.Epoch, topics: map[string]*topic{}}
	a.lives[l.instance] = l
	return l
}

// takeHello takes a sign of life. One that is retained, or was heard already, is none.
func (b *Book) takeHello(a *agent, l *life, m *message) {
	if m.retained || m.head.Seq <= l.hello.Seq {
		return
	}
	l.hello, l.helloAt = *m.hello, m.now
	l.hellos++
	if a.cur != l && !a.takesOver(l, m.now) {
		return
	}
	if a.cur != l {
		b.newLife(a, l, m)
	}
	a.heardAt, a.zone = m.now, m.head.Zone
	last := &m.hello.Last
	if m.Drill && m.hello.DrillLast != nil {
		last = m.hello.DrillLast
	}
	for c, n := range map[wire.Class]uint64{wire.Alarm: last.Alarm, wire.Plan: last.Plan, wire.Event: last.Event} {
		l.seqs[c].heard(m.now, n)
	}
	b.verdict(a, m.now, Live, "")
	b.untold(a, m)
	b.compare(a, l, m.now)
}

// takesOver tells whether a life counts from now on (S14). A later epoch does at once. An earlier one, of
// an agent that has lost its journal, does when the present one has not been heard while it said hello
// twice: what was recorded of an old life, or one pause of one of two that bear the name, is not enough to mute a
// living agent.
func (a *agent) takesOver(l *life, now time.Time) bool {
	if a.cur == nil || l.epoch > a.cur.epoch {
		return true
	}
	if now.Sub(a.heardAt) < silentAfter/2 {
		return false
	}
	if !l.waitedFor.Equal(a.heardAt) { // another silence than that in which it said hello before
		l.waitedFor, l.waited = a.heardAt, 0
	}
	l.waited++
	return l.waited >= 2
}

func (b *Book) newLife(a *agent, l *life, m *message) {
	if old := a.cur; old != nil {
		a.leave(old)
		old.missed(m.now)
		a.olderStates(old.epoch, &old.seqs[wire.State])
		delete(a.lives, old.instance)
		if l.epoch < old.epoch {
			b.note(a, m, Note{Kind: NewLife, Text: "with an earlier epoch: its journal or its clock was lost"})
		} else {
			b.note(a, m, Note{Kind: NewLife})
		}
	}
	a.cur = l
	for id, o := range a.lives { // what is left of lives before it is old
		if o != l && o.epoch < l.epoch {
			a.leave(o)
			delete(a.lives, id)
		}
	}
}

// leave keeps of a life that is over what has come of it, and nothing that it said.
func (a *agent) leave(old *life) {
	old.topics = nil
	if a.past = append(a.past, old); len(a.past) > maxPast {
		a.past = a.past[1:]
	}
}

func (a *agent) pastLife(instance string) *life {
	for _, l := range a.past {
		if l.instance == instance {
			return l
		}
	}
	return nil
}

// untold tells what stood there, or was shown and not to be acted on, before the life was known to be alive.
func (b *Book) untold(a *agent, m *message) {
	var due []*topic
	for _, t := range a.cur.topics {
		if !t.told {
			due = append(due, t)
		}
	}
	slices.SortFunc(due, func(x, y *topic) int { return rank(x) - rank(y) })
	for _, t := range due {
		t.told = true
		b.tell(a, m.now, m.broker, t)
	}
	if a.cur.stage() > plugins.Watch {
		a.stageAt = m.now
	}
}

// rank puts plans before alarms, and alarms by priority.
func rank(t *topic) int {
	if t.plan != nil {
		return 0
	}
	return max(t.alarm.Priority, 1)
}

func (b *Book) tell(a *agent, now time.Time, broker string, t *topic) {
	n := Note{Kind: AlarmTold, At: now, Broker: broker, Site: a.site, Agent: a.name, Verdict: a.verdict, Alarm: t.alarm, Plan: t.plan, Class: wire.Alarm, place: t.place, real: t.real}
	h := &wire.Head{}
	if t.plan != nil {
		n.Kind, n.Class, h = PlanTold, wire.Plan, &t.plan.Head
	} else {
		h = &t.alarm.Head
	}
	n.of = wire.Ref{Instance: h.Instance, Epoch: h.Epoch, Class: n.Class.String(), Seq: h.Seq}
	b.out = append(b.out, n)
}

func (b *Book) note(a *agent, m *message, n Note) {
	n.At, n.Broker, n.Site, n.Agent, n.Verdict, n.place = m.now, m.broker, a.site, a.name, a.verdict, m.Place
	b.out = append(b.out, n)
}

// takeWord takes an alarm or a plan. What is not newer than what is known of its topic is a repeat.
func (b *Book) takeWord(a *agent, l *life, m *message) {
	fresh := l.fresh(m)
	if !m.retained {
		l.seqs[m.Class].take(m.now, m.head.Seq)
	}
	k := topicKey(m.Place)
	t := l.topics[k]
	if t == nil {
		if len(l.topics) >= maxTopics {
			b.refuse(m.now, m.broker, m.Place, "too many alarms", "")
			return
		}
		t = &topic{place: m.Place}
		l.topics[k] = t
	}
	if m.head.Seq <= t.seq {
		if m.head.Seq == t.seq && l == a.cur && !m.retained {
			told := len(b.out)
			b.tell(a, m.now, m.broker, t)
			b.repeats = append(b.repeats, b.out[told])
			b.out = b.out[:told]
		}
		return
	}
	was, known := *t, l == a.cur && l.hellos > 0 && l.differsAt.IsZero()
	// Behind what is replayed a newer state of it follows: nobody acts on this one.
	t.seq, t.alarm, t.plan, t.real, t.at, t.told = m.head.Seq, m.alarm, m.plan, m.real() && !m.replayed(), m.now, false
	if l != a.cur {
		return // told once it is known to live
	}
	if known && l.contradicted(m) {
		if *t = was; t.seq == 0 {
			delete(l.topics, k)
		}
		b.refuse(m.now, m.broker, m.Place, "older than the state that its hello speaks of", "")
		return
	}
	if l.stage() > plugins.Watch {
		a.stageAt = m.now
	}
	if fresh {
		a.heardAt = m.now
	}
	t.told = a.verdict == Live // else once more, when it is known to live: nobody may act on it before
	b.tell(a, m.now, m.broker, t)
	b.compare(a, l, m.now)
}

func (m *message) replayed() bool {
	return m.alarm != nil && m.alarm.Replayed || m.plan != nil && m.plan.Replayed || m.event != nil && m.event.Replayed
}

func (b *Book) takeEvent(a *agent, l *life, m *message) {
	fresh := l.fresh(m)
	if m.retained || !l.seqs[wire.Event].take(m.now, m.head.Seq) {
		return
	}
	if l == a.cur {
		if fresh {
			a.heardAt = m.now
		}
		b.note(a, m, Note{Kind: EventTold, Event: m.event, Class: wire.Event, real: m.real()})
	}
}

// takeState takes readings: of the life that lives, and what it has kept of those before, each once.
func (b *Book) takeState(a *agent, m *message) {
	if m.retained || a.cur == nil {
		return
	}
	seqs := &a.cur.seqs[wire.State]
	if m.state.Epoch != a.cur.epoch {
		if !m.past {
			return
		}
		seqs = a.olderStates(m.state.Epoch, &sequence{})
	}
	if !seqs.take(m.now, m.state.Seq) {
		return
	}
	b.note(a, m, Note{Kind: StateTold, State: m.state, Class: wire.State, Past: m.past, real: m.real()})
}

// Tick looks for what time alone shows: silence, gaps, alarms that are not known. It is called every
// quarter of a second or so.
func (b *Book) Tick(now time.Time) []Note {
	b.out = b.out[:0]
	for _, a := range b.agents {
		b.silence(a, now)
		if a.cur == nil || a.verdict != Live {
			continue
		}
		l := a.cur
		b.gaps(a, l, now, gapGrace, "")
		for _, old := range a.past {
			if old.hellos > 0 {
				b.gaps(a, old, now, pastGrace, "of epoch "+strconv.FormatUint(old.epoch, 10))
			}
		}
		if wait := min(gapGrace<<l.differed, time.Minute); !l.differsAt.IsZero() && now.Sub(l.differsAt) >= wait {
			l.differed, l.differsAt = min(l.differed+1, 4), now
			b.out = append(b.out, Note{Kind: Incomplete, At: now, Site: a.site, Agent: a.name, Verdict: a.verdict, place: a.place(), Text: "what is known is not all that its hello speaks of, alarms or plans: ask it to tell them again (resync)"})
		}
	}
	return b.out
}

func (a *agent) place() wire.Place {
	return wire.Place{Site: wire.TopicName(a.site), Zone: wire.TopicName(a.zone), Agent: wire.TopicName(a.name)}
}

// silence judges an agent that has said nothing for long.
func (b *Book) silence(a *agent, now time.Time) {
	if a.cur != nil && a.cur.hellos == 0 { // drills of an agent that lives: see take
		return
	}
	if a.verdict == Silent || a.verdict == SilentAfterAlarm || now.Sub(a.heardAt) < silentAfter {
		return
	}
	// Of one that was never heard alive, what stands retained may be of any time: the worst is taken.
	after := !a.stageAt.IsZero() && a.heardAt.Sub(a.stageAt) < alarmMemory
	for _, l := range a.lives {
		after = after || a.cur == nil && l.stage() > plugins.Watch
	}
	if after {
		b.verdict(a, now, SilentAfterAlarm, "silent after stage 1 or higher: take it as stage 2, start what is reversible")
		return
	}
	b.verdict(a, now, Silent, "silent at stage 0: a fault of the agent, its host or the way to it")
}

func (b *Book) verdict(a *agent, now time.Time, v Verdict, text string) {
	if a.verdict == v {
		return
	}
	a.verdict, a.since = v, now
	b.out = append(b.out, Note{Kind: VerdictNow, At: now, Site: a.site, Agent: a.name, Verdict: v, Text: text, place: a.place()})
}
