package config

import (
	"strings"
	"testing"

	"firebreak/sensors/profile"
)

// S23: of contacts that are neither supervised nor normally closed, check warns.
func TestBareContacts(t *testing.T) {
	for text, want := range map[string]string{
		"bus = \"gpio\"\n[[channel]]\nname = \"a\"\naddress = 4\nhazard = 1\npull = \"up\"":                        "",
		"bus = \"gpio\"\n[[channel]]\nname = \"a\"\naddress = 4\nhazard = 1\npull = \"up\"\ninvert = true":         "a",
		"bus = \"gpio\"\n[[channel]]\nname = \"a\"\naddress = 4\nhazard = 1\npull = \"down\"\ninvert = true":       "",
		"bus = \"gpio\"\n[[channel]]\nname = \"a\"\naddress = 4\nhazard = 1\npull = \"down\"":                      "a",
		"bus = \"gpio\"\n[[channel]]\nname = \"a\"\naddress = 4\nhazard = 1":                                       "a",
		"bus = \"gpio\"\n[[channel]]\nname = \"a\"\naddress = 4\nhazard = 1\nguard = 5":                            "",
		"bus = \"gpio\"\n[[channel]]\nname = \"a\"\naddress = 4":                                                   "", // shows no hazard
		"bus = \"i2c\"\nchip = \"pcf8574\"\n[[channel]]\nname = \"contact.0\"\nbit = 0\nhazard = 1":                "",
		"bus = \"i2c\"\nchip = \"pcf8574\"\n[[channel]]\nname = \"contact.0\"\nbit = 0\nhazard = 1\ninvert = true": "contact.0",
		// An input of a board over Modbus.
		"bus = \"modbus\"\n[[channel]]\nname = \"a\"\nfunction = \"discrete\"\naddress = 4\npanel = true":                                                                             "a",
		"bus = \"modbus\"\n[[channel]]\nname = \"a\"\nfunction = \"discrete\"\naddress = 4\npanel = true\ninvert = true":                                                              "",
		"bus = \"modbus\"\n[[channel]]\nname = \"a\"\nfunction = \"discrete\"\naddress = 4\npanel = true\nguard = 5\n[[channel]]\nname = \"b\"\nfunction = \"discrete\"\naddress = 5": "",
		"bus = \"modbus\"\n[[channel]]\nname = \"a\"\nfunction = \"discrete\"\naddress = 4\nhazard = 1":                                                                               "", // a bit of a detector
	} {
		p, err := profile.Parse("p.toml", []byte("name = \"p\"\ntitle = \"p\"\nsource = \"test\"\n"+text+"\n"))
		if err != nil {
			t.Errorf("%v\n%s", err, text)
			continue
		}
		got := (&Config{Devices: []Device{{Name: "d", Profile: p}}}).bareContacts()
		if want == "" && got != nil || want != "" && (len(got) != 1 || !strings.Contains(got[0], "quiet at "+want+":")) {
			t.Errorf("%q, want it of %q\n%s", got, want, text)
		}
	}
}
