package config

import (
	"slices"
	"strings"
	"time"

	"firebreak/agent/core"
	"firebreak/sensors"
	"firebreak/sensors/bus"
	"firebreak/sensors/profile"
)

// device reads one [[device]] and gives its points their numbers.
func (c *compiler) device(t *Table) {
	id := sensors.DeviceID(len(c.cfg.Devices))
	name, ok := declare(c, t, "device", c.devices, int(id))
	t.Require("profile", "bus")
	d := Device{ID: id, Name: name, Bus: -1, At: t.at, Supply: c.name(t, "supply")}
	if ref := t.String("bus", ""); ref != "" {
		if i, found := lookup(c, t.Pos("bus"), "bus", ref, c.buses); found && i < len(c.cfg.Buses) {
			d.Bus = i
		}
	}
	if d.Zone = c.name(t, "zone"); d.Zone == "" {
		d.Zone = c.cfg.Zone
	}
	d.Profile = c.profile(t, &d)
	c.unit(t, &d)
	d.Poll = t.Duration("poll", defPoll, minPoll, maxPoll)
	d.Stale = t.Duration("stale", max(defStalePolls*d.Poll, defStaleAtLeast), minPoll, maxSpan)
	if d.Stale < 2*d.Poll {
		t.Fault("stale", "stale after %s with a poll every %s: one missed poll would already count as silence, use at least %s", short(d.Stale), short(d.Poll), short(2*d.Poll))
	}
	d.Transport = t.Duration("transport", 0, 0, 10*time.Minute)
	if d.Episode = t.Duration("episode_poll", 0, minPoll, maxPoll); d.Episode > d.Poll {
		t.Fault("episode_poll", "in an episode the device would be polled more rarely (%s) than before (%s): use a shorter time, or leave it out", short(d.Episode), short(d.Poll))
	}
	c.groups(t, &d)
	d.Integrity, d.Deadband = t.Duration("integrity", 0, 0, time.Hour), int(t.Int("deadband", 0, 0, 20))
	if t.Has("deadband") && d.Integrity == 0 {
		t.Fault("deadband", "telemetry by exception needs an integrity period too, such as integrity = \"60s\": without it nobody sees that nothing has changed")
	}
	c.end(t)
	if !ok {
		return
	}
	c.expand(t, &d)
	c.cfg.Devices = append(c.cfg.Devices, d)
}

// sampling finds the plans for which a device is polled faster.
func (c *compiler) sampling() {
	for i := range c.cfg.Devices {
		d := &c.cfg.Devices[i]
		if d.Episode == 0 {
			continue
		}
		s := core.Sampling{Device: d.ID, Period: d.Episode}
		for k := range c.resp.Plans {
			for p := range c.cfg.Rules.DependsOn(&c.resp.Plans[k]) {
				if c.hz.Points[p].Device == d.ID {
					s.Plans = append(s.Plans, c.resp.Plans[k].Name)
					break
				}
			}
		}
		if s.Plans == nil {
			c.fault(d.At, "device %q has an episode_poll, and no plan depends on it: take it out", d.Name)
		}
		c.cfg.Rules.Sampling = append(c.cfg.Rules.Sampling, s)
	}
}

// groups reads the tables "group": points with a period of their own. What is in none is the last group.
func (c *compiler) groups(t *Table, d *Device) {
	tables := t.Tables("group")
	if d.Profile == nil {
		return
	}
	in := make([]bool, len(d.Profile.Channels))
	for _, g := range tables {
		g.Require("points", "poll")
		out := Group{Poll: g.Duration("poll", d.Poll, minPoll, maxPoll)}
		out.Stale = g.Duration("stale", max(defStalePolls*out.Poll, defStaleAtLeast), minPoll, maxSpan)
		if out.Stale < 2*out.Poll {
			g.Fault("stale", "stale after %s with a poll every %s: one missed poll would already count as silence, use at least %s", short(out.Stale), short(out.Poll), short(2*out.Poll))
		}
		for _, pat := range g.Strings("points") {
			met := false
			for i := range d.Profile.Channels {
				if match(pat, d.Profile.Channels[i].Name) {
					met = true
					if !in[i] {
						in[i] = true
						out.Channels = append(out.Channels, i)
					}
				}
			}
			if !met {
				c.fault(g.itemPos("points", pat), "profile %q has no channel %q: name channels as in the profile, without the device", d.Profile.Name, pat)
			}
		}
		slices.Sort(out.Channels)
		if d.Profile.Bus != profile.Modbus {
			g.Fault("points", "a chip, a UPS and an SNMP agent are read whole: take the group out and set poll of the device")
		}
		g.Unknown()
		if len(out.Channels) > 0 {
			d.Groups = append(d.Groups, out)
		}
	}
	rest := Group{Poll: d.Poll, Stale: d.Stale}
	for i := range in {
		if !in[i] {
			rest.Channels = append(rest.Channels, i)
		}
	}
	if len(rest.Channels) > 0 {
		d.Groups = append(d.Groups, rest)
	}
	if len(d.Groups) > bus.MaxParts {
		t.Fault("group", "%d groups: a device has at most %d", len(d.Groups), bus.MaxParts)
	}
}

// unit reads the place on the bus: "unit" on Modbus, "address" on I2C.
func (c *compiler) unit(t *Table, d *Device) {
	if d.Bus < 0 {
		t.used["unit"], t.used["address"], t.used["mux"], t.used["ups"] = true, true, true, true
		return
	}
	b := &c.cfg.Buses[d.Bus]
	key, lo, hi := "unit", int64(1), int64(247)
	switch b.Kind {
	case "modbus-tcp":
		lo, hi = 0, 255
	case "i2c":
		key, lo, hi = "address", 0x08, 0x77
	case "gpio": // its lines stand in its profile
		return
	case "nut":
		c.ups(t, d)
		return
	case "snmp":
		c.onlySNMP(t, d)
		return
	case "":
		t.used["unit"], t.used["address"], t.used["mux"], t.used["ups"] = true, true, true, true
		return
	}
	t.Require(key)
	d.Unit = int(t.Int(key, -1, lo, hi))
	if b.Kind == "i2c" {
		c.mux(t, d)
	}
	if d.Unit < 0 {
		return
	}
	if b.Kind != "i2c" {
		c.replyUnit(t, d)
	}
	for _, o := range c.cfg.Devices {
		if o.Bus == d.Bus && o.Unit == d.Unit && (o.Mux == 0 || d.Mux == 0 || o.Mux == d.Mux && o.Channel == d.Channel) {
			t.Fault(key, "device %q has %s %d on bus %q already: two devices cannot answer to one", o.Name, key, d.Unit, b.Name)
		}
		if o.Bus == d.Bus && o.Mux != 0 && o.Mux == d.Unit {
			t.Fault(key, "the switch before device %q has this address on bus %q: a switch and a chip cannot answer to one", o.Name, b.Name)
		}
	}
}

// replyUnit keeps apart what a device answers under another unit than it is asked under, and the replies of that
// unit itself: nobody could tell them.
func (c *compiler) replyUnit(t *Table, d *Device) {
	if d.Profile == nil {
		return
	}
	answers := int(d.Profile.Read.Answers(byte(d.Unit)))
	if d.Profile.Read.ReplyUnit != 0 && answers == d.Unit {
		t.Fault("unit", "such a device answers under its unit %+d, and %d is no unit: see the note of profile %q for how its units count", d.Profile.Read.ReplyUnit, d.Unit+d.Profile.Read.ReplyUnit, d.Profile.Name)
		return
	}
	for _, o := range c.cfg.Devices {
		if o.Bus == d.Bus && o.Profile != nil && int(o.Profile.Read.Answers(byte(o.Unit))) == answers && o.Unit != d.Unit {
			t.Fault("unit", "device %q on bus %q answers under unit %d too: two devices cannot answer to one", o.Name, c.cfg.Buses[d.Bus].Name, answers)
		}
	}
}

// ups reads the name that an upsd gives a UPS.
func (c *compiler) ups(t *Table, d *Device) {
	t.Require("ups")
	if d.UPS = t.String("ups", ""); d.UPS == "" {
		return
	}
	if strings.Trim(d.UPS, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") != "" || len(d.UPS) > 128 {
		t.Fault("ups", "%q is no name of a UPS: write it as in ups.conf, without @HOST", d.UPS)
	}
	for _, o := range c.cfg.Devices {
		if o.Bus == d.Bus && strings.EqualFold(o.UPS, d.UPS) {
			t.Fault("ups", "device %q is UPS %q on bus %q already: one UPS is one device", o.Name, d.UPS, c.cfg.Buses[d.Bus].Name)
		}
	}
}

// mux reads where a chip is behind a switch. What stands on the adapter's own wire answers beside what is
// behind a connected channel, so the two never share an address.
func (c *compiler) mux(t *Table, d *Device) {
	m := t.Table("mux")
	if m == nil {
		return
	}
	m.Require("address", "channel")
	d.Mux, d.Channel = int(m.Int("address", 0, 0x70, 0x77)), int(m.Int("channel", 0, 0, 7))
	m.Unknown()
	for _, o := range c.cfg.Devices {
		if o.Bus == d.Bus && o.Unit == d.Mux {
			m.Fault("address", "device %q has this address on bus %q: a switch and a chip cannot answer to one", o.Name, c.cfg.Buses[d.Bus].Name)
		}
	}
	if d.Unit == d.Mux {
		m.Fault("address", "the chip has the address of its switch: two cannot answer to one")
	}
}

// profile loads the profile that the table names; it must speak the language of the bus.
func (c *compiler) profile(t *Table, d *Device) *profile.Profile {
	name := t.String("profile", "")
	if name == "" {
		return nil
	}
	p, loaded := c.profiles[name]
	if !loaded {
		if p = c.loadProfile(t, name); p == nil {
			return nil // not kept: each device that names it is told
		}
		c.profiles[name] = p
	}
	if d.Bus >= 0 {
		b := &c.cfg.Buses[d.Bus]
		if b.Kind != "" && b.protocol() != p.Bus {
			t.Fault("profile", "profile %q is for devices on %s, and bus %q is %s: name another profile or bus", name, p.Bus, b.Name, b.Kind)
			return nil
		}
	}
	return p
}

// expand numbers the points of a device and completes them with what the configuration knows.
func (c *compiler) expand(t *Table, d *Device) {
	path := sensors.Path{Supply: d.Supply}
	if d.Bus >= 0 {
		b := &c.cfg.Buses[d.Bus]
		path.Bus, path.Gateway = b.Name, b.Gateway
		if path.Supply == "" {
			path.Supply = b.Supply
		}
	}
	dev := sensors.Device{ID: d.ID, Name: d.Name, Path: path, Poll: d.Poll}
	c.hz.Devices = append(c.hz.Devices, dev)
	d.First = sensors.PointID(len(c.hz.Points))
	if d.Profile == nil {
		return
	}
	points := d.Profile.Expand(dev, d.Stale)
	d.Count = len(points)
	for _, g := range d.Groups {
		for _, i := range g.Channels {
			points[i].Poll, points[i].Stale = g.Poll, g.Stale
		}
	}
	for i, p := range points {
		p.ID = d.First + sensors.PointID(i)
		p.Lag += d.Transport
		c.points[p.Name] = p.ID
		c.hz.Points = append(c.hz.Points, p)
	}
}
