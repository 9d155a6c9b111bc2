package i2c

import (
	"errors"
	"fmt"
	"math"
)

// The calibration of an MLX90640 and what comes of a frame by it, under the names and in the order of the datasheet:
// 11.1 restoring, 11.2.2 calculating; the worked example there is a test. It is calculated in 64 bits, without the packing
// into small integers of Melexis' own library.

// What a battery sends out and what stands around it: a spot that is painted or taped, in open air (11.2.2.9 and Melexis'
// library). Bare metal mirrors its surroundings, whatever is set here.
const (
	mlx90640Emissivity = 0.95
	mlx90640OpenAir    = 8 // K, by which the surroundings are cooler than the chip
)

// mlx90640Calibration is burnt into each chip.
type mlx90640Calibration struct {
	kVdd, vdd25                        float64
	kvPTAT, ktPTAT, vPTAT25, alphaPTAT float64
	gain, tgc, ksTa, resolution        float64
	ksTo, ct, alphaRange               [4]float64 // by range of the object's temperature
	cpOffset, cpAlpha                  [2]float64 // of the compensation pixel, by subpage
	cpKv, cpKta                        float64
	chess                              [3]float64 // corrections for the other pattern
	calibrated                         uint16     // the pattern, as in the settings
	offset, alpha, kta, kv             [mlx90640Pixels]float64
	marked                             []int // spots that failed, or are not accurate
}

// mlx90640Frame is what all spots of a frame share.
type mlx90640Frame struct {
	vdd, ta, gain float64
	cp            [2]float64 // of the compensation pixel, by subpage
	taTr          float64    // K^4: what stands around the object, as its surface mirrors it
	chess         bool       // the pattern
	other         bool       // it is not the one that the chip is calibrated for
	emissivity    float64
}

// bits are n bits of a word from bit lo on, signed.
func bits(w uint16, lo, n uint) float64 {
	return float64(int16(w<<(16-lo-n)) >> (16 - n))
}

// ubits are the same, unsigned.
func ubits(w uint16, lo, n uint) float64 { return float64(w >> lo & (1<<n - 1)) }

func newMLX90640Calibration(ee *[mlx90640Words]uint16) (c mlx90640Calibration, err error) {
	e := func(addr uint16) uint16 { return ee[addr-mlx90640EEPROM] }
	c.kVdd, c.vdd25 = bits(e(0x2433), 8, 8)*32, (ubits(e(0x2433), 0, 8)-256)*32-8192
	c.kvPTAT, c.ktPTAT = bits(e(0x2432), 10, 6)/4096, bits(e(0x2432), 0, 10)/8
	c.vPTAT25, c.alphaPTAT = bits(e(0x2431), 0, 16), ubits(e(0x2410), 12, 4)/4+8
	c.gain, c.ksTa, c.tgc = bits(e(0x2430), 0, 16), bits(e(0x243c), 8, 8)/8192, bits(e(0x243c), 0, 8)/32
	c.resolution = ubits(e(0x2438), 12, 2)
	if c.kVdd == 0 || c.ktPTAT == 0 || c.gain == 0 {
		return c, fmt.Errorf("its calibration is empty (supply %g, temperature %g, gain %g): the chip is broken, or another one answers", c.kVdd, c.ktPTAT, c.gain)
	}
	c.ranges(e(0x243d), e(0x243e), e(0x243f))
	c.chess = [3]float64{bits(e(0x2435), 0, 6) / 16, bits(e(0x2435), 6, 5) / 2, bits(e(0x2435), 11, 5) / 8}
	c.calibrated = (^e(0x240a) & 0x0800) << 1
	kta1, kvScale := ubits(e(0x2438), 4, 4)+8, ubits(e(0x2438), 8, 4)
	alpha := ubits(e(0x2420), 12, 4)
	c.cpOffset[0] = bits(e(0x243a), 0, 10)
	c.cpOffset[1] = c.cpOffset[0] + bits(e(0x243a), 10, 6)
	c.cpAlpha[0] = math.Ldexp(bits(e(0x2439), 0, 10), -int(alpha+27))
	c.cpAlpha[1] = c.cpAlpha[0] * (1 + bits(e(0x2439), 10, 6)/128)
	c.cpKta, c.cpKv = math.Ldexp(bits(e(0x243b), 0, 8), -int(kta1)), math.Ldexp(bits(e(0x243b), 8, 8), -int(kvScale))
	for i := range mlx90640Pixels {
		c.pixel(ee, i)
	}
	return c, c.deviating(ee)
}

// ranges restores by how much the sensitivity changes with the temperature of the object (11.1.9 to 11.1.11).
func (c *mlx90640Calibration) ranges(low, high, corners uint16) {
	scale := -int(ubits(corners, 0, 4) + 8)
	for i, v := range []float64{bits(low, 0, 8), bits(low, 8, 8), bits(high, 0, 8), bits(high, 8, 8)} {
		c.ksTo[i] = math.Ldexp(v, scale)
	}
	step := ubits(corners, 12, 2) * 10
	c.ct = [4]float64{-40, 0, ubits(corners, 4, 4) * step, 0}
	c.ct[3] = c.ct[2] + ubits(corners, 8, 4)*step
	c.alphaRange = [4]float64{1 / (1 + c.ksTo[0]*40), 1, 1 + c.ksTo[1]*c.ct[2], 0}
	c.alphaRange[3] = c.alphaRange[2] * (1 + c.ksTo[2]*(c.ct[3]-c.ct[2]))
}

// pixel restores what belongs to one spot: its own remainder, and what its row, its column, and both being odd or even
// add (11.1.3 to 11.1.6).
func (c *mlx90640Calibration) pixel(ee *[mlx90640Words]uint16, i int) {
	e := func(addr uint16) uint16 { return ee[addr-mlx90640EEPROM] }
	row, col := uint16(i/mlx90640Columns), uint16(i%mlx90640Columns)
	own := ee[64+i]
	nibble := func(from, k uint16) float64 { return bits(e(from+k/4), uint(k%4*4), 4) }

	occ, acc := e(0x2410), e(0x2420)
	c.offset[i] = bits(e(0x2411), 0, 16) + math.Ldexp(nibble(0x2412, row), int(occ>>8&15)) +
		math.Ldexp(nibble(0x2418, col), int(occ>>4&15)) + math.Ldexp(bits(own, 10, 6), int(occ&15))
	alpha := ubits(e(0x2421), 0, 16) + math.Ldexp(nibble(0x2422, row), int(acc>>8&15)) +
		math.Ldexp(nibble(0x2428, col), int(acc>>4&15)) + math.Ldexp(bits(own, 4, 6), int(acc&15))
	c.alpha[i] = math.Ldexp(alpha, -int(acc>>12+30))

	scale := e(0x2438)
	kta := bits(e(0x2436+col%2), uint(8*(1-row%2)), 8) // rows and columns are counted from 1: the first is odd
	c.kta[i] = math.Ldexp(kta+math.Ldexp(bits(own, 1, 3), int(scale&15)), -int(scale>>4&15+8))
	c.kv[i] = math.Ldexp(bits(e(0x2434), uint(12-8*(col%2)-4*(row%2)), 4), -int(scale>>8&15))
}

// deviating finds the spots that the maker has marked.
func (c *mlx90640Calibration) deviating(ee *[mlx90640Words]uint16) error {
	for i, own := range ee[64:] {
		if own == 0 || own&1 != 0 {
			c.marked = append(c.marked, i)
		}
	}
	if len(c.marked) > mlx90640Deviates {
		return fmt.Errorf("%d spots are marked as broken or not accurate, where a sound chip has %d at most: exchange it, or check the wiring", len(c.marked), mlx90640Deviates)
	}
	return nil
}

// frame calculates what is the same for all spots (11.2.2.1 to 11.2.2.4, 11.2.2.6), and refuses what no chip gives.
func (c *mlx90640Calibration) frame(w *[mlx90640Words]uint16, control uint16) (*mlx90640Frame, error) {
	const (
		vbe, cp0, gain    = 0x0700 - mlx90640RAM, 0x0708 - mlx90640RAM, 0x070a - mlx90640RAM
		ptat, cp1, supply = 0x0720 - mlx90640RAM, 0x0728 - mlx90640RAM, 0x072a - mlx90640RAM
	)
	for _, i := range []int{vbe, cp0, gain, ptat, cp1, supply} {
		if w[i] == mlx90640Invalid || w[i] == 0 && (i == gain || i == ptat) {
			return nil, fmt.Errorf("word %#04x of the frame is %#04x, which no chip gives: the bus is disturbed, or the supply was lost: check wiring", mlx90640RAM+i, w[i])
		}
	}
	v := func(i int) float64 { return float64(int16(w[i])) }
	f := &mlx90640Frame{chess: control&0x1000 != 0, other: control&0x1000 != c.calibrated, emissivity: mlx90640Emissivity}
	f.vdd = (math.Exp2(c.resolution-ubits(control, 10, 2))*v(supply)-c.vdd25)/c.kVdd + 3.3
	art := v(ptat) / (v(ptat)*c.alphaPTAT + v(vbe)) * (1 << 18)
	f.ta = (art/(1+c.kvPTAT*(f.vdd-3.3))-c.vPTAT25)/c.ktPTAT + 25
	if !(f.vdd > 2.5 && f.vdd < 4 && f.ta > -60 && f.ta < 180) { // specified: 3 to 3.6 V, -40 to 85 C
		return nil, fmt.Errorf("its supply would be %.1f V and its temperature %.0f C: the bus is disturbed, or the calibration is of another chip: check wiring and supply", f.vdd, f.ta)
	}
	f.gain = c.gain / v(gain)
	for i, word := range []int{cp0, cp1} {
		offset := c.cpOffset[i]
		if i == 1 && f.other {
			offset += c.chess[0]
		}
		f.cp[i] = v(word)*f.gain - offset*(1+c.cpKta*(f.ta-25))*(1+c.cpKv*(f.vdd-3.3))
	}
	f.around(mlx90640OpenAir)
	equal := true
	for _, p := range w[1:mlx90640Pixels] {
		equal = equal && p == w[0]
	}
	if equal {
		return nil, errors.New("all spots are equal, which no chip gives: the bus is stuck, or another chip answers: check wiring and address")
	}
	return f, nil
}

// around sets what the object mirrors: surroundings that are cooler than the chip by some kelvins (11.2.2.9).
func (f *mlx90640Frame) around(cooler float64) {
	ta4, tr4 := math.Pow(f.ta+273.15, 4), math.Pow(f.ta-cooler+273.15, 4)
	f.taTr = tr4 - (tr4-ta4)/f.emissivity
}

// celsius is the temperature of one spot: not a number where it is colder than the formula goes.
func (c *mlx90640Calibration) celsius(w *[mlx90640Words]uint16, f *mlx90640Frame, i int) float64 {
	ir, alpha := c.radiation(w, f, i)
	return c.object(ir, alpha, f.taTr)
}

// radiation is what a spot receives, and its sensitivity (11.2.2.5, 11.2.2.7, 11.2.2.8).
func (c *mlx90640Calibration) radiation(w *[mlx90640Words]uint16, f *mlx90640Frame, i int) (ir, alpha float64) {
	line := i / mlx90640Columns % 2
	page := line
	if f.chess {
		page = line ^ i%2
	}
	ir = float64(int16(w[i]))*f.gain - c.offset[i]*(1+c.kta[i]*(f.ta-25))*(1+c.kv[i]*(f.vdd-3.3))
	if f.other {
		conversion := float64(((i+2)/4 - (i+3)/4 + (i+1)/4 - i/4) * (1 - 2*line))
		ir += c.chess[2]*float64(2*line-1) - c.chess[1]*conversion
	}
	ir = (ir - c.tgc*f.cp[page]) / f.emissivity
	return ir, (c.alpha[i] - c.tgc*c.cpAlpha[page]) * (1 + c.ksTa*(f.ta-25))
}

// object is the temperature of what radiates (11.2.2.9): first as if it were between 0 C and the next corner, then anew with what
// holds for the range that it is found in.
func (c *mlx90640Calibration) object(ir, alpha, taTr float64) float64 {
	to := c.basic(ir, alpha, taTr)
	if math.IsNaN(to) {
		return to
	}
	r := 0
	for r < 3 && to >= c.ct[r+1] {
		r++
	}
	return math.Pow(ir/(alpha*c.alphaRange[r]*(1+c.ksTo[r]*(to-c.ct[r])))+taTr, 0.25) - 273.15
}

func (c *mlx90640Calibration) basic(ir, alpha, taTr float64) float64 {
	s := c.ksTo[1] * math.Pow(alpha*alpha*alpha*(ir+alpha*taTr), 0.25)
	return math.Pow(ir/(alpha*(1-c.ksTo[1]*273.15)+s)+taTr, 0.25) - 273.15
}
