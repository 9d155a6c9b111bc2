package hazard

import (
	"slices"
	"time"

	"firebreak/sensors"
)

// MemberRecord is the lasting state of one detector on one point, as the journal holds it. Names,
// not numbers: it must outlive a change of the configuration. Without a Cond it is of a point that no
// detector watches, and says whether that is in service.
type MemberRecord struct {
	Cond    string        `json:"cond"`
	Point   string        `json:"point"`
	Raw     Tri           `json:"raw"`
	Active  bool          `json:"active,omitempty"`
	Lost    bool          `json:"lost,omitempty"`
	NoVote  bool          `json:"no_vote,omitempty"`
	Test    bool          `json:"test,omitempty"`
	Out     bool          `json:"out,omitempty"`
	Weak    bool          `json:"weak,omitempty"`
	Held    bool          `json:"held,omitempty"`
	Latched bool          `json:"latched,omitempty"`
	Anew    bool          `json:"anew,omitempty"`
	Trips   bool          `json:"trips,omitempty"` // bypassed, and true by its last reading
	On      time.Duration `json:"on,omitempty"`
	OnAt    sensors.Mono  `json:"on_at,omitempty"`
	Turn    sensors.Mono  `json:"turn,omitempty"`
	OffAt   sensors.Mono  `json:"off_at,omitempty"`
	LostAt  sensors.Mono  `json:"lost_at,omitempty"`
	Fresh   sensors.Mono  `json:"fresh,omitempty"`
	Bypass  sensors.Mono  `json:"bypass,omitempty"` // of the point, as are Out and Back: the same in all of its members
	Back    sensors.Mono  `json:"back,omitempty"`
}

func (e *Engine) record(in *input) MemberRecord {
	p := &e.points[in.point]
	return MemberRecord{Cond: e.r.Conds[in.cond].Name, Point: e.r.Points[in.point].Name, Raw: in.raw,
		Active: in.active, Lost: in.lost, NoVote: in.noVote, Test: in.test, Out: p.out, Weak: in.weak, Held: in.held, Latched: in.latched,
		Anew: in.anew, Trips: in.tripped, On: in.on, OnAt: in.onAt, Turn: in.turn, OffAt: in.offAt, LostAt: in.lostAt, Fresh: in.fresh, Bypass: p.bypass, Back: p.back}
}

// find returns the input that a record names, or nil when the configuration no longer has it.
func (e *Engine) find(cond, point string) *input {
	if e.names == nil { // asked for at a start alone
		e.names = make(map[inputName]int32, len(e.inputs))
		for i := range e.inputs {
			in := &e.inputs[i]
			e.names[inputName{e.r.Conds[in.cond].Name, e.r.Points[in.point].Name}] = int32(i)
		}
	}
	if i, ok := e.names[inputName{cond, point}]; ok {
		return &e.inputs[i]
	}
	return nil
}

type inputName struct{ cond, point string }

// Restore takes back the lasting state of one member; what the configuration no longer has is
// passed over, but for what a person has said of a point that it has.
func (e *Engine) Restore(m MemberRecord) {
	in := e.find(m.Cond, m.Point)
	if in == nil {
		if i := slices.IndexFunc(e.r.Points, func(p sensors.Point) bool { return p.Name == m.Point }); i >= 0 {
			e.restorePoint(sensors.PointID(i), m)
		}
		return
	}
	*in = input{cond: in.cond, member: in.member, point: in.point, wiring: in.wiring, pend: in.pend, raw: m.Raw, active: m.Active, lost: m.Lost,
		noVote: m.NoVote, test: m.Test, weak: m.Weak, held: m.Held, latched: m.Latched, anew: m.Anew, tripped: m.Trips, on: m.On, onAt: m.OnAt, turn: m.Turn, offAt: m.OffAt, lostAt: m.LostAt, fresh: m.Fresh}
	e.restorePoint(in.point, m)
	e.advancePend(in)
	e.touch(in)
}

// restorePoint takes back whether a person has taken a point out of service or bypassed it.
func (e *Engine) restorePoint(id sensors.PointID, m MemberRecord) {
	p := &e.points[id]
	p.out = m.Out
	if len(e.byPoint[id]) > 0 {
		p.bypass, p.back = m.Bypass, m.Back
	}
	e.follow(id, m.LostAt)
}

// Pending is true while an on-delay runs: what a restart must not forget changes by the second.
func (e *Engine) Pending() bool { return e.pending > 0 }

// Active is true while a member is true, whether it can be read or not: how long it is held after a
// restart counts from the last sign of life (S4).
func (e *Engine) Active() bool {
	for i := range e.inputs {
		if e.inputs[i].active {
			return true
		}
	}
	return false
}

// Resume carries the restored members over a restart. shift is added to every stored instant (0
// within one boot); last is the instant of the last record, after the shift. No reading is known
// yet, so every member has been silent since last: those that were true are held-true from there on
// (S4), and an on-delay keeps what it had served (S8). What was written last of a member may be lost; so
// one that was true has no say in a re-vote until it was read again, or has been silent for its stale time.
func (e *Engine) Resume(now, last sensors.Mono, shift time.Duration) {
	e.started, e.next, e.begun = true, now, now
	e.resumeBaselines(shift)
	for i := range e.inputs {
		in := &e.inputs[i]
		for _, t := range []*sensors.Mono{&in.onAt, &in.turn, &in.offAt, &in.lostAt, &in.fresh} {
			if *t != 0 {
				*t = t.Add(shift)
			}
		}
		if !in.lost {
			since := max(last, in.fresh)
			if in.silent { // its last reading goes stale first
				since = since.Add(e.r.Points[in.point].Stale)
			}
			in.lose(min(now, since), false)
		}
		if in.active {
			p := &e.points[in.point]
			p.unheard = now.Add(e.r.Points[in.point].Stale)
			e.wakeAt(p.unheard)
		}
		e.advancePend(in)
		e.touch(in)
	}
	for i := range e.points {
		e.resumeBypass(now, sensors.PointID(i), shift)
		e.points[i].have, e.points[i].usable = false, false
		e.recount(&e.points[i])
		if shift != 0 { // of another boot: nothing is known of how it moved
			e.points[i].rise = rise{}
		}
	}
	for i := range e.series {
		e.series[i].samples = e.series[i].samples[:0]
	}
	for i := range e.devices {
		e.devices[i].usable, e.devices[i].lostSince = 0, now
	}
}

type pointState struct {
	Name   string          `json:"name"`
	Val    float64         `json:"val"`
	At     sensors.Mono    `json:"at"`
	Q      sensors.Quality `json:"q"`
	Have   bool            `json:"have"`
	Usable bool            `json:"usable"`
	Out    bool            `json:"out,omitempty"`
	Seen   bool            `json:"seen,omitempty"`
	Last   float64         `json:"last,omitempty"`
	Run    float64         `json:"run,omitempty"`
	Steps  int             `json:"steps,omitempty"`
	Weak   bool            `json:"weak,omitempty"`
	Base   float64         `json:"base,omitempty"`
	Peak   float64         `json:"peak,omitempty"`

	Bypass   sensors.Mono `json:"bypass,omitempty"`
	Back     sensors.Mono `json:"back,omitempty"`
	Replaced bool         `json:"replaced,omitempty"`
}

type seriesState struct {
	Point   string        `json:"point"`
	Window  time.Duration `json:"window"`
	Samples []sample      `json:"samples"`
}

type condState struct {
	Name    string    `json:"name"`
	Verdict Verdict   `json:"verdict"`
	Members []Verdict `json:"members,omitempty"`
}

type inputVerdict struct {
	Is    Tri   `json:"is"`
	Basis Basis `json:"basis"`
}

// State is the whole state of an engine, by name: a snapshot.
type State struct {
	Started bool                    `json:"started"`
	Begun   sensors.Mono            `json:"begun,omitempty"`
	Points  []pointState            `json:"points"`
	Series  []seriesState           `json:"series,omitempty"`
	Inputs  []MemberRecord          `json:"inputs"`
	Seen    []inputVerdict          `json:"seen"` // of each of Inputs: it is shown before time has passed again
	Conds   []condState             `json:"conds"`
	Lost    map[string]sensors.Mono `json:"lost"`
	Groups  []string                `json:"groups"`
	Parts   map[string]sensors.Mono `json:"parts,omitempty"` // of those, since when some devices are back
	Losses  []Loss                  `json:"losses"`
	Bases   []BaselineRecord        `json:"baselines,omitempty"`
}

// State returns the whole state. It shares nothing with the engine.
func (e *Engine) State() State {
	s := State{Started: e.started, Begun: e.begun, Lost: map[string]sensors.Mono{}, Losses: append([]Loss(nil), e.losses...)}
	for i := range e.points {
		p := &e.points[i]
		s.Points = append(s.Points, pointState{e.r.Points[i].Name, p.val, p.at, p.q, p.have, p.usable, p.out,
			p.rise.seen, p.rise.last, p.rise.run, p.rise.steps, p.rise.weak, p.rise.base, p.rise.peak, p.bypass, p.back, p.other})
	}
	for i := range e.series {
		sr := &e.series[i]
		s.Series = append(s.Series, seriesState{e.r.Points[sr.point].Name, sr.window, append([]sample(nil), sr.samples...)})
	}
	for i := range e.inputs {
		s.Inputs = append(s.Inputs, e.record(&e.inputs[i]))
		s.Seen = append(s.Seen, inputVerdict{e.inputs[i].is, e.inputs[i].basis})
	}
	for i := range e.bases {
		s.Bases = append(s.Bases, e.bases[i].record())
	}
	for i := range e.conds {
		c := condState{Name: e.r.Conds[i].Name, Verdict: e.conds[i].v}
		for m := e.conds[i].m0; m < e.conds[i].m1; m++ {
			c.Members = append(c.Members, e.members[m].v)
		}
		s.Conds = append(s.Conds, c)
	}
	for i := range e.devices {
		if t := e.devices[i].lostSince; t != 0 {
			s.Lost[e.r.Devices[i].Name] = t
		}
	}
	for _, g := range e.groups {
		if g.active {
			s.Groups = append(s.Groups, g.name)
			if g.part != 0 {
				if s.Parts == nil {
					s.Parts = map[string]sensors.Mono{}
				}
				s.Parts[g.name] = g.part
			}
		}
	}
	return s
}

// SetState takes a snapshot into a fresh engine, by name: what the rules no longer have is passed
// over, what is new starts as unknown.
func (e *Engine) SetState(s State) {
	e.started, e.begun, e.next, e.losses = s.Started, s.Begun, 0, append([]Loss(nil), s.Losses...)
	e.markTold()
	points := map[string]int{}
	for i := range e.r.Points {
		points[e.r.Points[i].Name] = i
	}
	for i := range e.devices {
		e.devices[i].lostSince = s.Lost[e.r.Devices[i].Name]
	}
	for _, ps := range s.Points {
		i, ok := points[ps.Name]
		if !ok {
			continue
		}
		p := &e.points[i]
		p.val, p.at, p.q, p.have, p.usable, p.out, p.other = ps.Val, ps.At, ps.Q, ps.Have, ps.Usable, ps.Out, ps.Replaced
		if len(e.byPoint[i]) > 0 { // also where the rules have renamed its detectors
			p.bypass, p.back = ps.Bypass, ps.Back
		}
		p.rise = rise{ps.Seen, ps.Last, ps.Run, ps.Steps, ps.Weak, ps.Base, ps.Peak}
		if p.usable {
			e.devices[e.r.Points[i].Device].usable++
		}
		e.follow(sensors.PointID(i), 0)
	}
	for _, b := range s.Bases {
		e.RestoreBaseline(b)
	}
	for _, sr := range s.Series {
		for i := range e.series {
			if t := &e.series[i]; e.r.Points[t.point].Name == sr.Point && t.window == sr.Window && len(sr.Samples) <= maxSamples {
				t.samples = append(t.samples[:0], sr.Samples...)
			}
		}
	}
	for i, m := range s.Inputs {
		e.Restore(m)
		if in := e.find(m.Cond, m.Point); in != nil && i < len(s.Seen) {
			in.is, in.basis = s.Seen[i].Is, s.Seen[i].Basis
		}
	}
	e.setVerdicts(s.Conds)
	for _, name := range s.Groups {
		for g := range e.groups {
			if e.groups[g].name == name {
				e.groups[g].active, e.groups[g].part = true, s.Parts[name]
			}
		}
	}
}

func (e *Engine) setVerdicts(conds []condState) {
	byName := map[string]condState{}
	for _, c := range conds {
		byName[c.Name] = c
	}
	for i := range e.conds {
		c, ok := byName[e.r.Conds[i].Name]
		if !ok {
			continue
		}
		e.conds[i].v = c.Verdict
		m0, m1 := e.conds[i].m0, e.conds[i].m1
		for m := m0; m < m1; m++ {
			e.turns(&e.members[m])
		}
		if int(m1-m0) == len(c.Members) {
			for k := range c.Members {
				e.members[m0+int32(k)].v = c.Members[k]
			}
		}
	}
}
