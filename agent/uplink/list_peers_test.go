//go:build peers

package uplink

import "testing"

func TestListOverMosquitto(t *testing.T) {
	for _, c := range overABroker {
		t.Run(c.name, func(t *testing.T) {
			m := newMosquitto(t)
			m.start()
			c.test(t, "mqtt://"+m.address())
		})
	}
}
