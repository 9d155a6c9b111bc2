package sim

import (
	"math"
	"math/rand/v2"
	"time"

	"firebreak/sensors/sim/room"
	"firebreak/sensors/sim/slave"
)

// UPS is what the uninterruptible power supply shows.
type UPS struct {
	Online, OnBattery, OutputOff bool
	InputVolts, OutputVolts      float64
	OutputAmps, LoadPercent      float64
	BatteryC, BatteryVolts       float64
	ChargePercent                float64
	RuntimeS                     float64
}

const (
	upsRuntime = 1800.0 // s at 60 % load, battery full
	upsWarm    = 2.0    // C of the battery compartment above the room's air
	upsLag     = 120.0  // s: time constant of the compartment
	upsLoadPct = 60.0
)

// ups keeps the state of the UPS between steps.
type ups struct {
	rng     *rand.Rand
	battery float64 // C
	charge  float64 // 0 to 1
	shows   UPS
}

func newUPS(seed uint64, air float64) *ups {
	u := &ups{rng: rand.New(rand.NewPCG(seed, 0x757073)), battery: air + upsWarm, charge: 1}
	u.shows.Online = true
	return u
}

// step is one step of the room, ending at now. Times of loss are 0 for never.
func (u *ups) step(now, mainsLost, powerLost time.Duration, air float64, l Load) {
	dt := room.Step.Seconds()
	gone := func(at time.Duration) bool { return at > 0 && now >= at }
	u.battery += (air + upsWarm - u.battery) * -math.Expm1(-dt/upsLag)
	load := upsLoadPct * l.RackAmps / feedA0
	onBattery := gone(mainsLost) && !gone(powerLost)
	switch {
	case onBattery:
		u.charge = max(0, u.charge-dt/upsRuntime*load/upsLoadPct)
	case !gone(mainsLost):
		u.charge = min(1, u.charge+dt/36000)
	}
	off := gone(powerLost) || onBattery && u.charge == 0
	n := u.rng.NormFloat64
	s := UPS{
		Online: !off && !onBattery, OnBattery: !off && onBattery, OutputOff: off,
		InputVolts: 230 + 0.6*n(), OutputVolts: 230 + 0.1*n(), LoadPercent: load,
		BatteryC: u.battery + 0.03*n(), BatteryVolts: 54.6 + 0.02*n(), ChargePercent: 100 * u.charge,
		RuntimeS: math.Floor(upsRuntime * u.charge * upsLoadPct / max(load, 5)),
	}
	s.OutputAmps = load / 100 * 3000 / 230
	if gone(mainsLost) {
		s.InputVolts = 0
	}
	if !s.Online {
		s.BatteryVolts = 44 + 8*u.charge
	}
	if off {
		s.OutputVolts, s.OutputAmps, s.LoadPercent, s.RuntimeS = 0, 0, 0, 0
	}
	u.shows = s
}

func bit(b bool, n int) uint16 {
	if b {
		return 1 << n
	}
	return 0
}

// upsBank is a Smart-UPS, registers of Schneider AN176 and 990-9840A: numbers are raw / 2^n.
func upsBank() *slave.Bank {
	b := slave.NewBank()
	b.Define(slave.Holdings, 0, 27)
	b.Define(slave.Holdings, 128, 47)
	b.Define(slave.Holdings, 516, 120)
	b.Define(slave.Holdings, 2048, 14)
	b.Update(func(set slave.Setter) {
		h := slave.Holdings
		set(h, 516, text("UPS 09.8", 8)...)
		set(h, 532, text("Smart-UPS 3000", 16)...)
		set(h, 564, text("SIM000000001", 8)...)
		set(h, 588, 3000, 2700)
		set(h, 2050, 0x3132, 0x3334, 0x3536, 0x3738, 0x1234, 0x5678, 0xFFFF, 0xFFFB, 0x1234, 0xFFFB, 8224, 0xDFE0)
	})
	return b
}

func (s *UPS) write(set slave.Setter) {
	h := slave.Holdings
	mains := s.InputVolts > 180
	set(h, 0, 0, bit(s.Online, 1)|bit(s.OnBattery, 2)|bit(s.OutputOff, 4)|bit(s.OutputOff, 5)|bit(!mains, 6))
	cause := uint16(8) // acceptable input
	switch {
	case s.OutputOff:
		cause = 15 // power-system error
	case !mains:
		cause = 2
	}
	set(h, 2, cause, 0, bit(!s.OutputOff, 0)|bit(s.OutputOff, 1))
	set(h, 18, bit(!mains, 0)|bit(s.OnBattery && s.RuntimeS < 120, 1), 0)
	set(h, 20, 0, bit(s.OutputOff, 4), 0) // component over temperature: the heat took the UPS
	set(h, 25, 1)
	set(h, 128, uint16(uint32(s.RuntimeS)>>16), uint16(uint32(s.RuntimeS)), scaled(s.ChargePercent, 9), scaled(s.BatteryVolts, 5))
	set(h, 135, scaled(s.BatteryC, 7), scaled(s.LoadPercent, 8))
	set(h, 138, scaled(s.LoadPercent, 8))
	set(h, 140, scaled(s.OutputAmps, 5))
	set(h, 142, scaled(s.OutputVolts, 6))
	hz := 50.0
	if s.OutputOff {
		hz = 0
	}
	set(h, 144, scaled(hz, 7))
	set(h, 150, bit(mains, 0)|bit(!mains, 2), scaled(s.InputVolts, 6))
	set(h, 154, scaled(94, 7), 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF)
}

// scaled is a binary-point integer of n bits behind the point, in two's complement.
func scaled(v float64, n int) uint16 { return uint16(int32(math.Round(math.Ldexp(v, n)))) }

// text packs two characters a register, the first one high, padded with blanks.
func text(s string, words int) []uint16 {
	out := make([]uint16, words)
	for i := range out {
		var c [2]byte
		for k := range c {
			c[k] = ' '
			if 2*i+k < len(s) {
				c[k] = s[2*i+k]
			}
		}
		out[i] = uint16(c[0])<<8 | uint16(c[1])
	}
	return out
}
