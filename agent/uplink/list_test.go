package uplink

import "testing"

// overABroker is what an agent must be able to do with any broker. It is run against firebreak's own hub here
// and against mosquitto by the peer tests.
var overABroker = []struct {
	name string
	test func(t *testing.T, url string)
}{
	{"granted", testGranted},
	{"commands", testCommands},
	{"tamper", testTamper},
	{"dug up", testDugUp},
	{"peers", testPeers},
	{"foreign", testForeign},
	{"twins", testTwins},
}

// Each class is tried by an echo, and comes back.
func testGranted(t *testing.T, url string) {
	cfg := config(url)
	cfg.Brokers[0].Sessions = 2
	u, _ := start(t, cfg)
	awaitStats(t, u, func(s BrokerStats) bool { return s.Granted && s.Refused == "" })
}

func TestListOverHub(t *testing.T) {
	for _, c := range overABroker {
		t.Run(c.name, func(t *testing.T) {
			url, _, _ := hub(t, t.TempDir(), -1)
			c.test(t, url)
		})
	}
}
