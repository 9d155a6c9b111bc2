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
