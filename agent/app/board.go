package app

import (
	"sort"
	"sync"

	"firebreak/agent/uplink"
	"firebreak/agent/wire"
	"firebreak/plugins"
)

// Board keeps the newest state of every alarm and plan, for the control socket and the demo. It is
// a publisher; all methods may be called from any goroutine.
type Board struct {
	mu     sync.Mutex
	alarms map[string]plugins.AlarmState
	plans  map[string]plugins.PlanState
}

func NewBoard() *Board {
	return &Board{alarms: map[string]plugins.AlarmState{}, plans: map[string]plugins.PlanState{}}
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
		b.alarms[u.Alarm.Name] = *u.Alarm
	case u.Plan != nil:
		b.plans[u.Plan.Plan] = *u.Plan
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

// Status is what stands on the board: alarms not at rest by priority, and plans.
type Status struct {
	Alarms []plugins.AlarmState `json:"alarms"`
	Plans  []plugins.PlanState  `json:"plans"`

	Buses   map[string]wire.BusLoad `json:"buses,omitempty"`
	Telling uplink.Stats            `json:"telling"` // set by the desk
}

func (b *Board) Status() Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := Status{Alarms: []plugins.AlarmState{}, Plans: []plugins.PlanState{}}
	for _, a := range b.alarms {
		if a.Active || a.State != "normal" {
			s.Alarms = append(s.Alarms, a)
		}
	}
	for _, p := range b.plans {
		s.Plans = append(s.Plans, p)
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
