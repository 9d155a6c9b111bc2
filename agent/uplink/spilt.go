package uplink

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"encoding/json"
	"io"
	"time"

	"firebreak/agent/wire"
	"firebreak/sensors"
)

// spiltGroup is one record of the log of readings: polls of one life, in the order of their numbers.
type spiltGroup struct {
	Epoch          uint64
	Instance, Boot string
	Wall           int64 // Unix milliseconds, when it was written
	Mono           sensors.Mono
	Polls          []spiltPoll
}

type spiltPoll struct {
	Seq     uint64
	Age     time.Duration // when the group was written
	Unset   bool
	Topic   string
	Payload []byte
}

// maxSpilt bounds a record, and what comes of it: a group, or one poll that is larger.
const maxSpilt = max(spillGroup, wire.MaxPayload) + 64<<10

const recordPolls = 2

// append writes the kind, and compressed: numbers as varints, strings behind their lengths.
func (g *spiltGroup) append(b []byte) []byte {
	text := func(b []byte, s string) []byte { return append(binary.AppendUvarint(b, uint64(len(s))), s...) }
	var raw []byte
	raw = text(text(binary.AppendUvarint(raw, g.Epoch), g.Instance), g.Boot)
	raw = binary.AppendVarint(binary.AppendVarint(raw, g.Wall), int64(g.Mono))
	for i := range g.Polls {
		p := &g.Polls[i]
		unset := uint64(0)
		if p.Unset {
			unset = 1
		}
		raw = binary.AppendUvarint(binary.AppendUvarint(raw, p.Seq), unset)
		raw = binary.AppendVarint(raw, int64(p.Age))
		raw = append(binary.AppendUvarint(text(raw, p.Topic), uint64(len(p.Payload))), p.Payload...)
	}
	return append(append(b, recordPolls), deflate(raw)...)
}

// spiltReader reads with one error for all.
type spiltReader struct {
	b   []byte
	bad bool
}

func (r *spiltReader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.b, r.bad = nil, true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *spiltReader) int() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.b, r.bad = nil, true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *spiltReader) bytes(most int) []byte {
	n := r.uint()
	if n > uint64(most) || n > uint64(len(r.b)) {
		r.b, r.bad = nil, true
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

// readSpilt reads a record. Whatever stands there, what it returns could have been told by this agent.
func readSpilt(b []byte) (*spiltGroup, error) {
	if len(b) == 0 || b[0] != recordPolls {
		return nil, errRecord
	}
	raw, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(b[1:])), maxSpilt+1))
	if err != nil || len(raw) > maxSpilt {
		return nil, errRecord
	}
	r := &spiltReader{b: raw}
	g := &spiltGroup{Epoch: r.uint(), Instance: string(r.bytes(maxTopic)), Boot: string(r.bytes(maxTopic))}
	g.Wall, g.Mono = r.int(), sensors.Mono(r.int())
	last := uint64(0)
	for len(r.b) > 0 {
		p := spiltPoll{Seq: r.uint()}
		unset := r.uint()
		p.Unset, p.Age = unset == 1, time.Duration(r.int())
		p.Topic, p.Payload = string(r.bytes(maxTopic)), r.bytes(wire.MaxPayload)
		where, ok := wire.ParseTopic(p.Topic)
		if r.bad || p.Seq <= last || unset > 1 || p.Age < 0 || !ok || where.Drill || where.Class != wire.State || !json.Valid(p.Payload) {
			return nil, errRecord
		}
		last = p.Seq
		g.Polls = append(g.Polls, p)
	}
	if r.bad || g.Epoch == 0 || g.Instance == "" || len(g.Polls) == 0 {
		return nil, errRecord
	}
	return g, nil
}

// messages are the polls of a group as another life tells them.
func (g *spiltGroup) messages(now instant, clocks []clockMark) []*wire.Message {
	var out []*wire.Message
	for i := range g.Polls {
		p := &g.Polls[i]
		k := kept{boot: g.Boot, wall: g.Wall - p.Age.Milliseconds(), mono: g.Mono.Add(-p.Age), m: wire.Message{Class: wire.State, Seq: p.Seq, Unset: p.Unset,
			Topic: p.Topic, Payload: p.Payload, Epoch: g.Epoch, Instance: g.Instance}}
		k.age(now, clocks)
		out = append(out, wire.Reread(k.m))
	}
	return out
}
