// Package hall is the physics of a hall of racks and of its cooling: what its inlets show when the
// cooling fails. The air and the racks are one thermal mass, the walls another; fans carry the air
// through cooling units; where the fans stop, the racks breathe their own warm air.
//
// Concurrency: a Hall belongs to one goroutine. Failure: none; equal Params give the same hall to the
// last bit, however the caller cuts the time.
package hall

import (
	"math"
	"time"
)

// Step is the inner step of the integration.
const Step = time.Second

// Params describes a hall. Times count from its start; 0 means never.
type Params struct {
	LoadW    float64 // of all racks
	MassJK   float64 // heat capacity of air, racks and what stands in them, J/K
	WallWK   float64 // between the air and walls, floor and roof, W/K
	WallJK   float64 // heat capacity of these, J/K
	SetPoint float64 // C at the inlets
	UnitsW   float64 // what all cooling units together can take out
	GainWK   float64 // of the units' control around the set point, W/K
	RiseC    float64 // from inlet to outlet of a rack with all fans running
	Swing    float64 // C: the units' control cycle, 15 min

	ColdLostAt  time.Duration // the units get no cold water any more; their fans run on
	ColdLeft    float64       // share of UnitsW that is left then
	FansLostAt  time.Duration // the fans lose their power
	LoadShedAt  time.Duration // racks are switched off
	LoadShedTo  float64       // share of LoadW that is left then
	ColdBackAt  time.Duration
	RundownTime time.Duration // time constant of the fans
}

// Default is a hall of 60 racks of 8 kW. Its masses and conductances are engineering estimates: 60
// racks of 800 kg at 0.5 kJ/kgK, and 600 m2 of concrete at 8 W/m2K. Without any cooling its inlets
// rise by about 1 C a minute at first.
func Default() Params {
	return Params{LoadW: 480e3, MassJK: 2.6e7, WallWK: 5e3, WallJK: 1.5e8, SetPoint: 22, UnitsW: 700e3, GainWK: 150e3,
		RiseC: 12, Swing: 0.3, RundownTime: 10 * time.Second}
}

// Hall is its state.
type Hall struct {
	p         Params
	n         int64
	air, wall float64
	flow      float64 // share
	cold      float64 // W taken out
}

// New returns a hall in balance at its set point.
func New(p Params) *Hall {
	return &Hall{p: p, air: p.SetPoint, wall: p.SetPoint, flow: 1, cold: p.LoadW}
}

// At is the simulated time since the start.
func (h *Hall) At() time.Duration { return time.Duration(h.n) * Step }

// Advance goes on to the last whole step not after t.
func (h *Hall) Advance(t time.Duration) {
	for h.At()+Step <= t {
		h.step()
	}
}

func (h *Hall) after(at time.Duration) bool { return at > 0 && h.At() >= at }

// Load is what the racks draw, in W.
func (h *Hall) Load() float64 {
	if h.after(h.p.LoadShedAt) {
		return h.p.LoadW * h.p.LoadShedTo
	}
	return h.p.LoadW
}

func (h *Hall) step() {
	p, dt := &h.p, Step.Seconds()
	most := p.UnitsW
	if h.after(p.ColdLostAt) && !h.after(p.ColdBackAt) {
		most *= p.ColdLeft
	}
	to := 1.0
	if h.after(p.FansLostAt) {
		to = 0
	}
	h.flow += (to - h.flow) * -math.Expm1(-dt/p.RundownTime.Seconds())
	set := p.SetPoint + p.Swing*math.Sin(2*math.Pi*h.At().Seconds()/900)
	h.cold = max(0, min(most*h.flow, h.Load()+p.GainWK*(h.air-set)))
	wall := p.WallWK * (h.air - h.wall)
	h.air += (h.Load() - h.cold - wall) * dt / p.MassJK
	h.wall += wall * dt / p.WallJK
	h.n++
}

// Inlet is the air at the racks' inlets, C. Without the fans of the cooling units the racks draw their own
// warm air around, up to half of the rise through a rack.
func (h *Hall) Inlet() float64 { return h.air + (1-h.flow)*h.p.RiseC/2 }

// Outlet is the air behind the racks, C.
func (h *Hall) Outlet() float64 { return h.Inlet() + h.p.RiseC*h.Load()/h.p.LoadW }

// Flow is the air through the cooling units, in percent of the normal one.
func (h *Hall) Flow() float64 { return 100 * h.flow }

// Cooling is what the units take out, W.
func (h *Hall) Cooling() float64 { return h.cold }
