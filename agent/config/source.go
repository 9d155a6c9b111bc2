package config

import (
	"time"

	"firebreak/agent/hazard"
	"firebreak/sensors"
	"firebreak/sensors/profile"
)

// AgentBus is the kind of the bus that stands for another agent: what comes from it shares that agent and
// the way over the brokers.
const AgentBus = "agent"

// Defaults of what another agent tells.
const (
	defSourceStale = 12 * time.Second // six hellos
	defSourceLag   = 10 * time.Second // what that agent itself takes until it tells
)

// AgentSource is another agent of the site whose points and alarms are points of this one.
type AgentSource struct {
	Agent  string
	Device sensors.DeviceID
	Points []SourcePoint // in the order of the device's points
}

// SourcePoint is where a point comes from: an alarm of that agent, or a point of one of its devices.
type SourcePoint struct {
	Alarm           string
	Device, Channel string
}

// sources reads all [[source.agent]].
func (c *compiler) sources(t *Table) {
	s := t.Table("source")
	if s == nil {
		return
	}
	for _, a := range s.Tables("agent") {
		c.agentSource(a)
	}
	for _, a := range s.Tables("telegraf") {
		c.telegrafSource(a)
	}
	c.end(s)
}

// agentSource makes a bus and a device of another agent, so that whatever is computed of failures holds
// for it too.
func (c *compiler) agentSource(t *Table) {
	name, ok := declare(c, t, "bus", c.buses, len(c.cfg.Buses))
	t.Require("agent", "point")
	b := Bus{Name: name, At: t.at, Kind: AgentBus, Gateway: c.name(t, "gateway"), Supply: c.name(t, "supply")}
	src := AgentSource{Agent: c.name(t, "agent"), Device: sensors.DeviceID(len(c.cfg.Devices))}
	if src.Agent != "" && src.Agent == c.cfg.Agent {
		t.Fault("agent", "that is this agent itself: name another one of the site")
	}
	if c.cfg.TrustedKeys == "" {
		t.Fault("agent", "what another agent tells counts only when it is verified: name a file of trusted_keys with its key")
	}
	d := Device{ID: src.Device, Name: name, Bus: len(c.cfg.Buses), At: t.at, Poll: time.Second, Zone: c.name(t, "zone")}
	if d.Zone == "" {
		d.Zone = c.cfg.Zone
	}
	d.Stale = t.Duration("stale", defSourceStale, 5*time.Second, 10*time.Minute)
	lag := t.Duration("lag", defSourceLag, time.Second, 10*time.Minute)
	d.Profile = &profile.Profile{Name: AgentBus, Bus: AgentBus}
	names := map[string]int{}
	for _, p := range t.Tables("point") {
		c.sourcePoint(p, &src, d.Profile, names, lag)
	}
	c.end(t)
	if _, dup := c.devices[name]; ok && dup {
		t.Fault("name", "there is a device %q: name one of the two otherwise", name)
		ok = false
	}
	if !ok {
		return
	}
	c.devices[name] = int(d.ID)
	c.cfg.Buses = append(c.cfg.Buses, b)
	c.expand(t, &d)
	c.cfg.Devices = append(c.cfg.Devices, d)
	c.cfg.Sources = append(c.cfg.Sources, src)
}

// sourcePoint reads one [[source.agent.point]].
func (c *compiler) sourcePoint(t *Table, src *AgentSource, p *profile.Profile, names map[string]int, lag time.Duration) {
	name, ok := declare(c, t, "point of the agent", names, len(p.Channels))
	k := profile.Channel{Name: name, Func: profile.Holding, Address: uint16(len(p.Channels)), Lag: lag}
	var from SourcePoint
	from.Alarm = t.String("alarm", "")
	from.Device, from.Channel = t.String("device", ""), t.String("channel", "")
	if (from.Alarm == "") == (from.Device == "") || (from.Device == "") != (from.Channel == "") {
		t.Fault("name", `a point is an alarm of that agent (alarm = "smoke-high"), or a channel of one of its devices (device = "bms-1", channel = "cell.temperature")`)
	}
	if s := t.String("physics", ""); s != "" {
		v, err := sensors.ParsePhysics(s)
		if err != nil {
			t.Fault("physics", "%v", err)
		}
		k.Physics = v
	}
	k.Kind = sensors.Binary
	if s := t.String("unit", ""); s != "" {
		v, err := sensors.ParseUnit(s)
		if err != nil {
			t.Fault("unit", "%v", err)
		}
		k.Unit, k.Kind = v, sensors.Measurement
	}
	if from.Alarm != "" && k.Kind != sensors.Binary {
		t.Fault("unit", "an alarm is true or false: it has no unit")
	}
	k.Hazard = int8(map[string]int{"rising": 1, "falling": -1, "none": 0}[t.Enum("hazard", "rising", "rising", "falling", "none")])
	c.end(t)
	if ok {
		p.Channels, src.Points = append(p.Channels, k), append(src.Points, from)
	}
}

// judgeForeign: no irreversible stage may need another agent's word, which comes over brokers that the
// fire may take first, nor what Telegraf brings: its plugins may hang, and none was written for this.
func (c *compiler) judgeForeign(m *model, r *StageReport, t *Table, whens []hazard.CondID) {
	if !r.Stage.Irreversible() {
		return
	}
	own := make([]bool, len(m.leaves))
	any := ""
	for _, i := range m.scope(whens) {
		kind := c.cfg.Buses[c.cfg.Devices[m.leaves[i].device].Bus].Kind
		if own[i] = kind != AgentBus && kind != TelegrafBus; !own[i] && any != "another agent tells" {
			any = map[string]string{AgentBus: "another agent tells", TelegrafBus: "Telegraf brings"}[kind]
		}
	}
	if any != "" && !m.holds(whens, own) {
		t.Fault("when", "stage %s cannot open without what %s: its word may speed it up and never be needed, let sensors of this agent suffice", r.Stage, any)
	}
}
