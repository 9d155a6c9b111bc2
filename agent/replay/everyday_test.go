package replay

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"firebreak/agent/app"
	"firebreak/plugins"
)

// packSite is a site of the scenarios with a pack in place of its own detectors and votes.
func packSite(t *testing.T, site, packs string, votes ...string) string {
	t.Helper()
	b, err := os.ReadFile("../../configs/scenarios/sites/" + site + ".toml")
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	from, to := strings.Index(text, "[[detector]]"), strings.Index(text, "[[hook]]")
	if from < 0 || to < from {
		t.Fatalf("%s: no detectors before the hooks", site)
	}
	return write(t, site+".toml", text[:from]+packs+"\n"+strings.NewReplacer(votes...).Replace(text[to:]))
}

// way is how a point goes over minutes.
type way func(min float64) float64

func flat(v float64) way { return func(float64) float64 { return v } }

// while is v from one minute to another, and rest otherwise.
func while(from, to, v, rest float64) way {
	return func(m float64) float64 {
		if m >= from && m < to {
			return v
		}
		return rest
	}
}

// bent goes in straight lines through corners: minute, value, minute, value.
func bent(c ...float64) way {
	return func(m float64) float64 {
		for i := 2; i < len(c); i += 2 {
			if m < c[i] {
				return c[i-1] + (c[i+1]-c[i-1])*max(0, m-c[i-2])/(c[i]-c[i-2])
			}
		}
		return c[len(c)-1]
	}
}

// rows writes a recording of all points, one row each step.
func rows(t *testing.T, lasts, step time.Duration, points map[string]way) string {
	t.Helper()
	names := make([]string, 0, len(points))
	for n := range points {
		names = append(names, n)
	}
	slices.Sort(names)
	var b bytes.Buffer
	fmt.Fprintf(&b, "time,%s\n", strings.Join(names, ","))
	for d := time.Duration(0); d <= lasts; d += step {
		fmt.Fprint(&b, time.Date(2026, 1, 15, 3, 0, 0, 0, time.UTC).Add(d).Format(time.RFC3339))
		for _, n := range names {
			fmt.Fprintf(&b, ",%.4g", points[n](d.Minutes()))
		}
		fmt.Fprintln(&b)
	}
	return write(t, "day.csv", b.String())
}

// all sets every name that a format makes with 1 to n one way.
func all(points map[string]way, n int, format string, w way) {
	for i := range n {
		points[fmt.Sprintf(format, i+1)] = w
	}
}

func hallAtRest() map[string]way {
	p := map[string]way{}
	all(p, 4, "inlet-%d.temperature", flat(22.5))
	all(p, 2, "cu-%d.flow", flat(100))
	all(p, 2, "cu-%d.fault", flat(0))
	return p
}

func stringsAtRest() map[string]way {
	p := map[string]way{"str-1.float": flat(0.2), "gas-1.voc": flat(5), "gas-1.h2": flat(5), "gas-1.co": flat(0),
		"asd-1.smoke.alert": flat(0), "smoke-1.smoke.alarm": flat(0)}
	all(p, 4, "str-1.unit.%d.temperature", flat(25.5))
	all(p, 2, "rh-%d.temperature", flat(23))
	all(p, 2, "rh-%d.humidity", flat(40))
	all(p, 2, "rh-%d.leak", flat(0))
	return p
}

func cellsAtRest() map[string]way {
	p := map[string]way{"bms-1.cell.temperature.max": flat(26), "ups-a.battery.temperature": flat(26), "cab-t1.temperature": flat(25),
		"cab-t2.temperature": flat(25), "gas-1.voc": flat(5), "gas-1.h2": flat(5), "gas-1.co": flat(0), "smoke-1.smoke.alarm": flat(0)}
	for _, l := range []string{"alert", "action1", "action2", "fire1", "fire2"} {
		p["asd-1.smoke."+l] = flat(0)
	}
	all(p, 16, "bms-1.module.%d.temperature", flat(26))
	return p
}

// everyday are events of an ordinary week under the packs that ship, with the highest stage that each may open, and an
// alarm that shows that it was seen. "" : none need be.
var everyday = []struct {
	name  string
	room  string
	lasts time.Duration
	step  time.Duration
	most  plugins.Stage
	alarm string
	goes  func(p map[string]way)
}{
	{"nothing", "hall", time.Hour, 5 * time.Second, plugins.Watch, "", func(map[string]way) {}},
	{"a door open in winter", "hall", time.Hour, 5 * time.Second, plugins.Watch, "inlet-cold", func(p map[string]way) {
		p["inlet-1.temperature"] = bent(10, 22.5, 13, 14, 20, 14, 24, 21.5, 30, 22.5)
	}},
	{"chillers that start anew after a dip of the mains", "hall", time.Hour, 5 * time.Second, plugins.Notify, "cooling-unit-lost", func(p map[string]way) {
		all(p, 4, "inlet-%d.temperature", bent(10, 22.5, 14, 26.9, 20, 23))
		all(p, 2, "cu-%d.fault", while(10, 14, 1, 0))
	}},
	{"a door open in winter", "strings", time.Hour, 5 * time.Second, plugins.Notify, "vrla-over-ambient", func(p map[string]way) {
		p["rh-1.temperature"] = bent(10, 23, 14, 12, 20, 12, 26, 23)
	}},
	{"the sensor of the air reads nothing", "strings", time.Hour, 5 * time.Second, plugins.Notify, "vrla-over-ambient", func(p map[string]way) {
		p["rh-1.temperature"] = while(10, 20, 0, 23)
	}},
	{"an equalising charge, whose hydrogen a sensor takes for carbon monoxide", "strings", 4 * time.Hour, 5 * time.Second, plugins.Notify, "carbon-monoxide-critical", func(p map[string]way) {
		p["gas-1.h2"] = bent(10, 5, 90, 900, 150, 900, 200, 20)
		p["gas-1.co"] = bent(10, 0, 90, 270, 150, 270, 200, 5)
		all(p, 4, "str-1.unit.%d.temperature", bent(10, 25.5, 150, 31, 230, 27))
	}},
	{"new firmware: the BMS says 0 for three minutes", "cells", 40 * time.Minute, time.Second, plugins.Watch, "", func(p map[string]way) {
		p["bms-1.cell.temperature.max"] = while(10, 13, 0, 26)
		all(p, 16, "bms-1.module.%d.temperature", while(10, 13, 0, 26))
	}},
	{"one contact that flaps", "cells", time.Hour, time.Second, plugins.Watch, "", func(p map[string]way) {
		p["smoke-1.smoke.alarm"] = func(m float64) float64 { return float64(int(m*60/7) % 2) }
	}},
	{"exhaust of the generator", "cells", time.Hour, 5 * time.Second, plugins.SwitchOver, "smoke-action2", func(p map[string]way) {
		p["asd-1.smoke.alert"], p["asd-1.smoke.action1"], p["asd-1.smoke.action2"] = while(11, 35, 1, 0), while(12, 35, 1, 0), while(13, 33, 1, 0)
		p["gas-1.co"] = bent(10, 0, 15, 40, 30, 40, 40, 0)
	}},
}

// TestEverydayUnderThePacks: what happens every week opens nothing above its place. A room whose alarms cry wolf has
// none when it burns.
func TestEverydayUnderThePacks(t *testing.T) {
	sites := map[string]string{
		"hall": packSite(t, "data-hall", `[[pack]]
use   = "cooling-loss"
roles = { inlet = "inlet-*.temperature", cooling-flow = "cu-*.flow", cooling-unit = "cu-*.fault" }
`, `"any-warn"`, `"cooling-warn"`, `"two-high"`, `"cooling-high"`),
		"strings": packSite(t, "lead-acid-room", `[[pack]]
use   = "vrla-string"
roles = { vrla-ambient = "rh-1.temperature", float-current = "str-1.float" }
[[pack]]
use = "water-near-power"
`, `"any-warn"`, `"vrla-warn"`, `"any-high"`, `"vrla-high"`, `"fire"`, `"vrla-fire"`),
		"cells": packSite(t, "battery-room", `[[pack]]
use   = "lithium-ion-room"
roles = { cabinet = "cab-t*.temperature" }
`, `"any-warn"`, `"battery-warn"`, `"any-high"`, `"battery-high"`, `"fire"`, `"battery-fire"`, `"fire-confirmed"`, `"battery-confirmed"`),
	}
	rest := map[string]func() map[string]way{"hall": hallAtRest, "strings": stringsAtRest, "cells": cellsAtRest}
	for _, e := range everyday {
		points := rest[e.room]()
		e.goes(points)
		var out, errs bytes.Buffer
		r, err := Run(t.Context(), Options{What: rows(t, e.lasts, e.step, points), Config: sites[e.room], Kinds: app.Kinds(), Out: &out, Errs: &errs})
		if err != nil || errs.Len() > 0 || r.Readings == 0 {
			t.Fatalf("%s: %v %s", e.name, err, errs.String())
		}
		p := &played{Result: r, text: out.String()}
		if got := p.highest(t); got > e.most {
			t.Errorf("%s (%s): stage %s, want %s at most\n%s", e.name, e.room, got, e.most, stageLines(p.text))
		}
		if e.alarm != "" && !strings.Contains(p.text, "alarm    "+e.alarm+" ") {
			t.Errorf("%s (%s): no alarm %s", e.name, e.room, e.alarm)
		}
	}
}

func stageLines(text string) string {
	return strings.Join(slices.DeleteFunc(strings.Split(text, "\n"), func(l string) bool { return !strings.Contains(l, "STAGE") }), "\n")
}
