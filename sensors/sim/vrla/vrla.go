// Package vrla is the physics of a string of valve-regulated lead-acid batteries on float charge: the
// current that grows with temperature and with the voltage of each cell that is still whole, the heat
// that it makes, the hydrogen that leaves when it grows beyond what the cells recombine.
//
// Concurrency: a String belongs to one goroutine. Failure: none; equal Params give the same string
// to the last bit, however the caller cuts the time.
package vrla

import (
	"math"
	"time"
)

// Step is the inner step of the integration: slow, as the matter is.
const Step = 2 * time.Second

// Params describes a string. Times count from its start; 0 means never.
type Params struct {
	Units, Cells int     // units in series; cells of one unit
	FloatV       float64 // of the charger, per cell of a whole string
	FloatA       float64 // at 25 C and FloatV, of a string of this age
	Tafel        float64 // V per cell for ten times the current
	Doubling     float64 // C for twice the current
	LimitA       float64 // of the charger
	UnitJK       float64 // heat capacity of a unit
	UnitWK       float64 // from a unit to the air
	Recombine    float64 // A up to which nearly all gas recombines
	RoomM3       float64
	Changes      float64 // of air, per hour
	RoomWK       float64 // from the room's air to the outside, W/K
	RoomJK       float64 // of its air and walls
	OutsideC     float64
	Swing        float64 // of the outside over the day, C

	ShortsFrom  time.Duration // cells begin to short
	ShortsEvery time.Duration // one more so often
	ShortsMost  int
	ChargerOff  time.Duration // the charger is disconnected
}

// Default is a string of 40 units of 12 V, 100 Ah and 30 kg in a room of 100 m3. Float current doubles
// per 10 C (C&D, VRLA manuals); a Tafel slope of 0.12 V a decade is the textbook's for lead-acid; heat capacity
// and conductance of a unit are engineering estimates (30 kg at 0.9 kJ/kgK; 0.25 m2 at 5 W/m2K).
func Default() Params {
	return Params{Units: 40, Cells: 6, FloatV: 2.27, FloatA: 0.08, Tafel: 0.12, Doubling: 10, LimitA: 20, UnitJK: 27e3, UnitWK: 1.25,
		Recombine: 1, RoomM3: 100, Changes: 0.5, RoomWK: 400, RoomJK: 5e6, OutsideC: 24, Swing: 2}
}

// String is its state.
type String struct {
	p       Params
	n       int64
	unit    float64 // C, of an ordinary unit
	hot     float64 // C, of the unit in the middle, which the others warm
	air     float64
	shorted int
	amps    float64
	h2      float64 // m3
	off     bool
}

// New returns a string that has been on float charge for long.
func New(p Params) *String {
	s := &String{p: p, air: p.OutsideC, unit: p.OutsideC, hot: p.OutsideC}
	for range 200000 { // to its balance, before the time begins
		s.current()
		s.heat(0)
	}
	return s
}

// At is the simulated time since the start.
func (s *String) At() time.Duration { return time.Duration(s.n) * Step }

// Advance goes on to the last whole step not after t.
func (s *String) Advance(t time.Duration) {
	for s.At()+Step <= t {
		s.step()
	}
}

// Disconnect takes the charger off.
func (s *String) Disconnect() { s.off = true }

func (s *String) step() {
	p := &s.p
	if p.ShortsFrom > 0 && s.At() >= p.ShortsFrom && p.ShortsEvery > 0 {
		s.shorted = min(p.ShortsMost, 1+int((s.At()-p.ShortsFrom)/p.ShortsEvery))
	}
	if p.ChargerOff > 0 && s.At() >= p.ChargerOff {
		s.off = true
	}
	s.current()
	s.heat(s.At().Seconds())
	s.n++
}

// current: the charger holds the voltage of the string; cells that are shorted leave theirs to the rest.
func (s *String) current() {
	p := &s.p
	if s.off {
		s.amps = 0
		return
	}
	cells := float64(p.Units * p.Cells)
	v := p.FloatV * cells / (cells - float64(s.shorted))
	s.amps = min(p.LimitA, p.FloatA*math.Pow(10, (v-p.FloatV)/p.Tafel)*math.Exp2((s.unit-25)/p.Doubling))
}

func (s *String) heat(seconds float64) {
	p, dt := &s.p, Step.Seconds()
	w := s.amps * s.Volts() / float64(p.Units) // on float all of it becomes heat
	lost := p.UnitWK * (s.unit - s.air)
	s.unit += (w - lost) * dt / p.UnitJK
	// The middle of the rack cools a third worse.
	s.hot += (w - 0.67*p.UnitWK*(s.hot-s.air)) * dt / p.UnitJK
	outside := p.OutsideC + p.Swing*math.Sin(2*math.Pi*seconds/86400)
	s.air += (lost*float64(p.Units) - p.RoomWK*(s.air-outside)) * dt / p.RoomJK
	// Gas by Faraday: 0.418 l/h of hydrogen per A and cell, less what recombines.
	share := 0.01
	if s.amps > p.Recombine {
		share = 1 - 0.99*p.Recombine/s.amps
	}
	s.h2 += 0.418e-3 * s.amps * float64(p.Units*p.Cells-s.shorted) * share * dt / 3600
	s.h2 *= math.Exp(-p.Changes * dt / 3600)
}

// Volts is the voltage of the string.
func (s *String) Volts() float64 {
	cells := float64(s.p.Units * s.p.Cells)
	if s.off {
		return 2.10 * (cells - float64(s.shorted))
	}
	return s.p.FloatV * cells
}

// Amps is the float current.
func (s *String) Amps() float64 { return s.amps }

// Unit is the temperature of an ordinary unit, Hottest that of the one in the middle of the rack, C.
func (s *String) Unit() float64    { return s.unit }
func (s *String) Hottest() float64 { return s.hot }

// Air is the room's, C.
func (s *String) Air() float64 { return s.air }

// H2 is the hydrogen in the room's air, ppm by volume.
func (s *String) H2() float64 { return s.h2 / s.p.RoomM3 * 1e6 }

// Shorted is the number of cells that have shorted.
func (s *String) Shorted() int { return s.shorted }
