package replay

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"firebreak/sensors"
	"firebreak/sensors/sim/hall"
	"firebreak/sensors/sim/room"
	"firebreak/sensors/sim/vrla"
)

// plants are the physical models of a scenario: those that it asks for.
type plants struct {
	room *room.Room
	bms  room.BMS
	asd  room.ASD
	hall *hall.Hall
	vrla *vrla.String
}

func newPlants(sc *scenario) *plants {
	p := &plants{}
	if sc.battery != nil {
		p.room = room.New(*sc.battery, sc.seed)
	}
	if sc.hall != nil {
		p.hall = hall.New(*sc.hall)
	}
	if sc.vrla != nil {
		p.vrla = vrla.New(*sc.vrla)
	}
	return p
}

// advance brings all of them to an instant since the start.
func (p *plants) advance(to time.Duration) {
	if p.room != nil && p.room.Advance(to) > 0 || p.bms.Thermistors == nil && p.room != nil {
		p.bms, p.asd = p.room.BMS(), p.room.ASD()
	}
	if p.hall != nil {
		p.hall.Advance(to)
	}
	if p.vrla != nil {
		p.vrla.Advance(to)
	}
}

// do is what a step's work does to a plant.
func (p *plants) do(what string, _ sensors.Mono) {
	if what == "vrla.charger-off" && p.vrla != nil {
		p.vrla.Disconnect()
	}
}

// quantities are what the plants show, as their instruments do. A * is a number from 1. Not a number is
// a wire that is open.
var quantities = map[string]func(p *plants, n int) float64{
	"battery.cell.max-c":      func(p *plants, _ int) float64 { return p.bms.MaxC },
	"battery.cell.min-c":      func(p *plants, _ int) float64 { return p.bms.MinC },
	"battery.cell.mean-c":     func(p *plants, _ int) float64 { return p.bms.MeanC },
	"battery.cell.max-mv":     func(p *plants, _ int) float64 { return p.bms.MaxMV },
	"battery.cell.min-mv":     func(p *plants, _ int) float64 { return p.bms.MinMV },
	"battery.rack-v":          func(p *plants, _ int) float64 { return p.bms.RackVolts },
	"battery.rack-a":          func(p *plants, _ int) float64 { return p.bms.RackAmps },
	"battery.level2-hot":      func(p *plants, _ int) float64 { return float64(p.bms.Level2 >> 6 & 1) },
	"battery.thermistor-lost": func(p *plants, _ int) float64 { return yes(p.bms.ThermistorLost) },
	"battery.thermistor.*":    func(p *plants, n int) float64 { return pick(p.bms.Thermistors, n) },
	"battery.cabinet.*":       func(p *plants, n int) float64 { return p.room.CabinetChip((n - 1) & 1) },
	"battery.air-c":           func(p *plants, _ int) float64 { return p.room.Air() },
	"battery.gas-ppm":         func(p *plants, _ int) float64 { return p.room.GasPPM() },
	"battery.asd.obscuration": func(p *plants, _ int) float64 { return p.asd.Obscuration },
	"battery.asd.level.*":     func(p *plants, n int) float64 { return float64(p.asd.Level >> (n - 1) & 1) },
	"battery.point-smoke":     func(p *plants, _ int) float64 { return yes(p.room.PointSmoke()) },
	"hall.inlet-c":            func(p *plants, _ int) float64 { return p.hall.Inlet() },
	"hall.outlet-c":           func(p *plants, _ int) float64 { return p.hall.Outlet() },
	"hall.flow-percent":       func(p *plants, _ int) float64 { return p.hall.Flow() },
	"vrla.unit-c":             func(p *plants, _ int) float64 { return p.vrla.Unit() },
	"vrla.hottest-c":          func(p *plants, _ int) float64 { return p.vrla.Hottest() },
	"vrla.hottest-over-air":   func(p *plants, _ int) float64 { return p.vrla.Hottest() - p.vrla.Air() },
	"vrla.air-c":              func(p *plants, _ int) float64 { return p.vrla.Air() },
	"vrla.float-a":            func(p *plants, _ int) float64 { return p.vrla.Amps() },
	"vrla.string-v":           func(p *plants, _ int) float64 { return p.vrla.Volts() },
	"vrla.h2-ppm":             func(p *plants, _ int) float64 { return p.vrla.H2() },
}

func yes(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func pick(list []float64, n int) float64 {
	if n < 1 || n > len(list) {
		return math.NaN()
	}
	return list[n-1]
}

// knows refuses a quantity that there is not, or whose plant the scenario does not have.
func (sc *scenario) knows(name string) error {
	key, _, err := quantity(name)
	if err != nil {
		return err
	}
	plant, _, _ := strings.Cut(key, ".")
	if map[string]bool{"battery": sc.battery != nil, "hall": sc.hall != nil, "vrla": sc.vrla != nil}[plant] {
		return nil
	}
	return fmt.Errorf("%q needs the table [%s]", name, plant)
}

// quantity finds what a name means: its last part may be a number in place of the *.
func quantity(name string) (key string, n int, err error) {
	if quantities[name] != nil {
		return name, 0, nil
	}
	if i := strings.LastIndexByte(name, '.'); i > 0 {
		if n, err := strconv.Atoi(name[i+1:]); err == nil && n > 0 && quantities[name[:i]+".*"] != nil {
			return name[:i] + ".*", n, nil
		}
	}
	return "", 0, fmt.Errorf("there is no quantity %q: use one of %s", name, strings.Join(slices.Sorted(maps.Keys(quantities)), ", "))
}
