package core

import (
	"time"

	"firebreak/agent/hazard"
	"firebreak/plugins"
	"firebreak/sensors"
)

// severity is a priority in the numbers of OPC UA, 1 to 1000.
var severity = [...]int{1: 900, 2: 700, 3: 500, 4: 300}

// part9 is an alarm in the words of OPC UA Part 9 (5.8.2 AlarmConditionType, 5.8.17 ShelvedStateMachineType),
// so that a gateway to one need not guess. Times are milliseconds, as a Duration there.
func (c *Core) part9(now sensors.Mono, a *hazard.Alarm) *plugins.Part9 {
	ms := func(d time.Duration) int64 { return d.Milliseconds() }
	p := &plugins.Part9{
		ActiveState:       a.Active,
		AckedState:        a.State != hazard.Unacknowledged && a.State != hazard.RTNUnacknowledged && a.State != hazard.LatchedUnacknowledged,
		LatchedState:      a.Latching && (a.Active || a.State == hazard.LatchedUnacknowledged || a.State == hazard.LatchedAcknowledged),
		SuppressedState:   a.State == hazard.Suppressed,
		OutOfServiceState: a.State == hazard.OutOfService,
		ShelvingState:     "Unshelved",
		MaxTimeShelved:    ms(c.maxShelve()),
		ReAlarmTime:       ms(a.ReAlarm),
		FirstInGroup:      a.Group,
		FirstInGroupFlag:  a.FirstOut,
		Severity:          severity[min(max(a.Priority, 1), 4)],
	}
	p.Retain = a.Active || a.State != hazard.Normal
	if a.State == hazard.Shelved {
		p.ShelvingState, p.UnshelveTime = "TimedShelved", ms(max(0, a.Until.Sub(now)))
		if a.OneShot {
			p.ShelvingState = "OneShotShelved"
		}
	}
	p.SuppressedOrShelved = p.SuppressedState || p.OutOfServiceState || a.State == hazard.Shelved
	if id, ok := c.cond(a.Name); ok {
		p.OnDelay, p.OffDelay = ms(c.r.Hazard.Conds[id].OnDelay), ms(c.r.Hazard.Conds[id].OffDelay)
	}
	return p
}

func (c *Core) maxShelve() time.Duration {
	if c.r.MaxShelve > 0 {
		return c.r.MaxShelve
	}
	return defMaxShelve
}
