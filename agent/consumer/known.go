package consumer

import (
	"time"

	"firebreak/agent/wire"
	"firebreak/plugins"
)

// compare holds what is known of a life to its last hello: the active alarms, and the newest state of each plan.
// Neither a retained message that came too late nor one between two that are known leaves a gap in the numbers.
func (b *Book) compare(a *agent, l *life, now time.Time) {
	if l.hellos == 0 { // drills: no hello speaks of them
		return
	}
	switch {
	case l.knowsAlarms() && l.knowsPlans():
		l.differsAt, l.differed = time.Time{}, 0
	case l.differsAt.IsZero():
		l.differsAt = now
	}
}

func (l *life) knowsAlarms() bool {
	var active []plugins.AlarmState
	for _, t := range l.topics {
		if t.alarm != nil && t.alarm.Active {
			active = append(active, plugins.AlarmState{Name: t.alarm.Hazard, Occurrence: t.alarm.Occurrence, State: t.alarm.State})
		}
	}
	return wire.AlarmHash(active) == l.hello.Active.Hash
}

// knowsPlans: an agent of an earlier version says of its plans no more than the last number, which may be that of
// another plan. While something newer than the hello is known, only the next one can tell.
func (l *life) knowsPlans() bool {
	newest, last := map[string]uint64{}, uint64(0)
	for _, t := range l.topics {
		if t.plan != nil {
			newest[t.plan.Plan] = t.seq
			last = max(last, t.seq)
		}
	}
	switch p := l.hello.Plans; {
	case p == nil:
		return last >= l.hello.Last.Plan
	case last > l.hello.Last.Plan:
		return l.differsAt.IsZero()
	default:
		return wire.PlanHash(newest) == p.Hash
	}
}

// contradicted tells whether a message that was just taken is not the present state, though nothing newer is known of
// its topic: all that the last hello speaks of was known, and with it is not. A broker has dug it up, or somebody
// plays it. What is newer than the hello, or says itself that a newer one follows, is none of it.
func (l *life) contradicted(m *message) bool {
	switch {
	case m.replayed():
		return false
	case m.plan != nil:
		return m.head.Seq <= l.hello.Last.Plan && !l.knowsPlans()
	}
	return m.head.Seq <= l.hello.Last.Alarm && !l.knowsAlarms()
}

// fresh tells whether a message shows that its life goes on: none of its class was known to have been told after it.
// What is older may have waited, or been recorded.
func (l *life) fresh(m *message) bool { return !m.retained && m.head.Seq > l.seqs[m.Class].last }
