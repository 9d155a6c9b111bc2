package app

import (
	"testing"

	"firebreak/agent/config"
	"firebreak/sensors"
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
