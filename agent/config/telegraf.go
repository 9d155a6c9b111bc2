package config

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"firebreak/agent/near"
	"firebreak/plugins/telegraf/mapping"
	"firebreak/plugins/telegraf/schema"
	"firebreak/sensors"
	"firebreak/sensors/profile"

	"github.com/pelletier/go-toml/v2/unstable"
)

// TelegrafBus is the kind, and the name, of the bus that stands for the companion: all that it brings comes
// through one process, and is lost with it.
const TelegrafBus = "telegraf"

// Defaults and limits of what comes by Telegraf.
const (
	defCompanion     = "/usr/local/bin/firebreak-telegraf"
	defCompanionMem  = 256 << 20
	minCompanionMem  = 64 << 20
	maxCompanionMem  = 8 << 30
	defCompanionRate = 5000
	defTelegrafPoll  = 10 * time.Second // that of Telegraf
	defTelegrafLag   = 5 * time.Second  // what a gather takes
)

// Telegraf is the companion and what it is to do.
type Telegraf struct {
	Companion string // path of its binary
	File      string // a Telegraf configuration of its own; empty: none
	Text      string // the tables of this file that are Telegraf's, at their lines
	Memory    int64  // bytes; above, it is killed
	Rate      int    // metrics a second that are taken
	Inputs    []string
	Outputs   []string
	Sources   []mapping.Source
}

// Feeds tells whether readings, alarms and plans have somewhere to go.
func (t *Telegraf) Feeds() bool { return len(t.Outputs) > 0 || t.File != "" }

// telegrafTables are the tables of Telegraf that this file may hold, written as there.
var telegrafTables = []string{"inputs", "outputs", "processors", "aggregators", "secretstores", "global_tags"}

// telegraf reads the table [telegraf], and finds the tables that are Telegraf's own.
func (c *compiler) telegraf(root *Table) {
	theirs := ""
	for _, k := range telegrafTables {
		if !root.Has(k) {
			continue // not one of the keys that a slip of the pen is held against
		}
		root.used[k] = true
		if theirs == "" {
			theirs = k
		}
	}
	t := root.Table("telegraf")
	if t == nil {
		if theirs != "" {
			c.fault(root.kpos[theirs], "[[%s...]] is a plugin of Telegraf, and this file starts no companion to host it: add the table [telegraf]", theirs)
		}
		return
	}
	out := &Telegraf{Companion: c.path(t, "companion", defCompanion), Memory: t.Bytes("memory", defCompanionMem, minCompanionMem, maxCompanionMem),
		Rate: int(t.Int("rate", defCompanionRate, 10, 1000000))}
	if out.Memory == 0 {
		t.Fault("memory", "the companion needs a bound: give it one, such as \"256 MiB\"")
	}
	if t.used["file"] = true; t.Has("file") {
		out.File = c.path(t, "file", "/etc/firebreak/telegraf.conf")
	}
	interval := t.Duration("interval", 0, 100*time.Millisecond, time.Hour)
	c.gatherEvery = defTelegrafPoll
	if interval > 0 {
		c.gatherEvery = interval
	}
	text, at, bad := telegrafText(c.data)
	if bad != "" {
		c.fault(at, "%q belongs to Telegraf: write it below a header of its own, such as [[inputs.upsd]] or [global_tags]", bad)
	}
	if out.Text = text; interval > 0 {
		out.Text += fmt.Sprintf("\n[agent]\ninterval = %q\n", interval)
	}
	out.Inputs, c.gathers = pluginNames(root, "inputs")
	out.Outputs, _ = pluginNames(root, "outputs")
	if _, taken := c.buses[TelegrafBus]; taken {
		t.Fault("", "there is a bus %q: with a table [telegraf] that is the companion, name the other one otherwise", TelegrafBus)
	}
	c.buses[TelegrafBus] = len(c.cfg.Buses)
	c.cfg.Buses = append(c.cfg.Buses, Bus{Name: TelegrafBus, At: t.at, Kind: TelegrafBus, Gateway: c.name(t, "gateway"), Supply: c.name(t, "supply")})
	c.cfg.Telegraf = out
	c.end(t)
}

// pluginNames names the plugins of one kind, "upsd" or "upsd::alias", and their intervals where they have one.
func pluginNames(root *Table, kind string) (names []string, every map[string]time.Duration) {
	every = map[string]time.Duration{}
	v := root.vals[kind]
	if v == nil || v.tab == nil {
		return nil, every
	}
	for _, name := range v.tab.keys {
		list := v.tab.vals[name].list
		if tab := v.tab.vals[name].tab; tab != nil {
			list = []*value{{tab: tab}}
		}
		for _, p := range list {
			if p.tab == nil {
				continue
			}
			full := name
			if a := p.tab.vals["alias"]; a != nil && a.s != "" {
				full += "::" + a.s
			}
			names = append(names, full)
			if i := p.tab.vals["interval"]; i != nil {
				if d, err := time.ParseDuration(i.s); err == nil {
					every[full] = d
				}
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names), every
}

// telegrafText is data without what is firebreak's: every other line is empty, so that what the companion says
// of a line is true of this file. bad is a table of Telegraf that is no table of the file.
func telegrafText(data []byte) (text string, at Pos, bad string) {
	lines := strings.SplitAfter(string(data), "\n")
	keep := make([]bool, len(lines))
	b := &builder{lines: lineStarts(data)}
	b.p.Reset(data)
	from, ours := 0, true
	section := func(to int) {
		for i := from; i < to && !ours; i++ {
			keep[i] = true
		}
		from = to
	}
	top := true
	for b.p.NextExpression() {
		e := b.p.Expression()
		k := e.Key()
		if !k.Next() {
			continue
		}
		name, pos := string(k.Node().Data), b.pos(k.Node())
		switch {
		case e.Kind == unstable.Table || e.Kind == unstable.ArrayTable:
			section(pos.Line - 1)
			top, ours = false, !slices.Contains(telegrafTables, name)
		case top && slices.Contains(telegrafTables, name):
			at, bad = pos, name
		}
	}
	section(len(lines))
	for i := range lines {
		if !keep[i] {
			lines[i] = "\n"
		}
	}
	text = strings.TrimRight(strings.Join(lines, ""), "\n")
	if text != "" {
		text += "\n"
	}
	return text, at, bad
}

// telegrafSource reads one [[source.telegraf]]: a device of what inputs bring.
func (c *compiler) telegrafSource(t *Table) {
	name, ok := declare(c, t, "device", c.devices, len(c.cfg.Devices))
	t.Require("point")
	tg := c.cfg.Telegraf
	if tg == nil {
		t.Fault("name", "this file starts no companion that could bring it: add the table [telegraf]")
		tg = &Telegraf{}
		ok = false
	}
	src := mapping.Source{Device: sensors.DeviceID(len(c.cfg.Devices)), Input: t.String("input", "")}
	every := c.gatherEvery
	if src.Input != "" && tg.File == "" && ok && !slices.Contains(tg.Inputs, src.Input) {
		t.Fault("input", "there is no input %q%s: name it as NAME, or NAME::ALIAS where it has an alias", src.Input, near.Hint(src.Input, tg.Inputs))
	}
	if d, has := c.gathers[src.Input]; has {
		every = d
	}
	d := Device{ID: src.Device, Name: name, Bus: c.buses[TelegrafBus], At: t.at, Zone: c.name(t, "zone"), Supply: c.name(t, "supply")}
	if d.Zone == "" {
		d.Zone = c.cfg.Zone
	}
	d.Poll = t.Duration("poll", max(every, minPoll), minPoll, maxPoll)
	d.Stale = t.Duration("stale", max(defStalePolls*d.Poll, defStaleAtLeast), minPoll, maxSpan)
	if d.Stale < 2*d.Poll {
		t.Fault("stale", "stale after %s with a gather every %s: one missed gather would already count as silence, use at least %s", short(d.Stale), short(d.Poll), short(2*d.Poll))
	}
	lag := t.Duration("lag", defTelegrafLag, 0, 10*time.Minute)
	d.Profile = &profile.Profile{Name: TelegrafBus, Bus: TelegrafBus}
	names := map[string]int{}
	for _, p := range t.Tables("point") {
		c.telegrafPoint(p, &src, d.Profile, names, lag)
	}
	c.end(t)
	if !ok {
		return
	}
	c.expand(t, &d)
	src.Points = slices.Clone(c.hz.Points[d.First : int(d.First)+d.Count])
	c.cfg.Devices = append(c.cfg.Devices, d)
	tg.Sources = append(tg.Sources, src)
}

// telegrafPoint reads one [[source.telegraf.point]].
func (c *compiler) telegrafPoint(t *Table, src *mapping.Source, p *profile.Profile, names map[string]int, lag time.Duration) {
	t.Require("measurement", "field")
	k := profile.Channel{Func: profile.Holding, Address: uint16(len(p.Channels)), Lag: lag}
	from := mapping.Point{Measurement: t.String("measurement", ""), Field: t.String("field", ""), Tags: t.StringMap("tags"), Values: c.telegrafValues(t)}
	if strings.HasPrefix(from.Measurement, schema.Prefix) {
		t.Fault("measurement", "what begins with %s goes to outputs, and does not come back: name a measurement of an input", schema.Prefix)
	}
	var ok bool
	k.Name = t.String("name", "")
	t.Require("name")
	if k.Name != "" {
		_, dup := names[k.Name]
		switch {
		case !goodName(k.Name, true):
			t.Fault("name", "%q cannot be the name of a point: use up to 64 letters, digits, -, _ and ., a letter or digit first", k.Name)
		case dup:
			t.Fault("name", "there is another point named %q: a name is given once", k.Name)
		default:
			names[k.Name], ok = len(p.Channels), true
		}
	}
	if s := t.String("physics", ""); s != "" {
		v, err := sensors.ParsePhysics(s)
		if err != nil {
			t.Fault("physics", "%v", err)
		}
		k.Physics = v
	}
	kind := "binary"
	if s := t.String("unit", ""); s != "" {
		v, err := sensors.ParseUnit(s)
		if err != nil {
			t.Fault("unit", "%v", err)
		}
		k.Unit, kind = v, "measurement"
	}
	kind = t.Enum("kind", kind, "measurement", "binary", "state")
	if v, err := sensors.ParseKind(kind); err == nil {
		k.Kind = v
	}
	if k.Kind != sensors.Measurement && k.Unit != sensors.None {
		t.Fault("kind", "a %s has no unit: take one of the two out", kind)
	}
	if k.Kind == sensors.Binary {
		for word, v := range from.Values {
			if v != 0 && v != 1 {
				t.Fault("values", "%q is %g, and a contact is 0 or 1: say kind = \"state\"", word, v)
			}
		}
	}
	k.Min, k.Max = t.Float("min", 0, -1e12, 1e12), t.Float("max", 0, -1e12, 1e12)
	if t.Has("min") != t.Has("max") || k.Min > k.Max {
		t.Fault("min", "give the range with both ends, min below max, or leave it out")
	}
	k.Hazard = int8(map[string]int{"rising": 1, "falling": -1, "none": 0}[t.Enum("hazard", "rising", "rising", "falling", "none")])
	c.end(t)
	if ok {
		p.Channels, src.From = append(p.Channels, k), append(src.From, from)
	}
}

// telegrafValues reads what texts mean.
func (c *compiler) telegrafValues(t *Table) map[string]float64 {
	v := t.Table("values")
	if v == nil {
		return nil
	}
	out := make(map[string]float64, len(v.keys))
	for _, word := range v.Keys() {
		out[word] = v.Float(word, 0, -1e9, 1e9)
	}
	return out
}

// telegraf prints what the companion is and where each of its points comes from.
func (p *printer) telegraf(c *Config) {
	t := c.Telegraf
	if t == nil {
		return
	}
	p.line("")
	p.line("Telegraf: %s, killed above %s; at most %d metrics a second are taken", t.Companion, showBytes(t.Memory), t.Rate)
	if t.File != "" {
		p.line("  its own configuration is %s: what stands there only the companion reads", t.File)
	}
	for _, k := range []struct {
		what  string
		names []string
	}{{"inputs", t.Inputs}, {"outputs", t.Outputs}} {
		if len(k.names) > 0 {
			p.line("  %s: %s", k.what, strings.Join(k.names, ", "))
		}
	}
	for i := range t.Sources {
		s := &t.Sources[i]
		d := &c.Devices[s.Device]
		by := ""
		if s.Input == "" {
			by = "; no input is named, so that a failed gather shows by silence only"
		}
		p.line("  device %s: by %s every %s, stale after %s%s", d.Name, orAny(s.Input), short(d.Poll), short(d.Stale), by)
		for k := range s.From {
			p.line("    %s is %s", s.Points[k].Name, fieldWords(&s.From[k]))
		}
	}
}

func orAny(s string) string {
	if s == "" {
		return "any input"
	}
	return s
}

func fieldWords(f *mapping.Point) string {
	var b strings.Builder
	fmt.Fprintf(&b, "field %s of %s", f.Field, f.Measurement)
	sep := " where "
	for _, k := range slices.Sorted(maps.Keys(f.Tags)) {
		_, _ = io.WriteString(&b, sep+k+" is "+f.Tags[k])
		sep = ", "
	}
	return b.String()
}
