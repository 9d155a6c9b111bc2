package profile

import (
	"strings"
	"testing"
	"time"

	"firebreak/sensors"
)

const watched = `name = "x"
title = "x"
bus = "modbus"
source = "x"
[alive]
channel = "ticks"
within = "10s"
[[channel]]
name = "ticks"
function = "holding"
address = 0
[[channel]]
name = "t.*"
function = "holding"
address = 1
count = 3
type = "i16"
unit = "C"
scale = 0.1
range = [-40, 100]
hazard = 1
zeros = "harness"
stuck = "60s"
noise = 0.1
[[channel]]
name = "flow"
function = "holding"
address = 10
unit = "%"
[[channel]]
name = "smoke"
function = "holding"
address = 11
bit = 0
physics = "smoke"
hazard = 1
gate = { channel = "flow", within = [80, 120], reason = "air-flow" }
[[channel]]
name = "level"
function = "holding"
address = 12
gate = { channel = "flow", within = [80, 120], reason = "not-ready" }
`

// round is one poll: the words of ticks, three temperatures, flow, smoke and level.
type round struct {
	at    time.Duration
	words [7]uint16
	want  string // quality of each point
}

func TestWatches(t *testing.T) {
	p, err := Parse("x.toml", []byte(watched))
	if err != nil {
		t.Fatal(err)
	}
	good := strings.TrimSpace(strings.Repeat("good ", 7))
	for name, rounds := range map[string][]round{
		"stuck, with its own noise floor": {
			{0, [7]uint16{1, 200, 200, 200, 100, 0, 5}, good},
			{59 * time.Second, [7]uint16{2, 201, 205, 200, 100, 0, 5}, good},                                           // one step is noise of nobody
			{60 * time.Second, [7]uint16{3, 200, 205, 200, 100, 0, 5}, "good bad:stuck good bad:stuck good good good"}, // the second has moved
			{61 * time.Second, [7]uint16{4, 202, 205, 200, 100, 0, 5}, "good good good bad:stuck good good good"},
		},
		"a value at the end of its range is not stuck": {
			{0, [7]uint16{1, 200, 2000, 200, 100, 0, 5}, "good good uncertain:over-range good good good good"},
			{time.Hour, [7]uint16{2, 300, 2000, 300, 100, 0, 5}, "good good uncertain:over-range good good good good"},
		},
		"all zero": {
			{0, [7]uint16{1, 0, 0, 0, 100, 0, 0}, "good bad:implausible bad:implausible bad:implausible good good good"},
			{time.Second, [7]uint16{2, 0, 3, 0, 100, 0, 0}, good},
		},
		"the device serves old values": {
			{0, [7]uint16{7, 200, 210, 220, 100, 0, 5}, good},
			{9 * time.Second, [7]uint16{7, 201, 211, 221, 100, 0, 5}, good},
			{10 * time.Second, [7]uint16{7, 201, 211, 221, 100, 1, 5}, "good bad:stale bad:stale bad:stale bad:stale bad:stale bad:stale"},
			{11 * time.Second, [7]uint16{8, 201, 211, 221, 100, 0, 5}, good},
		},
		"air flow out of band": {
			{0, [7]uint16{1, 200, 210, 220, 79, 1, 5}, "good good good good good uncertain:air-flow bad:not-ready"},
			{time.Second, [7]uint16{2, 200, 210, 220, 121, 0, 5}, "good good good good good uncertain:air-flow bad:not-ready"},
			{2 * time.Second, [7]uint16{3, 200, 210, 220, 120, 1, 5}, good},
		},
	} {
		t.Run(name, func(t *testing.T) {
			points := p.Expand(sensors.Device{Name: "d"}, time.Second)
			dec, err := NewDecoder(p, points)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range rounds {
				raw := make([]Raw, len(r.words))
				for i := range raw {
					raw[i] = Raw{Words: r.words[i : i+1], At: sensors.Mono(1).Add(r.at)}
				}
				var got []string
				for _, rd := range dec.Decode(raw, nil) {
					got = append(got, rd.Quality.String())
				}
				if s := strings.Join(got, " "); s != r.want {
					t.Errorf("at %v: %s\nwant %s", r.at, s, r.want)
				}
			}
		})
	}
	// A part of the device is watched too: it reads what decides.
	if need := p.Needs([]int{1}); len(need) != 4 {
		t.Errorf("one temperature needs the channels %v, want the ticks and the other two", need)
	}
	// A flow that cannot be read leaves smoke uncertain, and a liveness channel that cannot be read tells nothing.
	dec, _ := NewDecoder(p, p.Expand(sensors.Device{Name: "d"}, time.Second))
	raw := make([]Raw, 7)
	for i := range raw {
		raw[i] = Raw{Words: []uint16{1}, At: 1}
	}
	raw[0].Fail, raw[4].Fail = sensors.Comm, sensors.Comm
	if rs := dec.Decode(raw, nil); rs[5].Quality.String() != "uncertain:air-flow" || rs[5].Value != 1 || rs[1].Quality.String() != "good" {
		t.Errorf("%+v", rs)
	}
}

func TestWatchFaults(t *testing.T) {
	for _, c := range []struct{ old, new, want string }{
		{`within = "10s"`, `within = "1ms"`, "say how long"},
		{`channel = "ticks"`, `channel = "tick"`, `there is no channel "tick"`},
		{`stuck = "60s"`, `stuck = "1ms"`, "a second or more"},
		{`stuck = "60s"`, ``, "noise"},
		{`within = [80, 120]`, `within = [120, 80]`, "the lower first"},
		{`within = [80, 120]`, `is = 3, within = [80, 120]`, "one of them"},
		{`physics = "smoke"`, "physics = \"smoke\"\nzeros = \"x\"", "belong to measurements"},
	} {
		if _, err := Parse("x.toml", []byte(strings.Replace(watched, c.old, c.new, 1))); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.new, err, c.want)
		}
	}
}

// Of each profile that ships with a channel that tells whether the device lives: what is served while it stands still is bad, and
// good again when it moves.
func TestShippedAlive(t *testing.T) {
	n := 0
	for _, p := range shipped(t) {
		if p.Alive.Within == 0 {
			continue
		}
		n++
		dec, err := NewDecoder(p, p.Expand(sensors.Device{Name: "d"}, time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		stale := func(after time.Duration, beat float64) (n int) {
			raw := make([]Raw, len(p.Channels))
			for i := range raw {
				raw[i] = Raw{Words: make([]uint16, p.Channels[i].Type.Words()), At: sensors.Mono(time.Hour + after)}
			}
			p.Channels[p.Alive.Channel].Encode(beat, raw[p.Alive.Channel].Words)
			for i, r := range dec.Decode(raw, nil) {
				if r.Quality.Reason() == sensors.Stale && i != p.Alive.Channel {
					n++
				}
			}
			return n
		}
		fresh, held, back := stale(0, 7), stale(p.Alive.Within+time.Second, 7), stale(p.Alive.Within+2*time.Second, 8)
		if fresh != 0 || held == 0 || back != 0 {
			t.Errorf("%s: %d points stale at first, %d while %q stands still, %d when it moves", p.Name, fresh, held, p.Channels[p.Alive.Channel].Name, back)
		}
	}
	if n < 4 {
		t.Errorf("only %d profiles are watched", n)
	}
}
