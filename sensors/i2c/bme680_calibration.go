package i2c

import (
	"encoding/binary"
	"math"
)

// bme680Calibration is burnt into each BME680 and BME688, under the names of Bosch's driver.
type bme680Calibration struct {
	t1, t2, t3                                  float64
	p1, p2, p3, p4, p5, p6, p7, p8, p9, p10     float64
	h1, h2, h3, h4, h5, h6, h7                  float64
	gh1, gh2, gh3, heatRange, heatVal, rangeErr float64
}

// bme680CalibrationOf takes the bytes of registers 0x8A (23), 0xE1 (14) and 0x00 (5).
func bme680CalibrationOf(raw [42]byte) bme680Calibration {
	u := func(i int) float64 { return float64(binary.LittleEndian.Uint16(raw[i:])) }
	s := func(i int) float64 { return float64(int16(binary.LittleEndian.Uint16(raw[i:]))) }
	b := func(i int) float64 { return float64(int8(raw[i])) }
	return bme680Calibration{
		t1: u(31), t2: s(0), t3: b(2),
		p1: u(4), p2: s(6), p3: b(8), p4: s(10), p5: s(12), p6: b(15), p7: b(14), p8: s(18), p9: s(20), p10: float64(raw[22]),
		h1: float64(uint(raw[25])<<4 | uint(raw[24]&0x0f)), h2: float64(uint(raw[23])<<4 | uint(raw[24]>>4)),
		h3: b(26), h4: b(27), h5: b(28), h6: float64(raw[29]), h7: b(30),
		gh1: b(35), gh2: s(33), gh3: b(36),
		heatVal: b(37), heatRange: float64(raw[39] >> 4 & 3), rangeErr: float64(int8(raw[41]) >> 4),
	}
}

// fine is the temperature in 5120ths of a degree.
func (c *bme680Calibration) fine(t float64) float64 {
	d := t/131072 - c.t1/8192
	return (t/16384-c.t1/1024)*c.t2 + d*d*c.t3*16
}

func (c *bme680Calibration) humidity(raw, t float64) float64 {
	x := (raw - (c.h1*16 + c.h3/2*t)) * (c.h2 / 262144 * (1 + c.h4/16384*t + c.h5/1048576*t*t))
	return x + (c.h6/16384+c.h7/2097152*t)*x*x
}

func (c *bme680Calibration) pressure(raw, fine float64) (float64, bool) {
	a := fine/2 - 64000
	b := a*a*c.p6/131072 + a*c.p5*2
	b = b/4 + c.p4*65536
	d := (1 + (c.p3*a*a/16384+c.p2*a)/524288/32768) * c.p1
	if d == 0 {
		return 0, false
	}
	p := (1048576 - raw - b/4096) * 6250 / d
	return p + (c.p9*p*p/2147483648+p*c.p8/32768+math.Pow(p/256, 3)*c.p10/131072+c.p7*128)/16, true
}

// resistance is in ohms: by range, and by the variant of the gas part.
func (c *bme680Calibration) resistance(high bool, adc float64, r int) float64 {
	if high {
		return 1e6 * float64(uint(262144)>>r) / (4096 + 3*(adc-512))
	}
	k1 := [16]float64{5: -1, 7: -0.8, 10: -0.2, 11: -0.5, 13: -1}
	k2 := [16]float64{4: 0.1, 5: 0.7, 7: -0.8, 8: -0.1}
	v := (1340 + 5*c.rangeErr) * (1 + k1[r]/100)
	return 1 / ((1 + k2[r]/100) * 0.125e-6 * float64(uint(1)<<r) * ((adc-512)/v + 1))
}

// heater is the code for a temperature of the plate, in C.
func (c *bme680Calibration) heater(target, ambient float64) byte {
	v := (c.gh1/16+49)*(1+(c.gh2/32768*0.0005+0.00235)*target) + c.gh3/1024*ambient
	code := 3.4 * (v*(4/(4+c.heatRange))/(1+c.heatVal*0.002) - 25)
	return byte(min(max(code, 0), 255))
}
