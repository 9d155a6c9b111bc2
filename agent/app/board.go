package app

import (
	"slices"
	"sort"
	"sync"
	"time"

	"firebreak/agent/uplink"
	"firebreak/agent/wire"
	"firebreak/plugins"
	"firebreak/sensors"
)

// Board keeps the newest state of every alarm and plan, for the control socket and the demo. It is
// a publisher; all methods may be called from any goroutine.
type Board struct {
	clock *sensors.Clock

	mu      sync.Mutex
	alarms  map[string]plugins.AlarmState
	plans   map[string]plugins.PlanState
	alarmAt map[string]sensors.Mono // when it was told
	planAt  map[string]sensors.Mono
}

func NewBoard(clock *sensors.Clock) *Board {
	return &Board{clock: clock, alarms: map[string]plugins.AlarmState{}, plans: map[string]plugins.PlanState{},
		alarmAt: map[string]sensors.Mono{}, planAt: map[string]sensors.Mono{}}
}

// Listens is false: readings are not kept.
func (b *Board) Listens() bool { return false }

// Offer never blocks.
func (b *Board) Offer(u plugins.Update) {
	if u.Mark != plugins.MarkReal {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case u.Alarm != nil:
		b.alarms[u.Alarm.Name], b.alarmAt[u.Alarm.Name] = *u.Alarm, b.clock.Now()
	case u.Plan != nil:
		b.plans[u.Plan.Plan], b.planAt[u.Plan.Plan] = *u.Plan, b.clock.Now()
	}
}

// open names a plan with an open episode; empty: none has one.
func (b *Board) open() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	for name, p := range b.plans {
		if p.Episode != 0 {
			return name
		}
	}
	return ""
}

// idle: the loop has told of all plans, and no episode is open.
func (b *Board) idle(plans int) bool {
	b.mu.Lock()
	told := len(b.plans)
	b.mu.Unlock()
	return told >= plans && b.open() == ""
}

// lastDrill is when a plan was drilled last, and whether the loop has told.
func (b *Board) lastDrill(plan string) (unix int64, known bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p, known := b.plans[plan]
	return p.LastDrill, known
}

// episode is the open episode of a plan, 0 if none is; told is false before the loop has said so.
func (b *Board) episode(plan string) (e uint64, told bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p, told := b.plans[plan]
	return p.Episode, told
}

// Status is what stands on the board: alarms not at rest by priority, and plans. Its durations are as of now.
type Status struct {
	Alarms []plugins.AlarmState `json:"alarms"`
	Plans  []plugins.PlanState  `json:"plans"`

	Buses   map[string]wire.BusLoad `json:"buses,omitempty"`
	Telling uplink.Stats            `json:"telling"` // set by the desk

	Unsynced bool `json:"clock_unsynced,omitempty"` // no proof is taken and no plan armed
}

func (b *Board) Status() Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	s, now := Status{Alarms: []plugins.AlarmState{}, Plans: []plugins.PlanState{}}, b.clock.Now()
	for _, a := range b.alarms {
		if a.Active || a.State != "normal" {
			s.Alarms = append(s.Alarms, agedAlarm(a, now.Sub(b.alarmAt[a.Name])))
		}
	}
	for _, p := range b.plans {
		s.Plans = append(s.Plans, agedPlan(p, now.Sub(b.planAt[p.Plan])))
	}
	sort.Slice(s.Alarms, func(i, j int) bool {
		if s.Alarms[i].Priority != s.Alarms[j].Priority {
			return s.Alarms[i].Priority < s.Alarms[j].Priority
		}
		return s.Alarms[i].Name < s.Alarms[j].Name
	})
	sort.Slice(s.Plans, func(i, j int) bool { return s.Plans[i].Plan < s.Plans[j].Plan })
	return s
}

// agedAlarm is an alarm that was told d ago: it is told when it changes, and what it says of the time runs on. What its
// pointers lead to is other publishers' too, and is copied.
func agedAlarm(a plugins.AlarmState, d time.Duration) plugins.AlarmState {
	a.SinceMs += d.Milliseconds()
	if a.Part9 != nil && a.Part9.UnshelveTime > 0 {
		p := *a.Part9
		p.UnshelveTime = max(0, p.UnshelveTime-d.Milliseconds())
		a.Part9 = &p
	}
	return a
}

// agedPlan is a plan that was told d ago. In a hold the countdowns stand still, and the time of the hold runs.
func agedPlan(p plugins.PlanState, d time.Duration) plugins.PlanState {
	s := int(d / time.Second)
	p.Outstanding = slices.Clone(p.Outstanding)
	for i := range p.Outstanding {
		p.Outstanding[i].AgeS += s
	}
	if p.Episode == 0 {
		return p
	}
	p.ElapsedS += s
	if p.ActByS != nil {
		left := max(0, *p.ActByS-s)
		p.ActByS = &left
	}
	if p.HeldBy != "" {
		p.HoldS = max(0, p.HoldS-s)
		return p
	}
	left := make(map[string]int, len(p.Countdown))
	for stage, n := range p.Countdown {
		left[stage] = max(0, n-s)
	}
	p.Countdown = left
	return p
}
