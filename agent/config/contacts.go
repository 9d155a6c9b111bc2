package config

import (
	"fmt"
	"slices"
	"strings"

	"firebreak/sensors"
	"firebreak/sensors/profile"
)

// expanders are the chips whose inputs are pulled up and wired to ground by a contact: open reads one.
var expanders = []string{"pcf8574", "mcp23017"}

// bareContacts names the devices with contacts of which a cut wire reads as quiet (S23): neither supervised
// nor, as their profile takes them, normally closed.
func (c *Config) bareContacts() (out []string) {
	for i := range c.Devices {
		d := &c.Devices[i]
		var names []string
		for k := range d.Profile.Channels {
			ch := &d.Profile.Channels[k]
			if ch.Kind == sensors.Binary && (ch.Hazard != 0 || ch.Panel) && bare(d.Profile, ch) {
				names = append(names, ch.Name)
			}
		}
		if names != nil {
			out = append(out, fmt.Sprintf("device %s: a cut wire reads as quiet at %s: wire normally closed contacts, or supervise them", d.Name, strings.Join(names, ", ")))
		}
	}
	return out
}

func bare(p *profile.Profile, ch *profile.Channel) bool {
	switch {
	case p.Bus == profile.GPIO && ch.Guarded:
		return false
	case p.Bus == profile.GPIO:
		// A wire that is cut leaves the line to the pull: that must be the side of the alarm. What the
		// board does without one, nobody knows.
		return !(ch.Pull == "up" && !ch.Invert || ch.Pull == "down" && ch.Invert)
	case p.Bus == profile.Modbus && ch.Func.Bits() && ch.Guarded:
		return false
	case p.Bus == profile.Modbus && ch.Func.Bits():
		// An input without current reads zero. Other inputs than a panel's are bits of a device, and no wires.
		return ch.Panel && !ch.Invert
	case slices.Contains(expanders, p.Chip):
		return ch.Invert && !strings.HasPrefix(ch.Name, "pair.")
	}
	return false
}
