package profile

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"firebreak/configs"
	"firebreak/sensors"
)

// relays is a profile whose title, channel and command are what a test makes of them.
func relays(title, channel, command string) string {
	return fmt.Sprintf("name = \"x\"\ntitle = %q\nbus = \"modbus\"\nsource = \"s\"\n[[channel]]\nname = \"relay\"\nfunction = \"coil\"\naddress = 3\n%s\n[[command]]\n%s\n", title, channel, command)
}

const relayOff = "name = \"relay-off\"\ndoes = \"lets it go\"\nsource = \"p. 1\"\nfunction = \"coil\"\naddress = 3\nvalue = 0\ndirection = \"off\"\nread_back = { channel = \"relay\", is = false }"

// S25: what detects fire is only read, by whatever it gives itself away; and nowhere is there a
// command that resets, disables, isolates, silences or tests.
func TestDetectorsHaveNoCommands(t *testing.T) {
	if p, err := Parse("x", []byte(relays("Relay board", "", relayOff))); err != nil || len(p.Commands) != 1 {
		t.Fatalf("a plain relay: %v", err)
	}
	for title, channel := range map[string]string{
		"Relay board ": "[[channel]]\nname = \"s\"\nfunction = \"input\"\naddress = 9\nphysics = \"smoke\"",
		"Relay board":  "[[channel]]\nname = \"s\"\nfunction = \"discrete\"\naddress = 9\nphysics = \"gas\"",
		"Relay  board": "panel = true",
		"Fire panel":   "", "FAAST LT": "", "Aspirating smoke detector": "", "Gas extinguishing control": "", "Gas-detection unit": "", "VESDA-E": "", "sprinklers": "",
	} {
		_, err := Parse("x", []byte(relays(title, channel, relayOff)))
		if err == nil || strings.Count(err.Error(), "\n") > 0 || !strings.Contains(err.Error(), "no command is ever sent to this device") {
			t.Errorf("%q with %q: %v", title, channel, err)
		}
	}
	for _, name := range []string{"reset", "relay-reset", "zone-3-disable", "loop-isolate", "silence", "sounder-silencing", "test", "battery-test", "mute-all", "relay-1-toggle", "flash-on"} {
		_, err := Parse("x", []byte(relays("Relay board", "", strings.Replace(relayOff, "relay-off", name, 1))))
		if err == nil || !strings.Contains(err.Error(), "S25") {
			t.Errorf("command %q: %v", name, err)
		}
	}
	for _, n := range List(configs.Profiles()) {
		p, err := Load(configs.Profiles(), n)
		if err != nil {
			t.Fatal(err)
		}
		if why := p.Detects(); (why != "") != slices.Contains([]string{"ads1115-loop", "alarmline", "bme680", "calectro-ug3", "ens160", "faast", "fire-panel-di", "greystone-cmd5b4", "rs485-smoke", "scd4x", "sensepoint-xcl", "sgp40", "sgp41", "sps30", "vesda-e"}, n) {
			t.Errorf("%s: %q", n, why)
		}
	}
}

// Each way to write has its function code, and arrays are unrolled with their read back.
func TestCommands(t *testing.T) {
	p, err := Parse("x", []byte(`
name = "x"
title = "x"
bus = "modbus"
source = "s"
[[channel]]
name = "out.*"
function = "holding"
address = 10
count = 2
stride = 4
scale = 0.1
[[command]]
name = "out-*-down"
does = "brings out * down"
source = "p. 2"
function = "holding"
address = 20
value = 15
count = 2
stride = 4
direction = "neutral"
read_back = { channel = "out.*", is = 1.5 }
[[command]]
name = "words"
does = "writes two"
source = "p. 2"
function = "holding"
address = 20
values = [1, 0xFFFF]
direction = "off"
read_back = "none"
no_read_back = "write only"
[[command]]
name = "bits"
does = "writes three"
source = "p. 2"
function = "coil"
address = 0xFFFD
values = [1, 0, 1]
direction = "on"
read_back = { channel = "out.1", is = 3 }
settle = "5s"
`))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for i := range p.Commands {
		c := &p.Commands[i]
		back := "-"
		if c.ReadBack >= 0 {
			back = p.Channels[c.ReadBack].Name
		}
		got = append(got, fmt.Sprintf("%s %d %d %v %s %s=%v %v %q", c.Name, c.Code(), c.Address, c.Values, c.Direction, back, c.Want, c.Settle, c.NoReadBack))
	}
	want := `out-1-down 6 20 [15] neutral out.1=1.5 2s ""
out-2-down 6 24 [15] neutral out.2=1.5 2s ""
words 16 20 [1 65535] off -=0 0s "write only"
bits 15 65533 [1 0 1] on out.1=3 5s ""`
	if s := strings.Join(got, "\n"); s != want {
		t.Errorf("got\n%s\nwant\n%s", s, want)
	}
	if c := p.Command("out-2-down"); c == nil || c.Does != "brings out 2 down" || !c.Done(15*0.1) || c.Done(1.6) || p.Command("out-*-down") != nil {
		t.Errorf("command out-2-down: %+v", c)
	}
}

// FuzzCommand: whatever a profile says, what comes of it is no panic, and no write that one request
// cannot hold, that is not described, or that goes to a detector (S25).
func FuzzCommand(f *testing.F) {
	f.Add(relayOff, "", "Relay board")
	f.Add("name = \"r-*\"\ncount = 9\nstride = 65535\nfunction = \"holding\"\naddress = 65535\nvalues = [1, 2]\ndirection = \"on\"\ndoes = \"x\"\nsource = \"y\"\nread_back = \"none\"\nno_read_back = \"z\"", "", "x")
	f.Add("name = \"r\"\nfunction = \"holding\"\naddress = 5\nvalues = [1, 2]\ndirection = \"on\"\ndoes = \"x\"\nsource = \"y\"\nno_read_back = \"z\"", "", "x")
	f.Add("read_back = { channel = \"relay\" }", "physics = \"smoke\"", "fire")
	f.Fuzz(func(t *testing.T, command, channel, title string) {
		p, err := Parse("x", []byte(relays(title, channel, command)))
		if err != nil {
			return
		}
		for i := range p.Commands {
			c := &p.Commands[i]
			limit := 123
			if c.Func == Coil {
				limit = 1968
			}
			switch {
			case c.Func != Coil && c.Func != Holding, len(c.Values) < 1, len(c.Values) > limit, c.Span().End() > 0x10000, len(c.Values) > 1 && !c.Multiple:
				t.Fatalf("%+v cannot be sent", c)
			case c.Name == "" || c.Does == "" || c.Source == "" || DeniedWord(c.Name) != "":
				t.Fatalf("%+v is not described, or denied", c)
			case (c.ReadBack < 0) != (c.NoReadBack != ""), c.ReadBack >= len(p.Channels), c.ReadBack >= 0 && c.Settle <= 0:
				t.Fatalf("%+v is read back and is not", c)
			case p.Detects() != "" || p.Bus != Modbus:
				t.Fatalf("%s has a command", p.Title)
			}
		}
		for i := range p.Channels {
			if q := &p.Channels[i]; len(p.Commands) > 0 && (q.Physics == sensors.Smoke || q.Physics == sensors.Gas || q.Panel) {
				t.Fatalf("a device with %s has commands", q.Name)
			}
		}
	})
}
