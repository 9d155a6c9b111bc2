package uplink

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"firebreak/agent/wire"
	"firebreak/agent/wire/brokertest"
	"firebreak/plugins"
)

const smokeTopic = "firebreak/1/alarm/site/zone/agent/smoke"

// testDugUp: an older word of the agent itself stands again where a newer one was acknowledged, because somebody
// plays it, or a broker has come back with what it had on its disk half an hour ago (mosquitto writes that seldom). A
// new subscriber would take an alarm for active that is over. What is so is told again with the next hello, though
// the alarm is at rest.
func testDugUp(t *testing.T, url string) {
	cfg := config(url)
	cfg.Brokers[0].Sessions = 2
	cfg.HelloEvery = 50 * time.Millisecond
	cfg.SigningKey, _ = keyFile(t)
	in := newInbox()
	listen(t, url, "watcher", smokeTopic, func(topic string, payload []byte, retained bool) { in.add(1, topic, retained, payload) })
	u, _ := start(t, cfg)
	awaitStats(t, u, func(s BrokerStats) bool { return s.Granted }) // it hears its own topics
	u.Offer(alarm("smoke", 1, 1, true))
	u.Offer(alarm("smoke", 1, 1, false))
	got := in.await(t, "raised and over", func(got []received) bool { return len(got) == 2 })
	raised := got[0].payload
	stands(t, url, smokeTopic, 2)
	awaitStats(t, u, func(s BrokerStats) bool { return s.Queued == 0 })
	player := connect(t, url, "player")
	for _, old := range []string{raised, strings.Replace(raised, `"instance":"i1","epoch":41`, `"instance":"i0","epoch":40`, 1)} {
		n := len(in.await(t, "so far", func([]received) bool { return true }))
		publish(t, player, smokeTopic, old)
		in.await(t, "the present state behind the old one", func(got []received) bool {
			return len(got) >= n+2 && got[len(got)-1].head.Seq == 2 && got[len(got)-1].head.Epoch == 41
		})
		stands(t, url, smokeTopic, 2)
	}
}

// The same of a hub whose directory was put back, which the agent finds when it is connected anew.
func TestHubFromAnOldBackup(t *testing.T) {
	dir, backup := filepath.Join(t.TempDir(), "hub"), filepath.Join(t.TempDir(), "backup")
	url, port, stop := hub(t, dir, -1)
	cfg := config(url)
	cfg.HelloEvery = 50 * time.Millisecond
	u, _ := start(t, cfg)
	u.Offer(alarm("smoke", 1, 1, true))
	stands(t, url, smokeTopic, 1)
	stop()
	if err := os.CopyFS(backup, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	_, _, stop = hub(t, dir, port)
	u.Offer(alarm("smoke", 1, 1, false))
	stands(t, url, smokeTopic, 2)
	awaitStats(t, u, func(s BrokerStats) bool { return s.Connected && s.Queued == 0 })
	stop()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(dir, os.DirFS(backup)); err != nil {
		t.Fatal(err)
	}
	hub(t, dir, port)
	stands(t, url, smokeTopic, 2)
}

// Who is asked to tell all again tells of alarms that are over too: a consumer that has missed that one is over, on
// a broker that has lost what it had retained, would hold it for active until the agent's next life.
func TestResyncTellsWhatIsOver(t *testing.T) {
	in := newInbox()
	b := brokertest.Start(t, acker(in))
	u, _ := start(t, config(b.URL()))
	u.Offer(alarm("smoke", 1, 1, true))
	u.Offer(alarm("smoke", 1, 1, false))
	u.Offer(alarm("heat", 1, 2, true))
	u.Offer(plugins.Update{Plan: &plugins.PlanState{Plan: "evacuate", Zone: "zone", Stage: "0", Origin: "real"}})
	in.await(t, "all", func(got []received) bool { return count(got, "alarm") == 3 && count(got, "plan") == 1 })
	awaitStats(t, u, func(s BrokerStats) bool { return s.Queued == 0 && s.Acked >= 5 })
	u.resync()
	got := in.await(t, "again", func(got []received) bool { return count(got, "alarm") == 5 })
	var again []string
	for _, r := range got[len(got)-3:] {
		again = append(again, r.topic[strings.LastIndexByte(r.topic, '/')+1:]+" "+r.state)
	}
	same(t, "plans, active alarms, those that are over", again, "evacuate ", "heat unacknowledged", "smoke normal")
}

// A will of another life stands on the status topic, of a later epoch too, when the journal was lost with the clock.
func TestWillOfALaterEpoch(t *testing.T) {
	in := newInbox()
	b := brokertest.Start(t, func(n int, c *brokertest.Conn) {
		_ = c.Accept(0)
		for {
			p, err := c.Next()
			if err != nil {
				return
			}
			if p.Type == brokertest.Publish {
				in.add(n, p.Topic, p.Retained, p.Payload)
				_ = c.Ack(p)
			}
			if topic := "firebreak/1/" + wire.Status.String() + "/site/zone/agent"; p.Type == brokertest.Subscribe && strings.Contains(string(p.Payload), topic) {
				_ = c.Pass(brokertest.Packet{Topic: topic, Payload: []byte(`{"online":false,"epoch":99,"seq":2,"instance":"before"}`)})
			}
		}
	})
	start(t, config(b.URL()))
	in.await(t, "second birth", func(got []received) bool { return count(got, "status") == 2 && got[len(got)-1].online })
}
