package app

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"firebreak/agent/config"
	"firebreak/agent/core"
	"firebreak/agent/hazard"
	"firebreak/agent/response"
	"firebreak/sensors"
	"firebreak/sensors/profile"
)

// Every device on which the example's plan depends is polled first: those that vote, and the load
// controller, which only gives evidence.
func TestDevicesOfAPlanGoFirst(t *testing.T) {
	c, faults := config.Load("../../configs/firebreak.toml", Kinds())
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	first := map[sensors.DeviceID]bool{}
	for p := range c.Rules.DependsOn(&c.Rules.Response.Plans[0]) {
		first[c.Rules.Hazard.Points[p].Device] = true
	}
	for i := range c.Devices {
		if !first[c.Devices[i].ID] {
			t.Errorf("%s is not reserved: a plan depends on it", c.Devices[i].Name)
		}
	}
}

// A gateway that takes one client at a time, with two units behind it: with connection = "close" others
// get their turn after each round, else one connection is kept for all.
func TestConnectionIsClosedAfterARound(t *testing.T) {
	for _, closes := range []bool{false, true} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var conns atomic.Int32
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				conns.Add(1)
				for req := make([]byte, 12); ; {
					if _, err := io.ReadFull(c, req); err != nil {
						break
					}
					_, _ = c.Write([]byte{req[0], req[1], 0, 0, 0, 5, req[6], 3, 2, 0, req[6]})
				}
				c.Close()
			}
		})
		p, err := profile.Parse("x.toml", []byte("name = \"x\"\ntitle = \"x\"\nbus = \"modbus\"\nsource = \"x\"\n[[channel]]\nname = \"a\"\nfunction = \"holding\"\naddress = 5\n"))
		if err != nil {
			t.Fatal(err)
		}
		c := &config.Config{Buses: []config.Bus{{Name: "gw", Kind: "modbus-tcp", Address: ln.Addr().String(), Close: closes}},
			Rules: &core.Rules{Hazard: &hazard.Rules{}, Response: &response.Rules{}}}
		for i := range 2 {
			dev := sensors.Device{ID: sensors.DeviceID(i), Name: []string{"a", "b"}[i], Poll: 20 * time.Millisecond}
			pt := p.Expand(dev, time.Second)[0]
			pt.ID = sensors.PointID(i)
			c.Rules.Hazard.Devices, c.Rules.Hazard.Points = append(c.Rules.Hazard.Devices, dev), append(c.Rules.Hazard.Points, pt)
			c.Devices = append(c.Devices, config.Device{ID: dev.ID, Name: dev.Name, Profile: p, Unit: i + 1, Poll: dev.Poll, First: pt.ID, Count: 1,
				Groups: []config.Group{{Channels: []int{0}, Poll: dev.Poll}}})
		}
		buses, err := buildBuses(c, sensors.NewClock(), sensors.Real, nil, 0, &busLoads{}, time.Now, discard())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		got := make(chan sensors.Batch, 100)
		wg.Go(func() { _ = buses[0].Run(ctx, func(b sensors.Batch) { got <- b }) })
		late := int32(0) // polls that a busy machine has cut off, and their connection with them
		for good := 0; good < 40; {
			switch b := <-got; {
			case b.Readings[0].Quality == sensors.BadQuality(sensors.Comm):
				late++
			case b.Readings[0].Value != float64(b.Device+1):
				t.Fatalf("device %d reads %+v", b.Device, b.Readings)
			default:
				good++
			}
		}
		cancel()
		ln.Close()
		wg.Wait()
		if n := conns.Load(); closes && n < 10 || !closes && (n < 1 || n > 1+late) {
			t.Errorf("close %v: %d connections for 40 polls, and %d that were late", closes, n, late)
		}
	}
}
