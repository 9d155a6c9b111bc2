package room

import (
	"math"
	"time"
)

// Truth is the state of the room itself, which no instrument shows: for displays and tests.
type Truth struct {
	At        time.Duration
	Air, Wall float64   // C
	Cabinet   []float64 // C, per rack
	Hottest   []float64 // C, hottest cell of each rack
	Smoke     float64   // %/m in the room, well mixed
	GasPPM    float64   // by volume, as if it were carbon dioxide's molar mass
	Runaway   int       // cells with more than half of their reaction heat set free
	Vented    int
}

// Truth returns the present state.
func (r *Room) Truth() Truth {
	t := Truth{
		At: r.At(), Air: r.air, Wall: r.wall, Cabinet: append([]float64(nil), r.cab...),
		Hottest: make([]float64, r.p.Racks), Smoke: r.obscuration(), GasPPM: r.GasPPM(),
	}
	for rack := range t.Hottest {
		t.Hottest[rack] = math.Inf(-1)
		for m := range r.p.Modules {
			t.Hottest[rack] = max(t.Hottest[rack], r.ModuleMax(rack, m))
		}
	}
	for i := range r.cells {
		if r.cells[i].heat > r.total/2 {
			t.Runaway++
		}
		if r.cells[i].vented {
			t.Vented++
		}
	}
	return t
}

// ModuleMax is the temperature of the hottest cell of a module.
func (r *Room) ModuleMax(rack, module int) float64 {
	hot := math.Inf(-1)
	for c := range r.p.Cells {
		hot = max(hot, r.cells[r.index(rack, module, c)].t)
	}
	return hot
}

// ModuleVolts is the voltage of a module: its cells in series.
func (r *Room) ModuleVolts(rack, module int) float64 {
	var v float64
	for c := range r.p.Cells {
		v += r.cells[r.index(rack, module, c)].volts(&r.p)
	}
	return v
}

// obscuration is the smoke of the room in percent per metre, by Beer and Lambert.
func (r *Room) obscuration() float64 {
	return -100 * math.Expm1(-r.smoke*r.p.Extinction/r.p.Volume)
}

// GasPPM is the vented gas in the room's air, in ppm by volume. 44 g/mol: the mix of CO2, CO, H2
// and electrolyte vapour lies on both sides of it.
func (r *Room) GasPPM() float64 {
	return r.gas / 0.044 * 0.0245 / r.p.Volume * 1e6
}

// Air is the temperature of the room's air.
func (r *Room) Air() float64 { return r.air }
