package uplink

import (
	"testing"
	"time"

	"firebreak/agent/consumer"
	"firebreak/agent/wire"
)

// One agent hears another over the brokers: its alarms and its readings, when both are signed with a key
// that it trusts, and that it lives.
func testForeign(t *testing.T, url string) {
	room := config(url)
	room.Agent, room.Instance, room.HelloEvery, room.SignState = "room", "i9", 50*time.Millisecond, true
	room.SigningKey, _ = keyFile(t)
	s, err := wire.ReadSigner(room.SigningKey)
	if err != nil {
		t.Fatal(err)
	}
	rack := config("mqtt://127.0.0.1:1", url) // one of its brokers is away
	rack.Sources = []string{"room"}
	rack.TrustedKeys = trustFile(t, wire.TrustLine(wire.RoleAgent, "site/room", s.Public()))
	heard := make(chan string, 1000)
	rack.Foreign = func(f Foreign) {
		if f.Hello && f.Agent.Complete && len(f.Agent.Alarms) == 1 && f.Agent.Alarms[0].Hazard == "smoke" {
			heard <- "smoke, and it lives"
		}
		for _, n := range f.Notes {
			if n.Kind == consumer.StateTold && !n.Past && *n.State.Values["battery.temperature"] == 27 {
				heard <- "27 C"
			}
			if n.Kind == consumer.Refused {
				heard <- "refused"
			}
		}
	}
	start(t, rack)
	u, _ := start(t, room)
	u.Offer(alarm("smoke", 1, 1, true))
	want := map[string]bool{"smoke, and it lives": true, "27 C": true}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(patience); len(want) > 0; {
		select {
		case what := <-heard:
			if what == "refused" {
				t.Fatal("a message of the other agent is refused")
			}
			delete(want, what)
		case <-tick.C:
			u.Offer(state(7))
		case <-late:
			t.Fatalf("not heard: %v", want)
		}
	}
}
