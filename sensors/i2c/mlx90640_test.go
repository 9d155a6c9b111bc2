package i2c

import (
	"math"
	"strings"
	"testing"
)

// mlx90640Example are the words of the worked example of the datasheet, 11.2: those of EEPROM and memory that it names, for
// the spot in row 12, column 16.
func mlx90640Example() (ee, ram [mlx90640Words]uint16) {
	copy(ee[0x2410-mlx90640EEPROM:], []uint16{
		0x4210, 0xffbb, 0x0202, 0xf202, 0xf2f2, 0xe2e2, 0xd1e1, 0xb1d1, 0xf10f, 0xf00f, 0xe0ef, 0xe0ef, 0xe1e1, 0xf3f2, 0xf404, 0xe504,
		0x79a6, 0x2f44, 0xffdd, 0x2210, 0x3333, 0x2233, 0xef01, 0x9acc, 0xeedc, 0x10ff, 0x2221, 0x3333, 0x2333, 0x0112, 0xeeff, 0xbbdd,
		0x18ef, 0x2ff1, 0x5952, 0x9d68, 0x5454, 0x0994, 0x6956, 0x5354, 0x2363, 0xe446, 0xfbb5, 0x044b, 0xf020, 0x9797, 0x9797, 0x2889,
	})
	for i := range mlx90640Pixels {
		ee[64+i] = 0x08a0 // the word of the spot; of the others the example says nothing
	}
	ram[1] = 1
	for a, v := range map[uint16]uint16{0x056f: 0x0261, 0x0700: 0x4bf2, 0x0708: 0xffca, 0x070a: 0x1881, 0x0720: 0x06af, 0x0728: 0xffc8, 0x072a: 0xccc5} {
		ram[a-mlx90640RAM] = v
	}
	return ee, ram
}

// Each step of the example comes out as the datasheet prints it, but for two: its ambient temperature, 39.18440152, was rounded on the
// way, and its compensation pixel of subpage 1, 21.63, is not what its own formula and words give (24.4377). So the last
// steps start from what it prints.
func TestMLX90640Example(t *testing.T) {
	ee, ram := mlx90640Example()
	c, err := newMLX90640Calibration(&ee)
	if err != nil {
		t.Fatal(err)
	}
	chess, err := c.frame(&ram, 0x1901)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := c.frame(&ram, 0x0901)
	if err != nil {
		t.Fatal(err)
	}
	chess.emissivity, lines.emissivity = 1, 1
	chess.around(chess.ta - 31)
	const at = (12-1)*32 + 16 - 1
	inChess, alpha := c.radiation(&ram, chess, at)
	inLines, _ := c.radiation(&ram, lines, at)
	for _, v := range []struct {
		name      string
		got, want float64
	}{
		{"kVdd", c.kVdd, -3168}, {"Vdd25", c.vdd25, -13056}, {"Vdd", chess.vdd, 3.3186237373737373},
		{"KvPTAT", c.kvPTAT, 0.00537109375}, {"KtPTAT", c.ktPTAT, 42.25}, {"alphaPTAT", c.alphaPTAT, 9}, {"Ta", chess.ta, 39.18442378914584},
		{"gain", chess.gain, 1.01753546947234}, {"offset", c.offset[at], -75}, {"Kta", c.kta[at], 0.005126953125}, {"Kv", c.kv[at], 0.5},
		{"CP offset 0", c.cpOffset[0], -75}, {"CP offset 1", c.cpOffset[1], -77}, {"CP Kta", c.cpKta, 0.00457763671875}, {"CP Kv", c.cpKv, 0.5},
		{"CP 0", chess.cp[0], 25.66665750599561}, {"CP 1 in lines", lines.cp[1], 24.437722295625953},
		{"IL chess", c.chess[0] + 10*c.chess[1] + 100*c.chess[2], 1.25 + 10*3 + 100*0.125},
		{"TGC", c.tgc, 1}, {"alpha", c.alpha[at] * 1e7, 1.26223312690854}, {"CP alpha 0", c.cpAlpha[0] * 1e9, 4.0745362639427},
		{"CP ratio", c.cpAlpha[1] / c.cpAlpha[0], 1 - 0.0546875}, {"KsTa", c.ksTa, -0.001953125}, {"KsTo2", c.ksTo[1], -0.00080108642578125},
		{"CT3", c.ct[2], 160}, {"CT4", c.ct[3], 320}, {"alpha, compensated", alpha * 1e7, 1.1876477250060410},
		{"received", inChess, 700.8824956908766 - 25.66665750599561}, {"received in lines", inLines, 679.5697733952506},
		{"TaTr", chess.taTr, math.Pow(39.18442378914584+273.15, 4)},
		{"To", c.basic(679.250909123826, 1.1876487360496e-7, 9516495632.56), 80.36331250659185},
		{"To, extended", c.object(679.250909123826, 1.1876487360496e-7, 9516495632.56), 80.42781415006192},
	} {
		if math.Abs(v.got-v.want) > 1e-8*math.Max(1, math.Abs(v.want)) {
			t.Errorf("%s is %.15g, want %.15g", v.name, v.got, v.want)
		}
	}
}

// What no chip gives is refused, with a word about what to do: there is no check code.
func TestMLX90640Refuses(t *testing.T) {
	ee, ram := mlx90640Example()
	for i := range 5 {
		ee[64+100*i] = 0
	}
	if _, err := newMLX90640Calibration(&ee); err == nil || !strings.Contains(err.Error(), "5 spots are marked") {
		t.Errorf("five spots have failed: %v", err)
	}
	ee[64] = 0x08a0
	c, err := newMLX90640Calibration(&ee)
	if err != nil {
		t.Fatal(err)
	}
	ram[0x072a-mlx90640RAM] = 0xc000 // 4.4 V
	if _, err := c.frame(&ram, 0x1901); err == nil || !strings.Contains(err.Error(), "its supply would be 4.4 V") {
		t.Errorf("a supply of 4.4 V: %v", err)
	}
	ram[0x072a-mlx90640RAM], ram[0x0720-mlx90640RAM] = 0xccc5, 0x1400
	if _, err := c.frame(&ram, 0x1901); err == nil || !strings.Contains(err.Error(), "and its temperature") {
		t.Errorf("an impossible temperature: %v", err)
	}
	clear(ee[:])
	if _, err := newMLX90640Calibration(&ee); err == nil || !strings.Contains(err.Error(), "its calibration is empty") {
		t.Errorf("an empty calibration: %v", err)
	}
}
