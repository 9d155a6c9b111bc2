package profile

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"firebreak/sensors"
)

// Direction says what a command does to power. Only "on" may bring danger back, and only a person
// may do that (S1).
type Direction uint8

const (
	Neutral Direction = iota // neither: a mode, a transfer
	Off                      // takes power or load away
	On                       // gives power: never in a step, an undo or a drill (S1)
)

var directionNames = [...]string{"neutral", "off", "on"}

func (d Direction) String() string {
	if int(d) < len(directionNames) {
		return directionNames[d]
	}
	return fmt.Sprintf("unknown(%d)", uint8(d))
}

// Limits of one write request (Modbus application protocol 1.1b3, 6.11 and 6.12).
const (
	maxWriteWords = 123
	maxWriteBits  = 1968
	maxCommands   = 512
	defSettle     = 2 * time.Second
	maxSettle     = 5 * time.Minute
)

// Command is one write that the device knows, with fixed values: nothing in a configuration or a
// call can change what is sent. Sent twice it does no more than once; a toggle cannot be said.
type Command struct {
	Name       string
	Does       string   // in words, for people
	Func       Function // Coil or Holding
	Address    uint16
	Values     []uint16 // of a coil 0 or 1
	Multiple   bool     // functions 15 and 16, else 5 and 6
	Direction  Direction
	ReadBack   int           // index into Channels, -1: none
	Want       float64       // of that channel, in its unit, once it is done
	Settle     time.Duration // from the write to the state that is read back
	NoReadBack string        // why nothing can be read back: the command is then never verified
	Source     string        // document and page
	Unverified string        // what nobody has confirmed
}

// Code is the function code of the write.
func (c *Command) Code() byte {
	switch {
	case c.Func == Coil && c.Multiple:
		return 15
	case c.Func == Coil:
		return 5
	case c.Multiple:
		return 16
	}
	return 6
}

// Span is what the command writes.
func (c *Command) Span() Span { return Span{c.Func, c.Address, uint16(len(c.Values))} }

// Done tells whether a value of the read-back channel shows the state that the command asks for.
func (c *Command) Done(v float64) bool { return math.Abs(v-c.Want) <= 1e-9*max(1, math.Abs(c.Want)) }

// Command finds a command by name; nil when there is none.
func (p *Profile) Command(name string) *Command {
	if i := slices.IndexFunc(p.Commands, func(c Command) bool { return c.Name == name }); i >= 0 {
		return &p.Commands[i]
	}
	return nil
}

// CommandNames are the names of all commands, in the order of the profile.
func (p *Profile) CommandNames() []string {
	names := make([]string, len(p.Commands))
	for i := range names {
		names[i] = p.Commands[i].Name
	}
	return names
}

// Detects says why a device counts as a fire or gas detector, a fire panel or an extinguishing
// system, to which nothing is ever written (S25); empty when it does not. It goes by what the
// channels show and by what the profile calls itself.
func (p *Profile) Detects() string {
	for i := range p.Channels {
		switch c := &p.Channels[i]; {
		case c.Physics == sensors.Smoke || c.Physics == sensors.Gas:
			return fmt.Sprintf("channel %q shows %s", c.Name, c.Physics)
		case c.Panel:
			return fmt.Sprintf("channel %q is a contact of a fire panel", c.Name)
		}
	}
	for _, text := range []string{p.Name, p.Title} {
		if w := FireWord(text); w != "" {
			return fmt.Sprintf("it calls itself %q, and %q is the word of a fire, gas or extinguishing system", text, w)
		}
	}
	return ""
}

// fireWords begin words that name detectors, fire panels and extinguishing systems; deniedWords
// begin those of what is never done to one. Both are read wherever a write could hide one: in names
// of commands, devices, profiles and hooks' targets (S25).
var (
	fireWords   = [...]string{"fire", "smoke", "gas", "detector", "extinguish", "suppress", "sprinkler", "deluge", "aspirat", "vesda", "faast", "inergen", "novec", "halon", "sounder", "siren"}
	deniedWords = [...]string{"reset", "disable", "disabling", "isolat", "silenc", "mute", "muting", "inhibit", "test", "toggle", "flip", "flash", "pulse"}
)

// FireWord is the word in text that names a detector, a fire panel or an extinguishing system;
// empty when there is none.
func FireWord(text string) string { return wordOf(text, fireWords[:]) }

// DeniedWord is the word in text that names what is never sent: what resets, disables, isolates,
// silences or tests (S25), or what is no fixed state, such as a toggle.
func DeniedWord(text string) string { return wordOf(text, deniedWords[:]) }

func wordOf(text string, starts []string) string {
	for _, w := range strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return r < 'a' || r > 'z' }) {
		if slices.ContainsFunc(starts, func(s string) bool { return strings.HasPrefix(w, s) }) && w != "gasket" && w != "firebreak" {
			return w
		}
	}
	return ""
}
