package core_test

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"sort"
	"strings"
	"time"

	"firebreak/agent/core"
	"firebreak/agent/response"
	"firebreak/plugins"
	"firebreak/sensors"
)

// act reads a line of what happens:
//
//	10s            asd-1.smoke = 0.5
//	10s..60s       asd-1.smoke = 0.01 -> 0.5  every=1s
//	10s..60s       bms-*.*     = bad:comm     every=1s
//	10s..60s       bms-1.temp  = 25 -> 80 uncertain:replaced  every=1s
//	70s            kill back=2s
//	70s            kill back=480h reboot [clock-known]
//	70s            snapshot
//	5s             journal fails | works
//	20m            reset evacuate by kim
//	40s..50s       hold evacuate by kim        every=2s
//	50s            trip evacuate by kim [and lee] [remote] [confirm] stage=3 for=10m because=meter-installed
//	50s            peer evacuate stage=3 episode=7 next=8 held-by=kim
//	50s            calendar 2022-10-15 [unsynced]
//	50s            probe HOOK works | broken | standby
//	50s            drilled evacuate good | bad
//	50s            health PART well | ill
//	50s            serial DEVICE NUMBER        (comes with its readings from here on)
func (s *script) act(l *line) {
	from, to := l.words[0], ""
	if a, b, ok := strings.Cut(from, ".."); ok {
		from, to = a, b
	}
	a := act{at: duration(from)}
	w := l.words[1:]
	if len(w) == 0 {
		must(fmt.Errorf("nothing happens at %s", from))
	}
	switch w[0] {
	case "kill":
		a.kind, a.back = "kill", l.dur("back")
		for _, x := range w[1:] {
			a.reboot = a.reboot || x == "reboot"
			a.clock = a.clock || x == "clock-known"
		}
	case "snapshot":
		a.kind = "snapshot"
	case "journal":
		a.kind, a.fails = "journal", w[1] == "fails"
	case "peer", "calendar", "probe", "drilled", "health", "receipt", "serial":
		a.kind = "event"
		a.event = s.event(w, l)
	case "ack", "reset-alarm", "reset", "hold", "release", "out-of-service", "in-service", "trip", "arm", "disarm", "undo", "settle",
		"shelve", "unshelve", "bypass", "end-bypass", "prove", "answered", "energise", "reload", "learn":
		a.kind, a.order = "order", s.ordered(w, l)
		for every := l.dur("every"); every > 0 && a.at+every < duration(to); a.at += every {
			s.acts = append(s.acts, a)
			a.again = true
		}
	default:
		s.readings(l, a.at, to, w)
		return
	}
	s.acts = append(s.acts, a)
}

func (s *script) ordered(w []string, l *line) core.Order {
	o := core.Order{Kind: core.OrderKind(w[0]), Name: w[1], For: l.dur("for"), Reason: l.opts["because"], Channel: core.AtTheBox}
	for i, x := range w {
		switch x {
		case "by":
			o.By = w[i+1]
		case "and":
			o.Second = w[i+1]
		case "remote":
			o.Channel = core.Remote
		case "confirm":
			o.Confirm = true
		case "once":
			o.Once = true
		}
	}
	if st := l.opts["stage"]; st != "" {
		level, err := plugins.ParseStage(st)
		must(err)
		o.Stage = level
	}
	return o
}

func (s *script) event(w []string, l *line) core.Event {
	has := func(word string) bool { return slices.Contains(w, word) }
	switch w[0] {
	case "peer":
		said := response.PeerSaid{Plan: w[1], Agent: "peer", Next: uint64(l.num("next")), Episode: uint64(l.num("episode")), HeldBy: l.opts["held-by"]}
		if st := l.opts["stage"]; st != "" {
			level, err := plugins.ParseStage(st)
			must(err)
			said.Stage = level
		}
		return core.Event{Kind: core.Peer, Peer: said}
	case "calendar":
		day, err := time.Parse("2006-01-02", w[1])
		must(err)
		return core.Event{Kind: core.Calendar, Wall: day, Synced: !has("unsynced")}
	case "health":
		ev := core.Event{Kind: core.Health, Part: w[1]}
		if has("ill") {
			ev.Err = errors.New("it is not well")
		}
		return ev
	case "serial":
		return core.Event{Kind: core.Readings, Device: s.device(w[1]), Serial: w[2]}
	case "receipt":
		return core.Event{Kind: core.Receipt, Part: w[1]}
	case "probe":
		i := slices.Index(s.rs.Hooks, w[1])
		ev := core.Event{Kind: core.Probed, Hook: i}
		if has("broken") {
			ev.Err = errors.New("no answer")
		}
		if has("standby") {
			ev.Err = &plugins.StandbyError{Lost: "one of two brokers is away"}
		}
		return ev
	}
	d := core.DrillResult{Plan: w[1], Good: has("good")}
	if !d.Good {
		d.Why = "a hook failed"
	}
	return core.Event{Kind: core.DrillOver, DrillOver: d}
}

func (s *script) readings(l *line, from time.Duration, until string, w []string) {
	if len(w) < 3 || w[1] != "=" {
		must(fmt.Errorf("neither an order nor a reading"))
	}
	to, every := from, time.Second
	if until != "" {
		to, every = duration(until), l.dur("every")
		if every <= 0 {
			must(fmt.Errorf("a range of time needs every=1s or the like"))
		}
	}
	q := sensors.GoodQuality
	if why, ok := strings.CutPrefix(w[len(w)-1], "uncertain:"); ok {
		r, err := sensors.ParseReason(why)
		must(err)
		q, w = sensors.MakeQuality(sensors.Uncertain, r, sensors.Real), w[:len(w)-1]
	}
	v0, v1 := 0.0, 0.0
	if why, ok := strings.CutPrefix(w[2], "bad:"); ok {
		r, err := sensors.ParseReason(why)
		must(err)
		q = sensors.BadQuality(r)
	} else {
		v0 = number(w[2])
		v1 = v0
		if len(w) == 5 && w[3] == "->" {
			v1 = number(w[4])
		}
	}
	found := false
	for i := range s.hz.Points {
		if ok, err := path.Match(w[0], s.hz.Points[i].Name); err != nil || !ok {
			must(err)
			continue
		}
		found = true
		for t := from; t < to || t == from; t += every {
			v := v0
			if to > from {
				v += (v1 - v0) * float64(t-from) / float64(to-from)
			}
			s.acts = append(s.acts, act{at: t, kind: "read", point: sensors.PointID(i), value: v, quality: q})
		}
	}
	if !found {
		must(fmt.Errorf("no point fits %q", w[0]))
	}
}

// sorted returns the acts by time. Of one instant the readings come first, device by device, then
// the rest as it was written.
func (s *script) sorted() []act {
	out := append([]act(nil), s.acts...)
	sort.SliceStable(out, func(i, j int) bool {
		a, b := &out[i], &out[j]
		if a.at != b.at {
			return a.at < b.at
		}
		return s.order(a) < s.order(b)
	})
	return out
}

func (s *script) order(a *act) int {
	if a.kind == "read" {
		return int(s.hz.Points[a.point].Device)
	}
	return len(s.hz.Devices)
}
