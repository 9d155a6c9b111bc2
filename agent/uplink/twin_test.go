package uplink

import (
	"strings"
	"testing"
	"time"

	"firebreak/agent/wire"
)

// A card was copied: two agents of one name at one broker. Both say so, one takes another client id,
// and both stay.
func testTwins(t *testing.T, url string) {
	said := make(chan string, 100)
	var both [2]*Uplink
	for i, instance := range []string{"11111111-a", "22222222-b"} {
		c := config(url)
		c.Instance, c.Epoch, c.HelloEvery = instance, c.Epoch+uint64(i), 50*time.Millisecond
		c.Twin = func(err error) {
			if err == nil || !strings.Contains(err.Error(), "another agent uses this name") {
				t.Errorf("said %v", err)
			}
			said <- instance
		}
		both[i], _ = start(t, c)
	}
	heard := map[string]bool{}
	late := time.After(patience)
	for len(heard) < 2 {
		select {
		case who := <-said:
			heard[who] = true
		case <-late:
			t.Fatalf("only %v have noticed", heard)
		}
	}
	// What both hear of each other from now on they can hear only while both are connected.
	mark := time.Now()
	for _, u := range both {
		awaitStats(t, u, func(s BrokerStats) bool {
			for _, o := range both {
				o.twins.mu.Lock()
				silent := !o.twins.last.After(mark)
				o.twins.mu.Unlock()
				if silent || !o.Stats().Brokers[0].Connected {
					return false
				}
			}
			return true
		})
	}
}

// The last words of an earlier life of this agent are told late: that is no twin, and neither is what
// somebody retained.
func TestNoTwin(t *testing.T) {
	var said []error
	w := twins{own: "i2", signs: map[string]int{}, tell: func(err error) { said = append(said, err) }}
	t0 := time.Now()
	w.sign("i1", "status", t0)
	w.sign("i2", "status", t0)
	w.sign("i2", "status", t0)
	for range 5 {
		w.hello("hello", []byte(`{"instance":"i3"}`), true)
		w.hello("hello", []byte(`{"instance`), false)
	}
	if len(said) != 0 {
		t.Fatalf("said %v", said)
	}
	w.sign("i1", "status", t0)
	if len(said) != 1 || said[0] == nil {
		t.Fatalf("a second sign: %v", said)
	}
	w.look(t0.Add(twinForget - 1))
	w.look(t0.Add(twinForget))
	if len(said) != 2 || said[1] != nil || w.err() != nil {
		t.Errorf("silent for long: %v", said)
	}
	for i := range 100 * maxTwins { // made up
		w.sign(wire.TopicName(string(rune('a'+i))), "status", t0)
	}
	if len(w.signs) > maxTwins {
		t.Errorf("keeps %d names", len(w.signs))
	}
}
