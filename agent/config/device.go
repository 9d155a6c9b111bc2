package config

import (
	"strings"
	"time"

	"firebreak/sensors"
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

// unit reads the place on the bus: "unit" on Modbus, "address" on I2C.
func (c *compiler) unit(t *Table, d *Device) {
	if d.Bus < 0 {
		t.used["unit"], t.used["address"] = true, true
		return
	}
	b := &c.cfg.Buses[d.Bus]
	key, lo, hi := "unit", int64(1), int64(247)
	switch b.Kind {
	case "modbus-tcp":
		lo, hi = 0, 255
	case "i2c":
		key, lo, hi = "address", 0x08, 0x77
	case "":
		t.used["unit"], t.used["address"] = true, true
		return
	}
	t.Require(key)
	d.Unit = int(t.Int(key, -1, lo, hi))
	if d.Unit < 0 {
		return
	}
	for _, o := range c.cfg.Devices {
		if o.Bus == d.Bus && o.Unit == d.Unit {
			t.Fault(key, "device %q has %s %d on bus %q already: two devices cannot answer to one", o.Name, key, d.Unit, b.Name)
		}
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
		if have := strings.TrimSuffix(strings.TrimSuffix(b.Kind, "-tcp"), "-rtu"); b.Kind != "" && have != p.Bus {
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
	for i, p := range points {
		p.ID = d.First + sensors.PointID(i)
		p.Lag += d.Transport
		c.points[p.Name] = p.ID
		c.hz.Points = append(c.hz.Points, p)
	}
}
