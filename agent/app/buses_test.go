package app

import (
	"testing"

	"firebreak/agent/config"
)

// Every device on which the example's plan depends is polled first: those that vote, and the load
// controller, which only gives evidence.
func TestDevicesOfAPlanGoFirst(t *testing.T) {
	c, faults := config.Load("../../configs/firebreak.toml", Kinds())
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	first := votingDevices(c)
	for i := range c.Devices {
		if !first[c.Devices[i].ID] {
			t.Errorf("%s is not reserved: a plan depends on it", c.Devices[i].Name)
		}
	}
}
