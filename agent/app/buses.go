package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"firebreak/agent/config"
	"firebreak/agent/wire/secret"
	"firebreak/plugins/reread"
	"firebreak/sensors"
	"firebreak/sensors/bus"
	"firebreak/sensors/gpio"
	"firebreak/sensors/i2c"
	"firebreak/sensors/modbus"
	"firebreak/sensors/nut"
	"firebreak/sensors/snmp"

	periph "periph.io/x/conn/v3/i2c"
)

// OpenI2C opens an I2C adapter by the name that the configuration gives.
type OpenI2C func(adapter string) (periph.BusCloser, error)

func openAdapter(name string) (periph.BusCloser, error) { return i2c.Open(name, i2c.Options{}) }

// link is the part of a Modbus transport that the owner of a bus needs.
type link interface {
	modbus.Link
	Rest()
}

// buildBuses makes one owner for each bus of the configuration. A bus that cannot be opened is
// tried again by its poller: it is a silent sensor, not a reason to stay down.
func buildBuses(c *config.Config, clock *sensors.Clock, origin sensors.Origin, open OpenI2C, probe time.Duration, loads *busLoads, certs func() time.Time, log *slog.Logger) ([]*bus.Bus, error) {
	reserved := map[sensors.PointID]bool{}
	for i := range c.Rules.Response.Plans {
		for p := range c.Rules.DependsOn(&c.Rules.Response.Plans[i]) {
			reserved[p] = true
		}
	}
	var out []*bus.Bus
	var errs []error
	for i := range c.Buses {
		if k := c.Buses[i].Kind; k == config.AgentBus || k == config.TelegrafBus {
			continue // nobody is asked: see foreign and telegraf
		}
		b, err := buildBus(c, i, clock, origin, open, probe, reserved, loads, certs, log)
		if err != nil {
			errs = append(errs, fmt.Errorf("bus %q: %w", c.Buses[i].Name, err))
			continue
		}
		if b != nil {
			out = append(out, b)
		}
	}
	return out, errors.Join(errs...)
}

func buildBus(c *config.Config, i int, clock *sensors.Clock, origin sensors.Origin, open OpenI2C, probe time.Duration, reserved map[sensors.PointID]bool, loads *busLoads, certs func() time.Time, log *slog.Logger) (*bus.Bus, error) {
	rule := &c.Buses[i]
	make, closer, err := pollers(c, rule, open, certs, log)
	if err != nil {
		return nil, err
	}
	var devices []bus.Device
	for d := range c.Devices {
		dev := &c.Devices[d]
		if dev.Bus != i {
			continue
		}
		parts, err := buildParts(c, dev, make, reserved)
		if err != nil {
			return nil, fmt.Errorf("device %q: %w", dev.Name, err)
		}
		devices = append(devices, bus.Device{Dev: c.Rules.Hazard.Devices[dev.ID], Part: parts[0], More: parts[1:], Probe: probe})
	}
	if len(devices) == 0 {
		return nil, closer.Close()
	}
	opt := bus.Options{Close: func() { _ = closer.Close() }, Origin: origin, Log: log}
	if l, ok := closer.(link); ok && rule.Close {
		opt.Idle = l.Rest
	}
	if a, ok := closer.(*lateAdapter); ok {
		loads.look(rule.Name, a.stuck)
	}
	return bus.New(rule.Name, clock, devices, opt)
}

// buildParts makes the poller of a device, or one of each group of points with a period of its own:
// first the one on which a plan depends and that is read most often, since it is the one that finds
// the device again after a silence.
func buildParts(c *config.Config, dev *config.Device, make makePoller, reserved map[sensors.PointID]bool) ([]bus.Part, error) {
	points := c.Rules.Hazard.Points[dev.First : int(dev.First)+dev.Count]
	whole, err := make(dev, points)
	if err != nil {
		return nil, err
	}
	device, divisible := whole.(*modbus.Poller)
	var parts []bus.Part
	for _, g := range dev.Groups {
		p := bus.Part{Poller: whole, Period: g.Poll}
		if divisible {
			p.Poller = device.Part(g.Channels)
		}
		for _, i := range g.Channels {
			p.Points = append(p.Points, points[i])
			p.Reserved = p.Reserved || reserved[points[i].ID]
		}
		parts = append(parts, p)
	}
	slices.SortStableFunc(parts, func(a, b bus.Part) int {
		if a.Reserved != b.Reserved {
			if a.Reserved {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.Period, b.Period)
	})
	return parts, nil
}

// makePoller makes the poller of all points of a device.
type makePoller func(*config.Device, []sensors.Point) (bus.Poller, error)

// pollers opens the way to a bus and returns how to make the poller of one of its devices.
func pollers(c *config.Config, rule *config.Bus, open OpenI2C, certs func() time.Time, log *slog.Logger) (makePoller, io.Closer, error) {
	var l link
	var err error
	switch rule.Kind {
	case "modbus-tcp":
		l = modbus.NewTCP(rule.Address, modbus.TCPOptions{})
	case "modbus-rtu", "modbus-ascii":
		l, err = modbus.NewSerial(modbus.SerialOptions{Path: rule.Port, Address: rule.Address, ASCII: rule.Kind == "modbus-ascii",
			Baud: rule.Baud, Parity: rule.Parity, DataBits: rule.Data, StopBits: rule.Stop, Gap: rule.FrameGap,
			RS485: modbus.RS485{Enabled: rule.RS485 != "", Inverted: rule.RS485 == "rts-low", DelayBefore: rule.RS485Before, DelayAfter: rule.RS485After}})
	case "i2c":
		a := &lateAdapter{name: rule.Adapter, open: open}
		wire, err := wires(c, rule, a)
		return func(d *config.Device, points []sensors.Point) (bus.Poller, error) {
			w, err := wire(d)
			if err != nil {
				return nil, err
			}
			return i2c.NewPoller(d.Profile.Chip, w, uint16(d.Unit), points)
		}, a, err
	case "gpio":
		g := &contacts{}
		return func(d *config.Device, points []sensors.Point) (bus.Poller, error) {
			p, err := gpio.New(rule.Adapter, d.Profile, points)
			g.list = append(g.list, p)
			return p, err
		}, g, nil
	case "nut":
		u := nut.NewClient(nut.Options{Address: rule.Address, StartTLS: rule.StartTLS, CA: rule.CA, Now: certs, Log: log.With("component", "nut", "bus", rule.Name)})
		return func(d *config.Device, points []sensors.Point) (bus.Poller, error) {
			return nut.New(u, d.UPS, d.Profile, points)
		}, u, nil
	case "snmp":
		u := snmpClient(rule, log)
		return func(d *config.Device, points []sensors.Point) (bus.Poller, error) {
			return snmp.New(u, d.Profile, points)
		}, u, nil
	default:
		return nil, nil, fmt.Errorf("kind %q is not built in", rule.Kind)
	}
	if err != nil {
		return nil, nil, err
	}
	return func(d *config.Device, points []sensors.Point) (bus.Poller, error) {
		return modbus.New(l, byte(d.Unit), d.Profile, points)
	}, l, nil
}

// snmpClient makes the client of an agent. Its secrets are read at each opening of the socket, within a bound.
func snmpClient(rule *config.Bus, log *slog.Logger) *snmp.Client {
	r := rule.SNMP
	files := reread.New(func() (s snmp.Secrets, err error) {
		var errs [3]error
		s.Community, errs[0] = secret.Read(r.Community)
		s.AuthKey, errs[1] = secret.Read(r.AuthKey)
		s.PrivKey, errs[2] = secret.Read(r.PrivKey)
		return s, errors.Join(errs[:]...)
	})
	return snmp.NewClient(snmp.Options{Address: rule.Address, Version: r.Version, User: r.User, Context: r.Context, Auth: r.Auth, Priv: r.Priv,
		Log: log.With("component", "snmp", "bus", rule.Name),
		Secrets: func() (snmp.Secrets, error) {
			s, have, err := files.Get()
			if have {
				return s, nil
			}
			return s, err
		}})
}

// contacts are the pollers of one GPIO chip: each holds lines of its own.
type contacts struct{ list []*gpio.Poller }

func (c *contacts) Close() error {
	var errs []error
	for _, p := range c.list {
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}

// wires finds the wire of each device on an adapter: its own one, or one behind a switch.
func wires(c *config.Config, rule *config.Bus, a periph.Bus) (func(*config.Device) (periph.Bus, error), error) {
	var switches []uint16
	for i := range c.Devices {
		d := &c.Devices[i]
		if c.Buses[d.Bus].Name == rule.Name && d.Mux != 0 && !slices.Contains(switches, uint16(d.Mux)) {
			switches = append(switches, uint16(d.Mux))
		}
	}
	if switches == nil {
		return func(*config.Device) (periph.Bus, error) { return a, nil }, nil
	}
	m, err := i2c.NewMuxes(a, switches...)
	return func(d *config.Device) (periph.Bus, error) {
		if d.Mux == 0 {
			return m.Root(), nil
		}
		return m.Channel(uint16(d.Mux), d.Channel, uint16(d.Unit))
	}, err
}

// runBus keeps a bus running: one that ends with an error is a fault of the agent and is told.
func runBus(b *bus.Bus, put func(sensors.Batch), loads *busLoads, log *slog.Logger) func(context.Context) error {
	return func(ctx context.Context) error {
		err := b.Run(ctx, put)
		if err != nil && ctx.Err() == nil {
			loads.end(b.Name(), err)
			log.Error("a bus has stopped: its points are silent from now on; restart the agent", "bus", b.Name(), "err", err)
		}
		return err
	}
}
