package profile

import (
	"strings"
	"time"

	"firebreak/sensors"
)

// commands reads [[command]], after the channels, and unrolls arrays. It is strict where a reader of
// channels is lenient: what is not said here cannot be sent, and what could hurt a detector is not
// said at all (S25).
func (p *Profile) commands(t *table) {
	list := t.tables("command")
	if len(list) == 0 {
		return
	}
	if p.Bus != Modbus {
		t.fault("command", "commands are for Modbus: nothing is written to an I2C chip")
	}
	if why := p.Detects(); why != "" {
		t.fault("command", "no command is ever sent to this device: %s, and a detector, a fire panel or an extinguishing system is only read (S25)", why)
	}
	seen := map[string]bool{}
	for _, ct := range list {
		base, back, count, stride := p.command(ct)
		first := ct.integer("number_from", 0, 0xFFFF, 1)
		ct.done()
		if len(p.Commands)+count > maxCommands {
			ct.fault("count", "more than %d commands", maxCommands)
			return
		}
		for i := range count {
			c, n := base, itoa(int(first)+i)
			c.Name, c.Does = strings.Replace(base.Name, "*", n, 1), strings.Replace(base.Does, "*", n, 1)
			address := int(base.Address) + i*stride
			if address+len(c.Values) > 0x10000 {
				ct.fault("address", "command %q writes beyond register 65535", c.Name)
				break
			}
			if seen[c.Name] {
				ct.fault("name", "there is a command %q already", c.Name)
			}
			seen[c.Name], c.Address = true, uint16(address)
			if back != nil {
				p.readBack(ct, back, &c, n)
			}
			p.Commands = append(p.Commands, c)
		}
	}
}

// readBackRef is read_back = { channel = "...", is = ... } as it stands.
type readBackRef struct {
	t       *table
	channel string
	is      float64
}

// command reads one [[command]]; back is nil where nothing is read back.
func (p *Profile) command(t *table) (c Command, back *readBackRef, count, stride int) {
	c = Command{Name: t.need("name"), Does: t.need("does"), Source: t.need("source"), Unverified: t.str("unverified"), ReadBack: -1}
	if c.Name != "" && !nameForm().MatchString(strings.Replace(c.Name, "*", "0", 1)) {
		t.fault("name", "name %q: use small letters, digits and hyphens, and at most one *", c.Name)
	}
	if w := DeniedWord(c.Name); w != "" {
		t.fault("name", "%q in a command: what resets, disables, isolates, silences or tests is never sent (S25), and a toggle or pulse is no state that could be read back; name a command by the state that it leads to, such as breaker-open", w)
	}
	if w := FireWord(c.Name + " " + c.Does); w != "" {
		t.fault("does", "%q in a command: a detector, a fire panel or an extinguishing system is only read (S25)", w)
	}
	c.Func = [...]Function{Coil, Holding}[choice(t, "function", oneOf("function", []string{Coil.String(), Holding.String()}))]
	if !t.has("function") || !t.has("address") {
		t.fault("function", "function (coil or holding) and address (on the wire, from zero) are needed")
	}
	c.Address = uint16(t.integer("address", 0, 0xFFFF, 0))
	p.values(t, &c)
	t.need("direction")
	c.Direction = Direction(choice(t, "direction", oneOf("direction", directionNames[:])))
	back = p.backOf(t, &c)
	count, stride = int(t.integer("count", 1, maxCommands, 1)), int(t.integer("stride", 1, 0xFFFF, 1))
	if t.has("count") != strings.Contains(c.Name, "*") {
		t.fault("name", "an array has both a * in its name and a count")
	}
	return c, back, count, stride
}

// values reads value (functions 5 and 6) or values (functions 15 and 16): fixed, absolute states.
func (p *Profile) values(t *table, c *Command) {
	hi, most := int64(0xFFFF), maxWriteWords
	if c.Func == Coil {
		hi, most = 1, maxWriteBits
	}
	for _, v := range t.integers("values", 0, hi) {
		c.Values = append(c.Values, uint16(v))
	}
	c.Multiple = t.has("values")
	switch {
	case t.has("value") == c.Multiple:
		t.used["value"] = true
		t.fault("value", "give either value (one register: functions 5 and 6) or values (functions 15 and 16)")
	case t.has("value"):
		c.Values = []uint16{uint16(t.integer("value", 0, hi, 0))}
	case len(c.Values) == 0 || len(c.Values) > most:
		t.fault("values", "values has %d: one request writes 1 to %d", len(c.Values), most)
	}
	t.used["value"] = true
}

// backOf reads how it is seen that a command has been carried out. It has no default: who says
// "none" says why, and no plan then takes the command for verified.
func (p *Profile) backOf(t *table, c *Command) *readBackRef {
	c.NoReadBack = t.str("no_read_back")
	if s, ok := t.vals["read_back"].(string); ok {
		t.used["read_back"] = true
		switch {
		case s != "none":
			t.fault("read_back", "read_back is { channel = \"...\", is = ... } or \"none\"")
		case strings.TrimSpace(c.NoReadBack) == "":
			t.fault("read_back", "read_back = \"none\" needs no_read_back = \"the reason\": the command is then never verified")
		case t.has("settle"):
			t.used["settle"] = true
			t.fault("settle", "there is nothing to settle where nothing is read back; remove it")
		}
		return nil
	}
	c.Settle = t.duration("settle", defSettle)
	if c.Settle < time.Millisecond || c.Settle > maxSettle {
		t.fault("settle", "settle must be from 1ms to %v", maxSettle)
	}
	list := t.tables("read_back")
	if c.NoReadBack != "" {
		t.fault("no_read_back", "no_read_back belongs to read_back = \"none\"; remove it")
	}
	if len(list) != 1 {
		t.fault("read_back", "read_back is missing: a write is read back, read_back = { channel = \"...\", is = ... }; where the device shows nothing, \"none\" and no_read_back = \"the reason\"")
		return nil
	}
	bt := list[0]
	ref := &readBackRef{t: bt, channel: bt.need("channel")}
	if b, ok := bt.vals["is"].(bool); ok {
		bt.used["is"] = true
		if b {
			ref.is = 1
		}
	} else if ref.is = bt.number("is", 0); !bt.has("is") {
		bt.fault("is", "is (what the channel reads once it is done) is missing")
	}
	bt.done()
	return ref
}

// readBack resolves the channel that shows what c does.
func (p *Profile) readBack(t *table, ref *readBackRef, c *Command, n string) {
	name := strings.Replace(ref.channel, "*", n, 1)
	c.Want = ref.is
	for i := range p.Channels {
		if p.Channels[i].Name == name {
			c.ReadBack = i
		}
	}
	if c.ReadBack < 0 {
		if ref.channel != "" {
			ref.t.fault("channel", "there is no channel %q", name)
		}
		return
	}
	ch := &p.Channels[c.ReadBack]
	words := make([]uint16, ch.Type.Words())
	ch.Encode(c.Want, words)
	if v, q := ch.Decode(words); !q.Usable() || !c.Done(v) {
		ref.t.fault("is", "channel %q can never read %v", name, c.Want)
		return
	}
	if len(ch.Gates) > 0 {
		ref.t.fault("channel", "channel %q has a gate: what is read back must stand for itself", name)
	}
	// The register that was written, read back, must say what was written: anything else is a
	// toggle, or two maps of one device.
	if whole := ch.Type == U16 || ch.Type == Bool; whole && ch.Mask == 0 && c.Span() == ch.Span() && words[0] != c.Values[0] {
		ref.t.fault("is", "%s is written with %d and would be read back as %d: a command leads to one state, whatever was before", ch.Place(), c.Values[0], words[0])
	}
	if ch.Kind != sensors.Measurement && c.Want != float64(int64(c.Want)) {
		ref.t.fault("is", "a %s channel reads whole numbers", ch.Kind)
	}
}
