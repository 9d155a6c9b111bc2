package app

import (
	"context"
	"fmt"
	"time"

	"firebreak/agent/config"
	"firebreak/sensors"
	"firebreak/sensors/bus"
)

// devicesByName finds the bus of a device: the one owner through which anything reaches it (S25). It is
// filled when the buses are built, before anything runs, and never changed after.
type devicesByName struct{ at map[string]place }

type place struct {
	bus    *bus.Bus
	device sensors.DeviceID
}

func (c *devicesByName) fill(cfg *config.Config, buses []*bus.Bus) {
	c.at = map[string]place{}
	for i := range cfg.Devices {
		d := &cfg.Devices[i]
		for _, b := range buses {
			if b.Name() == cfg.Buses[d.Bus].Name {
				c.at[d.Name] = place{b, d.ID}
			}
		}
	}
}

// sample polls a device faster, or as configured again. It never waits.
func (c *devicesByName) sample(d sensors.DeviceID, period time.Duration) {
	for _, p := range c.at {
		if p.device == d {
			p.bus.Sample(d, period)
		}
	}
}

func (c *devicesByName) Command(ctx context.Context, device, command string) ([]sensors.Reading, error) {
	p, ok := c.at[device]
	if !ok {
		return nil, fmt.Errorf("%w: no bus has device %q", sensors.ErrNotSent, device)
	}
	return p.bus.Command(ctx, p.device, command)
}

func (c *devicesByName) Inspect(ctx context.Context, device, command string) ([]sensors.Reading, bool, error) {
	p, ok := c.at[device]
	if !ok {
		return nil, false, fmt.Errorf("%w: no bus has device %q", sensors.ErrNotSent, device)
	}
	return p.bus.Inspect(ctx, p.device, command)
}
