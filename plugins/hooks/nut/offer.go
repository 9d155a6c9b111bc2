package nut

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"firebreak/plugins"
	"firebreak/sensors"
)

// planView is what is known of a plan from its updates.
type planView struct {
	state plugins.PlanState
	stage plugins.Stage
	open  uint64 // the episode that the last update showed; 0: none
	ended uint64 // the newest episode that was seen open and then no more
}

type reading struct {
	value float64
	ok    bool
	at    time.Time // when it came, on our clock
}

// Offer takes readings and states of plans. It never waits. A drill, and readings that are not
// real, change nothing that a host can see (S7).
func (h *Hook) Offer(u plugins.Update) {
	if u.Mark != plugins.MarkReal {
		return
	}
	switch {
	case u.State != nil:
		h.offerReadings(u.State)
	case u.Plan != nil && u.Plan.Origin == sensors.Real.String():
		h.offerPlan(u.Plan)
	}
}

func (h *Hook) offerReadings(b *sensors.Batch) {
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range b.Readings {
		if h.wanted[r.Point] {
			h.readings[r.Point] = reading{r.Value, r.Quality.Usable() && r.Quality.Origin() == sensors.Real, now}
		}
	}
}

func (h *Hook) offerPlan(p *plugins.PlanState) {
	stage, err := plugins.ParseStage(p.Stage)
	if err != nil {
		return // another version's word: what was known stands
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	v := h.plans[p.Plan]
	if v == nil {
		v = &planView{}
		h.plans[p.Plan] = v
	}
	// Only an episode that an update has shown open, and that one after it shows no more, has ended.
	// That there is none is no reset by itself: the update may be older than the call that latched,
	// or the agent may have been killed while its disk took no more records, and then it has
	// forgotten a room that burns.
	if p.Episode != v.open {
		v.ended = max(v.ended, v.open)
	}
	v.open, v.stage, v.state = p.Episode, stage, *p
	changed := false
	for _, z := range h.zones {
		changed = h.clearLocked(z, p.Plan, v.ended) || changed
		changed = h.deadManLocked(z, p) || changed
	}
	if changed {
		h.changedLocked()
		h.saveLocked()
	}
}

// clearLocked takes back the latches of episodes that have ended. Connections that saw FSD go on
// seeing it until they close.
func (h *Hook) clearLocked(z *zone, plan string, ended uint64) bool {
	cleared := false
	for id, l := range z.latches {
		if l.key.Plan == plan && l.key.Episode <= ended {
			delete(z.latches, id)
			cleared = true
		}
	}
	if cleared && !z.fsd() {
		z.guests = nil
		h.log.Warn("FSD is cleared for new connections: the episode was reset", "ups", z.cfg.Name, "plan", plan)
	}
	return cleared
}

// deadManLocked sets OB while a plan of the zone, armed, stands at stage 2a or above: from there on
// it is latched by the core and falls by a person's reset alone, so OB does not flap (S6). A plan
// that only observes acts on nobody.
func (h *Hook) deadManLocked(z *zone, p *plugins.PlanState) bool {
	if !z.cfg.DeadMan || !z.shows(p) {
		return false
	}
	ob, silent := false, false
	for _, v := range h.plans {
		ob = ob || z.shows(&v.state) && v.open != 0 && v.stage >= plugins.Prepare && v.state.Mode == "armed"
	}
	for _, name := range z.cfg.Plans {
		silent = silent || h.plans[name] == nil
	}
	if z.kept && !ob && silent {
		return false // OB of before a restart stands until every plan has spoken
	}
	z.kept = false
	if ob == z.ob {
		return false
	}
	z.ob = ob
	if ob {
		h.log.Warn("dead man: the UPS is told to be on battery; do not restart the agent now, its hosts shut down when it is gone for their DEADTIME", "ups", z.cfg.Name, "plan", p.Plan)
	} else {
		h.log.Warn("dead man: the UPS is told to be on line again", "ups", z.cfg.Name)
	}
	return true
}

// shows tells whether a plan is one of the zone's.
func (z *zone) shows(p *plugins.PlanState) bool {
	if len(z.cfg.Plans) > 0 {
		return slices.Contains(z.cfg.Plans, p.Plan)
	}
	return p.Zone == z.cfg.Zone || slices.Contains(p.Protects, z.cfg.Zone)
}

// plan is the zone's plan that stands highest; nil if none has spoken.
func (z *zone) plan(plans map[string]*planView) (top *planView) {
	for _, v := range plans {
		if !z.shows(&v.state) {
			continue
		}
		if top == nil || v.stage > top.stage || v.stage == top.stage && v.state.Plan < top.state.Plan {
			top = v
		}
	}
	return top
}

// orphans are the latches from before a start whose episode the plan, which has spoken since, does
// not know.
func (z *zone) orphans(plans map[string]*planView) (out []string) {
	for id, l := range z.latches {
		if p := plans[l.key.Plan]; l.restored && p != nil && p.open != l.key.Episode {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

// restore takes up what was kept before this process. What has happened meanwhile wins.
func (h *Hook) restore(ctx context.Context) {
	s, err := loadStates(ctx, h.stores)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.loaded, h.loadErr = true, err
	if err != nil {
		h.log.Error("the state of before could not be read whole: no FSD is taken from what is torn", "err", err)
	}
	if s == nil {
		h.saveLocked()
		return
	}
	h.seq = max(h.seq, s.Seq)
	var faults []error
	for _, u := range s.UPS {
		z := h.zone(u.Name)
		if z == nil {
			if len(u.Latches) > 0 {
				h.log.Error("a UPS that stood at FSD is no longer configured", "ups", u.Name)
			}
			continue
		}
		faults = append(faults, h.restoreZone(z, u))
	}
	if err := errors.Join(faults...); err != nil {
		h.loadErr = errors.Join(h.loadErr, err)
		h.log.Error("a part of the state of before is not understood", "err", err)
	}
	h.changedLocked()
	h.saveLocked()
}

func (h *Hook) restoreZone(z *zone, u savedUPS) error {
	var faults []error
	if u.OB && z.cfg.DeadMan && z.plan(h.plans) == nil {
		z.ob, z.kept = true, true
	}
	for _, sl := range u.Latches {
		k, err := plugins.ParseKey(sl.Key)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		if p := h.plans[k.Plan]; z.latches[sl.Key] != nil || p != nil && k.Episode <= p.ended {
			continue
		}
		h.addLatchLocked(z, &latch{key: k, ended: sl.Ended, told: sl.Told, receipt: sl.Told, restored: true,
			out: plugins.Outcome{Result: plugins.Result(sl.Result), Detail: sl.Detail}})
		h.log.Warn("FSD stands from before the start", "ups", z.cfg.Name, "key", sl.Key)
	}
	if !z.fsd() {
		return errors.Join(faults...)
	}
	for _, sg := range u.Guests {
		a, err := netip.ParseAddr(sg.Addr)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		if z.guests[a] == nil {
			z.guests[a] = &guest{told: sg.Told, gone: sg.Gone, lost: time.Now()}
		}
	}
	return errors.Join(faults...)
}

// saveLocked hands the present state to every store, which writes it behind. Nothing is written
// before what was kept has been read.
func (h *Hook) saveLocked() {
	if !h.loaded {
		return
	}
	h.seq++
	s := saved{Seq: h.seq, Wall: time.Now()}
	for _, z := range h.zones {
		if !z.ob && !z.fsd() {
			continue
		}
		u := savedUPS{Name: z.cfg.Name, OB: z.ob}
		for id, l := range z.latches {
			u.Latches = append(u.Latches, savedLatch{Key: id, Ended: l.ended, Result: uint8(l.out.Result), Detail: l.out.Detail, Told: l.told})
		}
		for a, g := range z.guests {
			u.Guests = append(u.Guests, savedGuest{Addr: a.String(), Told: g.told, Gone: g.gone})
		}
		s.UPS = append(s.UPS, u)
	}
	b, err := s.encode()
	if err != nil {
		h.log.Error("the state cannot be kept", "err", err)
		return
	}
	for _, st := range h.stores {
		st.save(b)
	}
}

func (h *Hook) save() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.saveLocked()
}

// saved waits a short time until the state is kept in at least one store; nil if it is.
func (h *Hook) saved(ctx context.Context, bound time.Duration) error {
	h.mu.Lock()
	loaded := h.loaded
	h.mu.Unlock()
	if !loaded {
		return errors.New("the server does not run yet, its state is not kept")
	}
	if len(h.stores) == 0 {
		return errors.New("no directory for its state was given")
	}
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	answers := make(chan error, len(h.stores))
	for _, s := range h.stores {
		go func() { answers <- s.wait(ctx) }() // ends with ctx
	}
	var faults []error
	for range h.stores {
		err := <-answers
		if err == nil {
			return nil
		}
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}
