package uplink

import (
	"encoding/json"
	"testing"
	"time"

	"firebreak/agent/wire"
	"firebreak/plugins"
)

// S13, S14: only what an agent that is heard alive has said counts, the newest of it, and nothing of drills.
func TestPeerWords(t *testing.T) {
	var got []PeerWord
	p := newPeers([]Peer{{"b", "evacuate"}}, func(w PeerWord) { got = append(got, w) })
	plan := func(epoch, seq, next, episode uint64, change func(*wire.PlanMessage)) {
		m := wire.PlanMessage{Head: wire.Head{Agent: "b", Instance: "i", Epoch: epoch, Seq: seq}, Plan: "evacuate", Mark: "real", Stage: "0",
			NextEpisode: next, Episode: episode}
		if change != nil {
			change(&m)
		}
		b, err := json.Marshal(&m)
		if err != nil {
			t.Fatal(err)
		}
		p.plan(b)
	}
	hello := func(epoch uint64, instance string, retained bool) {
		b, err := json.Marshal(&wire.HelloMessage{Head: wire.Head{Agent: "b", Instance: instance, Epoch: epoch}})
		if err != nil {
			t.Fatal(err)
		}
		p.hello(b, retained)
	}
	want := func(what string, words ...uint64) {
		t.Helper()
		var next []uint64
		for _, w := range got {
			next = append(next, w.Next)
		}
		if len(next) != len(words) || len(next) == 1 && next[0] != words[0] {
			t.Errorf("%s: heard %v, want %v", what, next, words)
		}
		got = nil
	}
	hello(5, "i", false)
	want("alive, and nothing said yet")
	plan(4, 9, 50, 0, nil)
	want("said, and not alive")
	hello(5, "i", false)
	want("what stands retained is of an earlier start")
	plan(5, 2, 60, 0, nil)
	plan(5, 1, 59, 0, nil)                                              // replayed
	plan(4, 99, 58, 0, nil)                                             // of an earlier start
	plan(5, 3, 77, 0, func(m *wire.PlanMessage) { m.Mark = "drill" })   // of a drill
	plan(5, 4, 78, 0, func(m *wire.PlanMessage) { m.Agent = "c" })      // of a stranger
	plan(5, 5, 79, 0, func(m *wire.PlanMessage) { m.Plan = "another" }) // of another plan
	p.plan([]byte("{torn"))
	hello(5, "i", true)
	want("a hello that was retained is no sign of life")
	hello(5, "another", false)
	want("another instance of that name")
	if u := p.unsaid(); len(u) != 1 || u[0] != (Peer{"b", "evacuate"}) {
		t.Errorf("of a start that has said nothing: %v, want it asked for", u)
	}
	hello(5, "i", false)
	want("alive", 60)
	if u := p.unsaid(); len(u) != 0 {
		t.Errorf("asked again for %v, which was heard", u)
	}
}

// Two agents of one broker: each hears of the other's plan, from what it said before it was listened to
// and from what it says then.
func testPeers(t *testing.T, url string) {
	a := config(url)
	a.Agent, a.HelloEvery = "a", 20*time.Millisecond
	first, _ := start(t, a)
	say := func(episode, next uint64) {
		first.Offer(plugins.Update{Plan: &plugins.PlanState{Plan: "evacuate", Zone: a.Zone, Stage: "2b", Episode: episode, NextEpisode: next}})
	}
	say(7, 8)
	awaitStats(t, first, func(s BrokerStats) bool { return s.Queued == 0 && s.Connected })

	words := make(chan PeerWord, 1000)
	b := config(url)
	b.Agent, b.Peers = "b", []Peer{{"a", "evacuate"}}
	b.Heard = func(w PeerWord) { words <- w }
	start(t, b)
	want := func(episode, next uint64) {
		t.Helper()
		late := time.After(patience)
		for {
			select {
			case w := <-words:
				if w.Episode == episode && w.Next == next && w.Stage == plugins.SwitchOver {
					return
				}
			case <-late:
				t.Fatalf("never heard of episode %d", episode)
			}
		}
	}
	want(7, 8)
	say(0, 8)
	want(0, 8)
}
