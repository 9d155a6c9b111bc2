package profile

import (
	"regexp"
	"slices"
	"strings"
	"time"
)

const (
	maxWords    = 125 // Modbus application protocol 1.1b3, 6.3
	maxBits     = 2000
	maxChannels = 4096
	maxFile     = 1 << 20
)

// Parse reads one profile. Its error is Faults: every fault as file:line:column.
func Parse(file string, data []byte) (*Profile, error) {
	d := &doc{file: file, at: map[string]pos{}}
	if len(data) > maxFile {
		d.fault("", "the file has %d bytes: a profile has at most %d", len(data), maxFile)
		return nil, d.err()
	}
	t := open(d, data)
	if t == nil {
		return nil, d.err()
	}
	p := &Profile{
		Name: t.need("name"), Title: t.need("title"), Maker: t.str("maker"),
		Bus: t.need("bus"), Chip: t.str("chip"),
		Source: t.need("source"), Unverified: t.str("unverified"), Template: t.str("template"),
	}
	if p.Name != "" && !nameForm().MatchString(p.Name) {
		t.fault("name", "name %q: use small letters, digits and hyphens", p.Name)
	}
	switch {
	case p.Bus != "" && p.Bus != Modbus && !p.other():
		t.fault("bus", "bus is %q: use %q, %q, %q, %q or %q", p.Bus, Modbus, I2C, GPIO, NUT, SNMP)
	case p.Bus == I2C && p.Chip == "":
		t.fault("bus", "an I2C profile names the driver of its chip: chip = \"tmp117\"")
	case p.Bus != I2C && p.Chip != "":
		t.fault("chip", "chip belongs to I2C profiles; remove it")
	case p.Template != "" && p.Bus != Modbus:
		t.fault("template", "a template is a Modbus profile whose addresses its user fills in; remove it")
	}
	p.Refresh = t.duration("refresh", 0)
	if p.Wait = t.duration("wait", 0); p.Wait > 0 && p.Bus == Modbus {
		t.fault("wait", "wait belongs to I2C profiles: the time that the driver keeps the bus for a measurement; remove it")
	}
	p.readRules(t)
	p.snmpRules(t)
	for _, ct := range t.tables("identity") {
		p.Identity = append(p.Identity, check(ct, p))
	}
	p.channels(t)
	p.alive(t)
	p.commands(t)
	t.done()
	if err := d.err(); err != nil {
		return nil, err
	}
	return p, nil
}

// other is true for a kind of bus that has no functions, read rules and identity registers.
func (p *Profile) other() bool { return p.Bus == I2C || p.Bus == GPIO || p.Bus == NUT || p.Bus == SNMP }

func nameForm() *regexp.Regexp { return regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`) }

func (p *Profile) readRules(t *table) {
	p.Read = ReadRules{MaxWords: maxWords, MaxBits: maxBits, MaxGap: 0, Window: 1, Timeout: 500 * time.Millisecond}
	list := t.tables("read")
	switch {
	case len(list) > 1:
		t.fault("read", "there is one [read] table, not a list")
	case len(list) == 1 && p.other():
		t.fault("read", "[read] is for Modbus; the driver knows how to read the rest")
	}
	if len(list) != 1 {
		p.Read.Turnaround = p.Read.Timeout
		return
	}
	r := list[0]
	p.Read.MaxWords = int(r.integer("max_words", 1, maxWords, maxWords))
	p.Read.MaxBits = int(r.integer("max_bits", 1, maxBits, maxBits))
	p.Read.MaxGap = int(r.integer("max_gap", 0, maxWords, 0))
	p.Read.Timeout = r.duration("timeout", p.Read.Timeout)
	p.Read.Turnaround = r.duration("turnaround", p.Read.Timeout)
	p.Read.FrameGap = r.duration("frame_gap", 0)
	p.Read.Single = r.boolean("single")
	if p.Read.Single && (r.has("max_gap") || r.has("blocks")) {
		r.fault("single", "single reads one value a request: max_gap and blocks, which join some, do not go with it")
	}
	p.Read.Window = int(r.integer("window", 1, 16, 1))
	p.Read.ReplyUnit = int(r.integer("reply_unit_offset", -246, 246, 0))
	if p.Read.Timeout == 0 {
		r.fault("timeout", "timeout must be above zero: every read has a deadline")
	}
	for _, st := range r.tables("blocks") {
		s := span(st, p)
		limit := p.Read.MaxWords
		if s.Func.Bits() {
			limit = p.Read.MaxBits
		}
		if int(s.Count) > limit {
			st.fault("count", "a block of %d is more than one request may read (%d)", s.Count, limit)
		}
		for _, o := range p.Read.Blocks {
			if s.Touches(o) {
				st.fault("first", "the block overlaps the one at %d", o.First)
			}
		}
		p.Read.Blocks = append(p.Read.Blocks, s)
		st.done()
	}
	for _, st := range r.tables("forbidden") {
		s := span(st, p)
		for _, b := range p.Read.Blocks {
			if s.Touches(b) {
				st.fault("first", "the forbidden range overlaps the block at %d", b.First)
			}
		}
		p.Read.Forbidden = append(p.Read.Forbidden, s)
		st.done()
	}
	r.done()
}

func function(t *table, p *Profile) Function {
	const first = int(Coil)
	if p.other() {
		if t.str("function") != "" {
			t.fault("function", "function belongs to Modbus profiles; remove it")
		}
		return Register
	}
	if t.need("function") == "" {
		return Holding
	}
	return Function(first + choice(t, "function", oneOf("function", functionNames[first:])))
}

// span reads function, first and count.
func span(t *table, p *Profile) Span {
	s := Span{Func: function(t, p)}
	if !t.has("first") || !t.has("count") {
		t.fault("first", "first (address on the wire, from zero) and count are needed")
	}
	s.First = uint16(t.integer("first", 0, 0xFFFF, 0))
	s.Count = uint16(t.integer("count", 1, 0x10000-int64(s.First), 1))
	return s
}

// channels reads [[channel]], unrolls arrays, and then resolves what refers to other channels.
func (p *Profile) channels(t *table) {
	list := t.tables("channel")
	if len(list) == 0 {
		t.fault("channel", "a profile needs at least one [[channel]]")
	}
	index := map[string]int{}
	var links []link
	for _, ct := range list {
		base, count, stride := p.channel(ct)
		first := ct.integer("number_from", 0, 0xFFFF, 1)
		gates := p.gates(ct)
		ct.done()
		for i := range count {
			c := base
			n := itoa(int(first) + i)
			c.Name = strings.Replace(base.Name, "*", n, 1)
			address := int(base.Address) + i*stride
			if address+c.Type.Words() > 0x10000 {
				ct.fault("count", "element %s lies beyond register 65535", n)
				break
			}
			c.Address = uint16(address)
			if _, ok := index[c.Name]; ok {
				ct.fault("name", "there is a channel %q already", c.Name)
			}
			if len(p.Channels) >= maxChannels {
				ct.fault("count", "more than %d channels", maxChannels)
				return
			}
			p.placed(ct, &c)
			index[c.Name] = len(p.Channels)
			p.Channels = append(p.Channels, c)
			links = append(links, link{ct, gates, n})
		}
	}
	for i := range links {
		p.resolve(i, links, index)
	}
	for i := range links {
		p.guarded(i, links)
	}
	p.overlaps(links)
}

// placed checks the address of c against the read rules.
func (p *Profile) placed(t *table, c *Channel) {
	s := c.Span()
	if p.Bus == Modbus && !c.Func.Bits() && c.Type.Words() > p.Read.MaxWords {
		t.fault("type", "a %s is never split, and max_words is %d", c.Type, p.Read.MaxWords)
	}
	for _, f := range p.Read.Forbidden {
		if s.Touches(f) {
			t.fault("address", "%s lies in the forbidden range from %d", c.Place(), f.First)
		}
	}
	for _, b := range p.Read.Blocks {
		if s.Touches(b) && !b.Holds(s) {
			t.fault("address", "%s lies partly in the block from %d: a value is never split", c.Place(), b.First)
		}
	}
}

// overlaps refuses two channels that share a register but not their start, since the name of the
// register decides what is one member of a quorum (S5).
func (p *Profile) overlaps(links []link) {
	if p.Bus != Modbus || p.Template != "" {
		return
	}
	type cell struct {
		f Function
		a int
	}
	owner := map[cell]int{}
	for i := range p.Channels {
		s := p.Channels[i].Span()
		for a := int(s.First); a < s.End(); a++ {
			j, ok := owner[cell{s.Func, a}]
			if !ok {
				owner[cell{s.Func, a}] = i
			} else if o := p.Channels[j].Span(); o != s {
				links[i].t.fault("address", "%s overlaps channel %q at %s: give both the same start and width", s.Func, p.Channels[j].Name, p.Channels[j].Place())
				break
			}
		}
	}
}

// rangeOf reads range = [min, max].
func rangeOf(t *table) (lo, hi float64) { return pair(t, "range", "[-40, 125]") }

// pair reads two numbers, the lower first; zeros when there are none.
func pair(t *table, key, example string) (lo, hi float64) {
	if !t.has(key) {
		t.used[key] = true
		return 0, 0
	}
	list, _ := get[[]any](t, key, "two numbers, such as "+example)
	if len(list) == 2 {
		a, okA := toFloat(list[0])
		b, okB := toFloat(list[1])
		if okA && okB && a < b {
			return a, b
		}
	}
	t.fault(key, "%s must be two numbers, the lower first, such as %s", key, example)
	return 0, 0
}

// alive reads the table [alive].
func (p *Profile) alive(t *table) {
	list := t.tables("alive")
	if len(list) == 0 {
		return
	}
	a := list[0]
	name := a.need("channel")
	p.Alive.Channel = slices.IndexFunc(p.Channels, func(c Channel) bool { return c.Name == name })
	p.Alive.Within = a.duration("within", 0)
	switch {
	case len(list) > 1:
		t.fault("alive", "there is one [alive] table, not a list")
	case p.other():
		t.fault("alive", "[alive] is for Modbus; the driver of a chip knows whether it measures")
	case name != "" && p.Alive.Channel < 0:
		a.fault("channel", "there is no channel %q", name)
	case p.Alive.Within < time.Second:
		a.fault("within", "say how long the channel may stand still at most: within = \"10s\", a second or more")
	case p.Alive.Channel >= 0 && len(p.Channels[p.Alive.Channel].Gates) > 0:
		a.fault("channel", "channel %q has a gate: it cannot tell of the others", name)
	}
	a.done()
}
