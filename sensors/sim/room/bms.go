package room

import "math"

// BMS is what the battery management system of the watched rack shows. It knows the voltage of
// every cell, and the temperature only where it has thermistors.
type BMS struct {
	RackVolts, RackAmps    float64
	MaxC, MinC, MeanC      float64
	MaxCID, MinCID         int // thermistor, from 1
	MaxMV, MinMV           float64
	MaxMVID, MinMVID       int // cell, from 1
	MeanMV                 float64
	Thermistors            []float64 // C, two a module; not a number when lost. Not to be changed.
	Level2, Level1, PreBit uint16    // alarm words, bits as in the Soltaro version C map
	ContactorOpen          bool      // level 2 opens the rack's contactors, until a person closes them
	ThermistorLost         bool
}

// Alarm bits of the Soltaro rack BMS, version C (OpenEMS BatterySoltaroSingleRackVersionCImpl).
const (
	bitCellLow   = 3
	bitChargeHot = 6
	bitTempDiff  = 9  // pre-alarm only
	bitCellDiff  = 11 // pre-alarm only
)

const (
	thermEnd = 125.0 // C: the thermistor's table ends
	holdFor  = 3     // cycles of 1 s that a condition lasts before its alarm
	floatA   = 0.4
)

// bmsAlarms are the limits of the simulated BMS: engineering estimates. Small lithium-ion systems
// cut off at 60 to 65 C and at 2.5 V a cell.
var bmsAlarms = [alarmCount]struct {
	word, bit int
	true      func(*BMS) bool
}{
	{0, bitChargeHot, func(b *BMS) bool { return b.MaxC >= 50 }},
	{1, bitChargeHot, func(b *BMS) bool { return b.MaxC >= 55 }},
	{2, bitChargeHot, func(b *BMS) bool { return b.MaxC >= 60 }},
	{0, bitCellLow, func(b *BMS) bool { return b.MinMV <= 3000 }},
	{1, bitCellLow, func(b *BMS) bool { return b.MinMV <= 2800 }},
	{2, bitCellLow, func(b *BMS) bool { return b.MinMV <= 2500 }},
	{0, bitTempDiff, func(b *BMS) bool { return b.MaxC-b.MinC >= 10 }},
	{0, bitCellDiff, func(b *BMS) bool { return b.MaxMV-b.MinMV >= 300 }},
}

const alarmCount = 8

// BMS returns the values of the last cycle of the BMS.
func (r *Room) BMS() BMS { return r.ins.bms }

// cycleBMS is one measuring cycle: 1 s, as it is polled by its own slaves.
func (in *Instruments) cycleBMS(r *Room) {
	open := in.bms.ContactorOpen
	b := BMS{MaxC: math.Inf(-1), MinC: math.Inf(1), ContactorOpen: open}
	in.temperatures(&b)
	in.voltages(r, &b)
	words := [3]uint16{}
	for i, a := range bmsAlarms {
		if a.true(&b) {
			in.held[i]++
		} else {
			in.held[i] = 0
		}
		if in.held[i] >= holdFor {
			words[a.word] |= 1 << a.bit
		}
	}
	b.PreBit, b.Level1, b.Level2 = words[0], words[1], words[2]
	b.ContactorOpen = open || b.Level2 != 0
	if !b.ContactorOpen {
		b.RackAmps = floatA + 0.05*in.rng.NormFloat64()
	}
	in.bms = b
}

func (in *Instruments) temperatures(b *BMS) {
	n := 0
	b.Thermistors = make([]float64, len(in.therm))
	for i, t := range in.therm {
		t = min(thermEnd, t+thermSD*in.rng.NormFloat64())
		if in.lost[i] {
			b.ThermistorLost = true
			b.Thermistors[i] = math.NaN()
			continue
		}
		b.Thermistors[i] = t
		if t > b.MaxC {
			b.MaxC, b.MaxCID = t, i+1
		}
		if t < b.MinC {
			b.MinC, b.MinCID = t, i+1
		}
		b.MeanC += t
		n++
	}
	if n == 0 {
		b.MaxC, b.MinC, b.MeanC = -40, -40, -40 // every wire open: the cold end of the table
		return
	}
	b.MeanC /= float64(n)
}

func (in *Instruments) voltages(r *Room, b *BMS) {
	p := &r.p
	b.MinMV = math.Inf(1)
	count := p.Modules * p.Cells
	for i := range count {
		v := r.cells[r.index(p.BMSRack, 0, 0)+i].volts(p)
		b.RackVolts += v
		mv := max(0, v*1000+in.rng.NormFloat64())
		if mv > b.MaxMV {
			b.MaxMV, b.MaxMVID = mv, i+1
		}
		if mv < b.MinMV {
			b.MinMV, b.MinMVID = mv, i+1
		}
	}
	b.MeanMV = b.RackVolts * 1000 / float64(count)
	b.RackVolts += 0.05 * in.rng.NormFloat64()
}
