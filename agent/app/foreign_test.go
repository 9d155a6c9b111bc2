package app

import (
	"fmt"
	"testing"
	"time"

	"firebreak/agent/config"
	"firebreak/agent/consumer"
	"firebreak/agent/uplink"
	"firebreak/agent/wire"
	"firebreak/plugins"
	"firebreak/sensors"
)

// What another agent tells, verified, becomes readings with its quality and the instant at which it was
// heard. A raised alarm counts at once, a quiet one when a hello confirms it; what is forged, or only
// retained, counts for nothing; and when it falls silent nothing is stamped anew.
func TestForeignReadings(t *testing.T) {
	_, s, err := wire.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	key := s.Key()
	key.Name = "site/room"
	devices := []sensors.Device{{ID: 0, Name: "bms-1"}}
	points := []sensors.Point{{ID: 0, Name: "bms-1.cell.temperature"}, {ID: 1, Name: "bms-1.off-gas"}}
	enc := wire.NewEncoder(wire.Identity{Site: "site", Zone: "b3", Agent: "room", Instance: "i1", Epoch: 7}, wire.Life{}, devices, points)
	var now sensors.Mono
	var got []sensors.Batch
	c := &config.Config{Devices: []config.Device{{}, {First: 10}}, Sources: []config.AgentSource{{Agent: "room", Device: 1, Points: []config.SourcePoint{
		{Alarm: "smoke"}, {Device: "bms-1", Channel: "cell.temperature"}, {Device: "bms-1", Channel: "off-gas"}}}}}
	f := newForeigners(c, func() sensors.Mono { return now }, func(b sensors.Batch) { got = append(got, b) })
	book := consumer.NewBook(wire.NewRing(key), false)
	wall := time.Now()
	hear := func(topic string, payload []byte, retained, hello bool) string {
		now, wall = now+sensors.Mono(time.Second), wall.Add(time.Second)
		got = nil
		h := uplink.Foreign{Notes: append([]consumer.Note(nil), book.Take(wall, "a", topic, payload, retained)...)}
		for _, a := range book.Agents() {
			h.Agent = a
		}
		h.Hello = hello && h.Agent.Heard.Equal(wall) && h.Agent.Verdict == consumer.Live
		f.heard(h)
		if len(got) == 0 {
			return ""
		}
		out := ""
		for _, r := range got[len(got)-1].Readings {
			out += fmt.Sprintf("%d=%v %s %ds; ", r.Point, r.Value, r.Quality, time.Duration(r.At)/time.Second)
		}
		return out
	}
	say := func(u plugins.Update) (string, []byte) {
		m, err := enc.Encode(u)
		if err != nil {
			t.Fatal(err)
		}
		return m.Topic, s.Sign(m.Topic, m.Payload)
	}
	hello := func() string {
		m, err := enc.Beat(wall, "c").Hello(1, 0, wire.Drops{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return hear(m.Topic, s.Sign(m.Topic, m.Payload), false, true)
	}
	alarm := func(active, retained bool) string {
		topic, b := say(plugins.Update{Alarm: &plugins.AlarmState{Name: "smoke", Occurrence: 1, State: "x", Active: active, Priority: 1, Origin: "real"}})
		return hear(topic, b, retained, false)
	}
	poll := func(sign bool, q sensors.Quality) string {
		topic, b := say(plugins.Update{State: &sensors.Batch{Readings: []sensors.Reading{{Point: 0, Value: 31.5, Quality: sensors.GoodQuality}, {Point: 1, Value: 3, Quality: q}}}})
		if !sign {
			b = b[:len(b)-len(`,"key_id":"0123456789abcdef","sig":"`)-88]
			b = append(b, '}')
		}
		return hear(topic, b, false, false)
	}
	for i, c := range []struct{ got, want string }{
		{poll(true, sensors.GoodQuality), ""},
		{alarm(true, true), ""},
		{hello(), "10=1 good 3s; "},
		{alarm(false, false), ""},
		{hello(), "10=0 good 5s; "},
		{alarm(true, false), "10=1 good 6s; "},
		{poll(true, sensors.GoodQuality), "10=1 good 6s; 11=31.5 good 7s; 12=3 good 7s; "},
		{poll(false, sensors.GoodQuality), ""},
		{poll(true, sensors.MakeQuality(sensors.Bad, sensors.Stale, sensors.Real)), "10=1 good 6s; 11=31.5 good 9s; 12=0 bad:stale 9s; "},
		{poll(true, sensors.MakeQuality(sensors.Uncertain, sensors.OverRange, sensors.Real)), "10=1 good 6s; 11=31.5 good 10s; 12=3 uncertain:over-range 10s; "},
		{hello(), "10=1 good 11s; 11=31.5 good 10s; 12=3 uncertain:over-range 10s; "},
	} {
		if c.got != c.want {
			t.Errorf("%d: got %q, want %q", i, c.got, c.want)
		}
	}
}
