package profile

import (
	"math"
	"math/bits"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"firebreak/sensors"
)

// link is what a channel said about others, resolved once all are known.
type link struct {
	t     *table
	gates []gate
	n     string // number of the array element
}

type gate struct {
	t       *table
	channel string
	Gate
}

func itoa(n int) string { return strconv.Itoa(n) }

func channelForm() *regexp.Regexp {
	return regexp.MustCompile(`^[a-z0-9]+([-_][a-z0-9]+)*(\.([a-z0-9]+([-_][a-z0-9]+)*|\*))*$`)
}

// channel reads one [[channel]] but its gates; for an array, count is above one.
func (p *Profile) channel(t *table) (c Channel, count, stride int) {
	c = Channel{Name: t.need("name"), Func: function(t, p)}
	if c.Name != "" && !channelForm().MatchString(c.Name) || strings.Count(c.Name, "*") > 1 {
		t.fault("name", "name %q: use small letters, digits, hyphens, underscores and dots, and at most one * as a part of its own", c.Name)
	}
	c.Physics = choice(t, "physics", sensors.ParsePhysics)
	c.Unit = choice(t, "unit", sensors.ParseUnit)
	c.Hazard = int8(t.integer("hazard", -1, 1, 0))
	c.Min, c.Max = rangeOf(t)
	c.MaxRate = t.number("max_rate", 0)
	if c.MaxRate < 0 {
		t.fault("max_rate", "max_rate is a speed in unit per second: zero (no limit) or above")
	}
	c.Lag = t.duration("lag", 0)
	c.Refresh = t.duration("refresh", p.Refresh)
	c.Panel = t.boolean("panel")
	c.Stuck = t.duration("stuck", 0)
	c.Noise = t.number("noise", 0)
	c.Zeros = t.str("zeros")
	switch {
	case c.Noise < 0 || t.has("noise") && c.Stuck == 0:
		t.fault("noise", "noise, zero or above, says how little a live sensor moves within stuck = \"10m\"")
	case c.Stuck != 0 && c.Stuck < time.Second:
		t.fault("stuck", "stuck after %s: give a second or more", c.Stuck)
	}
	c.Unverified = t.str("unverified")
	c.Invert = t.boolean("invert")
	if t.has("address") {
		c.Address = uint16(t.integer("address", 0, 0xFFFF, 0))
	} else if t.used["address"] = true; p.Bus != I2C && p.Bus != NUT && p.Bus != SNMP && p.Template == "" {
		t.fault("address", "address (on the wire, from zero) is missing")
	}
	p.layout(t, &c)
	p.text(t, &c)
	p.object(t, &c)
	p.wiring(t, &c)
	sentinels(t, &c)
	p.kind(t, &c)
	count, stride = int(t.integer("count", 1, maxChannels, 1)), int(t.integer("stride", 1, 0xFFFF, 1))
	if t.has("count") != strings.Contains(c.Name, "*") {
		t.fault("name", "an array has both a * in its name and a count")
	}
	if count > 1 && stride < c.Type.Words() {
		t.fault("stride", "stride %d is less than the %d registers of one %s", stride, c.Type.Words(), c.Type)
		stride = c.Type.Words()
	}
	return c, count, stride
}

// layout reads type, word order, bit or mask, and scale.
func (p *Profile) layout(t *table, c *Channel) {
	c.Type = U16
	single := c.Func.Bits() || p.Bus == GPIO
	if single {
		c.Type = Bool
	}
	if t.has("type") {
		typ := Type(choice(t, "type", oneOf("type", typeNames[:])))
		if (typ == Bool) != single {
			t.fault("type", "a %s cannot be a %s", c.Func, typ)
		}
		c.Type = typ
	}
	t.used["type"] = true
	switch order := t.str("word_order"); {
	case order == "" || order == "big" && c.Type.Words() == 2:
	case order == "swapped" && c.Type.Words() == 2:
		c.Swapped = true
	default:
		t.fault("word_order", "word_order is \"big\" (high word first) or \"swapped\", and only for types of two words")
	}
	width := c.Type.width()
	c.Mask = uint32(t.integer("mask", 1, 1<<width-1, 0))
	if t.has("bit") {
		c.Mask = 1 << uint(t.integer("bit", 0, int64(width)-1, 0))
	}
	t.used["bit"] = true
	switch {
	case t.has("bit") && t.has("mask"):
		t.fault("mask", "give bit or mask, not both")
	case c.Mask != 0 && (c.Type == Bool || c.Type == F32 || c.Type.signed()):
		t.fault("type", "bit and mask need an unsigned type")
	case c.Mask != 0 && t.has("mask") && c.Mask>>bits.TrailingZeros32(c.Mask)&(c.Mask>>bits.TrailingZeros32(c.Mask)+1) != 0 && t.str("kind") != "binary":
		t.fault("mask", "the bits of a mask must be neighbours, unless kind is \"binary\" (true when any is set)")
	}
	c.Scale = t.number("scale", 1)
	if n := t.integer("binary_point", 0, 31, 0); n > 0 {
		if t.has("scale") {
			t.fault("binary_point", "give scale or binary_point, not both")
		}
		c.Scale = math.Ldexp(1, -int(n))
	}
	if c.Scale == 0 {
		t.fault("scale", "scale zero would make every value the same")
		c.Scale = 1
	}
	c.Offset = t.number("offset", 0)
}

// wiring reads how a contact is wired to GPIO lines.
func (p *Profile) wiring(t *table, c *Channel) {
	c.Pull = t.str("pull")
	c.Guarded = t.has("guard")
	c.Guard = uint16(t.integer("guard", 0, 0xFFFF, 0))
	switch {
	case c.Guarded && p.Bus != GPIO && !c.Func.Bits():
		t.fault("guard", "guard belongs to contacts: bus = \"gpio\", or a coil or discrete input")
	case c.Pull != "" && p.Bus != GPIO:
		t.fault("pull", "pull belongs to lines of a chip: bus = \"gpio\"; an input of a board has the one that it has")
	case c.Pull != "" && c.Pull != "up" && c.Pull != "down":
		t.fault("pull", "pull is %q: use \"up\" or \"down\", or leave it out", c.Pull)
	case p.Bus == GPIO && c.Panel && !c.Guarded:
		t.fault("panel", "a contact of a fire panel counts as supervised (S5): name the line of its guard")
	case c.Guarded && c.Guard == c.Address:
		t.fault("guard", "a line cannot guard itself: name the one of the other contact")
	case c.Guarded && t.has("count"):
		t.fault("guard", "contacts with a guard are listed one by one")
	}
}

// sentinels reads the raw values that mean "no value". A negative one is taken in the width of
// the type, so that -1 is 0xFFFF of a 16-bit register.
func sentinels(t *table, c *Channel) {
	width := c.Type.width()
	for _, s := range t.integers("sentinels", -1<<(width-1), 1<<width-1) {
		c.Sentinels = append(c.Sentinels, uint32(s)&uint32(1<<width-1))
	}
	c.SentinelReason = sensors.Sentinel
	if t.has("sentinel_reason") {
		c.SentinelReason = badReason(t, "sentinel_reason")
		if len(c.Sentinels) == 0 && len(c.None) == 0 {
			t.fault("sentinel_reason", "there are no sentinels to give a reason for")
		}
	}
	t.used["sentinel_reason"] = true
}

// badReason reads a reason that makes a reading bad.
func badReason(t *table, key string) sensors.Reason {
	r := choice(t, key, sensors.ParseReason)
	switch r {
	case sensors.Stale, sensors.Implausible, sensors.Sentinel, sensors.NotReady, sensors.TestMode, sensors.Identity:
		return r
	}
	t.fault(key, "%s must be one of stale, implausible, sentinel, not-ready, test-mode, identity", key)
	return sensors.Sentinel
}

// kind reads kind and checks what goes with it.
func (p *Profile) kind(t *table, c *Channel) {
	if single := c.Mask != 0 && c.Mask&(c.Mask-1) == 0; c.Type == Bool || single {
		c.Kind = sensors.Binary
	}
	if t.has("kind") {
		c.Kind = choice(t, "kind", sensors.ParseKind)
	}
	t.used["kind"] = true
	number := c.Kind == sensors.Measurement
	switch {
	case c.Type == Bool && c.Kind != sensors.Binary:
		t.fault("kind", "a %s is binary", c.Func)
	case c.Invert && c.Kind != sensors.Binary:
		t.fault("invert", "only a binary channel can be inverted")
	case c.Kind == sensors.Binary && c.Type == F32:
		t.fault("kind", "a float cannot be binary")
	case !number && (c.Unit != sensors.None || c.Scale != 1 || c.Offset != 0):
		t.fault("unit", "a %s channel has no unit, scale or offset", c.Kind)
	case !number && (c.Min != c.Max || c.MaxRate != 0):
		t.fault("range", "range and max_rate belong to measurements")
	case !number && (c.Stuck != 0 || c.Zeros != ""):
		t.fault("stuck", "stuck, noise and zeros belong to measurements: a state may stand still")
	case number && c.Hazard != 0 && c.Min == c.Max:
		t.fault("hazard", "a measurement with a hazard direction needs range = [min, max]: beyond it the reading counts as over-range, not as rubbish")
	case c.Panel && c.Kind != sensors.Binary:
		t.fault("panel", "a panel contact is binary")
	}
}

func count(list ...bool) (n int) {
	for _, b := range list {
		if b {
			n++
		}
	}
	return n
}

// gateReason reads the reason of a gate. Air out of its band makes smoke uncertain and not bad: what
// is seen counts (S3).
func gateReason(t *table) sensors.Reason {
	if r, err := sensors.ParseReason(t.str("reason")); err == nil && r == sensors.FlowFault {
		return r
	}
	return badReason(t, "reason")
}

func (p *Profile) gates(t *table) []gate {
	var out []gate
	for _, gt := range t.tables("gate") {
		g := gate{t: gt, channel: gt.need("channel")}
		g.Equal, g.Band = gt.has("is"), gt.has("within")
		if n := count(gt.has("is"), gt.has("not"), g.Band); n != 1 {
			gt.fault("is", "a gate says is = VALUE, not = VALUE or within = [LOW, HIGH]: one of them")
		}
		g.Min, g.Max = pair(gt, "within", "[-20, 20]")
		g.Value = gt.number("is", gt.number("not", 0))
		gt.used["is"], gt.used["not"] = true, true
		switch u := gt.str("unknown"); u {
		case "", "open", "closed":
			g.Open = u == "open"
		default:
			gt.fault("unknown", "unknown is %q: use \"open\" or \"closed\", which is how it is without", u)
		}
		if gt.need("reason") != "" {
			g.Reason = gateReason(gt)
		}
		gt.done()
		out = append(out, g)
	}
	return out
}

// guarded makes a gate of the guard of channel i: the channel at its address, which reads the bit that this one does
// not. It is read in the same poll and has no gate, so that what the board says of it is seen too.
func (p *Profile) guarded(i int, links []link) {
	c := &p.Channels[i]
	if p.Bus != Modbus || !c.Guarded || !c.Func.Bits() {
		return
	}
	j := slices.IndexFunc(p.Channels, func(o Channel) bool {
		return o.Func == c.Func && o.Address == c.Guard && len(o.Gates) == 0 && !o.Guarded
	})
	if j < 0 {
		links[i].t.fault("guard", "list the %s at %d too, as a channel without gate and guard: it is the other contact", c.Func, c.Guard)
		return
	}
	c.Gates = append(c.Gates, Gate{Channel: j, Contact: true, Reason: sensors.Sentinel})
}

// resolve turns the names in the gates of channel i into indexes. A gate has no gate itself, so
// that one pass over the raw values decides.
func (p *Profile) resolve(i int, links []link, index map[string]int) {
	for _, g := range links[i].gates {
		name := strings.Replace(g.channel, "*", links[i].n, 1)
		j, ok := index[name]
		switch {
		case !ok:
			g.t.fault("channel", "there is no channel %q", name)
		case j == i:
			g.t.fault("channel", "a channel cannot be its own gate")
		case len(links[j].gates) > 0 || p.Bus == Modbus && p.Channels[j].Guarded:
			g.t.fault("channel", "channel %q has a gate itself: name that one", name)
		default:
			g.Gate.Channel = j
			p.Channels[i].Gates = append(p.Channels[i].Gates, g.Gate)
		}
	}
}
