package history

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
	"time"

	"firebreak/sensors"
)

// All numbers are little-endian.
//
//	segment  header, then records; the first is the meta record
//	header   magic "FBHIST01", index u64, table u32, crc u32
//	record   length u32, crc u32, number u64, payload
//	payload  kind u8, flags u8, wall varint (unix ms), mono varint (ns), body
//
// index is the number in the file's name, table the sum of the list of points that the readings
// are numbered by. A record's crc covers both, so that a stale block of another file, or one of
// other points, never fits. number counts what a process was offered, from 1; a frame of polls bears
// that of its first. What is missing between two records was dropped, which a gap record says, or
// is lost. Meta and gap records bear 0.
const (
	magic     = "FBHIST01"
	headerLen = 8 + 8 + 4 + 4
	recordLen = 4 + 4 + 8

	hardRecord  = 4 << 20
	hardSegment = 64 << 20

	suffix    = ".hist"
	maxNumber = 1 << 62
)

// Kinds of records.
const (
	kindMeta byte = iota + 1
	kindFrame
	kindAlarm
	kindPlan
	kindEvent
	kindGap
)

const flagSynced = 1

var errBad = errors.New("it does not read back")

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

type header struct {
	index uint64
	table uint32
}

func (h header) append(b []byte) []byte {
	at := len(b)
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint64(b, h.index)
	b = binary.LittleEndian.AppendUint32(b, h.table)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[at:], castagnoli()))
}

func parseHeader(b []byte) (header, error) {
	if len(b) < headerLen || string(b[:8]) != magic ||
		crc32.Checksum(b[:headerLen-4], castagnoli()) != binary.LittleEndian.Uint32(b[headerLen-4:]) {
		return header{}, errBad
	}
	return header{binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint32(b[16:])}, nil
}

// beginRecord leaves room for what endRecord fills in once the payload stands.
func beginRecord(b []byte, n uint64) ([]byte, int) {
	at := len(b)
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0)
	return binary.LittleEndian.AppendUint64(b, n), at
}

func (h header) endRecord(b []byte, at int) []byte {
	binary.LittleEndian.PutUint32(b[at:], uint32(len(b)-at-recordLen))
	binary.LittleEndian.PutUint32(b[at+4:], h.sum(b[at:]))
	return b
}

func (h header) sum(rec []byte) uint32 {
	var seed [12]byte
	binary.LittleEndian.PutUint64(seed[:], h.index)
	binary.LittleEndian.PutUint32(seed[8:], h.table)
	t := castagnoli()
	s := crc32.Update(0, t, seed[:])
	s = crc32.Update(s, t, rec[:4])
	return crc32.Update(s, t, rec[8:])
}

// raw is one record as it stands in a segment. load aliases the input.
type raw struct {
	n    uint64
	load []byte
	size int
}

// plausible reads a record without its checksum.
func plausible(b []byte) (raw, bool) {
	if len(b) < recordLen {
		return raw{}, false
	}
	n := binary.LittleEndian.Uint32(b)
	if n < 2 || n > hardRecord || int(n) > len(b)-recordLen {
		return raw{}, false
	}
	r := raw{n: binary.LittleEndian.Uint64(b[8:]), size: recordLen + int(n)}
	r.load = b[recordLen:r.size]
	return r, r.n <= maxNumber && r.load[0] >= kindMeta && r.load[0] <= kindGap
}

func (h header) parse(b []byte) (raw, bool) {
	r, ok := plausible(b)
	return r, ok && h.sum(b[:r.size]) == binary.LittleEndian.Uint32(b[4:])
}

// Instant is when something was, by both clocks of the machine.
type Instant struct {
	Boot   string       `json:"boot,omitempty"`
	Mono   sensors.Mono `json:"mono"`
	Wall   int64        `json:"wall"` // unix milliseconds
	Synced bool         `json:"synced,omitempty"`
}

// To is the time from i to o. It is known within one boot, and across boots when the wall clock was
// synchronised at both (S8); else the wall clocks' difference is all there is, and known is false.
func (i Instant) To(o Instant) (d time.Duration, known bool) {
	if i.Boot != "" && i.Boot == o.Boot {
		return o.Mono.Sub(i.Mono), true
	}
	return time.Duration(o.Wall-i.Wall) * time.Millisecond, i.Synced && o.Synced
}

// Time is the wall clock's.
func (i Instant) Time() time.Time { return time.UnixMilli(i.Wall) }

func (i Instant) back(d time.Duration) Instant {
	i.Mono, i.Wall = i.Mono.Add(-d), i.Wall-d.Milliseconds()
	return i
}

func appendPrefix(b []byte, kind byte, at Instant) []byte {
	var flags byte
	if at.Synced {
		flags |= flagSynced
	}
	b = append(b, kind, flags)
	b = binary.AppendVarint(b, at.Wall)
	return binary.AppendVarint(b, int64(at.Mono))
}

// parsePrefix returns what follows the prefix.
func parsePrefix(load []byte) (kind byte, at Instant, body []byte, err error) {
	if len(load) < 2 {
		return 0, at, nil, errBad
	}
	c := cursor{b: load[2:]}
	at.Wall, at.Mono, at.Synced = c.varint(), sensors.Mono(c.varint()), load[1]&flagSynced != 0
	return load[0], at, c.b, c.err
}

// Info says which process wrote a segment.
type Info struct {
	Site     string `json:"site"`
	Zone     string `json:"zone"`
	Agent    string `json:"agent"`
	Version  string `json:"version"` // of the agent
	Go       string `json:"go"`
	Config   string `json:"config"` // hash
	Instance string `json:"instance"`
	Boot     string `json:"boot"`
	Epoch    uint64 `json:"epoch"`
}

// Point names one point of a segment.
type Point struct {
	Name   string       `json:"n"`
	Device uint32       `json:"d"`
	Unit   sensors.Unit `json:"u,omitempty"`
}

// names are the points that readings are numbered by.
type names struct {
	Devices []string `json:"devices"`
	Points  []Point  `json:"points"`
}

func (n names) sum() uint32 {
	b, _ := json.Marshal(n) // strings and numbers: it cannot fail
	return crc32.Checksum(b, castagnoli())
}

// meta is the first record of a segment. With it a start learns of all older segments without
// reading them.
type meta struct {
	Info
	names
	Segments []segment `json:"segments,omitempty"` // that stood when this one was begun
	Episodes []episode `json:"episodes,omitempty"`
	Evicted  Evicted   `json:"evicted"`
}

// Evicted counts what the bounds have taken since the history began.
type Evicted struct {
	Segments uint64  `json:"segments"`
	Bytes    int64   `json:"bytes"`
	Last     Instant `json:"last"` // the newest record of those
}

// Gap says what a full queue, or an update that does not fit, has cost.
type Gap struct {
	Polls    uint64 `json:"polls,omitempty"`
	Readings uint64 `json:"readings,omitempty"` // in those
	Others   uint64 `json:"others,omitempty"`   // states of alarms and plans, events
	From     int64  `json:"from"`               // unix milliseconds
	To       int64  `json:"to"`
	Why      string `json:"why,omitempty"` // the last fault of the disk
}

func segmentName(index uint64) string { return fmt.Sprintf("%016x%s", index, suffix) }

func parseName(name string) (uint64, bool) {
	hex, ok := strings.CutSuffix(name, suffix)
	if !ok || len(hex) != 16 || strings.ToLower(hex) != hex {
		return 0, false
	}
	n, err := strconv.ParseUint(hex, 16, 64)
	return n, err == nil && n <= maxNumber
}
