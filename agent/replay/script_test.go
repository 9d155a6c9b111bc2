package replay

import (
	"math"
	"testing"
	"time"

	"firebreak/agent/app"
	"firebreak/sensors"
)

const onePoint = `name = "x"
title = "t"
record = "r"
site = "battery-room"
begins = "2026-07-15T15:00:00Z"
zero = "1m"
lasts = "10m"
[[signal]]
points = ["cab-t1.temperature"]
`

// shows are the readings of cab-t1 at the given seconds after the beginning, polled each second.
func shows(t *testing.T, text string, seconds ...int) []sensors.Reading {
	t.Helper()
	sc, err := parseScenario("x.toml", "x", []byte(onePoint+text))
	if err != nil {
		t.Fatal(err)
	}
	c, err := sc.config(Options{Kinds: app.Kinds()}, sc.site)
	if err != nil {
		t.Fatal(err)
	}
	rules := armed(c.Rules, sensors.Simulated)
	s := newScript(sc, rules, newWorks(rules, nil))
	all := map[int]sensors.Reading{}
	for sec := 0; sec <= seconds[len(seconds)-1]; sec++ {
		s.poll(at(time.Duration(sec)*time.Second), func(in []sensors.Reading) { all[sec] = in[0] })
	}
	var out []sensors.Reading
	for _, sec := range seconds {
		out = append(out, all[sec])
	}
	return out
}

// TestActs: how each way to fail changes what a point shows, from its instant on and for so long. T+0 is at 60 s.
func TestActs(t *testing.T) {
	act := func(does string) string {
		return "curve = [\"-60s 20\", \"60s 32\"]\n[[act]]\nat = \"0s\"\nfor = \"20s\"\npoints = [\"cab-t*\"]\nwhy = \"w\"\n" + does
	}
	const bad = -999
	for does, want := range map[string][4]float64{ // at 50, 70, 79 and 81 s; without any act 25, 27, 27.9 and 28.1
		"does = \"silent\"":                         {25, bad, bad, 28.1},
		"does = \"bad\"\nreason = \"sentinel\"":     {25, bad, bad, 28.1},
		"does = \"stuck\"":                          {25, 25.9, 25.9, 28.1},
		"does = \"set\"\nvalue = 30":                {25, 30, 30, 28.1},
		"does = \"add\"\nvalue = 4":                 {25, 31, 31.9, 28.1},
		"does = \"add\"\nvalue = 4\nover = \"20s\"": {25, 29, 31.7, 28.1},
		"does = \"noise\"\nvalue = 0":               {25, 27, 27.9, 28.1},
	} {
		for i, r := range shows(t, act(does), 50, 70, 79, 81) {
			if got := r.Value; r.Quality.Usable() != (want[i] != bad) || r.Quality.Usable() && math.Abs(got-want[i]) > 1e-9 {
				t.Errorf("%q, reading %d: %g %v, want %g", does, i, got, r.Quality, want[i])
			}
			if r.Quality.Origin() != sensors.Simulated {
				t.Errorf("%q: origin %v", does, r.Quality.Origin())
			}
		}
	}
}

// TestSignals: scale and offset, seasons, what comes late, what a sensor cannot show.
func TestSignals(t *testing.T) {
	for text, want := range map[string]float64{ // at 100 s
		"value = 10\nscale = 2\noffset = 1":                              21,
		"value = 10\ndaily = 3\nyearly = 2":                              15, // 15:00 in mid-July
		"value = -4\nleast = 0":                                          0,
		"curve = [\"0s 0\", \"1ms 50\"]\ndelay = \"30s\"":                50, // the step is 40 s old
		"curve = [\"0s 0\", \"1ms 50\"]\ndelay = \"45s\"":                0,
		"curve = [\"0s 0\", \"1ms 50\"]\nlag = \"40s\"":                  45, // t90
		"curve = [\"0s 0\", \"1ms 50\"]\nlag = \"40s\"\ndelay = \"60s\"": 0,
		"curve = [\"30s 7\", \"50s 9\"]":                                 8,
	} {
		if got := shows(t, text, 100)[0].Value; math.Abs(got-want) > 1.2 {
			t.Errorf("%q: %g, want %g", text, got, want)
		}
	}
}

// TestMatch: a * stands for any text, and the last one names the number of a channel.
func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, name, star string
		ok                  bool
	}{{"a.b", "a.b", "", true}, {"a.b", "a.c", "", false}, {"bms-*.module.*.t", "bms-1.module.12.t", "12", true},
		{"cab-t*", "cab-t1.temperature", "1.temperature", true}, {"*.t", "a.b", "", false}, {"a*", "b", "", false}} {
		if star, ok := match(c.pattern, c.name); ok != c.ok || ok && star != c.star {
			t.Errorf("%s on %s: %q %v, want %q %v", c.pattern, c.name, star, ok, c.star, c.ok)
		}
	}
}
