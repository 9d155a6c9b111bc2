package uplink

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"firebreak/agent/wire"
	"firebreak/sensors"
)

// place is a point in the order of what is kept. Alarm and Event are the last numbers of their classes up
// to there, so that what is missing between two places has a name.
type place struct {
	Epoch uint64 `json:"epoch"`
	N     uint64 `json:"n"`
	Alarm uint64 `json:"alarm"`
	Event uint64 `json:"event"`
}

func (p place) before(epoch, n uint64) bool {
	return p.Epoch < epoch || p.Epoch == epoch && p.N < n
}

// kept is one record of the log: a message, where it stands, and when it was made.
type kept struct {
	place
	boot string
	wall int64 // Unix milliseconds
	mono sensors.Mono
	m    wire.Message
}

// A record is its kind, numbers as varints, strings behind their lengths, and the payload as the rest.
// What the journal adds around it finds torn and flipped bytes.
const recordMessage = 1

const (
	flagActive = 1 << iota
	flagUnset
	flagMost
)

func (k *kept) append(b []byte) []byte {
	flags := uint64(0)
	if k.m.Active {
		flags |= flagActive
	}
	if k.m.Unset {
		flags |= flagUnset
	}
	b = append(b, recordMessage)
	for _, v := range []uint64{k.Epoch, k.N, k.Alarm, k.Event, uint64(k.m.Class), k.m.Seq, flags, uint64(k.m.Priority)} {
		b = binary.AppendUvarint(b, v)
	}
	b = binary.AppendVarint(b, k.wall)
	b = binary.AppendVarint(b, int64(k.mono))
	for _, s := range []string{k.m.Instance, k.boot, k.m.Topic} {
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	return append(b, k.m.Payload...)
}

var errRecord = errors.New("a record that no agent has written")

// maxPriority and maxTopic bound what is read back.
const (
	maxPriority = 16
	maxTopic    = 1 << 10
)

// readKept reads a record. Whatever stands there, what it returns could have been told by this agent.
func readKept(b []byte) (k kept, err error) {
	if len(b) == 0 || b[0] != recordMessage {
		return k, errRecord
	}
	b = b[1:]
	var v [8]uint64
	for i := range v {
		n := 0
		if v[i], n = binary.Uvarint(b); n <= 0 {
			return k, errRecord
		}
		b = b[n:]
	}
	var at [2]int64
	for i := range at {
		n := 0
		if at[i], n = binary.Varint(b); n <= 0 {
			return k, errRecord
		}
		b = b[n:]
	}
	var s [3]string
	for i := range s {
		size, n := binary.Uvarint(b)
		if n <= 0 || size > maxTopic || size > uint64(len(b)-n) {
			return k, errRecord
		}
		s[i], b = string(b[n:n+int(size)]), b[n+int(size):]
	}
	k.place = place{v[0], v[1], v[2], v[3]}
	k.wall, k.mono, k.boot = at[0], sensors.Mono(at[1]), s[1]
	c := wire.Class(v[4])
	k.m = wire.Message{Class: c, Seq: v[5], Active: v[6]&flagActive != 0, Unset: v[6]&flagUnset != 0, Priority: int(min(v[7], maxPriority)),
		Topic: s[2], Payload: b, Log: v[1], Epoch: v[0], Instance: s[0]}
	p, ok := wire.ParseTopic(s[2])
	switch {
	case v[4] >= uint64(wire.Classes) || !keeps(c) || v[6] >= flagMost || v[7] > maxPriority:
	case !ok || p.Drill || p.Class != c:
	case k.Epoch == 0 || k.N == 0 || k.m.Seq == 0 || s[0] == "" || !json.Valid(b) || len(b) > wire.MaxPayload:
	case c == wire.Alarm && k.m.Seq != k.Alarm, c == wire.Event && k.m.Seq != k.Event:
	default:
		return k, nil
	}
	return k, errRecord
}

// keeps tells which classes are kept: what somebody acts on. Readings are in the history.
func keeps(c wire.Class) bool { return c == wire.Alarm || c == wire.Plan || c == wire.Event }

// age dates a message of an earlier life by the clock that still counts: that of the same boot; that of the boot in
// which it was made, if that one's wall clock was set at last; or the wall clock if it was set then and is now.
// Otherwise nobody knows how old it is.
func (k *kept) age(i instant, clocks []clockMark) {
	if i.boot != "" && k.boot == i.boot && k.mono <= i.mono {
		k.m.Made = i.at.Add(-i.mono.Sub(k.mono))
		return
	}
	made, known := time.UnixMilli(k.wall), !k.m.Unset
	for _, c := range clocks {
		if c.Boot == k.boot {
			made, known = time.UnixMilli(c.Wall).Add(-c.Mono.Sub(k.mono)), true
		}
	}
	if known && i.set && !made.After(i.wall) {
		k.m.Made = i.at.Add(-i.wall.Sub(made))
	}
}

// instant is one moment by all clocks. It is read once for all that is dated by it, or what is dated last would
// seem younger by the time that the rest took.
type instant struct {
	boot string
	mono sensors.Mono
	wall time.Time
	set  bool      // wall may be trusted
	at   time.Time // with this process's own clock in it
}

func (u *Uplink) instant() instant {
	return instant{u.cfg.Boot, u.cfg.mono(), u.cfg.Now(), u.clockSet(), time.Now()}
}

// clockMark is one instant of a boot by both of its clocks, when the wall clock was set: what was made before
// that is dated by it.
type clockMark struct {
	Boot string       `json:"boot"`
	Wall int64        `json:"wall"` // Unix milliseconds
	Mono sensors.Mono `json:"mono"`
}

// maxClocks bounds the boots of which it is known.
const maxClocks = 8

// clocked adds the present boot, once, when its wall clock is set.
func clocked(clocks []clockMark, u *Uplink) (_ []clockMark, added bool) {
	boot := u.cfg.Boot
	if boot == "" || u.cfg.Mono == nil || u.unset.Load() || slices.ContainsFunc(clocks, func(c clockMark) bool { return c.Boot == boot }) {
		return clocks, false
	}
	clocks = append(clocks, clockMark{boot, u.cfg.Now().UnixMilli(), u.cfg.mono()})
	return clocks[max(0, len(clocks)-maxClocks):], true
}
