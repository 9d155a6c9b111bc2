package profile

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"firebreak/sensors"
)

// Each file in testdata/bad names its faults in comments "# fault: TEXT" on the line of the fault
// ("# fault-above:" on the line below it). All of them must be found, and no others.
func TestFaults(t *testing.T) {
	files, _ := filepath.Glob("testdata/bad/*.toml")
	if len(files) < 5 {
		t.Fatalf("only %d bad profiles in testdata/bad", len(files))
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		_, err = Parse(f, data)
		var faults Faults
		if !errors.As(err, &faults) {
			t.Errorf("%s: error %v, want Faults", f, err)
			continue
		}
		open := map[int][]string{}
		for _, x := range faults {
			if x.Column < 1 || x.File != f {
				t.Errorf("%s: fault without a place: %v", f, x)
			}
			open[x.Line] = append(open[x.Line], x.Text)
		}
		for i, line := range strings.Split(string(data), "\n") {
			_, want, ok := strings.Cut(line, "# fault: ")
			for _, w := range strings.Split(want, " | ") {
				if !ok {
					break
				}
				got := open[i+1]
				hit := false
				for k, text := range got {
					if strings.Contains(text, w) {
						open[i+1] = append(got[:k:k], got[k+1:]...)
						hit = true
						break
					}
				}
				if !hit {
					t.Errorf("%s:%d: no fault %q among %q", f, i+1, w, got)
				}
			}
		}
		for line, rest := range open {
			for _, x := range rest {
				t.Errorf("%s:%d: unexpected fault %q", f, line, x)
			}
		}
	}
}

func TestFaultHasColumn(t *testing.T) {
	_, err := Parse("x.toml", []byte("name = \"x\"\ntitle = \"x\"\nbus = \"modbus\"\nsource = \"s\"\n[[channel]]\nname = \"a\"\nfunction = \"holding\"\naddress = 1\ngate = { channel = \"b\",  is = 1, reason = \"sentinel\" }\n"))
	if err == nil || err.Error() != `x.toml:9:10: there is no channel "b"` {
		t.Errorf("got %v", err)
	}
}

func TestLoadNames(t *testing.T) {
	fsys := fstest.MapFS{"a.toml": {Data: []byte("name = \"b\"\ntitle = \"x\"\nbus = \"modbus\"\nsource = \"s\"\n[[channel]]\nname = \"a\"\nfunction = \"coil\"\naddress = 1\n")}}
	for name, want := range map[string]string{"a": "must agree", "c": "the known ones are a", "../a": "without folder", "": "known ones"} {
		if _, err := Load(fsys, name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Load(%q): %v, want %q", name, err, want)
		}
	}
}

func TestExpand(t *testing.T) {
	p, err := Parse("x.toml", []byte(`
name = "x"
title = "x"
bus = "modbus"
source = "s"
refresh = "2s"
[[channel]]
name = "alarm"
function = "input"
address = 0x2140
bit = 3
physics = "smoke"
hazard = 1
lag = "3s"
refresh = "0s"
panel = true
[[channel]]
name = "fault"
function = "input"
address = 0x2140
bit = 4
[[channel]]
name = "module.*.temperature"
function = "holding"
address = 10
count = 3
stride = 2
number_from = 0
type = "i32"
word_order = "swapped"
scale = 0.1
unit = "C"
range = [-10, 90]
max_rate = 2.5
gate = { channel = "fault", is = 0, reason = "not-ready" }
`))
	if err != nil {
		t.Fatal(err)
	}
	points := p.Expand(sensors.Device{ID: 4, Name: "bms-1"}, 5e9)
	if len(points) != 5 {
		t.Fatalf("%d points", len(points))
	}
	a, b, m := points[0], points[1], points[4]
	if a.Register != "input/0x2140" || b.Register != a.Register {
		t.Errorf("two bits of one word must name one register: %q, %q", a.Register, b.Register)
	}
	if a.Name != "bms-1.alarm" || a.Kind != sensors.Binary || a.Physics != sensors.Smoke || a.Lag != 3e9 || !a.Panel || a.Device != 4 || a.Stale != 5e9 || a.Hazard != 1 {
		t.Errorf("%+v", a)
	}
	if m.Name != "bms-1.module.2.temperature" || m.Register != "holding/0x000E" || m.Unit != sensors.Celsius || m.Min != -10 || m.Max != 90 || m.MaxRate != 2.5 {
		t.Errorf("%+v", m)
	}
	c := p.Channel("module.1.temperature")
	if c.Refresh != 2e9 || p.Channel("alarm").Refresh != 0 {
		t.Errorf("a channel has the refresh of its device unless it states its own: %s, %s", c.Refresh, p.Channel("alarm").Refresh)
	}
	if v, q := c.Decode([]uint16{0xFF9C, 0xFFFF}); v != -10 || !q.Usable() {
		t.Errorf("swapped -100 x 0.1 is %v %s", v, q)
	}
}

func TestDecodeOddities(t *testing.T) {
	c := &Channel{Type: U32, Scale: 1}
	for _, words := range [][]uint16{nil, {1}, {1, 2, 3}} {
		if _, q := c.Decode(words); q.Usable() {
			t.Errorf("%d words of 2 are %s", len(words), q)
		}
	}
	f := &Channel{Type: F32, Scale: 1}
	for _, hi := range []uint16{0x7F80, 0xFF80, 0x7FC0} {
		if _, q := f.Decode([]uint16{hi, 0}); q.Usable() {
			t.Errorf("float %#x0000 is %s", hi, q)
		}
	}
	high, low := &Channel{Type: S8High, Scale: 1}, &Channel{Type: U8Low, Scale: 1}
	words := []uint16{0}
	high.Encode(-3, words)
	low.Encode(200, words)
	if words[0] != 0xFDC8 {
		t.Errorf("bytes of one word: %#x", words[0])
	}
	high.Encode(-1000, words) // saturates
	if v, _ := high.Decode(words); v != -128 {
		t.Errorf("saturated at %v", v)
	}
}

func TestDecodeDoesNotAllocate(t *testing.T) {
	for _, p := range shipped(t) {
		raw := make([]Raw, len(p.Channels))
		for i := range raw {
			raw[i].Words = make([]uint16, p.Channels[i].Type.Words())
		}
		dec, err := NewDecoder(p, p.Expand(sensors.Device{Name: "d"}, 1))
		if err != nil {
			t.Fatal(err)
		}
		out := make([]sensors.Reading, 0, len(raw))
		if n := testing.AllocsPerRun(10, func() { dec.Decode(raw, out) }); n > 0 {
			t.Errorf("%s: %v allocations a poll", p.Name, n)
		}
	}
}

// FuzzParse feeds arbitrary files: no panic, and what is accepted can be planned, expanded and
// decoded whatever the registers hold.
func FuzzParse(f *testing.F) {
	for _, glob := range []string{"../../configs/profiles/*.toml", "testdata/bad/*.toml"} {
		files, _ := filepath.Glob(glob)
		for _, name := range files {
			data, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data, uint16(0xFFFF))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, word uint16) {
		p, err := Parse("f.toml", data)
		if err != nil {
			var faults Faults
			if !errors.As(err, &faults) || len(faults) == 0 || p != nil {
				t.Fatalf("error %v with %v", err, p)
			}
			return
		}
		checkPlan(t, p, p.Plan())
		raw := make([]Raw, len(p.Channels))
		for i := range p.Channels {
			raw[i].Words = make([]uint16, p.Channels[i].Type.Words())
			for k := range raw[i].Words {
				raw[i].Words[k] = word
			}
			p.Channels[i].Encode(float64(word), raw[i].Words)
		}
		dec, err := NewDecoder(p, p.Expand(sensors.Device{Name: "d"}, 1))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range dec.Decode(raw, nil) {
			if r.Quality.Usable() && r.Value != r.Value {
				t.Fatal("a usable NaN")
			}
		}
	})
}
