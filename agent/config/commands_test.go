package config

import (
	"strings"
	"testing"

	"firebreak/plugins"
	"firebreak/sensors/profile"
)

// sender is a kind of hook that sends one command.
type sender struct{ device, command string }

func (s sender) Resolve(find func(device, command string) (*profile.Command, error)) (any, []error) {
	_, err := find(s.device, s.command)
	return s, []error{err}
}

func (s sender) Sends() []plugins.DeviceCommand {
	return []plugins.DeviceCommand{{Target: "t", Device: s.device, Command: s.command}}
}

func (s sender) Traits(string) (plugins.Traits, error) { return plugins.Traits{}, nil }

// exampleWith is the annotated example with one more hook, that sends a command.
func exampleWith(t *testing.T, device, command string) (*Config, string) {
	t.Helper()
	k := exampleKinds()
	k.Hooks["send"] = func(tab *Table) any {
		tab.Tables("command")
		return sender{device, command}
	}
	text := string(readFile(t, exampleFile)) + "\n[[hook]]\nname = \"outlets\"\nkind = \"send\"\nstands = { zone = \"b1-core\", feed = \"A\" }\n[[hook.command]]\n"
	c, faults := Parse("f", []byte(text), k)
	var lines []string
	for _, f := range faults {
		lines = append(lines, f.String())
	}
	return c, strings.Join(lines, "\n")
}

// S25: every write is printed with what sends it, and a command that there is not, or of a detector, is
// a fault at its place.
func TestWrites(t *testing.T) {
	c, text := exampleWith(t, "load", "outlets-off")
	if c == nil {
		t.Fatal(text)
	}
	var b strings.Builder
	if err := Writes(&b, c); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"outlets-off of load", "function 6, holding 4, values [0]", "outlets_on is 0 within 20s", "no step names it"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in:\n%s", want, b.String())
		}
	}
	for _, f := range []struct{ device, command, want string }{
		{"load", "outlets-of", `has no command "outlets-of" (did you mean "outlets-off"?)`},
		{"asd-1", "outlets-off", "nothing is ever written to device \"asd-1\""},
		{"ups-z", "outlets-off", `no device "ups-z"`},
		{"cab-1", "outlets-off", "has no commands"},
	} {
		if c, text := exampleWith(t, f.device, f.command); c != nil || !strings.Contains(text, f.want) {
			t.Errorf("%s of %s: %s", f.command, f.device, text)
		}
	}
}
