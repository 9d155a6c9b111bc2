package room

import (
	"math"
	"math/rand/v2"
	"time"
)

// Instruments are the sensors of the room: what they show, not what is. Lags are first order
// (t90 = 2.303 time constants), delays are transport, noise is drawn once a step from the seed.
type Instruments struct {
	rng     *rand.Rand
	therm   []float64 // lagged thermistors of the watched rack, two a module
	lost    []bool
	chip    [2]float64
	noise   [2]float64
	asdPipe delay
	ptPipe  delay
	asd, pt float64
	haze    float64 // the room's own particles in the aspirating detector, %/m
	smoke   bool    // point detector, latched
	bms     BMS
	bmsIn   int // steps to the next cycle of the BMS
	held    [alarmCount]int
}

// Bits of FAAST's alarm level, System Sensor schema 1, register 13, with the default thresholds
// in %/m of the same schema.
var faastLevels = [...]float64{0.0396, 0.165, 0.33, 0.825, 1.65}

const (
	asdFull  = 20.0  // %/m, end of the simulated head's scale
	hazeMean = 0.006 // %/m
	hazeSD   = 0.0015
	hazeTau  = 60.0
	chipSD   = 0.02 // C
	thermSD  = 0.05 // C
	asdSD    = 0.0003
)

func newInstruments(r *Room, seed uint64) *Instruments {
	p := &r.p
	in := &Instruments{
		rng:     rand.New(rand.NewPCG(seed, 0x66697265)),
		therm:   make([]float64, 2*p.Modules),
		lost:    make([]bool, 2*p.Modules),
		asdPipe: newDelay(p.ASDTransport), ptPipe: newDelay(p.PointTransport),
		haze: hazeMean, bmsIn: 1,
	}
	for i := range in.therm {
		in.therm[i] = r.cells[0].t
	}
	for i := range in.chip {
		in.chip[i] = r.cab[p.CabinetRacks[i]]
	}
	in.cycleBMS(r)
	return in
}

// sensed is the cell under thermistor i of a rack: the second cell of a module and the last but one.
func sensed(p *Params, i int) (module, cell int) {
	if i%2 == 0 {
		return i / 2, min(1, p.Cells-1)
	}
	return i / 2, max(0, p.Cells-2)
}

// share of the way to a new value that a first-order sensor goes in dt.
func share(t90 time.Duration, dt float64) float64 {
	if t90 <= 0 {
		return 1
	}
	return -math.Expm1(-dt * math.Ln10 / t90.Seconds())
}

func (in *Instruments) step(r *Room, dt float64) {
	p := &r.p
	a := share(p.ThermLag, dt)
	for i := range in.therm {
		m, c := sensed(p, i)
		t := r.cells[r.index(p.BMSRack, m, c)].t
		in.therm[i] += a * (t - in.therm[i])
		in.lost[i] = in.lost[i] || p.Events.ThermistorBurn > 0 && t > p.Events.ThermistorBurn
	}
	a = share(p.ChipLag, dt)
	for i, rack := range p.CabinetRacks {
		in.chip[i] += a * (r.cab[rack] - in.chip[i])
		in.noise[i] = chipSD * in.rng.NormFloat64()
	}
	in.haze += (hazeMean-in.haze)*dt/hazeTau + hazeSD*math.Sqrt(2*dt/hazeTau)*in.rng.NormFloat64()
	now := r.obscuration()
	in.asd += share(p.ASDLag, dt) * (in.asdPipe.push(now) - in.asd)
	in.pt += share(p.PointLag, dt) * (in.ptPipe.push(now) - in.pt)
	in.smoke = in.smoke || in.pt > p.PointAlarm
	if in.bmsIn--; in.bmsIn <= 0 {
		in.bmsIn = int(time.Second / Step)
		in.cycleBMS(r)
	}
}

// ASD is what the aspirating detector shows.
type ASD struct {
	Obscuration float64 // %/m
	Level       uint16  // bits 0 alert, 1 action 1, 2 action 2, 3 fire 1, 4 fire 2
}

// ASD returns the aspirating detector's present reading.
func (r *Room) ASD() ASD {
	a := ASD{Obscuration: min(asdFull, max(0, r.ins.asd+r.ins.haze))}
	for i, limit := range faastLevels {
		if a.Obscuration >= limit {
			a.Level |= 1 << i
		}
	}
	return a
}

// Thresholds of the aspirating detector in %/m: alert, action 1, action 2, fire 1, fire 2.
func Thresholds() [5]float64 { return faastLevels }

// PointSmoke is the point detector's alarm; it stays until the detector is reset, which nothing
// here does.
func (r *Room) PointSmoke() bool { return r.ins.smoke }

// PointObscuration is the smoke in the point detector's chamber, %/m.
func (r *Room) PointObscuration() float64 { return r.ins.pt }

// CabinetChip is the temperature at the chip in the i-th instrumented cabinet.
func (r *Room) CabinetChip(i int) float64 { return r.ins.chip[i] + r.ins.noise[i] }

// delay is a pipe: what goes in comes out after a fixed number of steps.
type delay struct {
	ring []float64
	at   int
}

func newDelay(d time.Duration) delay { return delay{ring: make([]float64, int(d/Step))} }

func (d *delay) push(v float64) float64 {
	if len(d.ring) == 0 {
		return v
	}
	out := d.ring[d.at]
	d.ring[d.at] = v
	d.at = (d.at + 1) % len(d.ring)
	return out
}
