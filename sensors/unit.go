package sensors

import (
	"fmt"
	"sort"
	"strings"
)

// Unit is the unit of a point, in UCUM-like spelling. A reading is converted once, in the device
// profile; after that every value is in its point's declared unit. %/m and %/ft are different
// units of smoke obscuration, and are converted by Beer-Lambert, not by a factor.
type Unit string

// Units in use. None is for binary and state points and pure numbers.
const (
	None    Unit = ""
	Celsius Unit = "C"
	Kelvin  Unit = "K"
	Volt    Unit = "V"
	MilliV  Unit = "mV"
	Ampere  Unit = "A"
	Watt    Unit = "W"
	VoltAmp Unit = "VA"
	Hertz   Unit = "Hz"
	Percent Unit = "%"
	RelHum  Unit = "%RH"
	ObscM   Unit = "%/m"
	ObscFt  Unit = "%/ft"
	PPM     Unit = "ppm"
	LEL     Unit = "%LEL"
	Second  Unit = "s"
	Minute  Unit = "min"
	KiloOhm Unit = "kOhm"
	RPM     Unit = "rpm"
	Pascal  Unit = "Pa"

	MicrogramM3 Unit = "ug/m3"
)

// linear units: value in the base unit of the dimension = v*scale + offset.
var linear = map[Unit]struct {
	dim           string
	scale, offset float64
}{
	None: {"number", 1, 0}, Percent: {"percent", 1, 0},
	Celsius: {"temperature", 1, 0}, Kelvin: {"temperature", 1, -273.15},
	Volt: {"voltage", 1, 0}, MilliV: {"voltage", 1e-3, 0},
	Ampere: {"current", 1, 0}, Watt: {"power", 1, 0}, VoltAmp: {"apparent power", 1, 0},
	Hertz: {"frequency", 1, 0}, RelHum: {"humidity", 1, 0}, PPM: {"concentration", 1, 0},
	LEL: {"explosive limit", 1, 0}, Second: {"time", 1, 0}, Minute: {"time", 60, 0},
	KiloOhm: {"resistance", 1, 0}, RPM: {"speed", 1, 0}, Pascal: {"pressure", 1, 0},
	MicrogramM3: {"mass of particles", 1, 0},
	ObscM:       {"obscuration per metre", 1, 0}, ObscFt: {"obscuration per foot", 1, 0},
}

// ParseUnit accepts the spellings of the constants above.
func ParseUnit(s string) (Unit, error) {
	if _, ok := linear[Unit(s)]; ok {
		return Unit(s), nil
	}
	names := make([]string, 0, len(linear))
	for u := range linear {
		if u != None {
			names = append(names, string(u))
		}
	}
	sort.Strings(names)
	return None, fmt.Errorf("unknown unit %q: use one of %s", s, strings.Join(names, " "))
}

// Convert turns v from one unit into another of the same dimension; an error otherwise. It
// refuses to convert between %/m and %/ft: that needs the law of the instrument, not a factor.
func Convert(v float64, from, to Unit) (float64, error) {
	if from == to {
		return v, nil
	}
	a, okA := linear[from]
	b, okB := linear[to]
	if !okA || !okB || a.dim != b.dim {
		return 0, fmt.Errorf("cannot convert %q to %q", string(from), string(to))
	}
	return (v*a.scale + a.offset - b.offset) / b.scale, nil
}

// ConvertRate turns a rate of change per time from one unit into another: offsets cancel.
func ConvertRate(v float64, from, to Unit) (float64, error) {
	zero, err := Convert(0, from, to)
	if err != nil {
		return 0, err
	}
	one, err := Convert(v, from, to)
	return one - zero, err
}
