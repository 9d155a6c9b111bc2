package hazard

import (
	"fmt"
	"strings"

	"firebreak/sensors"
)

// Why freezes a verdict with all that it rests on, so that a person sees in one look what was
// known when it was decided.
type Why struct {
	Cond     string      `json:"cond"`
	Is       Tri         `json:"is"`
	Basis    Basis       `json:"basis"`
	K        int         `json:"k,omitempty"` // needed
	N        int         `json:"n,omitempty"` // members
	True     int         `json:"true"`
	Held     int         `json:"held"`
	Bad      int         `json:"bad"`
	Bypassed int         `json:"bypassed"`
	ByHand   string      `json:"by_hand,omitempty"` // a person opened what this was frozen for, over the vote
	Members  []WhyMember `json:"members,omitempty"`
}

// WhyMember is one member with the readings that made it what it is.
type WhyMember struct {
	Name     string       `json:"name"` // detector@device, or the nested vote
	Is       Tri          `json:"is"`
	Basis    Basis        `json:"basis"`
	Weak     bool         `json:"weak,omitempty"`
	Returned bool         `json:"returned,omitempty"` // from a bypass: it counts up to stage 1 only (S19)
	Readings []WhyReading `json:"readings,omitempty"`
}

// WhyReading is a reading with its age.
type WhyReading struct {
	Point   string  `json:"point"`
	Value   float64 `json:"value"`
	Unit    string  `json:"unit,omitempty"`
	Quality string  `json:"quality"`
	AgeMs   int64   `json:"age_ms"`

	State   string   `json:"state,omitempty"`   // of the detector on this point: what it does now, and since when
	Against *float64 `json:"against,omitempty"` // what the value was compared with: a reference, a median, a baseline
}

// HasValue tells whether the value means something: not of one never read, or read as bad. A stale one was good when it was
// read.
func (r *WhyReading) HasValue() bool {
	return strings.HasPrefix(r.Quality, "good") || strings.HasPrefix(r.Quality, "uncertain") || r.Quality == "bad:stale"
}

// maxWhyReadings bounds the readings shown of one member of many points.
const maxWhyReadings = 4

// Explain freezes the present verdict of a condition.
func (e *Engine) Explain(now sensors.Mono, id CondID) Why {
	c := &e.r.Conds[id]
	w := Why{Cond: c.Name, Is: e.conds[id].v.Is, Basis: e.conds[id].v.Basis, K: c.Need}
	if vt := e.conds[id].vote; vt != nil {
		for i := range vt.entries {
			n := &vt.entries[i]
			if n.member < 0 {
				v := e.conds[n.nested].v
				w.add(whyOf(e.r.Conds[n.nested].Name, v))
				continue
			}
			w.add(e.whyMember(now, n.member))
		}
		return w
	}
	for m := e.conds[id].m0; m < e.conds[id].m1; m++ {
		w.add(e.whyMember(now, m))
	}
	return w
}

func (w *Why) add(m WhyMember) {
	w.N++
	switch {
	case m.Is == True && m.Basis == Measured:
		w.True++
	case m.Is == True:
		w.True++
		w.Held++
	case m.Basis == Bypassed:
		w.Bypassed++
	case m.Is == Unknown:
		w.Bad++
	}
	w.Members = append(w.Members, m)
}

func whyOf(name string, v Verdict) WhyMember {
	is := v.Is == True
	return WhyMember{Name: name, Is: v.Is, Basis: v.Basis, Weak: is && v.Settled && !v.Strong, Returned: is && !v.Settled}
}

func (e *Engine) whyMember(now sensors.Mono, mi int32) WhyMember {
	m := &e.members[mi]
	w := whyOf(e.r.Conds[m.cond].Name+"@"+e.r.Devices[m.device].Name, m.v)
	for i := m.i0; i < m.i1 && len(w.Readings) < maxWhyReadings; i++ {
		in := &e.inputs[i]
		if m.i1-m.i0 > maxWhyReadings && in.is != m.v.Is {
			continue // of many points, those that made the verdict
		}
		r := e.whyReading(now, in.point)
		r.State, r.Against = e.inputState(now, in), e.against(in)
		w.Readings = append(w.Readings, r)
		if in.ref != NoPoint && len(w.Readings) < maxWhyReadings {
			w.Readings = append(w.Readings, e.whyReading(now, in.ref))
		}
	}
	return w
}

func (e *Engine) whyReading(now sensors.Mono, id sensors.PointID) WhyReading {
	p, rule := &e.points[id], &e.r.Points[id]
	if !p.have {
		return WhyReading{Point: rule.Name, Unit: string(rule.Unit), Quality: "never read"}
	}
	q := p.q.String()
	if p.q.Usable() && !p.usable {
		q = "bad:stale"
	}
	return WhyReading{Point: rule.Name, Value: p.val, Unit: string(rule.Unit), Quality: q, AgeMs: now.Sub(p.at).Milliseconds()}
}

// Cause is one line about why a condition is what it is, for a person.
func (w *Why) Cause() string {
	var b strings.Builder
	if w.ByHand != "" {
		b.WriteString("by hand, by " + w.ByHand)
	}
	for _, m := range w.Members {
		if m.Is != w.Is && !(w.Is == True && m.Is == True) || w.ByHand != "" && m.Is != True {
			continue
		}
		if b.Len() > 0 {
			b.WriteString("; ")
		}
		b.WriteString(m.Name)
		if m.Basis != Measured {
			b.WriteString(" (" + m.Basis.String() + ")")
		}
		if m.Returned {
			b.WriteString(" (back from a bypass)")
		}
		for i, r := range m.Readings {
			if i == 2 {
				break
			}
			b.WriteString(" " + r.Point)
			if r.HasValue() {
				b.WriteString(strings.TrimRight(fmt.Sprintf(" %.6g %s", r.Value, r.Unit), " "))
			}
			if !strings.HasPrefix(r.Quality, "good") {
				b.WriteString(" " + r.Quality)
			}
		}
		if b.Len() > 300 {
			b.WriteString(" ...")
			break
		}
	}
	if b.Len() == 0 {
		return w.Cond + " is " + w.Is.String() + " (" + w.Basis.String() + ")" + w.faults()
	}
	return b.String()
}

// faults names what cannot be read of a vote that is true by its faulty members alone.
func (w *Why) faults() string {
	var names []string
	for i := range w.Members {
		if m := &w.Members[i]; w.Is == True && m.Is == Unknown && m.Basis != Bypassed && len(names) < 4 {
			names = append(names, m.Name)
		}
	}
	if names == nil {
		return ""
	}
	return " by faults: cannot judge " + strings.Join(names, ", ")
}

// Leaves calls visit with the verdict of every detector member on which a condition rests, and with
// the points of quiet members that cannot be read: the reset of a plan looks at each (S6).
func (e *Engine) Leaves(id CondID, visit func(name string, v Verdict)) {
	c := &e.conds[id]
	if c.vote != nil {
		for _, of := range e.r.Conds[id].Of {
			e.Leaves(of, visit)
		}
		return
	}
	for m := c.m0; m < c.m1; m++ {
		mb := &e.members[m]
		visit(e.r.Conds[id].Name+"@"+e.r.Devices[mb.device].Name, mb.v)
		for i := mb.i0; i < mb.i1; i++ {
			switch in := &e.inputs[i]; {
			case in.away && in.active:
				// Bypassed while it was true: nobody has seen it clear.
				visit(e.r.Points[in.point].Name, Verdict{Is: Unknown, Basis: Held})
			case mb.v.Is == False && in.lost && !in.away:
				// Most of a member is quiet, and this point of it cannot be read: nobody knows of it.
				visit(e.r.Points[in.point].Name, Verdict{Is: Unknown})
			}
		}
	}
}
