package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"firebreak/agent/config"
	"firebreak/agent/hazard"
	"firebreak/agent/response"
	"firebreak/sensors"
	"firebreak/sensors/bus"
	"firebreak/sensors/i2c"
	"firebreak/sensors/modbus"

	periph "periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"
)

// OpenI2C opens an I2C adapter by the name that the configuration gives.
type OpenI2C func(adapter string) (periph.BusCloser, error)

func openAdapter(name string) (periph.BusCloser, error) { return i2c.Open(name, i2c.Options{}) }

// link is the part of a transport that the owner of a bus needs.
type link interface {
	modbus.Link
	io.Closer
}

// buildBuses makes one owner for each bus of the configuration. A bus that cannot be opened is
// tried again by its poller: it is a silent sensor, not a reason to stay down.
func buildBuses(c *config.Config, clock *sensors.Clock, origin sensors.Origin, open OpenI2C, probe time.Duration, log *slog.Logger) ([]*bus.Bus, error) {
	reserved := votingDevices(c)
	var out []*bus.Bus
	var errs []error
	for i := range c.Buses {
		if c.Buses[i].Kind == config.AgentBus {
			continue // another agent tells: see foreign
		}
		b, err := buildBus(c, i, clock, origin, open, probe, reserved, log)
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

func buildBus(c *config.Config, i int, clock *sensors.Clock, origin sensors.Origin, open OpenI2C, probe time.Duration, reserved map[sensors.DeviceID]bool, log *slog.Logger) (*bus.Bus, error) {
	rule := &c.Buses[i]
	make, closer, err := pollers(c, rule, open)
	if err != nil {
		return nil, err
	}
	var devices []bus.Device
	for d := range c.Devices {
		dev := &c.Devices[d]
		if dev.Bus != i {
			continue
		}
		points := c.Rules.Hazard.Points[dev.First : int(dev.First)+dev.Count]
		p, err := make(dev, points)
		if err != nil {
			return nil, fmt.Errorf("device %q: %w", dev.Name, err)
		}
		devices = append(devices, bus.Device{Dev: c.Rules.Hazard.Devices[dev.ID], Points: points, Poller: p, Period: dev.Poll,
			Probe: probe, Reserved: reserved[dev.ID]})
	}
	if len(devices) == 0 {
		return nil, closer.Close()
	}
	return bus.New(rule.Name, clock, devices, bus.Options{Close: func() { _ = closer.Close() }, Origin: origin, Log: log})
}

// pollers opens the way to a bus and returns how to make the poller of one of its devices.
func pollers(c *config.Config, rule *config.Bus, open OpenI2C) (func(*config.Device, []sensors.Point) (bus.Poller, error), io.Closer, error) {
	var l link
	var err error
	switch rule.Kind {
	case "modbus-tcp":
		l = modbus.NewTCP(rule.Address, modbus.TCPOptions{})
	case "modbus-rtu":
		l, err = modbus.NewRTU(modbus.RTUOptions{Path: rule.Port, Baud: rule.Baud, Parity: rule.Parity, StopBits: rule.Stop})
	case "i2c":
		a := &lateAdapter{name: rule.Adapter, open: open}
		return func(d *config.Device, points []sensors.Point) (bus.Poller, error) {
			return i2c.NewPoller(d.Profile.Chip, a, uint16(d.Unit), points)
		}, a, nil
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

// votingDevices are those on which a plan depends, by a vote, evidence or an only_if: their polls go
// first.
func votingDevices(c *config.Config) map[sensors.DeviceID]bool {
	out := map[sensors.DeviceID]bool{}
	var walk func(id hazard.CondID)
	walk = func(id hazard.CondID) {
		k := &c.Rules.Hazard.Conds[id]
		for _, m := range k.Members {
			out[m.Device] = true
			for _, ref := range m.Ref {
				if ref != hazard.NoPoint {
					out[c.Rules.Hazard.Points[ref].Device] = true
				}
			}
		}
		for _, of := range k.Of {
			walk(of)
		}
	}
	for i := range c.Rules.Response.Plans {
		p := &c.Rules.Response.Plans[i]
		for _, s := range p.Stages {
			walk(s.When)
		}
		for _, s := range p.Steps {
			if s.Evidence == response.ByCondition {
				walk(s.EvidenceCond)
			}
			if s.OnlyIf != hazard.NoCond {
				walk(s.OnlyIf)
			}
		}
	}
	return out
}

// lateAdapter opens its adapter at the first transfer and again after a failure to open: the
// adapter may appear after the agent. Transfers come from the goroutine of its bus alone; Close may
// come from another, to break one.
type lateAdapter struct {
	name string
	open OpenI2C

	mu     sync.Mutex // guards what follows, never held during a transfer
	bus    periph.BusCloser
	closed bool
}

func (a *lateAdapter) String() string { return a.name }

// SetSpeed is the device tree's affair.
func (a *lateAdapter) SetSpeed(physic.Frequency) error {
	return errors.New("the speed of an adapter is set in the device tree")
}

func (a *lateAdapter) Tx(addr uint16, w, r []byte) error {
	b, err := a.adapter()
	if err != nil {
		return err
	}
	return b.Tx(addr, w, r)
}

func (a *lateAdapter) adapter() (periph.BusCloser, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil, net.ErrClosed
	}
	if a.bus == nil {
		b, err := a.open(a.name)
		if err != nil {
			return nil, err
		}
		a.bus = b
	}
	return a.bus, nil
}

func (a *lateAdapter) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	if a.bus == nil {
		return nil
	}
	return a.bus.Close()
}

// runBus keeps a bus running: one that ends with an error is a fault of the agent and is told.
func runBus(b *bus.Bus, put func(sensors.Batch), log *slog.Logger) func(context.Context) error {
	return func(ctx context.Context) error {
		err := b.Run(ctx, put)
		if err != nil && ctx.Err() == nil {
			log.Error("a bus has stopped: its points are silent from now on; restart the agent", "bus", b.Name(), "err", err)
		}
		return err
	}
}
