package sim

import (
	"math"
	"time"

	"firebreak/sensors/sim/room"
	"firebreak/sensors/sim/slave"
)

// The registers below are written from the makers' maps, not through the profiles: a profile that
// reads the wrong place then shows a wrong value, instead of agreeing with itself.

// bmsBank is a Soltaro rack BMS, version C, as in OpenEMS BatterySoltaroSingleRackVersionCImpl.
func bmsBank(p room.Params) *slave.Bank {
	b := slave.NewBank()
	h := slave.Holdings
	b.Define(h, 0x2100, 21)
	b.Define(h, 0x2140, 3)
	b.Define(h, 0x2180, 6)
	b.Define(h, 0x21A5, 1)
	b.Define(h, 0x218B, 4)
	b.Define(h, 0x2C00, uint16(2*p.Modules))
	b.Update(func(set slave.Setter) {
		set(h, 0x218B, 1, 1, 0, 0)
		set(h, 0x2400+0x0C, 600, 550) // level 2 over-temperature and its recovery, 0.1 C
		set(h, 0x2040+0x0C, 550, 500)
		set(h, 0x2080+0x0C, 500, 450)
	})
	return b
}

func writeBMS(b room.BMS, set slave.Setter) {
	h := slave.Holdings
	deci := func(v float64) uint16 { return uint16(int16(math.Round(v * 10))) }
	const insulation = 2000 // kOhm, each pole to earth
	set(h, 0x2100, deci(b.RackVolts), deci(b.RackAmps), bit(!b.ContactorOpen, 0), 95, 99,
		uint16(b.MaxMVID), uint16(math.Round(b.MaxMV)), uint16(b.MinMVID), uint16(math.Round(b.MinMV)),
		uint16(b.MaxCID), deci(b.MaxC), uint16(b.MinCID), deci(b.MinC),
		uint16(math.Round(b.MeanMV)), insulation/2, 500, 1000, insulation, insulation, 1, deci(b.MeanC))
	set(h, 0x2140, b.Level2, b.Level1, b.PreBit)
	set(h, 0x2185, bit(b.ThermistorLost, 5))
	for i, t := range b.Thermistors {
		word := uint16(0x7FFF) // open wire
		if !math.IsNaN(t) {
			word = deci(t)
		}
		set(h, 0x2C00+uint16(i), word)
	}
}

// faastBank is a FAAST detector, Modbus schema 1. Its guide counts registers from 1; on the wire
// they count from 0.
func faastBank() *slave.Bank {
	b := slave.NewBank()
	b.Define(slave.Holdings, 0, 524)
	b.Update(func(set slave.Setter) {
		for i, v := range room.Thresholds() {
			set(slave.Holdings, faast(75)+2*uint16(i), float(v)...)
		}
		set(slave.Holdings, faast(331), 1, 0, 0, 0, 0)
		set(slave.Holdings, faast(396), 1)
	})
	return b
}

func faast(doc uint16) uint16 { return doc - 1 }

func float(v float64) []uint16 {
	u := math.Float32bits(float32(v))
	return []uint16{uint16(u >> 16), uint16(u)}
}

func writeFAAST(a room.ASD, airC float64, at time.Duration, set slave.Setter) {
	h := slave.Holdings
	seconds := uint32(at / time.Second)
	set(h, faast(1), uint16(seconds>>16), uint16(seconds))
	set(h, faast(4), 0, 0, 0, 3, a.Level)
	set(h, faast(12), 3000, a.Level)
	set(h, faast(33), float(0.006)...)
	set(h, faast(36), uint16(uint8(int8(math.Round(airC)))), 100)
	set(h, faast(38), append(append(float(100), float(97)...), float(103)...)...)
	display := uint16(0)
	for l := a.Level; l != 0; l >>= 1 {
		display += 2
	}
	set(h, faast(68), display)
	set(h, faast(69), float(a.Obscuration)...)
}

// calectroBank is a Calectro UG-3-O-MB duct smoke detector. The manual counts from 1.
func calectroBank() *slave.Bank {
	b := slave.NewBank()
	b.Define(slave.Discretes, 0, 4)
	b.Define(slave.Holdings, 0, 4)
	b.Update(func(set slave.Setter) {
		set(slave.Discretes, 0, 1) // the head is mounted
		set(slave.Holdings, 1, 234)
		set(slave.Holdings, 3, 567)
	})
	return b
}

func writeCalectro(smoke bool, set slave.Setter) {
	set(slave.Discretes, 2, bit(smoke, 0), bit(smoke, 0)) // alarm, and the relay that follows it
}
