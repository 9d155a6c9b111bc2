package sim

import (
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"firebreak/sensors"
	"firebreak/sensors/profile"
)

var profiles = os.DirFS("../../configs/profiles")

// still is a world that only AdvanceTo moves.
func still(t *testing.T, name string) *World {
	t.Helper()
	sc, err := Find(name)
	if err != nil {
		t.Fatal(err)
	}
	w, err := New(sc, nil, profiles)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// all is a source of every device of a world, polled at the given period, with its points' names.
func all(t *testing.T, w *World, poll time.Duration) (*Source, map[sensors.PointID]sensors.Point) {
	t.Helper()
	var devs []SourceDevice
	points := map[sensors.PointID]sensors.Point{}
	for i, d := range [][2]string{
		{UPSName, "apc-smart-ups"}, {BMSName, "soltaro-c"}, {ASDName, "faast"}, {SmokeName, "calectro-ug3"},
		{LoadName, "load-controller"}, {Tmp1Name, "tmp117"}, {Tmp2Name, "tmp117"},
	} {
		p, err := profile.Load(profiles, d[1])
		if err != nil {
			t.Fatal(err)
		}
		dev := sensors.Device{ID: sensors.DeviceID(i), Name: d[0], Poll: poll}
		pts := p.Expand(dev, 10*poll)
		for k := range pts {
			pts[k].ID = sensors.PointID(len(points))
			points[pts[k].ID] = pts[k]
		}
		devs = append(devs, SourceDevice{Device: dev, Is: d[0], Profile: p, Points: pts})
	}
	src, err := w.Source(devs...)
	if err != nil {
		t.Fatal(err)
	}
	return src, points
}

// values polls everything at an instant and returns the usable values by point.
func values(t *testing.T, src *Source, points map[sensors.PointID]sensors.Point, at time.Duration) map[string]float64 {
	t.Helper()
	out := map[string]float64{}
	src.Poll(sensors.Mono(at), func(b sensors.Batch) {
		for _, r := range b.Readings {
			if r.Quality.Origin() != sensors.Simulated {
				t.Errorf("%s has origin %v", points[r.Point].Name, r.Quality.Origin())
			}
			if r.Quality.Usable() {
				out[points[r.Point].Name] = r.Value
			}
		}
	})
	return out
}

// What the devices of a quiet room show through the profiles: registers here are written from the
// makers' maps, so that this compares the two.
func TestQuietRoomThroughProfiles(t *testing.T) {
	w := still(t, "quiet")
	src, points := all(t, w, time.Second)
	got := values(t, src, points, time.Minute)
	if len(got) != len(points) {
		for _, p := range points {
			if _, ok := got[p.Name]; !ok {
				t.Errorf("%s is not usable", p.Name)
			}
		}
	}
	for name, band := range quietBands {
		if v, ok := got[name]; !ok || v < band[0] || v > band[1] {
			t.Errorf("%s is %v (there: %v), want %v", name, v, ok, band)
		}
	}
	for _, p := range points {
		if _, ok := quietBands[p.Name]; !ok && p.Kind == sensors.Binary && got[p.Name] != 0 {
			t.Errorf("%s is set in a quiet room", p.Name)
		}
	}
}

var quietBands = map[string][2]float64{
	"ups-a.on-line": {1, 1}, "ups-a.input.acceptable": {1, 1}, "ups-a.runtime": {1700, 1900},
	"ups-a.battery.charge": {100, 100}, "ups-a.battery.voltage": {54.4, 54.8}, "ups-a.battery.temperature": {23, 27},
	"ups-a.output.power": {55, 65}, "ups-a.output.current": {7, 9}, "ups-a.output.voltage": {229, 231},
	"ups-a.output.frequency": {50, 50}, "ups-a.input.voltage": {226, 234}, "ups-a.status.cause": {8, 8},
	"bms-1.voltage": {255, 257}, "bms-1.current": {0, 0.8}, "bms-1.charge": {95, 95}, "bms-1.health": {99, 99},
	"bms-1.cell.voltage.max": {3990, 4010}, "bms-1.cell.voltage.min": {3990, 4010},
	"bms-1.cell.temperature.max": {22, 26}, "bms-1.cell.temperature.min": {22, 26}, "bms-1.temperature.average": {22, 26},
	"bms-1.insulation.system": {1000, 1000}, "bms-1.insulation.positive": {2000, 2000}, "bms-1.insulation.negative": {2000, 2000},
	"bms-1.module.1.temperature": {22, 26}, "bms-1.module.16.temperature": {22, 26}, "bms-1.run-state": {1, 1},
	"asd-1.mode": {3, 3}, "asd-1.units": {0, 0}, "asd-1.fan.speed": {2900, 3100}, "asd-1.smoke.level": {0, 0},
	"asd-1.smoke.obscuration": {0, 0.02}, "asd-1.pipe.air-velocity": {95, 105}, "asd-1.pipe.temperature": {22, 25},
	"smoke-1.head.missing": {0, 0}, "smoke-1.smoke.alarm": {0, 0},
	"load-1.sessions": {1200, 1200}, "load-1.vms_running": {240, 240}, "load-1.replication_lag_s": {12, 12},
	"load-1.hosts_up": {40, 40}, "load-1.outlets_on": {16, 16}, "load-1.battery_breaker_closed": {1, 1},
	"load-1.rack_current": {40, 40}, "load-1.bus_voltage": {256, 256},
	"cab-t1.temperature": {22, 25}, "cab-t2.temperature": {22, 25},
}

// Six quiet hours through registers and profiles: no alarm bit, every band held. (The room itself
// is tested for a day.)
func TestQuietHoursThroughProfiles(t *testing.T) {
	w := still(t, "quiet")
	src, points := all(t, w, 10*time.Second)
	for at := 10 * time.Second; at <= 6*time.Hour; at += 10 * time.Second {
		src.Poll(sensors.Mono(at), func(b sensors.Batch) {
			for _, r := range b.Readings {
				p := points[r.Point]
				band, ok := quietBands[p.Name]
				if r.Quality.Status() != sensors.Good || ok && (r.Value < band[0] || r.Value > band[1]) ||
					!ok && p.Kind == sensors.Binary && r.Value != 0 {
					t.Fatalf("%s is %v (%v) after %v", p.Name, r.Value, r.Quality, at)
				}
			}
		})
	}
}

// The record of Pangyo, as the devices show it.
func TestPangyo(t *testing.T) {
	w := still(t, "pangyo-2022")
	if w.sc.SparkAt() != 5*time.Minute {
		t.Fatalf("T+0 is %v after the start", w.sc.SparkAt())
	}
	src, points := all(t, w, time.Second)
	at := func(s int) map[string]float64 {
		return values(t, src, points, 5*time.Minute+time.Duration(s)*time.Second)
	}
	first := map[string]int{}
	for s := -299; s <= 540; s++ {
		got := at(s)
		for name, v := range got {
			if _, seen := first[name]; seen {
				continue
			}
			band, ok := quietBands[name]
			if ok && (v < band[0] || v > band[1]) || !ok && alarmBit(name) && v != 0 {
				first[name] = s
			}
		}
		if s == 479 && (got["ups-a.output.voltage"] < 200 || got["ups-a.output-off"] != 0) {
			t.Errorf("UPS off before T+480 s")
		}
		if s == 481 && (got["ups-a.output.voltage"] != 0 || got["ups-a.output-off"] != 1 || got["ups-a.on-line"] != 0 || got["load-1.hosts_up"] != 0) {
			t.Errorf("power lost at T+480 s, but: output %v V, hosts %v", got["ups-a.output.voltage"], got["load-1.hosts_up"])
		}
	}
	for name, s := range first {
		if s < 0 {
			t.Errorf("%s left its quiet band at T%+d s: nothing comes before the spark", name, s)
		}
		if strings.Contains(name, "smoke") && s < 60 {
			t.Errorf("%s at T%+d s, before the smoke of the record", name, s)
		}
	}
	pre, one, two := first["bms-1.pre-alarm.charge-temperature-high"], first["bms-1.level1.charge-temperature-high"], first["bms-1.level2.charge-temperature-high"]
	if !(pre < one && one < two) {
		t.Errorf("over-temperature at T%+d s (pre-alarm), T%+d s (level 1), T%+d s (level 2): want them in this order", pre, one, two)
	}
	for name, most := range map[string]int{
		"asd-1.smoke.obscuration": 65, "asd-1.smoke.level": 65, "smoke-1.smoke.alarm": 75, "cab-t1.temperature": 30,
		"bms-1.cell.temperature.max": 60, "bms-1.level2.cell-voltage-low": 6, "bms-1.level2.charge-temperature-high": 120,
		"ups-a.output.voltage": 481,
	} {
		if s, ok := first[name]; !ok || s > most {
			t.Errorf("%s moved at T%+d s (at all: %v), want at the latest T+%d s", name, s, ok, most)
		}
	}
	if s := w.Snapshot(); !s.Discharged || !s.PowerLost || s.Load.CrashedHosts != 40 || s.AfterSpark != 540*time.Second {
		t.Errorf("snapshot at the end: %+v", s)
	}
}

func alarmBit(name string) bool {
	return strings.HasPrefix(name, "bms-1.level") || strings.HasPrefix(name, "bms-1.pre-alarm")
}

// The other scenario has its off-gas and heat before the spark.
func TestPrecursor(t *testing.T) {
	w := still(t, "hypothetical-precursor")
	spark := w.sc.SparkAt()
	w.AdvanceTo(w.sc.QuietFor)
	if s := w.Snapshot(); s.Truth.Vented != 0 || s.BMS.PreBit != 0 {
		t.Errorf("not quiet at first: %+v", s.Truth)
	}
	w.AdvanceTo(spark - 2*time.Minute)
	if s := w.Snapshot(); s.Truth.Vented == 0 || s.Truth.GasPPM < 10 || s.BMS.PreBit == 0 {
		t.Errorf("two minutes before the spark: %+v, BMS %+v", s.Truth, s.BMS)
	}
	w.AdvanceTo(spark - time.Second)
	if s := w.Snapshot(); s.Truth.Runaway != 0 || s.ASD.Level == 0 {
		t.Errorf("just before the spark: %+v, %+v", s.Truth, s.ASD)
	}
	w.AdvanceTo(spark + 2*time.Minute)
	if s := w.Snapshot(); s.Truth.Runaway == 0 {
		t.Errorf("two minutes after the spark: %+v", s.Truth)
	}
}

// The same scenario shows the same registers, however often it is looked at.
func TestWorldIsDeterministic(t *testing.T) {
	a, b := still(t, "pangyo-2022"), still(t, "pangyo-2022")
	end := 7 * time.Minute
	for at := time.Duration(0); at < end; at += 130 * time.Millisecond {
		a.AdvanceTo(at)
	}
	a.AdvanceTo(end)
	a.AdvanceTo(time.Minute) // time does not go back
	b.AdvanceTo(end)
	if a.Snapshot().Since != end {
		t.Errorf("the world is at %v, want %v", a.Snapshot().Since, end)
	}
	for _, name := range []string{UPSName, BMSName, ASDName, SmokeName} {
		for _, span := range [][2]uint16{{0, 27}, {128, 44}, {0x2100, 21}, {0x2140, 3}, {0x2C00, 16}} {
			x, okX := a.Bank(name).Words(3, span[0], span[1])
			y, okY := b.Bank(name).Words(3, span[0], span[1])
			for i := range x {
				if okX != okY || x[i] != y[i] {
					t.Errorf("%s register %d: %d and %d", name, int(span[0])+i, x[i], y[i])
				}
			}
		}
	}
}

func TestUPSOnBattery(t *testing.T) {
	sc := Scenario{Name: "outage", QuietFor: time.Minute, MainsLossAfter: time.Minute, Seed: 3}
	w, err := New(sc, nil, profiles)
	if err != nil {
		t.Fatal(err)
	}
	src, points := all(t, w, time.Second)
	got := values(t, src, points, 3*time.Minute)
	if got["ups-a.on-battery"] != 1 || got["ups-a.on-line"] != 0 || got["ups-a.input.voltage"] != 0 || got["ups-a.power-failure"] != 1 ||
		got["ups-a.input-not-acceptable"] != 1 || got["ups-a.output.voltage"] < 220 || got["ups-a.runtime"] > 1750 {
		t.Errorf("on battery: %v", got)
	}
	got = values(t, src, points, 40*time.Minute)
	if got["ups-a.output-off"] != 1 || got["ups-a.output.voltage"] != 0 || math.Abs(got["ups-a.battery.charge"]) > 0.01 {
		t.Errorf("after the battery ran down: %v", got)
	}
}
